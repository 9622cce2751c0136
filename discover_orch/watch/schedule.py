"""What a watch runs: the run in progress, the tools of the next one, and whether a change stops or starts anything.

One decision serves both: what is not stopped needs no start. A tool that depends on a file which cannot be read
is deferred until the file is fixed. Looks at no files, starts nothing and prints nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    RunStatus,
    ToolFinished,
    ToolStarted,
)
from discover_orch.model.errors import Problem
from discover_orch.watch.project_state import WatchedProject
from discover_orch.watch.watch_events import SCOPES, Action, Scope

WITH_STAGE = "its stage is affected"


class Progress(Struct, frozen=True, kw_only=True):
    """How far the run is: the tools that wait for their turn, in order; those that finished; the running one."""

    waiting: tuple[str, ...] = ()
    finished: frozenset[str] = frozenset()
    running: str | None = None
    is_debugged: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case ToolStarted(module=module):
                return replace(self, waiting=_without(self.waiting, module), running=module)
            case ToolFinished(module=module):
                return Progress(
                    waiting=_without(self.waiting, module), finished=self.finished | {module}
                )
            case DebuggerOpened():
                return replace(self, is_debugged=True)
            case _:
                return self


def decide(
    progress: Progress | None,
    affected: Collection[str],
    *,
    is_structural: bool = False,
    queues: bool = False,
    can_cancel: bool = True,
) -> Action:
    """What to do about a change that affects these tools, during that run, or with None during no run.

    `is_structural`: waiting tools may have other arguments now. `queues`: no run is cancelled for a change.
    `can_cancel`: the running tool allows it.
    """
    if progress is None:
        return "run"
    wanted, waiting = set(affected), set(progress.waiting)
    started = progress.finished | ({progress.running} if progress.running else set())
    if not wanted & started:
        if is_structural and wanted & waiting:
            return "hold"
        return "none" if wanted <= waiting else "after"
    if queues or (progress.running is None and not progress.waiting):
        return "after"
    return "restart" if can_cancel and not progress.is_debugged else "hold"


class Schedule:
    """`progress` is None while nothing runs; `latest` are the tools of the run that started last.

    `restarts`: the run in progress is stopped for a change or a key, and its unfinished tools run again.
    """

    def __init__(self, watched: WatchedProject, scope: Scope, *, queues: bool = False) -> None:
        self._watched, self._queues = watched, queues
        self._pending: dict[str, str] = {}  # the tools of the next run, each with its reason
        self._failed: set[str] = set()  # when they last ran
        self._owed: set[str] = set()  # scheduled in an earlier run that ended before their turn
        self._passed: set[str] = set()  # in the run in progress
        self._is_requested = False  # a key asked for the next run: it starts in a pause too
        self.scope = scope
        self.progress: Progress | None = None
        self.latest: tuple[str, ...] = ()
        self.restarts = self.is_paused = self.is_over = False

    @property
    def is_running(self) -> bool:
        return self.progress is not None

    @property
    def must_run(self) -> bool:
        return self.has_next and (self._is_requested or not self.is_paused)

    @property
    def has_next(self) -> bool:
        return bool(self._pending)

    @property
    def failed(self) -> frozenset[str]:
        """The tools that failed when they last ran."""
        return frozenset(self._failed)

    # One run.

    def drain(self) -> dict[str, str]:
        """The tools of the run that is to start now, each with its reason."""
        self._is_requested = False
        pending, self._pending = self._pending, {}
        return pending

    def begin(self, order: tuple[str, ...]) -> None:
        """A run of these tools starts."""
        self.latest = order
        self.progress = Progress(waiting=order)
        self.restarts = False
        self._passed.clear()

    def follow(self, event: Event) -> None:
        """Record how far the run is, and how its tools end."""
        assert self.progress is not None
        self.progress = self.progress.after(event)
        if not isinstance(event, ToolFinished):
            return
        module = event.module
        self._failed.discard(module)
        self._owed.discard(module)
        if event.status == "passed":
            self._passed.add(module)
        elif event.status == "failed":
            self._failed.add(module)
        elif event.status in ("blocked", "not_run", "cancelled"):
            self._owed.add(module)

    def end(self, status: RunStatus) -> None:
        """The run ended: if it was stopped for something else, its unfinished tools run next."""
        self.progress = None
        if status == "interrupted":
            self.is_over = True  # by a signal or by q
        if status != "cancelled":
            return
        if self.restarts:
            for module in self.latest:
                if module not in self._passed:
                    self.enqueue([module], "its run was cancelled")
        self._owed.difference_update(self.latest)  # a run that the user cancelled is not wanted

    # What runs next.

    def enqueue(
        self, modules: Iterable[str], reason: str, *, changed: Collection[str] = ()
    ) -> list[str]:
        """Add tools to the next run; defer those that depend on a broken file, or are downstream of one that does.

        A tool that has `changed` itself waits only for its own files. An earlier reason stays. Returns the tools
        that can run.
        """
        blocked, ready = self._watched.blocked, []
        for module in modules:
            if self._watched.is_held(module) or (module in blocked and module not in changed):
                self._watched.defer(module, reason)
            else:
                self._pending.setdefault(module, reason)
                ready.append(module)
        return ready

    def plan_next(self, found: Mapping[str, str], action: Action) -> tuple[str, ...]:
        """The tools that the change makes run; adds them to the next run, unless the run in progress includes the
        change."""
        watched = self._watched
        if action == "none":
            return tuple(module for module in watched.targets if module in found)
        ready: list[str] = []
        for module in watched.expand(found, self.scope):
            self._pending.pop(module, None)  # the newest reason counts
            ready += self.enqueue([module], found.get(module, WITH_STAGE), changed=found)
        if ready:
            self._add_owed()
        return tuple(ready)

    def _add_owed(self) -> None:
        """Tools whose turn never came run next, unless what they need failed and is not run again."""
        watched, still_failed = self._watched, self._failed - self._pending.keys()
        blocked = watched.registry.downstream(still_failed) if still_failed else frozenset()
        for module in watched.targets:
            if module in self._owed - blocked and not watched.is_held(module):
                self._pending.setdefault(module, "it did not run last time")

    def is_pending(self, module: str) -> bool:
        return module in self._pending

    def request_run(self) -> None:
        """A key asks for the next run: it starts in a pause too, and unfinished tools of a run in progress are
        included."""
        self._is_requested = self.restarts = True

    def next_scope(self) -> Scope:
        """Change to the next scope."""
        self.scope = SCOPES[(SCOPES.index(self.scope) + 1) % len(SCOPES)]
        return self.scope

    # The run in progress, and a change.

    def decide(self, found: Collection[str], *, is_structural: bool) -> Action:
        """What to do about a change that affects these tools."""
        registry = self._watched.registry
        affected = set(found)
        if self.scope == "downstream":
            affected |= registry.downstream(found) & set(self._watched.targets)
        running = self.progress.running if self.progress else None
        tool = registry.tools.get(running or "")
        return decide(
            self.progress,
            affected,
            is_structural=is_structural,
            queues=self._queues,
            can_cancel=tool is None or tool.is_cancellable,
        )

    def must_hold(self, problems: Collection[Problem]) -> bool:
        """Whether a waiting tool depends on a file that has just broken: then the run goes no further."""
        if self.progress is None or not problems:
            return False
        return any(self._watched.is_held(module) for module in self.progress.waiting)


def _without(modules: tuple[str, ...], module: str) -> tuple[str, ...]:
    return tuple(other for other in modules if other != module)
