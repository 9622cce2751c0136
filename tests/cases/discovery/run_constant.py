# expect: stage ingest | miss run is a plain value: it has to be a function
STAGE = "ingest"
run = None
