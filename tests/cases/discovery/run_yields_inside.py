# expect: stage ingest | run conn:str returns a list
STAGE = "ingest"


def run(conn):
    def rows():
        yield 1

    return [*rows()]
