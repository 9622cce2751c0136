# expect: stage problem | run
STAGE = 3


def run():
    ...
