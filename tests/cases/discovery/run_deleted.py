# expect: stage ingest
STAGE = "ingest"


def run():
    ...


del run
