"""A run as a state machine: what is ready, what has ended, and why the rest did not start.

`ready()` says which step may start and `apply(event)` records what happened. It never calls a tool and never reads
the clock: times come with the events.
"""

from __future__ import annotations

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import FAILED, Event, RunNote, RunStatus, ToolFinished
from discover_orch.planning.plan import Plan


class Run:
    """One run of a plan, step after step.

    A run stops at its first failure. What is downstream of it is blocked, the rest is not run. A step can be
    submitted while the one before it runs; the executor drops it if that one fails. With `ahead` 1 no step is
    submitted ahead, so that a run can be stopped between two tools.
    """

    AHEAD = 2

    def __init__(self, plan: Plan, registry: Registry, *, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._modules = [step.tool.module for step in plan.steps]
        self._registry = registry
        self._submitted = 0
        self._has_failed = False
        self._has_errors = False  # outside any tool
        self.finished: dict[str, ToolFinished] = {}
        self.is_interrupted = False
        self._is_cancelled = False

    def ready(self) -> str | None:
        """The tool to submit now, or None if there is none (yet, or ever)."""
        if self.is_over or self._submitted - len(self.finished) >= self._ahead:
            return None
        return self._modules[self._submitted] if self._submitted < len(self._modules) else None

    def mark_submitted(self, module: str) -> None:
        assert module == self.ready()
        self._submitted += 1

    def interrupt(self) -> None:
        self.is_interrupted = True

    def cancel(self) -> None:
        """Start nothing more. What is running ends by itself, or the caller ends it."""
        self._is_cancelled = True

    def classify(self, event: Event) -> Event:
        """The event with its final status: a tool that was interrupted to cancel the run is `cancelled`."""
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
            self._has_failed |= event.status in FAILED
            self.is_interrupted |= event.status == "interrupted"
        elif isinstance(event, RunNote):
            self._has_errors |= event.problem.severity == "error"

    def unstarted(self) -> list[ToolFinished]:
        """An end for each tool that did not start."""
        failed = [one.module for one in self.finished.values() if one.status in FAILED]
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
        return "failed" if self._has_failed or self._has_errors else "passed"
