# expect: stage ingest | run
STAGE: str = "ingest"


def run():
    ...
