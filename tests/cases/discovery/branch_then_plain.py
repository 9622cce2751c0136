# expect: stage ingest | run
if True:
    STAGE = "other"
STAGE = "ingest"


def run():
    ...
