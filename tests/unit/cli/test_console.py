"""The terminal: which stream gets which text, how each can show it, and the status line."""

from __future__ import annotations

import errno
import io
import os
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from discover_orch.cli import console as console
from discover_orch.cli.console import WIPE, Console, StatusLine
from discover_orch.render.style import Style

PLAIN = Style(colour=False, unicode=True, width=40)


class Stream(io.StringIO):
    """A stream with a terminal's airs, that may fail."""

    def __init__(
        self, *, is_terminal: bool = False, encoding: str = "utf-8", fails: int = 0
    ) -> None:
        super().__init__()
        self._is_terminal, self._encoding, self._fails = is_terminal, encoding, fails

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        if self._fails:
            raise OSError(self._fails, os.strerror(self._fails))
        return super().write(text)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> tuple[Stream, Stream]:
    out, err = Stream(is_terminal=True), Stream()
    fake = types.SimpleNamespace(stdout=out, stderr=err, __stdout__=None)
    monkeypatch.setattr(console, "sys", fake)  # pytest itself puts `sys.stdout` back before a test
    return out, err


def test_without_streams_all_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    speaker = Console()
    speaker.out("x")
    speaker.err("x")
    assert speaker.terminal is None
    assert not speaker.out_style.colour


def test_a_reader_of_stderr_that_is_gone_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Stream(fails=errno.EPIPE))
    Console().err("x")


@pytest.mark.parametrize(("term", "is_able"), [("xterm", True), ("dumb", False)])
def test_a_terminal_is_one_that_can_wipe_a_line(
    streams: tuple[Stream, Stream], monkeypatch: pytest.MonkeyPatch, term: str, is_able: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    assert (Console().terminal is streams[0]) is is_able


def test_a_closed_stream_is_no_terminal(streams: tuple[Stream, Stream]) -> None:
    def isatty() -> bool:
        raise ValueError("I/O operation on closed file")

    streams[0].isatty = isatty  # type: ignore[method-assign]
    assert Console().terminal is None


def drawn(*texts: str, style: Style = PLAIN) -> str:
    stream = io.StringIO()
    line = StatusLine(stream, style)
    for text in texts:
        line.show(text)
    return stream.getvalue()


def test_each_line_is_drawn_over_the_one_before() -> None:
    assert drawn("one", "two") == f"{WIPE}one{WIPE}two"


def test_it_is_wiped_once_and_only_where_it_is_drawn() -> None:
    stream = io.StringIO()
    line = StatusLine(stream, PLAIN)
    line.hide()
    assert stream.getvalue() == ""
    line.show("x")
    line.hide()
    line.hide()
    assert stream.getvalue() == f"{WIPE}x{WIPE}"


def test_it_is_dim_where_there_are_colours() -> None:
    style = Style(colour=True, unicode=True, width=40)
    assert drawn("x", style=style) == f"{WIPE}{style.paint('x', 'dim')}"


def test_a_long_line_says_that_it_goes_on() -> None:
    assert drawn("x" * 100) == f"{WIPE}{'x' * 38}…"
    assert drawn("x" * 100, style=Style(unicode=False, width=40)) == f"{WIPE}{'x' * 38}~"
    assert drawn("x" * 39) == f"{WIPE}{'x' * 39}"


#: Since Unicode 16 some symbols are wide, which Python 3.11 to 3.13 do not know.
CHARACTERS = st.characters(exclude_categories=["So", "No", "Cs"])


@given(
    st.text(CHARACTERS | st.sampled_from("🦆👩\u200d❤✔\ufe0f日本語e\u0301"), max_size=60),
    st.integers(0, 50),
)
def test_whatever_is_shown_are_lines_that_fit(text: str, width: int) -> None:
    shown = drawn(text, style=Style(width=width)).removeprefix(WIPE)
    assert all(cell_len(line) <= max(width, 10) - 1 for line in shown.split("\n"))
    assert shown.count("\n") == min(text.count("\n"), 23)
    assert not {"\r", "\t", "\x1b", "\x9b"}.intersection(shown)


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert drawn("語" * 40) == f"{WIPE}{'語' * 19}…"
    assert drawn("a" + "語" * 40) == f"{WIPE}a{'語' * 18}…"
    assert drawn("e\u0301" * 39) == WIPE + "e\u0301" * 39
    assert drawn("✔\ufe0f" * 40) == WIPE + "✔\ufe0f" * 19 + "…"


def test_a_terminal_that_is_gone_is_left_alone() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    line = StatusLine(Gone(), PLAIN)
    for _ in range(2):
        line.show("x")
        line.hide()


def test_characters_that_the_terminal_cannot_show_are_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    StatusLine(stream, Style(unicode=False)).show("étape")
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == WIPE.encode() + b"\\xe9tape"


def test_the_width_is_that_of_the_terminal_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def fileno(self) -> int:
            return 1

    stream = Terminal()
    line = StatusLine(stream, PLAIN)
    for columns in (12, 20):
        monkeypatch.setattr(os, "get_terminal_size", lambda _, n=columns: os.terminal_size((n, 1)))
        line.show("x" * 100)
    assert stream.getvalue() == f"{WIPE}{'x' * 10}…{WIPE}{'x' * 18}…"


class Screen(io.StringIO):
    """A terminal of some size."""

    size = (40, 10)

    def fileno(self) -> int:
        return 1


def test_several_lines_are_drawn_over_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size(Screen.size))
    stream = Screen()
    line = StatusLine(stream, PLAIN)
    for text in ("a\nb\nc", "d\ne", "f"):
        line.show(text)
    line.hide()
    assert stream.getvalue() == (f"{WIPE}a\nb\nc\x1b[2A\r\x1b[Jd\ne\x1b[1A\r\x1b[Jf{WIPE}")


def test_a_terminal_with_few_rows_shows_the_first_lines_and_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rows, shown in ((5, "1\n2\n    and 3 more\n6"), (3, "    6"), (1, "6")):
        monkeypatch.setattr(
            os, "get_terminal_size", lambda _, rows=rows: os.terminal_size((40, rows))
        )
        stream = Screen()
        StatusLine(stream, PLAIN).show("\n".join("123456"))
        assert stream.getvalue() == f"{WIPE}{shown.strip() if rows < 4 else shown}"


def test_lines_that_wrap_in_a_terminal_made_narrower_are_wiped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = 40
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 10)))
    stream = Screen()
    line = StatusLine(stream, PLAIN)
    line.show(f"{'x' * 30}\n{'y' * 35}\nz")
    columns = 15
    line.hide()
    assert stream.getvalue().endswith("z\x1b[5A\r\x1b[J"), "2 rows, 3 rows and 1"
