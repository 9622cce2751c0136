"""The loop of a watch: waits for changes, has them judged, and runs what they affect, one run after another.

In: what was asked for, what to listen to, and how to behave. Out: moments, and the events of the runs between them.
It only drives: what a change means is judged by `changes`, what a key does by `keypad`, and what runs next is on the
`schedule`. Parses no words and prints nothing.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Generator, Iterator, Mapping

from msgspec import Struct

from discover_orch.execution import session
from discover_orch.execution.run_state import (
    Event,
    Resumed,
    RunFinished,
    RunNote,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from discover_orch.execution.session import Signals
from discover_orch.model.errors import Problem
from discover_orch.planning import project_view
from discover_orch.state.lock import LockHolder, ProjectLock
from discover_orch.watch.changes import ChangeHandler
from discover_orch.watch.event_sources import (
    SOON,
    EventSources,
    FilesChanged,
    KeyPressed,
    KeySource,
    SourceEvent,
    WatchProblem,
)
from discover_orch.watch.files.debounce import Debouncer
from discover_orch.watch.files.watcher import Watcher
from discover_orch.watch.key_commands import KeyCommands
from discover_orch.watch.other_runs import OtherRuns
from discover_orch.watch.outbox import GATHER, Outbox
from discover_orch.watch.prewarm import Prewarmer
from discover_orch.watch.project_state import WatchedProject
from discover_orch.watch.request import WatchRequest
from discover_orch.watch.schedule import WITH_STAGE, Schedule
from discover_orch.watch.watch_events import RunStarting, Scope, WatchEvent, WatchNote, WatchWaiting

#: Seconds between two tries to hold the project while another run does.
LOOK_AT_LOCK = 0.25


class WatchOptions(Struct, frozen=True, kw_only=True):
    """How a watch behaves. `preload` None: what the tools import; a tuple: these modules, perhaps none."""

    scope: Scope = "stage"
    queues: bool = False
    runs_at_start: bool = True
    must_poll: bool = False
    debounce: float = 0.0
    preload: tuple[str, ...] | None = None
    all_frames: bool = False


class WatchLoop:
    """One watch; `events` is its whole life. It is also what interrupts the run that is going on."""

    def __init__(
        self,
        request: WatchRequest,
        manner: WatchOptions,
        environ: Mapping[str, str],
    ) -> None:
        """Raises ProjectError and UsageError, as a run would."""
        self.watched = WatchedProject(request, environ)
        self._manner, self._environ = manner, environ
        self._telling = Outbox()
        self._schedule = Schedule(self.watched, manner.scope, queues=manner.queues)
        self._lock = ProjectLock(self._root)
        self._others = OtherRuns(self._root, self._lock)
        self._changes = ChangeHandler(self.watched, self._schedule, self._telling, self._others)
        self._keypad = KeyCommands(
            self.watched, self._schedule, self._telling, lambda: self._change((), is_rescan=True)
        )
        self._standby = Prewarmer(self.watched, manner.preload)
        self._begun_at = 0.0

    @property
    def _root(self) -> str:
        return self.watched.view.project.root

    # The loop.

    def events(self, keys: KeySource | None = None) -> Generator[WatchEvent | Event, None, int]:
        """Ends with the exit code, when the user quits or a signal comes; leaves no process behind."""
        self._signals = Signals()
        if keys is not None:
            keys.listen(self._signals.ring)
        with self._signals:
            watcher = Watcher(self._root, self._signals.ring, must_poll=self._manner.must_poll)
            try:
                yield from self._arm(watcher, keys)
                while not self._schedule.is_over:
                    if self._schedule.must_run:
                        yield from self._run()
                    else:
                        yield from self._wait()
            finally:
                self._signals.rest()
                watcher.close()
                self._standby.close()
                self._signals.close()
        return 128 + self._signals.signal if self._signals.signal else 0

    def _arm(self, watcher: Watcher, keys: KeySource | None) -> Iterator[WatchEvent]:
        """Listen first and look then: what is saved from here on is seen."""
        self._watcher = watcher
        self._folders = self.watched.watch_set.folders
        watcher.watch(*self._folders)
        manner = self._manner
        self._attention = EventSources(
            self._signals,
            watcher,
            Debouncer(
                tells_end=watcher.mode == "events" and sys.platform == "linux",
                least=manner.debounce,
            ),
            lambda: self.watched.snapshot,
            keys=keys,
            root=self._root,
            clock=time.monotonic,
        )
        self._attention.hear_again(self.watched.snapshot.look().paths)
        for problem in watcher.check():
            yield WatchNote(problem=problem)
        watched = self.watched
        freshness = (
            *project_view.errors(watched.view),
            *watched.snapshot.broken.values(),
            *watched.problems,
        )
        if manner.runs_at_start:
            self._schedule.enqueue(watched.targets, "everything that is watched")
        self._telling.problems(freshness, watched.waiting)
        yield from self._telling.take()

    def _wait(self) -> Iterator[WatchEvent | Event]:
        """Until there is something to run, or the end."""
        schedule = self._schedule
        self._standby.prepare()
        self.watched.warm()
        yield self._waiting()
        gc.collect()
        gc.freeze()
        while not schedule.is_over and not schedule.must_run:
            waits = LOOK_AT_LOCK if self._others.is_awaited else math.inf
            self._attention.wait(GATHER if self._telling.is_gathering else waits)
            if self._others.have_ended():
                self._change((), is_rescan=True)
            for occurrence in self._attention.take():
                self._occur(occurrence)
            self._telling.gather(time.monotonic())
            if self._standby.sees_installation():
                self._changes.judge_installation()
            yield from self._telling.take()

    def _run(self) -> Iterator[WatchEvent | Event]:
        """Hold the project for one run; another command's run is waited for."""
        told = False
        while (holder := self._lock.acquire()) is not None and not self._schedule.is_over:
            if not told:
                told = True
                self._telling.remark(_held_up(holder))
            yield from self._telling.take()
            self._attention.wait(LOOK_AT_LOCK)
            for occurrence in self._attention.take():
                self._occur(occurrence)
        if self._schedule.is_over or not self._schedule.must_run:
            self._lock.release()
            return
        try:
            yield from self._run_pending()
        finally:
            self._lock.release()

    def _run_pending(self) -> Iterator[WatchEvent | Event]:
        reasons = self._schedule.take()
        plan = self.watched.plan_of(reasons)
        if not plan.steps:
            return
        order = tuple(step.tool.module for step in plan.steps)
        registry = self.watched.registry
        taken = self._standby.take()
        names = {module: registry.display(module) for module in order}
        yield RunStarting(
            plan=plan,
            names=names,
            is_first=not self._schedule.latest,
            reason=_in_short(list(reasons.values())),
            imported=taken.modules,
            cold=taken.sentence,
        )
        self._schedule.begin(order)
        self._begun_at = time.monotonic()
        self.watched.observed_inputs.begin()
        self.watched.snapshot.rests = True
        self._attention.look_soon()
        wrote: set[str] = set()
        loaded: dict[str, str] = {}
        events = session.run_watched(
            plan,
            registry,
            self.watched.view.project,
            worker=taken.worker,
            is_importing=taken.is_importing,
            interruptions=self,
            environment=self._environ,
            all_frames=self._manner.all_frames,
            code=self.watched.watch_set.code,
        )
        try:
            for event in events:
                self._follow(event, loaded)
                if isinstance(event, ToolFinished) and event.seen is not None:
                    wrote.update(event.seen.written, event.seen.removed)
                match event:
                    case RunNote(problem=Problem(code="cold-start") as problem):
                        if self._standby.is_new(problem.message):
                            yield WatchNote(problem=problem)
                    case Resumed():
                        pass
                    case _:
                        yield event
                if isinstance(event, RunFinished):
                    self._settle(event, wrote, loaded)
                yield from self._telling.take()
        finally:
            events.close()
            self._schedule.progress = None
            self.watched.snapshot.rests = False
        yield from self._telling.take()

    def _follow(self, event: Event, loaded: dict[str, str]) -> None:
        """Keep in mind how far the run is, and what it has shown of its tools."""
        watched = self.watched
        self._schedule.follow(event)
        match event:
            case RunNote(problem=Problem(code="cold-start", message=message)):
                if "the spare worker" in message:
                    self._standby.avoid()
            case RunStarted(run=run):
                self._others.note_own(run)
            case ToolStarted(module=module):
                watched.observed_inputs.note_start(module)
            case ToolFinished(module=module, status=status):
                loaded.update(event.loaded)
                if event.seen is not None:
                    passed = status == "passed"
                    watched.observed_inputs.note_end(module, event.seen, has_passed=passed)
                self._standby.prepare()
                if status == "passed":
                    is_unread = watched.watch_set.has_unread(module)
                    watched.watch_set.note_loaded(module, loaded if is_unread else event.loaded)
            case _:
                pass

    def _settle(self, end: RunFinished, wrote: set[str], loaded: dict[str, str]) -> None:
        """After a run: what it wrote itself is taken in, what it did not come to is run next."""
        watched, schedule = self.watched, self._schedule
        self._attention.settle(was_cancelled=schedule.restarts)
        schedule.end(end.status)
        if end.status == "interrupted":
            return
        wrote |= watched.find_outputs(schedule.latest)
        watched.snapshot.rests = False
        watched.learn(wrote)
        self._listen()
        self._attention.hear_again(self._changes.settle(wrote, loaded))

    # What interrupts a run.

    @property
    def wake(self) -> int:
        return self._attention.wake

    @property
    def signal(self) -> int:
        return self._attention.signal

    @property
    def patience(self) -> float:
        return self._attention.patience

    def pause(self) -> None:
        self._signals.pause()

    def take(self) -> list[str]:
        """Wishes for the run that is going on."""
        wishes = []
        for occurrence in self._attention.take():
            wishes += self._occur(occurrence)
        if time.monotonic() > self._begun_at + SOON:
            self._standby.prepare()
        if self._telling:
            wishes.append("wake")
        return wishes

    def _occur(self, occurrence: SourceEvent) -> list[str]:
        """Do what is to be done about it; what it means for the run that is going on."""
        match occurrence:
            case FilesChanged(paths=paths, is_rescan=is_rescan):
                return [] if self._schedule.is_paused else self._change(paths, is_rescan=is_rescan)
            case KeyPressed(key=key):
                return self._keypad.press(key)
            case WatchProblem(problem=problem):
                self._telling.remark(problem)
                return []
            case _ if occurrence.wish == "suspend" and not self._schedule.is_running:
                self._signals.pause()
                return []
            case _:
                self._schedule.is_over |= occurrence.wish != "suspend"
                return [occurrence.wish]

    def _change(self, paths: tuple[str, ...], *, is_rescan: bool = False) -> list[str]:
        """Have it judged, and listen to what counts by now."""
        wishes = self._changes.judge(paths, is_rescan=is_rescan)
        self._attention.hear_again(self.watched.watch_set.again)
        self._listen()
        return wishes

    def _listen(self) -> None:
        """To the folders that count by now."""
        folders = self.watched.watch_set.folders
        if folders != self._folders:
            self._folders = folders
            self._watcher.watch(*folders)

    def _waiting(self) -> WatchWaiting:
        return WatchWaiting(
            tools=len(self.watched.targets),
            files=len(self.watched.snapshot),
            folders=len(self.watched.watch_set.folders[0]),
            mode=self._watcher.mode,
            scope=self._schedule.scope,
            is_paused=self._schedule.is_paused,
            failing=tuple(
                self.watched.registry.display(one)
                for one in self.watched.targets
                if one in self._schedule.failed
            ),
        )


def _held_up(holder: LockHolder) -> Problem:
    return Problem(
        code="locked",
        message=f"{holder.sentence}: waiting for its end",
        severity="warning",
    )


def _in_short(reasons: list[str]) -> str:
    different = list(dict.fromkeys(one for one in reasons if one != WITH_STAGE)) or reasons
    return different[0] + (f" and {len(different) - 1} more" if len(different) > 1 else "")
