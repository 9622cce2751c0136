# expect: stage a | run since:date?=null
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

STAGE = "a"


def run(since: "date | None" = None): ...
