"""HTML and SVG. `h` makes an element: every text is escaped, without what XML does not allow, unless `h` has made it.

Also names cut to a width in pixels. Pure."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

from discover_orch.render.style import one_line

#: The width of a character of the labels in pixels, as system fonts draw it at 12 pixels.
CHARACTER = 6.8
#: Characters of a name that a tip has at most.
LONGEST_TIP = 1000
_SPECIAL = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&#39;",
    }
)


#: Elements of HTML that have no end, and shapes of SVG, with nothing inside.
_VOID = frozenset({"br", "img", "input", "meta"})
_SHAPES = frozenset({"circle", "path", "polyline", "rect"})


class Html(str):
    """HTML; every other text is data. Only for what `h` makes, and for what is known to hold no text of users."""

    __slots__ = ()


NOTHING = Html()
Child = str | float | None


def h(tag: str, *children: Child, **attributes: Child) -> Html:
    """An element. An attribute that is None or False is left out, and one that is True has no value; in its name, `_`
    stands for `-`, and at the end for nothing, as in `class_`."""
    parts = ["<", tag]
    for name, value in attributes.items():
        if value is True:
            parts += (" ", _attribute(name))
        elif value is not None and value is not False:
            parts += (" ", _attribute(name), '="', _html(value), '"')
    if children or not (tag in _VOID or tag in _SHAPES):
        parts += (">", *map(_html, children), "</", tag, ">")
    else:
        parts.append(">" if tag in _VOID else "/>")
    return Html("".join(parts))


def join(children: Iterable[Child], by: str = "") -> Html:
    """These beside each other, with `by` between them, which holds no text of users."""
    return Html(by.join(map(_html, children)))


def lines(text: str) -> Html:
    """A text of several lines, without colours."""
    return Html("\n".join(map(escape, text.replace("\r\n", "\n").split("\n"))))


@functools.cache
def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _html(child: Child) -> str:
    """A number as a coordinate or a count. By its very type, since a page has hundreds of thousands of them."""
    kind = type(child)
    if kind is Html:
        return child  # type: ignore[return-value]
    if kind is str:
        return escape(child)
    return "" if child is None else number(child)  # type: ignore[arg-type]


@functools.lru_cache(16_384)  # names and reasons occur many times in a page
def escape(text: str) -> str:
    """One line of a user, for an element or an attribute. Control characters are shown as `\\x1b`."""
    return one_line(text).translate(_SPECIAL)


def text_width(text: str) -> float:
    """The width in pixels, at most; East Asian wide characters count twice (Unicode Annex 11)."""
    if text.isascii():
        return len(text) * CHARACTER
    wide = sum(1 for one in text if unicodedata.east_asian_width(one) in "WF")
    return (len(text) + wide) * CHARACTER


def fit(text: str, room: float) -> str:
    """A name that fits into so many pixels, with `…` in its middle if it is longer. Not escaped."""
    name = one_line(text[: LONGEST_TIP * 2])
    if text_width(name) <= room:
        return name
    kept = max(int(room / CHARACTER) - 1, 2)
    while True:
        tail = kept // 2
        cut = name[: kept - tail] + "…" + name[len(name) - tail :]
        if kept <= 2 or text_width(cut) <= room:
            return cut
        kept -= 1


def tip(text: str) -> Html:
    """What is shown where the mouse rests, cut where it is very long."""
    return h("title", lines(text if len(text) <= LONGEST_TIP else text[:LONGEST_TIP] + "…"))


@functools.lru_cache(64)
def clean_word(text: str) -> str:
    """The text as the name of a CSS class: what is not a letter of ASCII becomes `-`."""
    return re.sub("[^a-z]+", "-", text.lower()) or "-"


def number(value: float) -> str:
    """A coordinate with at most one digit behind the point."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
