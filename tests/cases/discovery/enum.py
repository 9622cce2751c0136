# expect: stage ingest | run
from enum import Enum


class Stage(str, Enum):
    INGEST = "ingest"


STAGE = Stage.INGEST


def run():
    ...
