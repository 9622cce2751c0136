# expect: stage ingest | miss run is a value, not a function
STAGE = "ingest"
run = None
