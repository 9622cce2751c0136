# expect: broken 5 syntax stages ingest
STAGE = "ingest"


def run(a, a):
    ...
