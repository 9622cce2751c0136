# expect: stage a | after fetch | run
STAGE = "a"
AFTER = "fetch"


def run():
    ...
