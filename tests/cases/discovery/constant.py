# expect: stage ingest | run
FIRST = "ingest"
STAGE = FIRST
FIRST = "other"


def run():
    ...
