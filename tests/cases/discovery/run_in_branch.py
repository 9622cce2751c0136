# expect: stage ingest | miss run is set inside `if`; define it at the top level
STAGE = "ingest"

if STAGE:
    def run():
        ...
