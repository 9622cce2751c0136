"""The strip of the items of a tool in the report page."""

from __future__ import annotations

import re

from discover_orch.render.item_strip import SIDE, STEP, Square, strip_svg


def places(*texts: str) -> list[tuple[int, int]]:
    """The column and row of each square."""
    svg = strip_svg([Square(text, "passed", 0) for text in texts])
    found = re.findall(rf'x="(\d+)" y="(\d+)" width="{SIDE}"', svg)
    return [(int(x) // STEP, int(y) // STEP) for x, y in found]


def test_a_day_stands_in_the_row_of_its_weekday_and_a_missing_one_leaves_a_hole() -> None:
    # 10 January 2026 is a Saturday.
    days = places("2026-01-10", "2026-01-11", "2026-01-12", "2026-01-14")
    assert days == [(0, 5), (0, 6), (1, 0), (1, 2)]


def test_what_is_no_day_or_lies_far_apart_stands_in_rows() -> None:
    assert places("eu", "us") == [(0, 0), (1, 0)]
    assert places("2001-01-01", "2026-01-01") == [(0, 0), (1, 0)]
    assert places(*(f"s{number}" for number in range(61)))[-1] == (0, 1)
