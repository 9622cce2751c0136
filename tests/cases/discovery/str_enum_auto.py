# expect: stage ingest,RENDER | run
import enum as e


class Stage(e.StrEnum):
    INGEST = e.auto()
    RENDER = e.auto()


STAGE = (Stage.INGEST.value, Stage.RENDER.name)


def run():
    ...
