# expect: stage a | orch problem | run
STAGE = "a"
ORCH = dict(timeout=2)


def run():
    ...
