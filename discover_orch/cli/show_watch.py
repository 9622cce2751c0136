"""Shows a watch while it happens: moments and events become text or JSON lines, keys come from standard input."""

from __future__ import annotations

import json
import time

from msgspec import Struct

from discover_orch.cli.app import Context
from discover_orch.cli.console import Console, HungUp
from discover_orch.cli.show_run import heading, write_json, write_text
from discover_orch.cli.status_line import StatusLine
from discover_orch.cli.stdin_keys import StandardInput
from discover_orch.execution.events import Event, Report, RunFinished, ToolStarted
from discover_orch.model.errors import BlockedInterrupt, ExitCode
from discover_orch.render.problems import problems_text
from discover_orch.render.run import Output, RunRenderer
from discover_orch.render.watch import moment_document, moment_text
from discover_orch.staleness.memory import Memory
from discover_orch.watch.loop import WatchLoop
from discover_orch.watch.watch_events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    RunStarting,
    WatchEvent,
    WatchNote,
    WatchWaiting,
)

#: Clears what is in sight, not what has scrolled off.
CLEAR = "\x1b[H\x1b[2J"
MOMENTS = (
    WatchWaiting,
    ChangesFound,
    NoMeaningfulChange,
    CannotRun,
    RunStarting,
    WatchNote,
    KeyAnswered,
)


class DisplayOptions(Struct, frozen=True, kw_only=True):
    """How it is shown, as the command line said."""

    output: Output
    quiet: bool
    verbose: bool
    as_json: bool
    clears: bool
    rings: bool
    has_title: bool


def show(context: Context, watching: WatchLoop, shown: DisplayOptions) -> int:
    """Until the watch ends; its exit code."""
    keys = StandardInput()
    events = watching.events(keys)
    reader = _Reader(context.console, watching, shown, keys)
    try:
        while True:
            try:
                one = next(events)
            except StopIteration as end:
                return int(end.value or 0)
            reader.take(one)
    except HungUp:
        return ExitCode.HANGUP
    except BlockedInterrupt:
        reader.forget()
        raise
    finally:
        reader.end()
        events.close()


class _Reader:
    """Turns what a watch gives into what is written."""

    def __init__(
        self, console: Console, watching: WatchLoop, shown: DisplayOptions, keys: StandardInput
    ) -> None:
        self._keys = keys
        self._voice, self._watching, self._shown = console, watching, shown
        is_shown = not shown.as_json
        self._status = StatusLine(console.terminal if is_shown else None, console.out_style)
        on_screen = is_shown and console.terminal is not None
        self._is_titled, self._rings = shown.has_title and on_screen, shown.rings and on_screen
        self._report = Report()
        self._screen: RunRenderer | None = None
        self._names: dict[str, str] = {}

    def take(self, one: WatchEvent | Event) -> None:
        if isinstance(one, MOMENTS):
            self._take_moment(one)
        else:
            self._take_event(one)

    def forget(self) -> None:
        """Nobody reads: nothing is to be written any more."""
        self._status.forget()
        self._is_titled = False

    def end(self) -> None:
        self._status.hide()
        self._title("")

    def _take_event(self, event: Event) -> None:
        self._report.add(event)
        assert self._screen is not None
        if self._shown.as_json:
            write_json(self._voice, event, self._names, self._report)
        else:
            write_text(self._voice, event, self._screen, self._report, self._status)
        match event:
            case ToolStarted(module=module):
                self._title(f"{self._names[module]} is running")
            case RunFinished(status=status):
                self._title("all well" if status == "passed" else status)
                if status == "failed" and self._rings:
                    self._voice.out("\a")

    def _take_moment(self, moment: WatchEvent) -> None:
        console, shown = self._voice, self._shown
        if isinstance(moment, RunStarting):
            self._begin(moment)
        if shown.as_json:
            document = moment_document(moment)
            if document is not None:
                console.out(json.dumps(document) + "\n")
            return
        self._status.hide()
        match moment:
            case CannotRun(problems=problems):
                console.err(problems_text(problems, console.err_style))
            case WatchNote(problem=problem):
                console.problems([problem])
            case _:
                pass
        stamp = time.strftime("%H:%M:%S")
        text = moment_text(
            moment,
            console.out_style,
            verbose=shown.verbose,
            time=stamp,
            has_keys=self._keys.is_open,
        )
        if text:
            console.out(text)

    def _begin(self, began: RunStarting) -> None:
        console, shown = self._voice, self._shown
        self._report = Report()
        self._names.update(began.names)
        self._screen = RunRenderer(
            began.plan,
            console.out_style,
            heading=heading(self._watching.watched.view) if began.is_first else None,
            output=shown.output,
            quiet=shown.quiet,
            verbose=shown.verbose,
            reason="" if began.is_first else began.reason,
            expected=lambda: Memory(self._watching.watched.view.project.root).durations(
                began.names
            ),
        )
        if shown.clears and not shown.as_json and console.terminal is not None:
            console.out(CLEAR)

    def _title(self, text: str) -> None:
        if self._is_titled:
            self._voice.out(f"\x1b]2;orch{': ' if text else ''}{text}\a")
