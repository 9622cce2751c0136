# expect: stage ingest | run @src.jobs.main
import src.jobs as jobs

STAGE = "ingest"
run = jobs.main
