# expect: broken 6 syntax stages ingest
STAGE = "ingest"


def run(conn):
    await conn
