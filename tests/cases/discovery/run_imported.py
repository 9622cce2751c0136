# expect: stage ingest | run @src.jobs.fetch.main
from src.jobs.fetch import main as run

STAGE = "ingest"
