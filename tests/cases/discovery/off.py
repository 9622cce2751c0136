# expect: stage off | run
STAGE = None


def run():
    ...
