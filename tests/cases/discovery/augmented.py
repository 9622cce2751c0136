# expect: stage problem | run
STAGE = "a"
STAGE += "b"


def run():
    ...
