"""What a terminal shows beyond lines: which tool is running, and for how long.

One line at the bottom, wiped as soon as there is something to print. Nothing else of the terminal is
changed, not even the cursor hidden: orch can be stopped or killed at any moment and leaves it as it
was. rich knows how wide characters are; it is imported when a tool has been silent for a moment, so
that a short run never pays.
"""

from __future__ import annotations

import os
from typing import TextIO

from discover_orch.render.style import Style, one_line

#: To the start of the line, and the rest of it empty.
WIPE = "\r\x1b[K"


class StatusLine:
    """Drawn on `stream`; with None nothing is ever shown."""

    def __init__(self, stream: TextIO | None, style: Style) -> None:
        self._stream, self._style = stream, style
        self._is_drawn = False

    def show(self, text: str) -> None:
        if self._stream is None:
            return
        from rich.cells import cell_len, set_cell_size

        encoding = self._stream.encoding or "utf-8"
        shown = one_line(text).encode(encoding, "backslashreplace").decode(encoding)
        room = self._room(self._stream)
        if cell_len(shown) > room:  # a line that wraps cannot be wiped
            shown = set_cell_size(shown, room - 1) + self._style.mark("…", "~")
        self._write(WIPE + self._style.paint(shown, "dim"))
        self._is_drawn = self._stream is not None

    def hide(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            self._write(WIPE)

    def forget(self) -> None:
        """Leave what is drawn as it is: nobody reads."""
        self._is_drawn = False

    def _room(self, stream: TextIO) -> int:
        """Columns; the last one stays free, where some terminals wrap. It may have been resized."""
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return max(columns or self._style.width, 10) - 1

    def _write(self, text: str) -> None:
        assert self._stream is not None
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone; what comes next will find out
            self._stream = None
