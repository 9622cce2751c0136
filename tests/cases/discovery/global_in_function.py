# expect: run | miss has run() but no STAGE
def run():
    global STAGE
    STAGE = "ingest"
