# expect: stage ingest-raw | run
STAGE = "ingest" + "-" + "raw"


def run():
    ...
