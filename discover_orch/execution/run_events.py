"""The events of a run, and the report that counts them.

One union, `Event`, has everything that can happen between `RunStarted` and `RunFinished`. What happens to tools is in
`model/tool_events.py`, and what users see of it in `event_documents.py`. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import ExitCode, Problem
from discover_orch.model.tool_events import (
    RunFinished,
    RunNote,
    RunStatus,
    ToolFinished,
    ToolOrdered,
    TransactionEnded,
    WorkerSaid,
)
from discover_orch.planning.plan import Plan, Step

#: The tool did not succeed, as far as is known.
FAILED = frozenset({"failed", "unknown"})


class RunStarted(Struct, frozen=True, kw_only=True):
    """`run` is its id, `targets` are the words as typed, `tools` the modules in order. With several `workers`, tools
    run side by side."""

    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]
    workers: int = 1


class StepsAdded(Struct, frozen=True, kw_only=True):
    """Tools of the run have made files that are new items of others. `plan` is that of the run from now on, `modules`
    are those of the new steps, and `order` has all modules of the run in the order of the pipeline."""

    plan: Plan
    modules: tuple[str, ...]
    order: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those that were added."""
        return tuple(step for step in self.plan.steps if step.tool.module in self.modules)


class ToolRetried(Struct, frozen=True, kw_only=True):
    """An attempt failed, as `end` says, and the next one starts in `delay` seconds."""

    end: ToolFinished
    delay: float


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
    RunStarted
    | StepsAdded
    | ToolOrdered
    | ToolRetried
    | Ticked
    | Suspended
    | Resumed
    | RunFinished
    | WorkerSaid
)


class Report:
    """The result of a run, built from its events: its id, and how its tools ended. `problems` are those outside any
    tool, such as a resource that raised when it was closed. `signal` is the number of the one that interrupted it, or
    0."""

    def __init__(self) -> None:
        self.run = ""
        self.finished: list[ToolFinished] = []
        self.problems: list[Problem] = []
        self.status: RunStatus = "passed"
        self.duration = 0.0
        self.signal = 0

    def add(self, event: Event) -> None:
        match event:
            case RunStarted(run=run):
                self.run = run
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


def nothing_to_do_events(plan: Plan) -> tuple[Event, ...]:
    """The events of a run that had nothing to do."""
    modules = tuple(tool.module for tool in plan.fresh)
    return (
        RunStarted(run="", targets=plan.targets, tools=modules),
        *(ToolFinished(module=module, status="fresh") for module in modules),
        RunFinished(
            status="passed", duration=0.0, counts={"fresh": len(modules)} if modules else {}
        ),
    )


def utc_text(seconds: float) -> str:
    """A time in seconds since 1970 as `2024-01-31T12:00:00.123456Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
