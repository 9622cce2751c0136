# expect: stage a | orch problem | run
STAGE = "a"
ORCH = {1: 2}


def run():
    ...
