"""Progress bars as text: the last state of each line, at once where nothing is redrawn, whatever way the text is cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.execution.redrawn_lines import LONGEST_LINE, MOST_LINES, RedrawnLines

UP = "\x1b[A"
HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


def last_states(*texts: str) -> str:
    lines = RedrawnLines()
    return "".join(map(lines.feed, texts)) + lines.flush()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\r\n\r\ntwo\r\n", "one\n\ntwo\n"),
        ("\r 0%\r 50%\r100%\n", "100%\n"),
        ("\r 0%\r 50%\r100%", "100%\n"),
        (" 0%\r50%\r99%\r", "99%\n"),
        ("\r100%\r\nnext\n", "100%\nnext\n"),
        ("before\n\r 0%\r100%\nafter\nno end", "before\n100%\nafter\nno end"),
        ("\rlonger text\rshort      \n", "short\n"),
        # tqdm: leave=False clears the bar with spaces; what is printed then stands in its place.
        ("\r 50%\r    \r", ""),
        ("\r 50%\r    \rdone\n", "done\n"),
        ("\r 50%\r    \r\r next\n", " next\n"),
        # tqdm: a bar below another one.
        (f"\router 0%\n\rinner 0%{UP}\n\rinner 9%{UP}\router 9%\n", "outer 9%\ninner 9%\n"),
        (f"\router 0%\n\rinner 9%{UP}\n\r        {UP}\router 9%\n", "outer 9%\n"),
        ("\rfirst 9%\n\rsecond 1%\rsecond 9%\n", "first 9%\nsecond 9%\n"),
        # rich: all lines are written again, below what was printed meanwhile.
        (
            f"{HIDE}\r{ERASE}a 0%\nb 0%\r{ERASE}\x1b[1A{ERASE}log\na 9%\nb 9%\n{SHOW}x\n",
            "log\na 9%\nb 9%\nx\n",
        ),
        (f"{HIDE}\r{ERASE}a 0%\nb 0%\r{ERASE}\x1b[1A{ERASE}{SHOW}x\n", "x\n"),
        (f"{HIDE}killed", "killed"),
        # Ordinary text has no cursor: what moves one is text.
        (f"one\ntwo{UP}\n", f"one\ntwo{UP}\n"),
        ("\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n"),
        ("\r\x1b[31m9%\x1b[0m\n", "\x1b[31m9%\x1b[0m\n"),
        ("\r", ""),
        ("", ""),
    ],
)
def test_only_the_last_state_of_a_line_is_kept(text: str, kept: str) -> None:
    assert last_states(text) == kept
    assert last_states(*text) == kept


def test_ordinary_lines_come_at_once_and_those_that_are_redrawn_when_they_are_left() -> None:
    lines = RedrawnLines()
    assert lines.feed("one\n") == "one\n"
    assert lines.feed("\r 0%") == lines.feed("\r 50%") == ""
    assert (lines.state, lines.is_open) == ("50%", True)
    assert lines.feed("\r100%\n") == ""
    assert lines.feed("two\nthree\n") == "100%\ntwo\nthree\n"
    assert (lines.state, lines.is_open) == ("", False)


def test_a_bar_that_has_ended_is_released_by_the_next_one() -> None:
    lines = RedrawnLines()
    assert lines.feed("\rfirst 9%\n\rsecond 0%") == ""
    assert lines.state == "first 9%\nsecond 0%"
    assert lines.feed("\rsecond 1%") == "first 9%\n"
    assert lines.state == "second 1%"


def test_a_line_that_was_left_is_released_in_a_pause() -> None:
    lines = RedrawnLines()
    lines.feed("\r9%")
    assert lines.settle() == ""
    lines.feed("\n")
    assert lines.settle() == "9%\n"
    lines = RedrawnLines()
    lines.feed(f"{HIDE}one\ntwo")
    assert lines.settle() == ""
    assert lines.feed(f"\n{SHOW}") == "one\ntwo\n"


def test_what_never_ends_is_not_held_back_for_ever() -> None:
    lines = RedrawnLines()
    found = "".join(lines.feed(f"{HIDE if n == 0 else ''}line {n}\n") for n in range(1000))
    assert found.count("\n") >= 1000 - MOST_LINES
    lines = RedrawnLines()
    lines.feed("\r1" + "\x1b[50B" * 1000 + "\r2")
    assert len(lines.state) < MOST_LINES
    assert last_states(f"\rx\x1b[{'9' * 9999}A\n") == f"x\x1b[{'9' * 9999}A\n"
    lines = RedrawnLines()
    lines.feed("\r")
    found = "".join(lines.feed("x" * 1000) for _ in range(2 * LONGEST_LINE // 1000))
    assert len(found) + len(lines.flush()) >= 2 * LONGEST_LINE - 1000


PIECES = st.sampled_from(
    ["a", "bar ", "  ", "\r", "\n", UP, "\x1b[2A", HIDE, SHOW, ERASE, "\x1b[K", "\x1b[31m", "é"]
)


@given(st.lists(PIECES, max_size=40), st.lists(st.integers(1, 7)))
def test_the_text_does_not_depend_on_how_it_was_cut(pieces: list[str], sizes: list[int]) -> None:
    text = "".join(pieces).replace("\r\n", "\n")
    cuts, rest = [], text
    for size in sizes:
        cuts.append(rest[:size])
        rest = rest[size:]
    assert last_states(*cuts, rest) == last_states(text)


@given(st.text(st.characters(blacklist_characters="\r\x1b")))
def test_ordinary_text_passes_unchanged(text: str) -> None:
    assert last_states(text) == text


def test_it_keeps_up_with_a_million_lines_and_with_200_000_states_a_second() -> None:
    text = "".join(f"{n} a line of some length, as a tool writes it\n" for n in range(10_000))
    bars = "".join(f"\r{n} of many" for n in range(10_000))
    started = time.process_time()  # of this process alone, whatever else runs
    lines = RedrawnLines()
    for _ in range(100):
        lines.feed(text)
    ordinary = time.process_time()
    for _ in range(20):
        lines.feed(bars)
    assert ordinary - started < 1
    assert time.process_time() - ordinary < 1
