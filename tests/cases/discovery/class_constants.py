# expect: stage ingest | run
class Stages:
    INGEST = "ingest"


STAGE = Stages.INGEST


def run():
    ...
