# expect: stage ingest | run conn:str
from contextlib import contextmanager

STAGE = "ingest"


@contextmanager
def run(conn):
    yield conn
