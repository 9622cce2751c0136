"""The items of a tool as a strip of squares, coloured by how they ended: a calendar for days. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from discover_orch.model.items import read_period
from discover_orch.render.markup import Html, clean_word, h
from discover_orch.render.style import status_word

#: Pixels from one square to the next, the side of a square, and squares in a row.
STEP, SIDE, ROW = 11, 9, 60
#: Weeks of a calendar; of longer ones, and where days are far apart, the squares stand in rows.
MOST_WEEKS = 160


class Square(Struct, frozen=True):
    """An item: its text, how it ended, and the number of its entry in the page."""

    text: str
    status: str
    number: int


def strip_svg(squares: Sequence[Square]) -> Html:
    """A column for each week where the items are days, else rows."""
    places = _find_places(squares)
    width = max(x for x, _ in places) * STEP + STEP
    height = max(y for _, y in places) * STEP + STEP
    drawn = [_square(one, *place) for one, place in zip(squares, places, strict=True)]
    return h(
        "svg",
        *drawn,
        class_="strip",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="group",
        aria_label="Items",
    )


def _square(one: Square, x: int, y: int) -> Html:
    word = status_word(one.status)
    rect = h(
        "rect",
        h("title", f"{one.text}: {word}"),
        x=x * STEP + 1,
        y=y * STEP + 1,
        width=SIDE,
        height=SIDE,
        rx=2,
    )
    return h(
        "a", rect, href=f"#t{one.number}", data_t=one.number, class_=f"s-{clean_word(one.status)}"
    )


def _find_places(squares: Sequence[Square]) -> list[tuple[int, int]]:
    """The column and the row of each."""
    days = _read_days([one.text for one in squares])
    if days:
        first = days[0].toordinal() - days[0].weekday()
        found = [divmod(day.toordinal() - first, 7) for day in days]
        if max(week for week, _ in found) < min(MOST_WEEKS, 2 * len(days) + 1):
            return found
    return [(place % ROW, place // ROW) for place in range(len(squares))]


def _read_days(texts: Sequence[str]) -> list[datetime]:
    """Empty where some text is no day."""
    periods = [read_period(text) for text in texts]
    days = [one.begin for one in periods if one is not None and one.unit == "day"]
    return days if len(days) == len(texts) and days == sorted(days) else []
