# expect: broken 5 syntax stages ingest
STAGE = "ingest"


return 3
