"""Keys of a watch: a letter and Enter, read line by line, so that the terminal stays as it is.

A thread of its own reads descriptor 0, and only while this process has the terminal: in the background, or while
a tool is debugged there, what is typed is somebody else's. Standard input that is closed or at its end means no
keys, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable

#: Seconds between two looks at who has the terminal.
LOOK = 0.25
LONGEST = 4096


class StandardInput:
    """`take` gives the lines that were typed; `ring` is called when there is one."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._lines: deque[str] = deque()
        self.is_open = True

    def listen(self, ring: Callable[[], None]) -> None:
        """Begin; never ends but with the process, or with the input."""
        threading.Thread(target=self._read, args=(ring,), daemon=True, name="orch keys").start()

    def take(self) -> list[str]:
        found = []
        while self._lines:
            found.append(self._lines.popleft())
        return found

    def _read(self, ring: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed, or a terminal that is gone
            self._read_lines(ring)
        self.is_open = False

    def _read_lines(self, ring: Callable[[], None]) -> None:
        """Until there will be no more."""
        rest = b""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            if not self._is_ours():
                select.select([], [], [], LOOK)
                continue
            if not poll.poll(LOOK * 1000) or not self._is_ours():
                continue
            data = os.read(self._fd, LONGEST)
            if not data and os.isatty(self._fd):  # Ctrl-D: there may be more
                select.select([], [], [], LOOK)
                continue
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-LONGEST:]
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
            if lines:
                ring()

    def _is_ours(self) -> bool:
        """Whether the input is no terminal, or one whose foreground is ours."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # no terminal
            return True
