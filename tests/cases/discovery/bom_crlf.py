# expect: stage ingest | run conn:str
STAGE = "ingest"


def run(conn):
    ...
