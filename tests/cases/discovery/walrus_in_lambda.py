# expect: run | miss has run() but no STAGE
f = lambda: (STAGE := "ingest")


def run():
    ...
