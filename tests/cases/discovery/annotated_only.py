# expect: run | miss has run() but no STAGE
STAGE: str


def run():
    ...
