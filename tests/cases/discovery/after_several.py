# expect: stage a | after fetch,stage:b | run
STAGE = "a"
AFTER = ["fetch", "stage:b"]


def run():
    ...
