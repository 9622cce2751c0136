"""What happens in a run, as values for users: the events of `orch run --json` with their types.

Tools are named as in listings. Secrets are masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct, field

from discover_orch.api.values import Outcome
from discover_orch.execution import events as own
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


class EventReader:
    """Turns the events of one run into those for users. `names` maps modules to names."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._report = own.Report()
        self._printed: dict[str, str] = {}

    def read(self, event: own.Event) -> Event | None:
        """None for an event that only a terminal shows."""
        self._report.add(event)
        match event:
            case own.RunStarted(run=run, tools=tools):
                return RunStarted(run=run, tools=tuple(self._names[one] for one in tools))
            case own.ToolStarted(module=module):
                return ToolStarted(name=self._names[module])
            case own.ToolOutput(module=module, stream=stream, text=text):
                printed = self._printed.get(module, "") + text
                self._printed[module] = printed[-LONGEST_OUTPUT:]
                return ToolOutput(name=self._names[module], stream=stream, text=text)
            case own.ToolRetried(end=end, delay=delay):
                self._printed.pop(end.module, None)
                return ToolRetried(
                    name=self._names[end.module],
                    attempt=end.attempt,
                    delay=delay,
                    error=end.error,
                )
            case own.ToolFinished(module=module):
                return ToolFinished(name=self._names[module], outcome=self._outcome(event))
            case own.RunNote(problem=problem):
                return Note(problem=problem)
            case own.RunFinished(status=status, duration=seconds):
                is_failed = status == "passed" and self._report.exit_code != 0
                return RunFinished(
                    status="failed" if is_failed else status,
                    duration=seconds,
                    statuses={self._names[one.module]: one.status for one in self._report.finished},
                )
            case _:
                return None

    def _outcome(self, end: own.ToolFinished) -> Outcome:
        return Outcome(
            name=self._names[end.module],
            module=end.module,
            status=end.status,
            duration=end.duration,
            error=end.error,
            metrics=end.metrics,
            notes=end.notes,
            attempt=end.attempt,
            blocked_by=self._names.get(end.blocked_by, ""),
            output=self._printed.pop(end.module, ""),
        )
