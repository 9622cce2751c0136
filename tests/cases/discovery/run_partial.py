# expect: stage ingest | run unreadable
from functools import partial

STAGE = "ingest"
run = partial(print, "x")
