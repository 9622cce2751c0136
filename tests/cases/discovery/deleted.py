# expect: run | miss has run() but no STAGE
STAGE = "ingest"
del STAGE


def run():
    ...
