# expect: stage problem | run
for STAGE in ("a", "b"):
    pass


def run():
    ...
