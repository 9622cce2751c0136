# expect: stage problem | run
from enum import IntEnum


class Level(IntEnum):
    LOW = 1


STAGE = Level.LOW


def run():
    ...
