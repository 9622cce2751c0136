# expect: stage problem | run
STAGE = ("a", ("b",))


def run():
    ...
