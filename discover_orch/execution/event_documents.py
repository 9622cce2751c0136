"""What happens in a run, as values for users: the Python API yields them, and `--json` and the journal have them.

They are made from the events of `run_events`. Tools are named as in listings; an event of an item has its values by
parameter, `item`. Secrets are masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from discover_orch.execution import run_events as own
from discover_orch.execution.run_events import nothing_to_do_events
from discover_orch.model import tool_events
from discover_orch.model.documents import Outcome, copied
from discover_orch.model.errors import ExitCode, Failure, Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan


def _now() -> datetime:
    return datetime.now(UTC)


class RunStarted(Struct, frozen=True, kw_only=True, tag_field="event", tag="run_started"):
    """`run` is the id of the run in the history, None if nothing runs; `targets` are the words as typed, `tools` the
    names of the selected tools, in order."""

    version: int = 1
    run: str | None
    targets: tuple[str, ...]
    tools: tuple[str, ...]
    time: datetime = field(default_factory=_now)


class ItemsFound(Struct, frozen=True, kw_only=True, tag_field="event", tag="items_found"):
    """Tools of the run have made files that are new items of others: `tools` are the names of the steps that join the
    run."""

    tools: tuple[str, ...]
    time: datetime = field(default_factory=_now)


class ToolStarted(Struct, frozen=True, kw_only=True, tag_field="event", tag="tool_started"):
    """A tool starts, for the first time or again, in the worker of this number, from 1."""

    name: str
    item: Mapping[str, str] | UnsetType = UNSET
    worker: int
    time: datetime = field(default_factory=_now)


class ToolOutput(Struct, frozen=True, kw_only=True, tag_field="event", tag="tool_output"):
    """Whole lines that a tool printed, each with its newline. Only the last may lack one."""

    name: str
    item: Mapping[str, str] | UnsetType = UNSET
    stream: str
    text: str
    time: datetime = field(default_factory=_now)


class ToolRetried(Struct, frozen=True, kw_only=True, tag_field="event", tag="tool_retried"):
    """An attempt failed, and the next one starts in `delay` seconds."""

    name: str
    item: Mapping[str, str] | UnsetType = UNSET
    attempt: int
    duration: float
    error: Failure | None
    delay: float
    time: datetime = field(default_factory=_now)


class ToolFinished(Outcome, frozen=True, kw_only=True, tag_field="event", tag="tool_finished"):
    """A tool ended, or will not start. Each selected tool has one. It has all fields of an `Outcome`."""

    item: Mapping[str, str] | UnsetType = UNSET
    time: datetime = field(default_factory=_now)


class TransactionEnded(
    Struct, frozen=True, kw_only=True, tag_field="event", tag="transaction_ended"
):
    """The end of a run that is one transaction: the tools that were `done` have this status from now on."""

    status: str
    time: datetime = field(default_factory=_now)


class Note(Struct, frozen=True, kw_only=True, tag_field="event", tag="run_note"):
    """A problem outside any tool, such as a resource that raised when it was closed."""

    problem: Problem
    time: datetime = field(default_factory=_now)


class RunFinished(Struct, frozen=True, kw_only=True, tag_field="event", tag="run_finished"):
    """`status` is `passed`, `failed`, `interrupted`, `cancelled` or `skipped`; `counts` are the numbers of tools by
    status; `duration` is in seconds. `errors` are why a run was refused, `reason` is why it was skipped."""

    status: str
    exit_code: int
    counts: Mapping[str, int]
    duration: float
    errors: tuple[Problem, ...] = ()
    reason: str = ""
    time: datetime = field(default_factory=_now)


Event = (
    RunStarted
    | ItemsFound
    | ToolStarted
    | ToolOutput
    | ToolRetried
    | ToolFinished
    | TransactionEnded
    | Note
    | RunFinished
)


def build_event(event: own.Event, tools: Mapping[str, Tool]) -> Event | None:
    """None for an event that only a terminal shows. `tools` are those of the run, by module."""
    match event:
        case own.RunStarted(run=run, targets=targets, tools=modules):
            shown = tuple(tools[one].name for one in modules)
            return RunStarted(run=run or None, targets=targets, tools=shown)
        case own.StepsAdded():
            return ItemsFound(tools=tuple(step.tool.name for step in event.steps))
        case tool_events.ToolStarted(module=module, worker=worker):
            return ToolStarted(**_named(tools[module]), worker=worker)
        case tool_events.ToolOutput(module=module, stream=stream, text=text):
            return ToolOutput(**_named(tools[module]), stream=stream, text=text)
        case tool_events.ToolFinished():
            return copied(
                ToolFinished,
                event,
                **_named(tools[event.module]),
                duration=round(event.duration, 6),
                blocked_by=tools[event.blocked_by].name if event.blocked_by in tools else "",
                time=_now(),
            )
        case own.ToolRetried(end=end, delay=delay):
            return ToolRetried(
                **_named(tools[end.module]),
                attempt=end.attempt,
                duration=round(end.duration, 6),
                error=end.error,
                delay=round(delay, 6),
            )
        case tool_events.TransactionEnded(status=ended):
            return TransactionEnded(status=ended)
        case tool_events.RunNote(problem=problem):
            return Note(problem=problem)
        case tool_events.RunFinished(duration=seconds):
            return copied(RunFinished, event, duration=round(seconds, 6), time=_now())
        case _:
            return None


def _named(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, **({"item": tool.item.values} if tool.item.values else {})}


def nothing_to_do(plan: Plan) -> Iterator[Event]:
    """A run that had nothing to do."""
    found = (build_event(event, plan.tools) for event in nothing_to_do_events(plan))
    return (event for event in found if event is not None)


def not_started(
    targets: Sequence[str],
    status: str,
    exit_code: int = ExitCode.OK,
    *,
    errors: tuple[Problem, ...] = (),
    reason: str = "",
) -> tuple[Event, ...]:
    """A run that was refused or skipped."""
    return (
        RunStarted(run=None, targets=tuple(targets), tools=()),
        RunFinished(
            status=status,
            exit_code=exit_code,
            counts={},
            duration=0.0,
            errors=errors,
            reason=reason,
        ),
    )
