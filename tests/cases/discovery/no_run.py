# expect: stage ingest
STAGE = "ingest"
