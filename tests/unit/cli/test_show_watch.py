"""What is written during a watch: a scripted watch, and a console that records."""

from __future__ import annotations

import errno
import io
import json
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest
from msgspec.structs import replace

from discover_orch.cli.console import WIPE, Console, HungUp
from discover_orch.cli.options import Context
from discover_orch.cli.show_watch import CLEAR, show
from discover_orch.cli.watch_command import read_preload
from discover_orch.execution.events import (
    Event,
    RunFinished,
    Running,
    RunNote,
    RunStarted,
    RunStatus,
    Ticked,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.errors import ExitCode, Failure, Problem
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.plan import Plan
from discover_orch.render.run import DisplayOptions
from discover_orch.watch.events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    RunStarting,
    WatchEvent,
    WatchNote,
    WatchWaiting,
)
from discover_orch.watch.loop import WatchLoop, WatchOptions
from discover_orch.watch.project import WatchRequest
from tests.conftest import Project

SHOWN = DisplayOptions()
BROKEN = Problem(code="syntax", message="it is broken", hint="fix it")
WAITING = WatchWaiting(tools=1, files=2, mode="events", scope="stage")
CHANGED = ChangesFound(paths=("src/a.py",), tools=("a",), stages=("s",), stale=1)


class Terminal(io.StringIO):
    """A stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


class RecordingConsole(Console):
    """Keeps the text for each stream, and the order of the writes."""

    def __init__(self, *, on_terminal: bool = False, fails: type[OSError] | None = None) -> None:
        super().__init__("never")
        self.said = self.complained = ""
        self.order: list[str] = []
        self._stream = Terminal() if on_terminal else None
        self._fails = fails

    def out(self, text: str) -> None:
        if self._fails is not None:
            raise self._fails(errno.EIO, "gone")
        self.said += text
        self.order.append("out")

    def err(self, text: str) -> None:
        self.complained += text
        self.order.append("err")

    @property
    def terminal(self) -> TextIO | None:
        return self._stream

    @property
    def drawn(self) -> str:
        assert self._stream is not None
        return self._stream.getvalue()


def context_of(console: Console) -> Context:
    context = Context()
    context.console = console
    return context


class PlayedWatching(WatchLoop):
    """Yields scripted events, and counts how often it is closed."""

    def __init__(self, root: Path, told: Sequence[WatchEvent | Event], code: int) -> None:
        super().__init__(WatchRequest(start=str(root), folder=None), lambda _: WatchOptions(), {})
        self._play, self._code = told, code
        self.closed = 0

    def events(self, keys: object = None) -> Generator[WatchEvent | Event, None, int]:
        assert keys is not None
        try:
            yield from self._play
            return self._code
        finally:
            self.closed += 1


class Shows:
    """Shows what a watch of one tool gives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        view = project_reader.read_project(str(root), None, {})
        self.plan: Plan = project_view.plan_targets(view, [])
        self.names = {step.tool.module: step.tool.name for step in self.plan.steps}

    def show(
        self,
        *told: WatchEvent | Event,
        code: int = 0,
        on_terminal: bool = False,
        fails: type[OSError] | None = None,
        **more: Any,
    ) -> tuple[int, RecordingConsole, PlayedWatching]:
        console = RecordingConsole(on_terminal=on_terminal, fails=fails)
        watching = PlayedWatching(self.root, told, code)
        return show(context_of(console), watching, replace(SHOWN, **more)), console, watching

    def said(self, *told: WatchEvent | Event, **more: Any) -> str:
        return self.show(*told, **more)[1].said

    def run(
        self, status: RunStatus = "passed", *, is_first: bool = False, **more: Any
    ) -> Iterator[WatchEvent | Event]:
        """A run of the one tool."""
        yield RunStarting(plan=self.plan, is_first=is_first, reason="why", **more)
        yield RunStarted(run="41", targets=(), tools=("src.a",))
        yield ToolStarted(module="src.a")
        yield ToolOutput(module="src.a", stream="stdout", text="hello\n")
        error = Failure(kind="exception", type="ValueError", message="no")
        ends: Any = status
        yield ToolFinished(
            module="src.a", status=ends, duration=0.25, error=error if status == "failed" else None
        )
        yield RunFinished(status=status, duration=0.3)


@pytest.fixture
def shows(project: Project) -> Shows:
    return Shows(project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): pass\n"}))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(time, "strftime", lambda form, *_: "12:30:59")


# Its end.


@pytest.mark.parametrize("code", [0, 130])
def test_the_exit_code_is_that_of_the_watch(shows: Shows, code: int) -> None:
    answer, _, watching = shows.show(WAITING, code=code)
    assert (answer, watching.closed) == (code, 1)


def test_a_terminal_that_is_gone_ends_the_watch(shows: Shows) -> None:
    answer, _, watching = shows.show(WAITING, WAITING, fails=HungUp)
    assert (answer, watching.closed) == (ExitCode.HANGUP, 1)


def test_a_pipe_that_nobody_reads_ends_it_too(shows: Shows) -> None:
    watching = PlayedWatching(shows.root, [WAITING, WAITING], 0)
    with pytest.raises(BrokenPipeError):
        show(context_of(RecordingConsole(fails=BrokenPipeError)), watching, SHOWN)
    assert watching.closed == 1


# Text.


