"""One line at the bottom of a terminal, that can always be wiped."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import discover_orch
from discover_orch.cli.status_line import WIPE, StatusLine
from discover_orch.render.style import Style

PLAIN = Style(colour=False, unicode=True, width=40)


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


def test_without_a_terminal_nothing_is_shown() -> None:
    line = StatusLine(None, PLAIN)
    line.show("x")
    line.hide()


def test_it_is_dim_where_there_are_colours() -> None:
    style = Style(colour=True, unicode=True, width=40)
    assert drawn("x", style=style) == f"{WIPE}{style.paint('x', 'dim')}"


def test_a_long_line_says_that_it_goes_on() -> None:
    assert drawn("x" * 100) == f"{WIPE}{'x' * 38}…"
    assert drawn("x" * 100, style=Style(unicode=False, width=40)) == f"{WIPE}{'x' * 38}~"
    assert drawn("x" * 39) == f"{WIPE}{'x' * 39}"


@given(st.text(max_size=60), st.integers(0, 50))
def test_whatever_is_shown_is_one_line_that_fits(text: str, width: int) -> None:
    shown = drawn(text, style=Style(width=width)).removeprefix(WIPE)
    assert cell_len(shown) <= max(width, 10) - 1
    assert not {"\n", "\r", "\t", "\x1b", "\x9b"}.intersection(shown)


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


def test_a_run_without_silence_never_loads_what_measures_characters() -> None:
    program = (
        "import sys\n"
        "from discover_orch.cli.status_line import StatusLine\n"
        "from discover_orch.render.style import Style\n"
        "StatusLine(sys.stdout, Style()).hide()\n"
        "StatusLine(None, Style()).show('x')\n"
        "assert 'rich' not in sys.modules\n"
    )
    package = str(Path(discover_orch.__file__).parents[1])
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": package}, check=True)
