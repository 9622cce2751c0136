# expect: broken 6 syntax stages ingest
STAGE = "ingest"


def run(conn):
    return (1


X = 2
