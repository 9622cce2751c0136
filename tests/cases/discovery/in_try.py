# expect: stage problem | run
try:
    STAGE = "ingest"
finally:
    pass


def run():
    ...
