"""The loop of a watch: waits for changes, and runs what they affect, one run after another.

It only drives. What a change means is decided by the status of the tools, what is done about it and about keys by
`reactions`, and what runs next by `next_run`. Yields the events of the watch and of its runs; prints nothing.
"""

from __future__ import annotations

import contextlib
import gc
import math
import select
import time
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import Protocol

from msgspec import Struct

from discover_orch.execution import session
from discover_orch.execution.request import (
    DatabaseBusy,
    ReadyRun,
    Request,
    ask_database,
    waiting_problem,
)
from discover_orch.execution.run_events import Event, Resumed, RunStarted
from discover_orch.execution.signal_handlers import SignalHandlers
from discover_orch.execution.warm_worker import PackageDetector, WarmWorker, WarmWorkerSpec
from discover_orch.model.errors import Problem
from discover_orch.model.items import tool_of
from discover_orch.model.tool_events import RunFinished
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.state.lock import LockHolder, ProjectLock
from discover_orch.watch.bursts import AFTER_START, Bursts
from discover_orch.watch.file_events import Watcher
from discover_orch.watch.next_run import Schedule
from discover_orch.watch.reactions import Reactions
from discover_orch.watch.watch_events import (
    Outbox,
    RunStarting,
    Scope,
    WatchEvent,
    WatchNote,
    WatchWaiting,
)
from discover_orch.watch.watched_project import OtherRuns, WatchedProject, WatchRequest

#: Seconds between two attempts to acquire the project's lock while another run holds it.
LOCK_INTERVAL = 0.25
#: The same for a run that another checkout does in the database: asking takes longer.
BUSY_INTERVAL = 2.0


class KeySource(Protocol):
    def listen(self, notify: Callable[[], None]) -> None:
        """Begin to read, and call `notify` when a line has come."""

    def drain(self) -> list[str]:
        """The lines typed since the last call, without their newlines."""


class WatchOptions(Struct, frozen=True, kw_only=True):
    """How a watch behaves. `preload` None: preload what the tools import; a tuple: these modules, perhaps none.

    `debounce`: the shortest time in seconds between a save and its run. `queues`: a change never cancels a run."""

    scope: Scope = "affected"
    queues: bool = False
    runs_at_start: bool = True
    must_poll: bool = False
    debounce: float = 0.0
    preload: tuple[str, ...] | None = None


