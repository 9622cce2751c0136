# expect: stage ingest | run conn:str
STAGE = "ingest"


def run(conn):
    def rows():
        yield 1

    return [*rows()]
