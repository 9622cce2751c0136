# expect: stage render | run
STAGE = "ingest"
STAGE = "render"


def run():
    ...
