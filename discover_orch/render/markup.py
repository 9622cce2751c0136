"""Text of users in XML and HTML: escaped, without what XML does not allow, and cut to a width in pixels. Pure."""

from __future__ import annotations

import functools
import re
import unicodedata

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


@functools.lru_cache(16_384)  # names and reasons occur many times in a page
def escape(text: str) -> str:
    """One line of a user, for an element or an attribute. Control characters are shown as `\\x1b`."""
    return one_line(text).translate(_SPECIAL)


def escape_lines(text: str) -> str:
    """The same for text of several lines, without colours."""
    return "\n".join(map(escape, text.replace("\r\n", "\n").split("\n")))


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


def tip(text: str) -> str:
    """Escaped lines for a `<title>`, cut where they are very long."""
    cut = text if len(text) <= LONGEST_TIP else text[:LONGEST_TIP] + "…"
    return escape_lines(cut)


@functools.lru_cache(64)
def clean_word(text: str) -> str:
    """The text as the name of a CSS class: what is not a letter of ASCII becomes `-`."""
    return re.sub("[^a-z]+", "-", text.lower()) or "-"


def number(value: float) -> str:
    """A coordinate with at most one digit behind the point."""
    return f"{value:.1f}".removesuffix(".0")
