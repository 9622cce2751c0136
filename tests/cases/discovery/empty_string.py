# expect: stage problem | run
STAGE = ""


def run():
    ...
