# expect: stage a | after | run
STAGE = "a"
AFTER = ()


def run():
    ...
