"""A run as a state machine: what is ready, what has ended, and why the rest did not start.

In: a `Plan` and the events as they happen. Out: `ready()` says which step may begin, `apply(event)` takes
what happened. It never calls a tool and never reads the clock: times come with the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from discover_orch.errors import Problem
from discover_orch.plan import Plan
from discover_orch.registry import Registry
from discover_orch.value import field, value

Status = Literal["passed", "failed", "blocked", "not_run", "interrupted"]
RunStatus = Literal["passed", "failed", "interrupted"]


@value
class Failure:
    """Why a tool failed; the fields of `error` in the JSON, and the traceback for people."""

    kind: str
    type: str
    message: str
    path: str | None = None
    line: int | None = None
    traceback: str = ""
    hint: str = ""


@value
class RunStarted:
    """`run` is its id; `targets` as typed, `tools` the identities in order."""

    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]


@value
class ToolStarted:
    module: str


@value
class ToolOutput:
    """Whole lines of one stream, each with its newline but perhaps the last."""

    module: str
    stream: Literal["stdout", "stderr"]
    text: str


@value
class ToolFinished:
    """How a tool ended; `duration` in seconds, 0.0 where it did not start."""

    module: str
    status: Status
    duration: float = 0.0
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attempt: int = 1


@value
class Noticed:
    """Something to tell that is no tool's end: a resource that raised on closing, threads that stayed."""

    problem: Problem


@value
class RunFinished:
    status: RunStatus
    duration: float


@value
class TerminalWanted:
    """A debugger wants (`granted` True) or returns (False) the terminal."""

    module: str
    granted: bool


Event = (
    RunStarted | ToolStarted | ToolOutput | ToolFinished | Noticed | TerminalWanted | RunFinished
)


class Run:
    """One going-through of a plan, step after step.

    A run stops at its first failure; what is downstream of it is blocked, the rest is not run.
    """

    def __init__(self, plan: Plan, registry: Registry) -> None:
        self._modules = [step.tool.module for step in plan.steps]
        self._registry = registry
        self._next = 0
        self.finished: dict[str, ToolFinished] = {}
        self.is_interrupted = False
        self._has_failed = False

    def ready(self) -> str | None:
        """The tool that may start now, or None where none may (yet, or ever)."""
        if self.is_stopped or self._next > len(self.finished):
            return None
        return self._modules[self._next] if self._next < len(self._modules) else None

    def following(self) -> str | None:
        """The tool that will be ready if the running one passes; its order can be sent ahead."""
        if self.is_stopped or self._next >= len(self._modules):
            return None
        return self._modules[self._next]

    @property
    def is_stopped(self) -> bool:
        """No further step may start."""
        return self.is_interrupted or self._has_failed

    @property
    def is_over(self) -> bool:
        return self.is_stopped or len(self.finished) == len(self._modules)

    def apply(self, event: Event) -> None:
        match event:
            case ToolStarted(module=module):
                self._next = self._modules.index(module, self._next) + 1
            case ToolFinished(module=module):
                self.finished[module] = event
                self._has_failed |= event.status == "failed"
                self.is_interrupted |= event.status == "interrupted"
            case _:
                pass

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
        return "passed" if not self.is_stopped else "failed"
