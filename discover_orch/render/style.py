"""How text looks: colours, widths, and text from users' files and tools made harmless.

A `Style` says what a stream can show. Control sequences in a user's text are shown escaped; its colours are kept only
where colours are wanted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby, repeat, zip_longest
from posixpath import splitext
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from discover_orch.model.conventions import status_words
from discover_orch.model.errors import Failure, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.model.documents import Value

T = TypeVar("T")

_SGR = r"\x1b\[[0-9;:]*m"
#: What stays on one line: words, `orch list`, `pip install x`, and a command to paste (`resume with: orch run`).
_UNBROKEN = r" *(?:(?<=with: ).+|orch [a-z]+[^ ]*|pip install [^ ]+|--[a-z][^ ]* [^ -][^ ]*(?: \.\.\.)?|[^ ]+)"
#: C0 except tab and newline, DEL, C1, the marks that change the direction of text, lone surrogates, and two that are
#: no characters (https://www.unicode.org/faq/private_use.html#nonchar4), which XML refuses.
_CONTROL = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
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
#: Items of one tool that are named each.
MOST_OF_TOOL = 3
#: How runs and tools ended, in the order in which a summary counts them.
STATUS_COLOURS = {
    "running": "yellow",
    "killed": "yellow",
    "failed": "error",
    "unknown": "error",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "done": "green",
    "rolled_back": "yellow",
    "passed": "green",
    "fresh": "",
    "stale": "",
    "blocked": "",
    "not_run": "",
}


#: A column has at least room for a date.
LEAST_COLUMN = 16
#: Files of one kind in one folder that are shown one by one.
MOST_ALIKE = 4


class Style(Struct, frozen=True, kw_only=True):
    """What a stream can show: `colour`, characters beyond ASCII (`unicode`), and its `width` in columns."""

    colour: bool = False
    unicode: bool = True
    width: int = 80
    is_terminal: bool = False

    def paint(self, text: str, kind: str) -> str:
        """`text`, cleaned and on one line, in the colour of `kind`; "" is none."""
        text = one_line(text)
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.colour and text and kind else text

    def mark(self, pretty: str, plain: str) -> str:
        return pretty if self.unicode else plain


def clean(text: str, style: Style | None = None) -> str:
    """Text of a user with control characters escaped; colours are kept if `style` has colours."""
    if text.isprintable():
        return text
    if style is None or not style.colour:
        return _compiled(_CONTROL).sub(_escaped, _without_colour(text))
    if "\x1b" not in text:
        return _compiled(_CONTROL).sub(_escaped, text)
    kept = _compiled(f"({_SGR})|({_CONTROL})").sub(lambda found: found[1] or _escaped(found), text)
    return "\n".join(line + "\x1b[0m" if "\x1b[" in line else line for line in kept.split("\n"))


def hide_commands(text: str) -> str:
    """Text that GitHub Actions takes for no command, wherever it came from: at the start of a line, behind spaces too,
    `::` is one, and `##[` is one anywhere. In JSON the escapes mean the same characters."""
    if "::" in text:
        text = _compiled(r"(?m)^([^\S\n]*):(?=:)").sub(r"\1\\u003a", text)
    return text.replace("##[", "\\u0023#[")


def one_line(text: str) -> str:
    """`text` cleaned, without colours and on one line: for names, paths and messages."""
    if text.isprintable():
        return text
    return clean(text).replace("\n", "\\n").replace("\t", " ")


def shown(value: T) -> T:
    """A document as it is shown: each text in it is cleaned and on one line. Problems and failures, which have several
    lines, stay as they are: `problem_text` and `failure_line` clean them."""
    try:
        text = encode(value).decode().replace('\\"', "")
    except (TypeError, ValueError):  # half a character, or no value of JSON
        text = "\n"
    # JSON escapes what is below the space. Nearly always there is nothing to clean.
    return value if text.isprintable() and "\\" not in text else _cleaned(value)


def _cleaned(found: Any) -> Any:
    match found:
        case str():
            return one_line(found)
        case Problem() | Failure():
            return found
        case Struct():
            names = found.__struct_fields__
            return replace(found, **{name: _cleaned(getattr(found, name)) for name in names})
        case tuple() | list():
            return tuple(map(_cleaned, found))
        case Mapping():
            return {_cleaned(name): _cleaned(one) for name, one in found.items()}
    return found


def duration(seconds: float | None) -> str:
    """`0.02 s`, `12.3 s`, `3 min 05 s`, `2 h 03 min`; empty if it is not known."""
    if seconds is None:
        return ""
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


def time_text(time: str, *, has_seconds: bool = False) -> str:
    """`2026-11-24 14:03`, from a time in ISO 8601; `?` if it is empty."""
    return one_line(time[: 19 if has_seconds else 16].replace("T", " ")) or "?"


def status_word(status: str) -> str:
    return one_line(status_words(status))


def paint_status(status: str, style: Style) -> str:
    return style.paint(status_word(status), STATUS_COLOURS.get(status, ""))


def counts_text(counts: Mapping[str, int], style: Style) -> str:
    """`1 failed, 2 passed`."""
    unknown = [one for one in counts if one not in STATUS_COLOURS]
    return ", ".join(
        style.paint(f"{counts[one]:,} {status_word(one)}", STATUS_COLOURS.get(one, ""))
        for one in (*unknown, *STATUS_COLOURS)
        if counts.get(one)
    )


def pairs_text(pairs: Mapping[str, object]) -> str:
    """`rows=3  total=7`."""
    return "  ".join(one_line(f"{name}={value}") for name, value in pairs.items())


def value_text(name: str, value: Value, style: Style) -> str:
    """`since = 2024-01-01  --since`."""
    return f"{name} = {value.shown}  {style.paint(value.origin, 'dim')}".rstrip()


def table(
    rows: Iterable[Sequence[str] | str],
    style: Style,
    *,
    lead: str = "  ",
    kinds: Sequence[str] = (),
    right: Collection[int] = (),
    shares: Sequence[int] = (2, 4),
    has_titles: bool = False,
) -> list[str]:
    """A line for each row; a row that is one text is a line already. Columns are as wide as their longest cell, but
    the first has at most half the screen and the others a quarter, or as `shares` says; what is longer is cut in its
    middle. The last cell of a row has no end: what does not fit on the screen continues below it.

    Cells are clean, and may be painted. `kinds` are the colours of the first columns; those in `right` are aligned
    there. With titles, the first row is dim.
    """
    rows = [*rows]
    columns = zip_longest(*(row[:-1] for row in rows if not isinstance(row, str)), fillvalue="")
    widths = []
    for column, share in zip(columns, chain(shares, repeat(shares[-1])), strict=False):
        most = max(style.width // share, LEAST_COLUMN)
        widths.append(min(max(map(_columns, column)), most))
    out = []
    for row in rows:
        if isinstance(row, str):
            out.append(row)
            continue
        line = lead
        for place, text in enumerate(row[:-1]):
            width, size = widths[place], _columns(text)
            if size > width and "\x1b" not in text:
                text, size = cut_name(text, width, style), width
            gap = " " * (width - size)
            if place < len(kinds):
                text = style.paint(text, kinds[place])
            line += f"{gap}{text}  " if place in right else f"{text}{gap}  "
        line = (line + row[-1]).rstrip()
        if has_titles and not out:
            line = style.paint(line, "dim")
        if len(line) > style.width:
            start = len(lead) + sum(widths[: len(row) - 1]) + 2 * len(row) - 2
            pad = start if start <= style.width // 2 else style.width // 3  # long names leave room
            line = wrap(line, style, " " * pad)
        out.append(line)
    return out


def wrap(line: str, style: Style, pad: str = "") -> str:
    """`line`, which may be painted, in lines of at most `style.width` columns. Each but the first begins with `pad`,
    which is spaces.

    Lines end between words only, so a word that is wider than the screen stays whole. So does a command, which one may
    want to paste.
    """
    if len(line) <= style.width or len(_without_colour(line)) <= style.width:
        return line
    out, used, colour = "", 0, ""
    for word in _compiled(_UNBROKEN).findall(line):
        columns = len(_without_colour(word))
        if used and used + columns > style.width:
            word = word.lstrip(" ")
            columns = len(_without_colour(word))
            # A long word begins further to the left, if it then fits.
            indent = pad[: style.width - columns] if columns < style.width else pad
            out += ("\x1b[0m" if colour else "") + f"\n{indent}{colour}"
            used = len(indent)
        out, used = out + word, used + columns
        for code in _compiled(_SGR).findall(word):
            colour = "" if code == "\x1b[0m" else code
    return out


def wrap_prose(line: str, style: Style, pad: str = "") -> str:
    """`line` wrapped on a terminal. Elsewhere it stays one line, so that programs can search in it."""
    return wrap(line, style, pad) if style.is_terminal else line


def cut(text: str, room: int, style: Style, *, is_prose: bool = True) -> str:
    """What of `text` fits into `room` columns, with `…` for the rest; of prose whole words, unless these take less
    than half of it, as before a long URL."""
    if len(text) <= room:
        return text
    mark = style.mark("…", "...")
    kept = text[: max(room - len(mark), 1)]
    if is_prose and text[len(kept)] != " ":
        words = kept.rpartition(" ")[0].rstrip()
        kept = words if 2 * len(words) >= len(kept) else kept
    return kept.rstrip() + mark


def cut_name(name: str, room: int, style: Style) -> str:
    """`name` with `…` in its middle if it does not fit: long names often differ at their ends."""
    if len(name) <= room:
        return name
    mark = style.mark("…", "...")
    tail = max(room - len(mark), 2) // 2
    return name[: max(room - len(mark), 2) - tail] + mark + name[-tail:]


def arrow(style: Style) -> str:
    return style.mark("→", "->")


def names_text(names: Sequence[str], most: int) -> str:
    """`a, b, c and 2 more`, cleaned."""
    shown = ", ".join(one_line(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def fold_items(names: Iterable[str]) -> list[str]:
    """The names of steps, with many items of one tool as `clean (60 items)`."""
    found: list[str] = []
    for tool, group in groupby(names, key=lambda one: one.partition(" ")[0]):
        steps = [*group]
        is_long = len(steps) > MOST_OF_TOOL
        found += [f"{tool} ({len(steps):,} items)"] if is_long else steps
    return found


def pattern_of(path: str) -> str:
    """`data/*.csv`: the files of this kind in this folder."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/*{splitext(name)[1]}" if folder else f"*{splitext(name)[1]}"


def find_diff(
    path: str, before: Sequence[str], after: Sequence[str], *, is_new: bool = False
) -> list[str]:
    """The lines of `diff -u` of a file; none where nothing differs."""
    import difflib

    name = one_line(path)
    old_name = "/dev/null" if is_new else name
    return [*difflib.unified_diff(before, after, old_name, name, lineterm="")]


def diff_text(lines: Sequence[str], style: Style) -> str:
    """These lines in the usual colours."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    shown = []
    for line in lines:
        colour = "bold" if line.startswith(("+++ ", "--- ")) else colours.get(line[:1])
        shown.append(style.paint(clean(line), colour) if colour else clean(line))
    return "\n".join(shown) + "\n"


def json_text(value: object) -> str:
    """`value` as JSON on one line, without lone surrogates, which strict parsers refuse."""
    import json

    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: most text is printable, so a listing never calls this."""
    return re.compile(pattern)


def _columns(text: str) -> int:
    return len(_without_colour(text)) if "\x1b" in text else len(text)


def _without_colour(text: str) -> str:
    return _compiled(_SGR).sub("", text) if "\x1b" in text else text


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
