"""What happens in a run, as values for users: the events of `orch run --json` with their types.

Tools are named as in listings. Secrets are masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct, field

from discover_orch.api.values import Outcome
from discover_orch.execution import run_events as own
from discover_orch.model import tool_events
from discover_orch.model.errors import Failure, Problem

#: Characters of the output of a tool that its outcome holds.
LONGEST_OUTPUT = 1_000_000


def _now() -> datetime:
    return datetime.now(UTC)


class RunStarted(Struct, frozen=True, kw_only=True):
    """`run` is the id of the run in the history; `tools` are the names of the selected tools, in order."""

    run: str
    tools: tuple[str, ...]
    time: datetime = field(default_factory=_now)


class ToolStarted(Struct, frozen=True, kw_only=True):
    """A tool starts, for the first time or again."""

    name: str
    time: datetime = field(default_factory=_now)


class ToolOutput(Struct, frozen=True, kw_only=True):
    """Whole lines that a tool printed, each with its newline. Only the last may lack one."""

    name: str
    stream: Literal["stdout", "stderr"]
    text: str
    time: datetime = field(default_factory=_now)


class ToolRetried(Struct, frozen=True, kw_only=True):
    """An attempt failed, and the next one starts in `delay` seconds."""

    name: str
    attempt: int
    delay: float
    error: Failure | None = None
    time: datetime = field(default_factory=_now)


class ToolFinished(Struct, frozen=True, kw_only=True):
    """A tool ended, or will not start. Each selected tool has one."""

    name: str
    outcome: Outcome
    time: datetime = field(default_factory=_now)


class Note(Struct, frozen=True, kw_only=True):
    """A problem outside any tool, such as a resource that raised when it was closed."""

    problem: Problem
    time: datetime = field(default_factory=_now)


class RunFinished(Struct, frozen=True, kw_only=True):
    """`status` is `passed`, `failed` or `interrupted`; `duration` is in seconds; `statuses` are the final ones of the
    tools, by name."""

    status: str
    duration: float
    statuses: Mapping[str, str] = field(default_factory=dict)
    time: datetime = field(default_factory=_now)


Event = RunStarted | ToolStarted | ToolOutput | ToolRetried | ToolFinished | Note | RunFinished


def read_events(events: Iterable[own.Event], names: Mapping[str, str]) -> Iterator[Event]:
    """The events of one run for users, without those that only a terminal shows. `names` maps modules to names."""
    report = own.Report()
    printed: dict[str, str] = {}
    for event in events:
        report.add(event)
        match event:
            case own.RunStarted(run=run, tools=tools):
                yield RunStarted(run=run, tools=tuple(names[one] for one in tools))
            case tool_events.ToolStarted(module=module):
                yield ToolStarted(name=names[module])
            case tool_events.ToolOutput(module=module, stream=stream, text=text):
                printed[module] = (printed.get(module, "") + text)[-LONGEST_OUTPUT:]
                yield ToolOutput(name=names[module], stream=stream, text=text)
            case own.ToolRetried(end=end, delay=delay):
                printed.pop(end.module, None)
                yield ToolRetried(
                    name=names[end.module], attempt=end.attempt, delay=delay, error=end.error
                )
            case tool_events.ToolFinished(module=module):
                outcome = Outcome(
                    name=names[module],
                    module=module,
                    status=event.status,
                    duration=event.duration,
                    error=event.error,
                    metrics=event.metrics,
                    notes=event.notes,
                    attempt=event.attempt,
                    blocked_by=names.get(event.blocked_by, ""),
                    output=printed.pop(module, ""),
                )
                yield ToolFinished(name=outcome.name, outcome=outcome)
            case tool_events.RunNote(problem=problem):
                yield Note(problem=problem)
            case own.RunFinished(status=status, duration=seconds):
                is_failed = status == "passed" and report.exit_code != 0
                yield RunFinished(
                    status="failed" if is_failed else status,
                    duration=seconds,
                    statuses={names[one.module]: one.status for one in report.finished},
                )
            case _:
                pass
