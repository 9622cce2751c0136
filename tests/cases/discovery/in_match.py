# expect: stage problem | run
match "a":
    case STAGE:
        pass


def run():
    ...
