# expect: stage problem | run
def STAGE():
    ...


def run():
    ...
