"""The terminal: results go to stdout, all else to stderr, and a status line at the bottom while a run is in progress.

Only this module asks the environment about terminals and colours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TextIO

from msgspec import to_builtins

from discover_orch.model.errors import ExitCode, Problem
from discover_orch.render.problems import problems_text
from discover_orch.render.style import Style, hide_commands, one_line

#: Moves to the start of the line and clears it.
WIPE = "\r\x1b[K"


class HungUp(BrokenPipeError):
    """The terminal is gone."""


class Console:
    """`out` and `err` with their styles; `colour` is `auto`, `always` or `never`."""

    def __init__(self, colour: str = "auto") -> None:
        width = _width()
        self.out_style = _style(sys.stdout, colour, width)
        self.err_style = _style(sys.stderr, colour, width)
        self.has_written = False  # on stdout

    def out(self, text: str) -> None:
        """Raises BrokenPipeError if the pipe is closed, and its subclass HungUp if the terminal is gone."""
        self.has_written |= bool(text)
        try:
            _write(sys.stdout, hide_commands(text) if is_on_github() else text)
        except OSError as error:
            if error.errno == errno.EIO:
                # The buffer still holds the text, and flushing it at exit must not fail again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                raise HungUp from None
            raise

    def json(self, document: object) -> None:
        self.out(document_text(document))

    def json_lines(self, values: Iterable[object]) -> None:
        for value in values:
            self.out(_json_line(value))

    def err(self, text: str) -> None:
        """Never raises for a stream that cannot be written."""
        self.command(hide_commands(text) if is_on_github() else text)

    def command(self, text: str) -> None:
        """As `err`, for commands to GitHub: nothing in them is hidden."""
        with contextlib.suppress(OSError):
            _write(sys.stderr, text)

    def problems(self, problems: Iterable[Problem]) -> None:
        self.err(problems_text(problems, self.err_style))

    def report(self, problems: Sequence[Problem], no_tools: Problem | None) -> ExitCode:
        """Shows the problems of a project; `no_tools` says that it has no tools. Returns the exit code of a command
        that only reads it."""
        self.problems(problems)
        if any(problem.severity == "error" for problem in problems):
            return ExitCode.DISCOVERY
        if no_tools is None:
            return ExitCode.OK
        self.problems([no_tools])
        return ExitCode.EMPTY

    @property
    def terminal(self) -> TextIO | None:
        """Standard output, if it is a terminal that can clear a line."""
        is_able = _is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"
        return sys.stdout if is_able else None


def document_text(document: object) -> str:
    """The document with its version, as JSON on one line."""
    return _json_line({"version": 1, **to_builtins(document)})


def _json_line(value: object) -> str:
    """It is ASCII: no text in it commands a terminal."""
    import json

    return json.dumps(to_builtins(value)) + "\n"


class StatusLine:
    """The line at the bottom of `stream`, which says what is running and for how long, or the board, which has several
    such lines. With None nothing is shown.

    It is cleared before anything else is printed. Nothing else of the terminal is changed, and the cursor is not
    hidden: orch can be stopped or killed at any moment and must leave the terminal as it was.
    """

    def __init__(self, stream: TextIO | None, style: Style) -> None:
        self._stream, self._style = stream, style
        self._drawn: list[int] = []  # columns of each line that is on the screen

    @property
    def is_shown(self) -> bool:
        return bool(self._drawn)

    def show(self, text: str) -> None:
        """Shows the lines of `text`, or the last of them where the terminal has few rows."""
        if self._stream is None or not text:
            return
        encoding = self._stream.encoding or "utf-8"
        columns, rows = self._size(self._stream)
        shown = []
        for line in _fitting(text.split("\n"), rows):
            line = one_line(line).encode(encoding, "backslashreplace").decode(encoding)
            if _cells(line) > columns:  # a line that wraps cannot be cleared
                ends = [*accumulate(map(_cells, line))]
                line = line[: bisect(ends, columns - 1)] + self._style.mark("…", "~")
            shown.append(line)
        wipe, self._drawn = self._wipe(columns), [_cells(line) for line in shown]
        self._write(wipe + "\n".join(self._style.paint(line, "dim") for line in shown))

    def hide(self) -> None:
        if self._drawn and self._stream is not None:
            wipe, self._drawn = self._wipe(self._size(self._stream)[0]), []
            self._write(wipe)

    def forget(self) -> None:
        """Leaves the lines as they are, for a terminal that is gone."""
        self._drawn = []

    def _wipe(self, columns: int) -> str:
        """Moves to the start of the first line that is drawn, and clears from there. In a terminal that has become
        narrower, the lines have wrapped."""
        rows = sum(max(1, -(-cells // (columns + 1))) for cells in self._drawn)
        return f"\x1b[{rows - 1}A\r\x1b[J" if rows > 1 else WIPE

    def _size(self, stream: TextIO) -> tuple[int, int]:
        """Columns and rows of the terminal, which may have been resized, less one of each: in the last column some
        terminals wrap."""
        try:
            size = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        return max(size.columns or self._style.width, 10) - 1, max(size.lines or 25, 2) - 1

    def _write(self, text: str) -> None:
        assert self._stream is not None
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone: the next `Console.out` raises
            self._stream, self._drawn = None, []


def _cells(line: str) -> int:
    """The columns that it takes in a terminal, or a few more: of characters that join others."""
    if line.isascii():
        return len(line)
    from unicodedata import category, east_asian_width

    none = ("Mn", "Me")
    wide = sum(east_asian_width(char) in "WF" for char in line)
    # The last variation selector makes the character before it a wide one.
    return wide + sum(category(char) not in none or char == "\ufe0f" for char in line)


def _fitting(lines: list[str], rows: int) -> list[str]:
    """The first lines and the last one, with the number of those between that do not fit into `rows`."""
    if len(lines) <= rows:
        return lines
    more = f"    and {len(lines) - rows + 1} more"
    return [*lines[: rows - 2], more, lines[-1]] if rows > 2 else lines[-1:]


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None or not text:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        text = text.replace("→", "->")
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _style(stream: TextIO | None, colour: str, width: int) -> Style:
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return Style(
        colour=_has_colour(stream, colour),
        unicode="utf" in encoding,
        width=width,
        is_terminal=_is_terminal(stream),
    )


def _has_colour(stream: TextIO | None, colour: str) -> bool:
    """`--color` wins over NO_COLOR, this over FORCE_COLOR, as in pytest; else a terminal has colours."""
    if colour != "auto":
        return colour == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return _is_terminal(stream) and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def is_on_github() -> bool:
    """Whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _width() -> int:
    """COLUMNS, else the width of the terminal, else 80; at least 40."""
    try:
        columns = int(os.environ.get("COLUMNS", "0"))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (OSError, ValueError, AttributeError):
            columns = 80
    return max(columns, 40) if columns > 0 else 80