class WatchLoop:
    """One watch, from its start to its end: `events`. It is also what interrupts the run in progress."""

    def __init__(
        self,
        request: WatchRequest,
        options_of: Callable[[Mapping[str, object]], WatchOptions],
        environ: MutableMapping[str, str],
    ) -> None:
        """`options_of` gives the options that follow from the settings in `watch`. Raises ProjectError and UsageError,
        as a run would."""
        self.watched = WatchedProject(request, environ)
        self._options_of, self._environ, self._request = options_of, environ, request.request
        self._options = options = options_of(self.watched.view.project.watch)
        self._outbox = Outbox()
        self._schedule = Schedule(self.watched, options.scope, queues=options.queues)
        self._lock = ProjectLock(self._root)
        self._others = OtherRuns(self._root, self._lock)
        self._reactions = Reactions(self.watched, self._schedule, self._outbox, self._others)
        self._packages = PackageDetector()
        self._warm_worker = WarmWorker()
        self._run_started_at = 0.0
        self._reported_holder: LockHolder | None = None
        self._busy = ""  # who uses the database, as was reported

    @property
    def _root(self) -> str:
        return self.watched.view.project.root

    # The loop.

    def events(self, keys: KeySource) -> Generator[WatchEvent | Event, None, int]:
        """Returns the exit code, when the user quits or a signal arrives; leaves no process behind."""
        self._signals, self._keys = SignalHandlers(), keys
        keys.listen(self._signals.wake_up)
        with self._signals:
            watcher = Watcher(self._root, self._signals.wake_up, must_poll=self._options.must_poll)
            try:
                yield from self._start(watcher)
                while not self._schedule.is_over:
                    if self._schedule.must_run():
                        yield from self._run()
                    else:
                        yield from self._wait()
            finally:
                self._signals.cancel_alarm()
                watcher.close()
                self._warm_worker.close()
                self._signals.close()
        return 128 + self._signals.signal if self._signals.signal else 0

    def _start(self, watcher: Watcher) -> Iterator[WatchEvent]:
        """Subscribe first, and compare then, so that no save from now on is missed."""
        self._watcher = watcher
        watched, options = self.watched, self._options
        watcher.watch(*watched.files.folders())
        self._bursts = Bursts(
            watcher,
            watched.files,
            self._must_wait,
            root=self._root,
            clock=time.monotonic,
            shortest=options.debounce,
        )
        self._bursts.add_changed(watched.files.find_changed())
        for problem in watcher.drain_problems():
            yield WatchNote(problem=problem)
        if options.runs_at_start:
            self._schedule.enqueue(watched.targets, "all watched tools", requested=True)
        else:
            self._reactions.act(watched.judge_new())
        self._reactions.report_problems()
        yield from self._outbox.drain()

    def _wait(self) -> Iterator[WatchEvent | Event]:
        """Wait until there is something to run, or the watch ends."""
        self._prepare_worker()
        self.watched.prepare()
        yield self._waiting()
        gc.collect()
        gc.freeze()
        while not self._schedule.is_over and not self._schedule.must_run():
            self._handle_arrivals(math.inf)
            if self._packages.has_changed():
                self._reactions.act(self.watched.note_installation())
            yield from self._outbox.drain()
            if self._outbox.is_all_fixed and not self._schedule.must_run():
                yield self._waiting()

    def _run(self) -> Iterator[WatchEvent | Event]:
        """Lock the project for one run; wait while another command's run holds the lock."""
        if (holder := self._lock.acquire()) is not None:
            self._report_holder(holder)
            yield from self._outbox.drain()
            self._handle_arrivals(LOCK_INTERVAL)
            return
        self._reported_holder = None
        for problem in self._lock.new_warnings():
            self._outbox.add_note(problem)
        try:
            with self._ask_database():
                yield from self._run_pending()
        except DatabaseBusy as busy:
            self._report_busy(busy)
            yield from self._outbox.drain()
            self._handle_arrivals(BUSY_INTERVAL)
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _ask_database(self) -> Iterator[None]:
        """Others may have used the database since, and cannot until the run has ended. Raises DatabaseBusy."""
        watched = self.watched

        def note(problems: Iterable[Problem]) -> None:
            for problem in problems:
                self._outbox.add_note(problem)

        with ask_database(watched.view, Request(), note, runs=True) as (known, database):
            database.look_at_tables(RemainingWork(known, GivenParams()), is_run=True)
            if known is not watched.view:
                watched.note_run(watched.registry.order)
            watched.status.look_at(())
            self._busy = ""
            yield

    def _report_busy(self, busy: DatabaseBusy) -> None:
        """Report once that a run of another checkout has to end first."""
        if self._busy != busy.sentence:
            self._busy = busy.sentence
            self._outbox.add_note(busy.waiting)

    def _run_pending(self) -> Iterator[WatchEvent | Event]:
        watched, schedule = self.watched, self._schedule
        is_first = not schedule.started
        reasons = schedule.start()
        plan = watched.plan_of(reasons, schedule.forced)
        if not plan.steps:
            return
        yield RunStarting(plan=plan, is_first=is_first, reason=_shortened(schedule.causes))
        running = schedule.begin(step.tool.module for step in plan.steps)
        self._run_started_at = time.monotonic()
        watched.set_running(is_running=True)
        self._bursts.compare_soon()
        ready = session.WatchedRun(
            worker=self._warm_worker.claim(self._spec()),
            environment=dict(self._environ),
            code=watched.status.code,
        )
        events = session.run_plan(
            ReadyRun(request=self._request, view=watched.view, plan=plan),
            session.Host(requests=self, watched=ready),
        )
        try:
            for event in events:
                running.add(event)
                if isinstance(event, RunStarted):
                    self._others.note_own(event.run)
                if not isinstance(event, Resumed):
                    yield event
                if isinstance(event, RunFinished):
                    self._finish_run(event)
                yield from self._outbox.drain()
        finally:
            events.close()
            schedule.run = None
            watched.set_running(is_running=False)
        yield from self._outbox.drain()

    def _finish_run(self, end: RunFinished) -> None:
        """After a run: what changed during it is judged, when it has come to rest; unfinished tools are scheduled."""
        watched, schedule = self.watched, self._schedule
        self._bursts.note_run_end(was_cancelled=schedule.restarts and end.status == "cancelled")
        schedule.end(end.status)
        if end.status == "interrupted":
            return
        watched.set_running(is_running=False)
        watched.note_run(schedule.started)
        found = watched.files.find_changed()
        schedule.loops.note_end(map(self._reactions.key_of, found))
        if not schedule.queue and not found:
            schedule.loops.note_quiet()
        self._watcher.watch(*self.watched.files.folders())
        if found:
            self._bursts.add_changed(found)
            return
        change = watched.judge_new()
        if not schedule.queue.keys() >= change.touched.keys():
            self._reactions.act(change)

    # What arrives. A run in progress asks for it too, and is interrupted by it.

    @property
    def wake(self) -> int:
        return self._signals.wake

    @property
    def signal(self) -> int:
        return self._signals.signal

    @property
    def poll_interval(self) -> float:
        return self._bursts.poll_interval

    def pause(self) -> None:
        self._signals.pause()

    def drain(self) -> list[str]:
        """Requests to the run in progress."""
        requests = self._handle_arrivals()
        if time.monotonic() > self._run_started_at + AFTER_START:
            self._prepare_worker()
        if self._outbox:
            requests.append("wake")
        return requests

    def _handle_arrivals(self, wait: float = 0.0) -> list[str]:
        """Handle signals, keys and changed files, and wait up to so many seconds for the first of them. Returns
        requests to the run in progress."""
        if wait:
            # `poll` would wait whole milliseconds, which is as long as most bursts.
            select.select([self.wake], [], [], min(self.poll_interval, wait))
        requests: list[str] = []
        for request in self._signals.drain():
            if request == "suspend" and not self._schedule.is_running:
                self._signals.pause()
                continue
            self._schedule.is_over |= request != "suspend"
            requests.append(request)
        for key in self._keys.drain():
            requests += self._reactions.press(key)
        found = self._bursts.drain()
        for problem in self._watcher.drain_problems():
            self._outbox.add_note(problem)
        if found is not None:
            change = self._reactions.judge(found)
            self._read_options()  # which the change is acted on with
            requests += self._reactions.act(change)
            self._watcher.watch(*self.watched.files.folders())
        return requests

    def _read_options(self) -> None:
        """The settings of the watch may have changed."""
        old, new = self._options, self._options_of(self.watched.view.project.watch)
        self._options = new
        if new.scope != old.scope:  # else that of a key stays
            self._schedule.scope = new.scope
        self._schedule.queues = new.queues
        self._bursts.shortest = new.debounce
        if new.must_poll != old.must_poll:
            self._watcher.set_polling(must_poll=new.must_poll)

    def _must_wait(self, paths: Collection[str]) -> bool:
        """Whether these are judged later: in a pause, and while another command runs tools, which write files."""
        if self._schedule.is_paused or self._schedule.is_running:
            return self._schedule.is_paused
        holder = self._others.find_holder()
        if holder is not None and any(map(self.watched.is_code, paths)):
            self._report_holder(holder)
        return holder is not None

    def _report_holder(self, holder: LockHolder) -> None:
        """Report once that another command's run has to end first."""
        if holder != self._reported_holder:
            self._reported_holder = holder
            self._outbox.add_note(waiting_problem(holder))

    # The parts.

    def _spec(self) -> WarmWorkerSpec:
        """What the warm worker has to import: what the tools do, or what the user names."""
        order = self.watched.preload(self._options.preload)
        return WarmWorkerSpec(
            order=order, installed=self._packages.installed, environment=dict(self._environ)
        )

    def _prepare_worker(self) -> None:
        """Start a worker with the imports wanted now, unless there is one."""
        self._warm_worker.prepare(self._spec())

    def _waiting(self) -> WatchWaiting:
        watched, self._outbox.is_all_fixed = self.watched, False
        display = watched.registry.display
        return WatchWaiting(
            tools=len({*map(tool_of, watched.targets)}),
            files=len(watched.files),
            mode=self._watcher.mode,
            scope=self._schedule.scope,
            is_paused=self._schedule.is_paused,
            failing=tuple(map(display, watched.failing)),
            blocked={display(one): display(by) for one, by in self._schedule.blocked().items()},
        )


def _shortened(reasons: list[str]) -> str:
    different = list(dict.fromkeys(reasons))
    return different[0] + (f" and {len(different) - 1} more" if len(different) > 1 else "")
