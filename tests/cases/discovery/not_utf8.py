# expect: broken 3 encoding stages ingest
STAGE = "ingest"
NAME = "été"
