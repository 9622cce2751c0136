"""The course of a watch: the run that is going on, what comes after it, and whether anything may begin.

In: tools with reasons, the events of a run, and which tools a change concerns. Out: the tools of the next run, and
what becomes of the one that is going on. What depends on a file that cannot be read is put off until the mend. It
looks at no files, starts nothing and tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from discover_orch.execution.run_state import Event, RunStatus, ToolFinished
from discover_orch.model.errors import Problem
from discover_orch.watch.agenda import Agenda
from discover_orch.watch.progress import Progress, decide
from discover_orch.watch.project_state import WatchedProject
from discover_orch.watch.watch_events import SCOPES, Action, Scope

WITH_STAGE = "its stage is affected"


class Schedule:
    """`progress` is None while nothing runs; `latest` are the tools of the run that began last. `restarts`: the run
    that is going on makes way for a change or a key, and what it has not done comes again."""

    def __init__(self, watched: WatchedProject, scope: Scope, *, queues: bool = False) -> None:
        self._watched, self._queues = watched, queues
        self._agenda = Agenda()
        self._is_asked = False  # a key asked for the next run, which holds in a pause too
        self._passed: set[str] = set()  # in the run that is going on
        self.scope = scope
        self.progress: Progress | None = None
        self.latest: tuple[str, ...] = ()
        self.restarts = self.is_paused = self.is_over = False

    @property
    def is_running(self) -> bool:
        return self.progress is not None

    @property
    def must_run(self) -> bool:
        return self.has_next and (self._is_asked or not self.is_paused)

    @property
    def has_next(self) -> bool:
        """Whether anything is put down for the next run."""
        return bool(self._agenda)

    @property
    def failed(self) -> frozenset[str]:
        """The tools that failed when they last ran."""
        return frozenset(self._agenda.failed)

    # One run.

    def take(self) -> dict[str, str]:
        """The tools of the run that is to begin now, each with its reason."""
        self._is_asked = False
        return self._agenda.take()

    def begin(self, order: tuple[str, ...]) -> None:
        """A run of these tools begins."""
        self.latest = order
        self.progress = Progress(waiting=order)
        self.restarts = False
        self._passed.clear()

    def follow(self, event: Event) -> None:
        """How far the run is, and how its tools end."""
        assert self.progress is not None
        self.progress = self.progress.after(event)
        if isinstance(event, ToolFinished):
            if event.status == "passed":
                self._passed.add(event.module)
            self._agenda.note(event.module, event.status)

    def end(self, status: RunStatus) -> None:
        """The run has ended: what it did not come to is run next, if it made way for something."""
        self.progress = None
        if status == "interrupted":
            self.is_over = True  # by a signal or by q
        if status != "cancelled":
            return
        if self.restarts:
            for module in self.latest:
                if module not in self._passed:
                    self.enqueue([module], "its run was cancelled")
        self._agenda.forgive(self.latest)  # if it was by the user, then he wants none of it

    # What runs next.

    def enqueue(self, modules: Iterable[str], why: str, *, own: Collection[str] = ()) -> list[str]:
        """For the next run; or for one after a mend, where a file that they depend on cannot be read, or a tool
        upstream waits for that. Tools that are `own` have changed themselves, and only wait for their files.

        Gives back those that can run.
        """
        blocked, ready = self._watched.blocked, []
        for module in modules:
            if self._watched.is_held(module) or (module in blocked and module not in own):
                self._watched.put_off(module, why)
            else:
                self._agenda.put([module], why)
                ready.append(module)
        return ready

    def plan_next(self, found: Mapping[str, str], action: Action) -> tuple[str, ...]:
        """What the change makes run; put down for the next run, unless the one that is going on will do."""
        watched = self._watched
        if action == "none":
            return tuple(one for one in watched.targets if one in found)
        tools = watched.expand(found, self.scope)
        ready: list[str] = []
        for one in tools:
            self._agenda.pending.pop(one, None)  # the newest reason holds
            ready += self.enqueue([one], found.get(one, WITH_STAGE), own=found)
        if ready:
            self._agenda.add_owed(watched.registry, watched.targets, watched.is_held)
        return tuple(ready)

    def is_put_down(self, module: str) -> bool:
        return module in self._agenda.pending

    def make_way(self) -> None:
        """A key asks for what is put down: it holds in a pause too, and what a run that is going on has not done comes
        as well."""
        self._is_asked = self.restarts = True

    def turn_scope(self) -> Scope:
        """To the next one."""
        self.scope = SCOPES[(SCOPES.index(self.scope) + 1) % len(SCOPES)]
        return self.scope

    # The run that is going on, and a change.

    def decide(self, found: Collection[str], *, is_structural: bool) -> Action:
        """What becomes of a change that affects these tools, and of the run that is going on."""
        registry = self._watched.registry
        concerned = set(found)
        if self.scope == "downstream":
            concerned |= registry.downstream(found) & set(self._watched.targets)
        running = self.progress.running if self.progress else None
        tool = registry.tools.get(running or "")
        return decide(
            self.progress,
            concerned,
            is_structural=is_structural,
            queues=self._queues,
            can_cancel=tool is None or tool.is_cancellable,
        )

    def must_hold(self, problems: Collection[Problem]) -> bool:
        """A file has just broken: where a tool that waits for its turn depends on it, the run goes no further."""
        if self.progress is None or not problems:
            return False
        return any(self._watched.is_held(module) for module in self.progress.waiting)
