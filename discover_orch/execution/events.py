"""The events of a run, the report that counts them, and the JSON objects that they become.

One union, `Event`, has everything that can happen between `RunStarted` and `RunFinished`. Pure.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from discover_orch.model.errors import ExitCode, Failure, Problem
from discover_orch.model.observation import Observation
from discover_orch.planning.plan import Plan

ToolStatus = Literal[
    "passed", "failed", "unknown", "blocked", "not_run", "interrupted", "cancelled", "fresh"
]
#: The tool did not succeed, as far as is known.
FAILED = frozenset({"failed", "unknown"})
RunStatus = Literal["passed", "failed", "interrupted", "cancelled"]


class RunStarted(Struct, frozen=True, kw_only=True):
    """`run` is its id, `targets` are the words as typed, `tools` the modules in order."""

    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]


class ToolOrdered(Struct, frozen=True, kw_only=True):
    """The step was sent to the executor; another tool may still run. It can start before `ToolStarted` is read."""

    module: str


class ToolStarted(Struct, frozen=True, kw_only=True):
    module: str


class ToolOutput(Struct, frozen=True, kw_only=True):
    """Whole lines of one stream, each with its newline. Only the last may lack one."""

    module: str
    stream: Literal["stdout", "stderr"]
    text: str


class ToolFinished(Struct, frozen=True, kw_only=True):
    """How a tool ended. `duration` is in seconds, 0.0 if it did not start.

    `loaded` maps project files, relative to the root, to hashes: those that this tool was the first to load in its
    worker. `seen` is what the tool was observed to do, None if it did not end by itself. `setup` is the part of it
    that was done while those files were loaded and the resources `opened`; None if there was nothing.
    """

    module: str
    status: ToolStatus
    duration: float = 0.0
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    loaded: Mapping[str, str] = field(default_factory=dict)
    seen: Observation | None = None
    setup: Observation | None = None
    opened: tuple[str, ...] = ()


class RunNote(Struct, frozen=True, kw_only=True):
    """A problem outside any tool: a resource that raised when it was closed, threads that are still running."""

    problem: Problem
    traceback: str = ""


class RunFinished(Struct, frozen=True, kw_only=True):
    """`signal` is the number of the signal that interrupted the run, or 0."""

    status: RunStatus
    duration: float
    signal: int = 0


class Ticked(Struct, frozen=True, kw_only=True):
    """Nothing happened for a moment: `module` has been running for `seconds`.

    `module` is None while resources are closed. `is_ending`: the interrupt has been passed on.
    """

    module: str | None
    seconds: float
    is_ending: bool = False


class Suspended(Struct, frozen=True, kw_only=True):
    """The user is about to stop orch for a while (Ctrl-Z). The status line must be removed first."""


class Resumed(Struct, frozen=True, kw_only=True):
    """Something outside the run woke it: a watch looks at its own events now."""


class DebuggerOpened(Struct, frozen=True, kw_only=True):
    """A tool is about to be debugged on the terminal. Nothing else may write there."""

    module: str


Event = (
    RunStarted
    | ToolOrdered
    | ToolStarted
    | ToolOutput
    | ToolFinished
    | RunNote
    | Ticked
    | Suspended
    | Resumed
    | DebuggerOpened
    | RunFinished
)


class Report:
    """The result of a run, built from its events. `signal` is the number of the one that interrupted it, or 0."""

    def __init__(self) -> None:
        self.finished: list[ToolFinished] = []
        self.errors = 0  # outside any tool, such as a resource that raised when it was closed
        self.status: RunStatus = "passed"
        self.duration = 0.0
        self.signal = 0

    def add(self, event: Event) -> None:
        match event:
            case ToolFinished():
                self.finished.append(event)
            case RunNote(problem=problem):
                self.errors += problem.severity == "error"
            case RunFinished(status=status, duration=duration, signal=signal):
                self.status, self.duration, self.signal = status, duration, signal
            case _:
                pass

    @property
    def failures(self) -> tuple[ToolFinished, ...]:
        return tuple(one for one in self.finished if one.status in FAILED)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of tools by status, in the order in which the statuses first occurred."""
        return dict(Counter(one.status for one in self.finished))

    @property
    def exit_code(self) -> int:
        """128 + the signal's number for an interrupted run, as shells do."""
        if self.status == "interrupted":
            return 128 + self.signal if self.signal else ExitCode.INTERRUPTED
        if self.failures or self.status == "failed" or self.errors:
            return ExitCode.FAILED
        return ExitCode.OK


def event_document(
    event: Event, names: Mapping[str, str], report: Report
) -> dict[str, object] | None:
    """The event as an object of `--json` and of the journal, with the time. None for an event that only a terminal
    shows.

    `names` maps modules to the names of tools; `report` has counted `event` already.
    """
    document = _document(event, names, report)
    return None if document is None else document | {"time": _now()}


def _document(event: Event, names: Mapping[str, str], report: Report) -> dict[str, object] | None:
    match event:
        case RunStarted(run=run, targets=targets, tools=tools):
            return {
                "event": "run_started",
                "run": run,
                "targets": list(targets),
                "tools": [names[module] for module in tools],
            }
        case ToolStarted(module=module):
            return {"event": "tool_started", "name": names[module]}
        case ToolOutput(module=module, stream=stream, text=text):
            return {"event": "tool_output", "name": names[module], "stream": stream, "text": text}
        case ToolFinished():
            return _finished_document(event, names[event.module])
        case RunFinished(status=status, duration=seconds):
            return _run_finished_document(status, report.exit_code, report.counts, seconds)
        case _:
            return None


def nothing_to_do_documents(plan: Plan) -> list[dict[str, object]]:
    """The objects of a run that had nothing to do."""
    names = [tool.name for tool in plan.fresh]
    counts = {"fresh": len(names)} if names else {}
    documents: list[dict[str, object]] = [
        {"event": "run_started", "run": None, "targets": list(plan.targets), "tools": names},
        *(
            _finished_document(ToolFinished(module=tool.module, status="fresh"), tool.name)
            for tool in plan.fresh
        ),
        _run_finished_document("passed", 0, counts, 0.0),
    ]
    return [one | {"time": _now()} for one in documents]


def _now() -> str:
    """UTC: `2024-01-31T12:00:00.123456Z`."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06}Z"


def _finished_document(event: ToolFinished, name: str) -> dict[str, object]:
    error = event.error
    return {
        "event": "tool_finished",
        "name": name,
        "status": event.status,
        "duration": round(event.duration, 6),
        "error": error
        and {
            "kind": error.kind,
            "type": error.type,
            "message": error.message,
            "path": error.path,
            "line": error.line,
        },
        "metrics": {name: _json_number(value) for name, value in event.metrics.items()},
        "attempt": 1,  # a tool runs once; readers of the documents may rely on the key
        "notes": list(event.notes),
    }


def _run_finished_document(
    status: str, exit_code: int, counts: Mapping[str, int], seconds: float
) -> dict[str, object]:
    return {
        "event": "run_finished",
        "status": status,
        "exit_code": exit_code,
        "counts": dict(counts),
        "duration": round(seconds, 6),
    }


def _json_number(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
