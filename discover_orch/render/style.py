"""How text looks: colours where they are wanted, and nothing from outside that commands the terminal.

In: text, and a `Style` that says what the stream can show. Out: text. Text of users' files and tools is data:
its control sequences are shown escaped, its colours pass on a colour terminal alone.
"""

from __future__ import annotations

import functools
import re

from msgspec import Struct

_SGR = r"\x1b\[[0-9;:]*m"
#: C0 but tab and newline, DEL, C1, the marks that turn the direction of text, and lone surrogates.
_CONTROL = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "stage": "1;36",
    "error": "1;31",
}


class Style(Struct, frozen=True, kw_only=True):
    """What a stream can show: `colour`, characters beyond ASCII (`unicode`), and its `width` in columns."""

    colour: bool = False
    unicode: bool = True
    width: int = 80

    def paint(self, text: str, kind: str) -> str:
        """`text`, which must be clean already, in the colour of `kind`."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.colour and text else text

    def mark(self, pretty: str, plain: str) -> str:
        return pretty if self.unicode else plain


def clean(text: str, style: Style | None = None) -> str:
    """Text from outside on one or several lines; without a `style` no colour passes either."""
    if text.isprintable():
        return text
    if style is None or not style.colour:
        return _compiled(_CONTROL).sub(_escaped, _without_colour(text))
    if "\x1b" not in text:
        return _compiled(_CONTROL).sub(_escaped, text)
    kept = _compiled(f"({_SGR})|({_CONTROL})").sub(lambda found: found[1] or _escaped(found), text)
    return "\n".join(line + "\x1b[0m" if "\x1b[" in line else line for line in kept.split("\n"))


def one_line(text: str) -> str:
    """Clean, and on one line: for names, paths and first lines of docstrings."""
    if text.isprintable():
        return text
    return clean(text).replace("\n", "\\n").replace("\t", " ")


def duration(seconds: float) -> str:
    """`0.02 s`, `12.3 s`, `3 min 05 s`, `2 h 03 min`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: most text is printable, and a listing never gets here."""
    return re.compile(pattern)


def _without_colour(text: str) -> str:
    return _compiled(_SGR).sub("", text) if "\x1b" in text else text


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
