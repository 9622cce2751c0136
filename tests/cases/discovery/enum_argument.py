# expect: stage a | run mode:fast|slow="?" others:fast|slow*
from enum import Enum

STAGE = "a"


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


def run(mode: Mode = Mode.FAST, *, others: list[Mode]): ...
