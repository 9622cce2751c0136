"""Where text goes: results to stdout, all else to stderr, each as its stream can show it.

The only place that asks the environment about terminals and colours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from discover_orch.model.errors import Problem
from discover_orch.render.problems import problems_text
from discover_orch.render.style import Style


class HungUp(BrokenPipeError):
    """The terminal is gone."""


class Console:
    """`out` and `err` with their styles; `colour` is `auto`, `always` or `never`."""

    def __init__(self, colour: str = "auto") -> None:
        width = _width()
        self.out_style = _style(sys.stdout, colour, width)
        self.err_style = _style(sys.stderr, colour, width)

    def out(self, text: str) -> None:
        """Raises BrokenPipeError where nobody reads: the pipe is closed, or the terminal gone."""
        try:
            _write(sys.stdout, text)
        except OSError as error:
            if error.errno == errno.EIO:
                # The buffer still holds the text, and flushing it at exit must not fail again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                raise HungUp from None
            raise

    def err(self, text: str) -> None:
        """What cannot be told is no reason to stop."""
        with contextlib.suppress(OSError):
            _write(sys.stderr, text)

    def problems(self, problems: Iterable[Problem]) -> None:
        self.err(problems_text(problems, self.err_style))

    @property
    def terminal(self) -> TextIO | None:
        """Standard output, where it is a terminal that can wipe a line."""
        is_able = _is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"
        return sys.stdout if is_able else None


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None or not text:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _style(stream: TextIO | None, colour: str, width: int) -> Style:
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return Style(colour=_has_colour(stream, colour), unicode="utf" in encoding, width=width)


def _has_colour(stream: TextIO | None, colour: str) -> bool:
    """`--color` over FORCE_COLOR over NO_COLOR over what the stream is."""
    if colour != "auto":
        return colour == "always"
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    if os.environ.get("NO_COLOR"):
        return False
    return _is_terminal(stream) and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _width() -> int:
    """COLUMNS, else the terminal's, else 80."""
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
