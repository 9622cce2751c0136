# expect: stage ingest | run conn:str n:int=3
STAGE = "ingest"
run = lambda conn, n=3: None
