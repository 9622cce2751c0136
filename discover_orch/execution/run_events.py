"""The events of a run, the report that counts them, and the JSON objects that they become.

One union, `Event`, has everything that can happen between `RunStarted` and `RunFinished`. What happens to tools is in
`model/tool_events.py`. Pure.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import ExitCode, Problem, failure_json, problem_json
from discover_orch.model.tool_events import (
    RunNote,
    ToolFinished,
    ToolOrdered,
    ToolOutput,
    ToolStarted,
    TransactionEnded,
    WorkerSaid,
)
from discover_orch.planning.plan import Plan

#: The tool did not succeed, as far as is known.
FAILED = frozenset({"failed", "unknown"})
RunStatus = Literal["passed", "failed", "interrupted", "cancelled"]


class RunStarted(Struct, frozen=True, kw_only=True):
    """`run` is its id, `targets` are the words as typed, `tools` the modules in order. With several `workers`, tools
    run side by side."""

    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]
    workers: int = 1


class ToolRetried(Struct, frozen=True, kw_only=True):
    """An attempt failed, as `end` says, and the next one starts in `delay` seconds."""

    end: ToolFinished
    delay: float


class RunFinished(Struct, frozen=True, kw_only=True):
    """`signal` is the number of the signal that interrupted the run, or 0."""

    status: RunStatus
    duration: float
    signal: int = 0


class Running(Struct, frozen=True, kw_only=True):
    """A tool that has been running for `seconds`; its last success took `expected` seconds, None if there is none."""

    module: str
    seconds: float
    expected: float | None = None


class Ticked(Struct, frozen=True, kw_only=True):
    """How far the run is, for a terminal: the tools that are `running`, the one that started first before the others.

    With none of them, resources have been closing for `closing` seconds. `left` are the seconds that the rest of the
    run takes, as past runs predict it; None if that is not known. `is_ending`: the interrupt has been passed on.
    """

    running: tuple[Running, ...] = ()
    closing: float = 0.0
    left: float | None = None
    is_ending: bool = False


class Suspended(Struct, frozen=True, kw_only=True):
    """The user is about to stop orch for a while (Ctrl-Z). The status line must be removed first."""


class Resumed(Struct, frozen=True, kw_only=True):
    """Something outside the run woke it: a watch looks at its own events now."""


Event = (
    RunStarted | ToolOrdered | ToolRetried | Ticked | Suspended | Resumed | RunFinished | WorkerSaid
)


class Report:
    """The result of a run, built from its events: its id, its `tools` in order and how they ended. `problems` are
    those outside any tool, such as a resource that raised when it was closed. `signal` is the number of the one that
    interrupted it, or 0."""

    def __init__(self) -> None:
        self.run = ""
        self.tools: tuple[str, ...] = ()
        self.finished: list[ToolFinished] = []
        self.problems: list[Problem] = []
        self.status: RunStatus = "passed"
        self.duration = 0.0
        self.signal = 0

    def add(self, event: Event) -> None:
        match event:
            case RunStarted(run=run, tools=tools):
                self.run, self.tools = run, tools
            case ToolFinished():
                self.finished.append(event)
            case TransactionEnded(status=status):
                self.finished = [
                    replace(one, status=status) if one.status == "done" else one
                    for one in self.finished
                ]
            case RunNote(problem=problem):
                self.problems.append(problem)
            case RunFinished(status=status, duration=duration, signal=signal):
                self.status, self.duration, self.signal = status, duration, signal
            case _:
                pass

    @property
    def errors(self) -> int:
        return sum(one.severity == "error" for one in self.problems)

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
    document: dict[str, object]
    match event:
        case RunStarted(run=run, targets=targets, tools=tools):
            document = {
                "event": "run_started",
                "version": 1,
                "run": run or None,
                "targets": list(targets),
                "tools": [names[one] for one in tools],
            }
        case ToolStarted(module=module, worker=worker):
            document = {"event": "tool_started", "name": names[module], "worker": worker}
        case ToolOutput(module=module, stream=stream, text=text):
            document = {"event": "tool_output", "name": names[module]}
            document |= {"stream": stream, "text": text}
        case ToolFinished():
            document = _finished_document(event, names)
        case ToolRetried(end=end, delay=delay):
            document = {
                "event": "tool_retried",
                "name": names[end.module],
                "attempt": end.attempt,
                "duration": round(end.duration, 6),
                "error": failure_json(end.error),
                "delay": round(delay, 6),
            }
        case TransactionEnded(status=ended):
            document = {"event": "transaction_ended", "status": ended}
        case RunFinished(status=status, duration=seconds):
            document = {
                "event": "run_finished",
                "status": status,
                "exit_code": report.exit_code,
                "counts": dict(report.counts),
                "duration": round(seconds, 6),
            }
        case _:
            return None
    return document | {"time": utc_text(time.time())}


def nothing_to_do_events(plan: Plan) -> tuple[Event, ...]:
    """The events of a run that had nothing to do."""
    modules = tuple(tool.module for tool in plan.fresh)
    return (
        RunStarted(run="", targets=plan.targets, tools=modules),
        *(ToolFinished(module=module, status="fresh") for module in modules),
        RunFinished(status="passed", duration=0.0),
    )


def nothing_to_do_documents(plan: Plan) -> list[dict[str, object] | None]:
    """The objects of a run that had nothing to do."""
    report, names = Report(), plan.names
    events = nothing_to_do_events(plan)
    for event in events:
        report.add(event)
    return [event_document(event, names, report) for event in events]


def refused_run_documents(
    targets: Sequence[str], problems: Sequence[Problem], exit_code: int
) -> list[dict[str, object]]:
    """The objects of a run that was refused, with the problems among those of its end."""
    errors = [problem_json(problem) for problem in problems]
    return _not_started(targets, "failed", exit_code, errors=errors)


def skipped_run_documents(targets: Sequence[str], reason: str) -> list[dict[str, object]]:
    """The objects of a run that was skipped because another one is in progress."""
    return _not_started(targets, "skipped", ExitCode.OK, reason=reason)


def _not_started(
    targets: Sequence[str], status: str, exit_code: int, **more: object
) -> list[dict[str, object]]:
    start = RunStarted(run="", targets=tuple(targets), tools=())
    end = RunFinished(status="failed", duration=0.0)
    first, last = (event_document(one, {}, Report()) or {} for one in (start, end))
    ended_at = last.pop("time")  # it comes last
    more = {"run": None, **more, "time": ended_at}
    return [first, last | {"status": status, "exit_code": exit_code, **more}]


def utc_text(seconds: float) -> str:
    """A time in seconds since 1970 as `2024-01-31T12:00:00.123456Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _finished_document(event: ToolFinished, names: Mapping[str, str]) -> dict[str, object]:
    return {
        "event": "tool_finished",
        "name": names[event.module],
        "status": event.status,
        "duration": round(event.duration, 6),
        "error": failure_json(event.error),
        "metrics": {name: _json_number(value) for name, value in event.metrics.items()},
        "attempt": event.attempt,
        "notes": list(event.notes),
    } | ({"blocked_by": names[event.blocked_by]} if event.blocked_by else {})


def _json_number(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
