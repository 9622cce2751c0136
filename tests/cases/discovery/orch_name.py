# expect: stage a | orch problem | run
STAGE = "a"
LIMIT = 2
ORCH = {"timeout": LIMIT}


def run():
    ...
