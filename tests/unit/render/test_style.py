"""Text from outside commands no terminal; colours only where they are wanted."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discover_orch.model.documents import Value
from discover_orch.render.style import (
    Style,
    clean,
    duration,
    one_line,
    shown,
    table,
    wrap,
)

COLOUR = Style(colour=True)
any_text = st.text(st.characters(exclude_categories=()), max_size=30)
pieces = st.lists(
    st.sampled_from(["\x1b", "[", "31", "m", "0", ";", "]0;x\x07", "\x9b", "\n", "a", "\x1b[2J"]),
    max_size=12,
).map("".join)
hostile = any_text | pieces
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def commands(text: str) -> list[str]:
    """The characters that a terminal would obey, or that turn the direction of reading."""
    return [
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t")
        or unicodedata.bidirectional(character) in TURNING
        or character in "\u200e\u200f\u061c"
    ]


@given(hostile)
@example("\x1b\x1b[0m[31mred")
@example("\x1b[31\x1b[0mm")
def test_without_colour_no_control_character_passes(text: str) -> None:
    for style in (None, Style()):
        found = clean(text, style)
        assert commands(found) == []
        assert clean(found, style) == found


@given(hostile)
def test_with_colour_nothing_but_colours_passes_and_each_line_ends_plain(text: str) -> None:
    for line in clean(text, COLOUR).split("\n"):
        assert commands(re.sub(r"\x1b\[[0-9;:]*m", "", line)) == []
        assert "\x1b" not in line or line.endswith("\x1b[0m")


@given(st.text("abc é中 \t\n", max_size=30))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text) == clean(text, COLOUR) == text


@given(hostile)
def test_one_line_is_one_line(text: str) -> None:
    found = one_line(text)
    assert commands(found) == []
    assert found.splitlines() in ([], [found])


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.00 s"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_a_duration_is_as_exact_as_it_is_useful(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


words = st.lists(st.text("abcdefg/._-", min_size=1, max_size=30), max_size=20)


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@given(words, st.integers(40, 100), st.booleans())
def test_a_wrapped_line_fits_and_breaks_no_word(
    found: list[str], width: int, painted: bool
) -> None:
    style = Style(colour=painted, width=width)
    line = "  name  " + style.paint(" ".join(found), "dim")
    lines = wrap(line, style, " " * 8).split("\n")
    assert without_colour(" ".join(lines)).split() == without_colour(line).split()
    assert all(len(without_colour(one)) <= width for one in lines)
    assert all(one.count("\x1b[2m") == one.count("\x1b[0m") for one in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80])
@pytest.mark.parametrize("colour", [False, True])
def test_a_command_to_paste_is_not_broken(width: int, colour: bool) -> None:
    style = Style(width=width, is_terminal=True, colour=colour)
    label = style.paint("hint:", "cyan")
    resume = "orch run --resume --database postgresql://ada@db.example/shop"
    lines = wrap(f"{label} 3 tools are left; run them with: {resume}", style).splitlines()
    assert sum(line.endswith(resume) for line in lines) == 1
    prose = f"{label} pip install psycopg, or read what orch list says of all the stages and tools"
    lines = wrap(prose, style).splitlines()
    assert any("pip install psycopg" in line for line in lines)
    assert any("orch list" in line for line in lines)
    listing = f"{label} orch list shows all stages and tools of this project"
    assert len(wrap(listing, style).splitlines()) == {20: 4, 40: 2}.get(width, 1)


@given(hostile)
@example('quoted "text"')
@example("back\\slash")
@example("half \udcff of a character")
def test_a_document_is_cleaned_wherever_a_text_is_in_it(text: str) -> None:
    found = shown(Value(value={"key": [text]}, origin=text))
    assert found == Value(value={"key": (one_line(text),)}, origin=one_line(text)) or (
        found.value == {"key": [text]} and one_line(text) == text
    )


cells = st.text("ab", min_size=1, max_size=12)


@given(
    st.lists(st.tuples(cells, cells, st.lists(cells, max_size=12).map(" ".join))),
    st.integers(40, 100),
)
def test_the_columns_of_a_table_stand_below_each_other(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    style = Style(width=width)
    lines = table(rows, style, kinds=("bold",))
    firsts = [line.split("\n")[0] for line in lines]
    most = max((len(name) for name, _, _ in rows), default=0)
    for (name, kind, rest), first, line in zip(rows, firsts, lines, strict=True):
        assert first.startswith(f"  {name:<{most}}  {kind}"[:width].rstrip())
        assert line.split() == [name, kind, *rest.split()]
        assert all(len(one) <= width or " " not in one.strip() for one in line.split("\n"))
