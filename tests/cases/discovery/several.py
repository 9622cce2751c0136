# expect: stage ingest,analyze | run
STAGE = "ingest", "analyze"


def run():
    ...
