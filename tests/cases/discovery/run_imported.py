# expect: stage ingest | run unreadable
from src.jobs.fetch import main as run

STAGE = "ingest"
