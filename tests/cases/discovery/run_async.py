# expect: stage ingest | run async conn:str
STAGE = "ingest"


async def run(conn):
    ...
