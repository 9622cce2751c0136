# expect: stage ingest | run unreadable
import src.jobs as jobs

STAGE = "ingest"
run = jobs.main
