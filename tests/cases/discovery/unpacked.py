# expect: stage problem | after problem | run
STAGE, AFTER = "ingest", "x"


def run():
    ...
