# expect: stage a | run a:path b:date? c:int* d:decimal e:x|y f:uuid? g:datetime h:?dict[str, int]="?"
import datetime as dt
import pathlib
import typing as t
from decimal import Decimal as D
from uuid import UUID

STAGE = "a"


def run(
    a: pathlib.Path,
    b: "dt.date | None",
    c: list[int],
    d: t.Annotated[D, "money"],
    e: t.Literal["x", "y"],
    f: t.Optional[UUID],
    g: dt.datetime,
    h: dict[str, int] = dict(),
): ...