def test_watch_events_are_lines_and_a_change_has_its_time(shows: Shows) -> None:
    said = shows.said(
        WAITING,
        CHANGED,
        NoMeaningfulChange(paths=("b.py",)),
        KeyAnswered(key="x", sentence="no key"),
    )
    assert said.splitlines() == [
        "watching 2 files for 1 tool (Enter runs again, h shows help, q quits)",
        "12:30:59 src/a.py changed " + ("→" if "→" in said else "->") + " s: 1 tool stale",
        "saved b.py: nothing to run",
        "no key",
    ]


def test_a_run_is_shown_between_events_with_its_reason_at_the_end(shows: Shows) -> None:
    said = shows.said(CHANGED, *shows.run(), WAITING)
    lines = said.splitlines()
    assert lines[0].startswith("12:30:59 src/a.py changed")
    assert any("hello" in line for line in lines)
    assert any("passed" in line and line.endswith("(why)") for line in lines)
    assert lines[-1].startswith("watching 2 files")
    assert not any(line.startswith("orch ") for line in lines)


def test_the_first_run_has_a_heading_and_no_reason(shows: Shows) -> None:
    said = shows.said(*shows.run(is_first=True))
    assert said.startswith("orch ")
    assert "database sqlite:///data.db" in said
    assert "(why)" not in said


def test_each_run_is_counted_by_itself(shows: Shows) -> None:
    said = shows.said(*shows.run("failed"), *shows.run())
    first, second = [line for line in said.splitlines() if line.endswith("(why)")]
    assert "failed" in first
    assert "failed" not in second
    assert "1 passed" in second


def test_problems_go_to_stderr_before_the_line_about_them(shows: Shows) -> None:
    _, console, _ = shows.show(CannotRun(problems=(BROKEN,), waiting=("b",)))
    assert console.complained == "error: it is broken\n  hint: fix it\n"
    assert console.said == "waiting for a fix before running b\n"
    assert console.order == ["err", "out"]


def test_notes_go_to_stderr(shows: Shows) -> None:
    _, console, _ = shows.show(WatchNote(problem=replace(BROKEN, severity="warning")))
    assert console.complained == "warning: it is broken\n  hint: fix it\n"
    assert console.said == ""


def test_imports_in_advance_are_shown_if_verbose(shows: Shows) -> None:
    run = list(shows.run(imported=(("pandas", 0.5, ""),)))
    assert "imported in advance" not in shows.said(*run)
    assert "preloaded: pandas 0.50 s\n" in shows.said(*run, verbose=True)


def test_quiet_leaves_changes_and_summaries(shows: Shows) -> None:
    said = shows.said(CHANGED, *shows.run(), quiet=True)
    assert "src/a.py changed" in said
    assert "1 passed" in said


# A terminal.


def test_the_status_line_is_cleared_before_anything_else_is_written(shows: Shows) -> None:
    run = list(shows.run())
    run[3:3] = [Ticked(running=(Running(module="src.a", seconds=1.5),))]
    _, console, _ = shows.show(*run[:4], CHANGED, on_terminal=True)
    assert "a 1.50 s" in console.drawn
    assert console.drawn.endswith(WIPE)


def test_the_screen_is_cleared_before_each_run_where_that_is_wanted(shows: Shows) -> None:
    runs = [*shows.run(is_first=True), *shows.run()]
    assert shows.said(*runs, on_terminal=True, clears=True).count(CLEAR) == 2
    assert CLEAR not in shows.said(*runs, on_terminal=True)
    assert CLEAR not in shows.said(*runs, clears=True)
    assert CLEAR not in shows.said(*runs, on_terminal=True, clears=True, as_json=True)
    assert "3J" not in CLEAR  # what has scrolled off stays


# JSON.


def test_json_is_one_object_per_line_for_all_events(shows: Shows) -> None:
    _, console, _ = shows.show(
        CannotRun(problems=(BROKEN,)),
        CHANGED,
        *shows.run(is_first=True),
        NoMeaningfulChange(paths=("a.py",)),
        WatchNote(problem=BROKEN),
        KeyAnswered(key="h"),
        WAITING,
        as_json=True,
    )
    events = [json.loads(line) for line in console.said.splitlines()]
    assert [one["event"] for one in events] == [
        *("broken", "changed", "run_started", "tool_started", "tool_output", "tool_finished"),
        *("run_finished", "unchanged", "notice", "key", "watching"),
    ]
    assert {one["name"] for one in events if "name" in one} == {"a"}
    assert console.complained == ""


def test_json_has_the_exit_code_of_each_run(shows: Shows) -> None:
    said = shows.said(*shows.run("failed"), *shows.run(), as_json=True)
    ends = [json.loads(line) for line in said.splitlines()]
    codes = [one["exit_code"] for one in ends if one["event"] == "run_finished"]
    assert codes == [1, 0]


def test_problems_of_the_run_itself_go_to_stderr_with_json_too(shows: Shows) -> None:
    run = list(shows.run())
    run[5:5] = [RunNote(problem=BROKEN)]
    _, console, _ = shows.show(*run, as_json=True)
    assert "it is broken" in console.complained


# The configuration.


@pytest.mark.parametrize(
    ("configured", "modules"),
    [
        ({}, None),
        ({"preload": True}, None),
        ({"preload": False}, ()),
        ({"preload": []}, ()),
        ({"preload": ["pandas", "numpy"]}, ("pandas", "numpy")),
        ({"preload": ("pandas",)}, ("pandas",)),
    ],
)
def test_what_to_import_ahead_can_be_configured(
    configured: dict[str, object], modules: tuple[str, ...] | None
) -> None:
    assert read_preload(configured) == modules
