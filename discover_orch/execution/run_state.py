"""A run as a state machine: what is ready, what has ended, and why the rest did not start.

In: a `Plan` and the events as they happen. Out: `ready()` says which step may begin, `apply(event)`
takes what happened. It never calls a tool and never reads the clock: times come with the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.observation import Observation
from discover_orch.planning.plan import Plan

Status = Literal["passed", "failed", "blocked", "not_run", "interrupted", "cancelled", "fresh"]
RunStatus = Literal["passed", "failed", "interrupted", "cancelled"]


class RunStarted(Struct, frozen=True, kw_only=True):
    """`run` is its id; `targets` as typed, `tools` the identities in order."""

    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]


class ToolOrdered(Struct, frozen=True, kw_only=True):
    """Its order goes out, perhaps while another tool runs: from now on it may begin before anybody hears of it."""

    module: str


class ToolStarted(Struct, frozen=True, kw_only=True):
    module: str


class ToolOutput(Struct, frozen=True, kw_only=True):
    """Whole lines of one stream, each with its newline but perhaps the last."""

    module: str
    stream: Literal["stdout", "stderr"]
    text: str


class ToolFinished(Struct, frozen=True, kw_only=True):
    """How a tool ended; `duration` in seconds, 0.0 where it did not start.

    `loaded` are the project files that it was the first to load in its worker, with the hashes of what was
    loaded, relative to the root. `seen` is what it was seen to do; None where it did not end by itself. `early` is the
    part of it that was done while those files were loaded and the resources `opened`; None where there was nothing.
    """

    module: str
    status: Status
    duration: float = 0.0
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attempt: int = 1
    loaded: Mapping[str, str] = field(default_factory=dict)
    seen: Observation | None = None
    early: Observation | None = None
    opened: tuple[str, ...] = ()


class RunNote(Struct, frozen=True, kw_only=True):
    """What is no tool's end: a resource that raised when it was closed, threads that stayed."""

    problem: Problem
    traceback: str = ""


class RunFinished(Struct, frozen=True, kw_only=True):
    """`signal` is the number of the one that interrupted the run, or 0."""

    status: RunStatus
    duration: float
    signal: int = 0


class Ticked(Struct, frozen=True, kw_only=True):
    """Nothing has happened for a moment: `module` has been running for `seconds`.

    None stands for the closing of resources. `is_ending`: the interrupt has been passed on.
    """

    module: str | None
    seconds: float
    is_ending: bool = False


class Suspended(Struct, frozen=True, kw_only=True):
    """The user stops orch for a while (Ctrl-Z): what is shown for the moment must go first."""


class Resumed(Struct, frozen=True, kw_only=True):
    """Somebody outside the run has something to say: whoever shows the run looks there."""


class DebuggerOpened(Struct, frozen=True, kw_only=True):
    """A tool is about to be debugged on the terminal; everybody else leaves it alone."""

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


class Run:
    """One going-through of a plan, step after step.

    A run stops at its first failure; what is downstream of it is blocked, the rest is not run. An order
    can be handed out while the step before it runs: whoever carries it out drops it if that one fails. With
    `ahead` 1 none is, so that a run can be stopped between two tools.
    """

    AHEAD = 2

    def __init__(self, plan: Plan, registry: Registry, *, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._modules = [step.tool.module for step in plan.steps]
        self._registry = registry
        self._handed_out = 0
        self._has_failed = False
        self._has_trouble = False
        self.finished: dict[str, ToolFinished] = {}
        self.is_interrupted = False
        self._is_cancelled = False

    def ready(self) -> str | None:
        """The tool to hand out now, or None where there is none (yet, or ever)."""
        if self.is_over or self._handed_out - len(self.finished) >= self._ahead:
            return None
        return self._modules[self._handed_out] if self._handed_out < len(self._modules) else None

    def hand_out(self, module: str) -> None:
        assert module == self.ready()
        self._handed_out += 1

    def interrupt(self) -> None:
        self.is_interrupted = True

    def cancel(self) -> None:
        """Nothing more begins; what is running ends as it is made to end, or by itself."""
        self._is_cancelled = True

    def settle(self, event: Event) -> Event:
        """The event as it counts: a tool that was interrupted because the run was cancelled is cancelled."""
        if self._is_cancelled and not self.is_interrupted and isinstance(event, ToolFinished):
            return replace(event, status="cancelled") if event.status == "interrupted" else event
        return event

    @property
    def is_over(self) -> bool:
        """No further step may start."""
        is_stopped = self.is_interrupted or self._is_cancelled or self._has_failed
        return is_stopped or len(self.finished) == len(self._modules)

    def apply(self, event: Event) -> None:
        if isinstance(event, ToolFinished):
            self.finished[event.module] = event
            self._has_failed |= event.status == "failed"
            self.is_interrupted |= event.status == "interrupted"
        elif isinstance(event, RunNote):
            self._has_trouble |= event.problem.severity == "error"

    def left_over(self) -> list[ToolFinished]:
        """The ends of the tools whose turn never came."""
        failed = [one.module for one in self.finished.values() if one.status == "failed"]
        below = self._registry.downstream(failed) if failed else frozenset()
        return [
            ToolFinished(module=module, status="blocked" if module in below else "not_run")
            for module in self._modules
            if module not in self.finished
        ]

    @property
    def status(self) -> RunStatus:
        if self.is_interrupted:
            return "interrupted"
        passed = [one for one in self.finished.values() if one.status == "passed"]
        if self._is_cancelled and not self._has_failed and len(passed) < len(self._modules):
            return "cancelled"
        return "failed" if self._has_failed or self._has_trouble else "passed"
