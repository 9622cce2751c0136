# expect: stage problem | run
import sys

if sys.argv:
    STAGE = "ingest"


def run():
    ...
