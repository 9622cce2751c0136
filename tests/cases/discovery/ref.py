# expect: stage problem | run
from ..stages import Stage

STAGE = Stage.INGEST


def run():
    ...
