# expect: stage ingest | run
KIND = STAGE = "ingest"


def run():
    ...
