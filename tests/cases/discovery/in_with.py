# expect: stage problem | run
with open(__file__) as STAGE:
    pass


def run():
    ...
