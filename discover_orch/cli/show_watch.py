"""Carries out a watch and shows it: events as text or as lines of JSON. Keys are read from standard input."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from discover_orch.cli.console import Console
from discover_orch.cli.options import Context
from discover_orch.cli.show_run import RunWriter
from discover_orch.execution.run_events import Event
from discover_orch.render.problems import problems_text
from discover_orch.render.run import DisplayOptions, run_heading
from discover_orch.render.watch import watch_event_text
from discover_orch.watch.loop import WatchLoop
from discover_orch.watch.watch_events import (
    CannotRun,
    RunStarting,
    WatchEvent,
    WatchNote,
)

#: Clears the screen, but not the lines that have scrolled off it.
CLEAR = "\x1b[H\x1b[2J"
#: Seconds between two checks of who has the terminal.
CHECK = 0.25
LONGEST = 4096


def show(context: Context, watching: WatchLoop, shown: DisplayOptions) -> int:
    """Shows the watch until it ends, and returns its exit code."""
    keys = StandardInput()
    return _Writer(context.console, watching, shown, keys).follow(watching.events(keys)) or 0


class _Writer(RunWriter):
    """Writes what a watch yields: the events between runs, and those of the runs."""

    def __init__(
        self, console: Console, watching: WatchLoop, shown: DisplayOptions, keys: StandardInput
    ) -> None:
        super().__init__(console, shown)
        self._watching, self._keys = watching, keys
        self._clears = shown.clears and self.terminal is not None

    def write(self, event: WatchEvent | Event) -> None:
        if not isinstance(event, WatchEvent):
            super().write(event)
            return
        console, shown = self._console, self._shown
        if isinstance(event, RunStarting):
            view, reason = self._watching.watched.view, event.reason
            heading: list[str] | None = None
            if event.is_first:
                heading, reason = run_heading(view, console.out_style), ""
            self.begin(event.plan, heading=heading, reason=reason)
            if self._clears:
                console.out(CLEAR)
        if shown.as_json:
            if not isinstance(event, RunStarting):  # the events of the run say the same
                console.json_lines([event])
            return
        self.status.hide()
        match event:
            case CannotRun(problems=problems):
                console.err(problems_text(problems, console.err_style))
            case WatchNote(problem=problem):
                console.problems([problem])
            case _:
                pass
        text = watch_event_text(
            event,
            console.out_style,
            time=time.strftime("%H:%M:%S"),
            has_keys=self._keys.is_open,
        )
        if text:
            console.out(text)


class StandardInput:
    """The keys of a watch: a letter and Enter, read line by line, so that the terminal keeps its mode.

    A thread reads descriptor 0, but only while this process is in the foreground of the terminal: in the background,
    or while a tool is debugged there, the input belongs to another process. If standard input is closed or at its
    end, there are no keys.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._lines: deque[str] = deque()
        self.is_open = True

    def listen(self, notify: Callable[[], None]) -> None:
        """Starts the thread. It calls `notify` after each line, and ends with the input."""
        threading.Thread(target=self._read, args=(notify,), daemon=True, name="orch keys").start()

    def drain(self) -> list[str]:
        """The lines typed since the last call."""
        found = []
        while self._lines:
            found.append(self._lines.popleft())
        return found

    def _read(self, notify: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed, or a terminal that is gone
            self._read_lines(notify)
        self.is_open = False

    def _read_lines(self, notify: Callable[[], None]) -> None:
        rest = b""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            if not self._is_ours():
                select.select([], [], [], CHECK)
                continue
            if not poll.poll(CHECK * 1000) or not self._is_ours():
                continue
            data = os.read(self._fd, LONGEST)
            if not data and os.isatty(self._fd):  # Ctrl-D: there may be more
                select.select([], [], [], CHECK)
                continue
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-LONGEST:]
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
            if lines:
                notify()

    def _is_ours(self) -> bool:
        """Whether the input is not a terminal, or this process is in its foreground."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # not a terminal
            return True
