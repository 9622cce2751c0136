# expect: stage ingest | run conn:str yields 7
STAGE = "ingest"


def run(conn):
    rows = [lambda: 1]
    for row in (yield rows):
        print(row)
