# expect: stage ingest | miss run is bound inside `if`: only the top level counts
STAGE = "ingest"

if STAGE:
    def run():
        ...
