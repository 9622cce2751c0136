# expect: stage @src.stages.Stage.INGEST | run
from ..stages import Stage

STAGE = Stage.INGEST


def run():
    ...
