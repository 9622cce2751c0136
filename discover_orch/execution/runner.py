"""Drives a plan: asks `Run` what is ready, submits it to an executor, yields what happens.

It prints nothing, knows no signal handlers, and reads only the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from functools import cache
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.executors import Executor
from discover_orch.execution.run_events import (
    Event,
    Resumed,
    Running,
    RunStarted,
    StepsAdded,
    Suspended,
    Ticked,
)
from discover_orch.execution.run_state import Run
from discover_orch.execution.step_queue import StepQueue
from discover_orch.model.errors import Problem
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool_events import (
    DebuggerOpened,
    RunFinished,
    RunNote,
    ToolFinished,
    ToolOrdered,
    ToolProgress,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.planning.plan import Plan, Step

#: Seconds without an event after which `Ticked` says how long the running tools have taken.
TICK = 0.5
#: Seconds between two `Ticked` while something changes that a status line or a board shows.
OFTEN = 0.1
#: Seconds without such a `Ticked`, so that a short run does not import what showing it needs.
QUICK = 0.3


Outcome = Literal["passed", "rolled_back", "unknown"]
#: The plan and the registry with new items, and the queue of its steps, None for one after another.
Extension = tuple[Plan, Registry, StepQueue | None]
FindItems = Callable[[str | None], tuple[Extension | None, tuple[Problem, ...]]]
Settle = Callable[[ToolFinished, int], tuple[ToolFinished, tuple[Problem, ...]]]


class RunRequests(Protocol):
    """Requests from outside, such as signals. The descriptor `wake` is readable when there is a new one."""

    @property
    def wake(self) -> int: ...

    @property
    def signal(self) -> int:
        """The number of the signal that interrupted the run, or 0."""

    @property
    def poll_interval(self) -> float:
        """Seconds after which `drain` must be called again, even if `wake` is not readable."""

    def drain(self) -> list[str]:
        """The new requests, in order: `interrupt`, `kill`, `suspend`; from a watch also `cancel` (interrupt what runs
        and start nothing more), `hold` (start nothing more) and `wake`."""

    def pause(self) -> None:
        """Stops this process until the user continues it."""


class RunHooks(Struct, frozen=True, kw_only=True):
    """What else is asked and done while a run goes on. `expected` are the seconds that a tool is expected to take.
    `settle` gives the end of a tool as it is known elsewhere, and problems; the number is that of the attempt. With
    `prepare`, the next step is prepared while a tool runs, and is submitted before the end of that tool is yielded, so
    that it runs while that is recorded. `find_items` is asked before a step starts and, with None, at the end: it
    gives how the run goes on where there are new items, and problems. `is_needed` is asked of each step when its turn
    comes: a tool that is fresh by then does not run. `find_gone` gives the file that the item of a step came from, if
    it has gone since the plan was made: then the step does not run. `take_records` gives what the database is to
    remember, and `store` keeps it where no worker is left to do it."""

    expected: Callable[[str], float | None] | None = None
    settle: Settle | None = None
    prepare: Callable[[Step], None] | None = None
    find_items: FindItems | None = None
    is_needed: Callable[[str], bool] | None = None
    find_gone: Callable[[str], str] = lambda _: ""
    take_records: Callable[[], tuple[SuccessRecord, ...]] | None = None
    store: Callable[[tuple[SuccessRecord, ...]], None] | None = None


_NONE = RunHooks()


def run_steps(
    run: Run,
    executor: Executor,
    requests: RunRequests,
    hooks: RunHooks = _NONE,
    *,
    run_id: str,
    clock: Callable[[], float],
    notes: Sequence[Problem] = (),
) -> Iterator[Event]:
    """All events of one run, from `RunStarted` to `RunFinished`. The executor is closed before the last. `notes` come
    first."""
    plan, runner = run.plan, _Runner(run, executor, requests, hooks, clock)
    planned = [step.tool.module for step in plan.steps]
    tools = (*planned, *(tool.module for tool in plan.fresh))
    yield RunStarted(run=run_id, targets=plan.targets, tools=tools, workers=run.workers)
    yield from (RunNote(problem=problem) for problem in notes)
    possible = frozenset(run.modules)
    for tool in plan.fresh:
        if tool.module not in possible:
            yield ToolFinished(module=tool.module, status="fresh")
    while not (run.is_over and executor.is_idle and not (yield from runner.add_items(None))):
        yield from runner.submit_ready()
        yield from runner.next_events()
    for end in run.unstarted():
        run.apply(end)
        yield end
    yield from runner.finish()
    yield RunFinished(status=run.status, duration=runner.stopwatch.total, signal=requests.signal)


class _Runner:
    """What `run_steps` does again and again, until the run is over."""

    def __init__(
        self,
        run: Run,
        executor: Executor,
        requests: RunRequests,
        hooks: RunHooks,
        clock: Callable[[], float],
    ) -> None:
        self._run, self._executor, self._requests, self._hooks = run, executor, requests, hooks
        self._clock = clock
        self._read_plan()
        planned = [step.tool.module for step in run.plan.steps]
        expected = hooks.expected or (lambda _: None)
        self.stopwatch = _Stopwatch(clock, planned, run.workers, expected)

    def _read_plan(self) -> None:
        plan = self._run.plan
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        planned = [step.tool.module for step in plan.steps]
        self._following = dict(zip(planned, plan.steps[1:], strict=False))

    def add_items(self, following: str | None) -> Generator[Event, None, bool]:
        """Adds the steps of items that there are now, before the step of `following` starts, or before the run ends.
        Whether there are any."""
        run, find = self._run, self._hooks.find_items
        if find is None or run.is_stopped:
            return False
        extension, problems = find(following)
        for problem in problems:
            note = RunNote(problem=problem)
            run.apply(note)
            yield note
        if extension is None:
            return False
        plan, registry, queue = extension
        known = {*run.modules}
        blocked = [*run.extend(plan, registry, queue)]
        self._read_plan()
        self.stopwatch.plan([step.tool.module for step in plan.steps])
        added = tuple(one for one in run.modules if one not in known)
        chosen = plan.tools
        order = tuple(module for module in registry.order if module in chosen)
        yield StepsAdded(plan=plan, modules=added, order=order)
        yield from blocked
        return True

    def submit_ready(self, after: str = "") -> Iterator[Event]:
        """The end of the step `after` which these come is not recorded yet: it is not known what that has made, and
        the files are still there that recording it deletes or brings back."""
        run, is_needed = self._run, self._hooks.is_needed
        if after and (self._steps[after].tool.replaces or self._steps[after].removal):
            return
        while self._executor.has_room and (module := run.ready(self._clock())) is not None:
            if after and self._hooks.find_items and tool_of(after) != tool_of(module):
                return
            if (yield from self.add_items(module)):
                continue
            attempt = run.attempt_of(module)
            if attempt == 1 and (gone := self._hooks.find_gone(module)):
                if after:
                    return
                yield from self._withdraw(module, gone)
                continue
            if is_needed is not None and attempt == 1 and not is_needed(module):
                end = ToolFinished(module=module, status="fresh")
                run.apply(end)
                yield end
                continue
            yield ToolOrdered(module=module)
            step, is_alone = self._steps[module], run.writes_alone(module)
            if attempt > 1 or is_alone:
                step = replace(step, attempt=attempt, writes_alone=is_alone)
            self._executor.submit(step)
            run.mark_submitted(module)

    def _withdraw(self, module: str, gone: str) -> Iterator[Event]:
        name = self._steps[module].tool.name
        note = Problem(
            code="withdrawn", message=f"{name} is withdrawn, since {gone} is gone", severity="note"
        )
        for event in (RunNote(problem=note), ToolFinished(module=module, status="not_run")):
            self._run.apply(event)
            yield event

    def next_events(self) -> Iterator[Event]:
        """What happens next, from the executor and from outside. Waits for it."""
        run, requests, stopwatch = self._run, self._requests, self.stopwatch
        happened = False
        wait = min(stopwatch.tick_wait, requests.poll_interval, run.wait_time(stopwatch.now))
        for event in self._executor.events(wait, requests.wake):
            happened = True
            yield from self._follow(event)
            if run.workers > 1:  # a free worker does not wait for the ends of other tools
                yield from self.submit_ready()
        for request in requests.drain():
            happened = True
            yield from self._obey(request)
        if stopwatch.is_tick_due(is_silent=not happened):
            yield stopwatch.tick(run)

    def _follow(self, event: Event) -> Iterator[Event]:
        """An event of the executor, and what it brings about."""
        run, hooks = self._run, self._hooks
        if isinstance(event, ToolFinished) and hooks.settle is not None:
            event, problems = hooks.settle(event, run.attempt_of(event.module))
            yield from (RunNote(problem=one) for one in problems)
        timed = run.classify(self.stopwatch.time(event))
        run.apply(timed, self.stopwatch.now)
        blocked = run.drain_blocked(timed)  # before anything is submitted
        if hooks.prepare is not None:
            yield from self.submit_ready(event.module if isinstance(event, ToolFinished) else "")
        yield timed
        yield from blocked
        following = self._following.get(event.module) if isinstance(event, ToolStarted) else None
        if hooks.prepare is not None and following is not None:
            hooks.prepare(following)

    def _obey(self, request: str) -> Iterator[Event]:
        run, executor = self._run, self._executor
        match request:
            case "interrupt" | "kill":
                run.interrupt()
                executor.control(request)
            case "cancel":
                run.cancel()
                executor.control("interrupt")
            case "hold":
                run.cancel()
            case "wake":
                yield Resumed()
            case _:
                yield Suspended()
                executor.control("suspend")
                self.stopwatch.pause(self._requests.pause)
                executor.control("resume")

    def finish(self) -> Iterator[Event]:
        """Closes the executor. A run that is one transaction is committed if all its tools are done."""
        run, executor = self._run, self._executor
        commits = run.is_one_transaction and run.is_all_done
        take_records, store = self._hooks.take_records, self._hooks.store
        records = take_records() if take_records is not None else ()
        is_kept = executor.finish(commits=commits, records=records)
        self.stopwatch.begin(None)
        has_ended = False
        while not executor.is_over:
            for event in self.next_events():
                has_ended |= isinstance(event, TransactionEnded)
                yield event
        if not is_kept and store is not None:
            store(records)
        if run.is_one_transaction and not has_ended:
            yield TransactionEnded(status=self._find_end() if commits else "rolled_back")

    def _find_end(self) -> Outcome:
        """How the transaction ended whose worker has not said so."""
        module, settle = self._run.first_done, self._hooks.settle
        if module is not None and settle is not None:
            known, _ = settle(ToolFinished(module=module, status="unknown"), 1)
            if known.status == "passed":
                return "passed"
            if known.status == "failed":
                return "rolled_back"
        return "unknown"


class _Stopwatch:
    """What is running, and for how long, without pauses. It is stopped while a debugger is open.

    With several `workers`, whatever happens is news for the board of a terminal; without, progress bars are, and the
    ends of items. `expected` are the seconds that a tool took before, None if that is not known; it is asked once for
    each tool.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        modules: Sequence[str],
        workers: int,
        expected: Callable[[str], float | None],
    ) -> None:
        self._clock = clock
        self._modules, self._workers, self._expected = modules, workers, cache(expected)
        self._start = self._heard = clock()
        self._paused = 0.0
        self.has_board, self._has_news = workers > 1, False
        self._next_news = self._start + QUICK
        self._running: dict[
            str | None, tuple[float, float]
        ] = {}  # since when, and the pauses before
        self._is_stopped = False

    def plan(self, modules: Sequence[str]) -> None:
        """These are the tools of the run from now on."""
        self._modules = modules

    def begin(self, module: str | None) -> None:
        """A tool starts, or with None the closing of resources."""
        self._heard = self._clock()
        self._running[module] = self._heard, self._paused
        self._is_stopped = False
        # Short items follow each other, and what is shown is how many have ended.
        if not (self.has_board or item_text(module or "")):
            self._next_news = self._heard + QUICK

    def time(self, event: Event) -> Event:
        """The event with its duration, if only this stopwatch knows it."""
        self._heard = self._clock()
        self._has_news |= self.has_board or isinstance(event, ToolProgress)
        match event:
            case ToolStarted(module=module):
                self.begin(module)
            case ToolFinished(module=module):
                self._has_news |= bool(item_text(module))
                seconds = self._seconds(module)
                _, paused_before = self._running.pop(module, (0.0, self._paused))
                if not event.duration and event.error and event.error.kind in ("crash", "timeout"):
                    return replace(event, duration=seconds)  # a dead worker reports none
                paused = self._paused - paused_before
                return replace(event, duration=max(0.0, event.duration - paused))
            case DebuggerOpened():
                self._is_stopped = True
            case _:
                pass
        return event

    def pause(self, pause: Callable[[], None]) -> None:
        before = self._clock()
        pause()
        self._paused += self._clock() - before

    @property
    def now(self) -> float:
        return self._clock()

    @property
    def tick_wait(self) -> float:
        """Seconds until the next `Ticked`, if nothing happens."""
        return max(0.0, self._next_news - self._clock()) if self._has_news else TICK

    def is_tick_due(self, *, is_silent: bool) -> bool:
        if not self._running or self._is_stopped:
            return False
        now = self._clock()
        has_been_silent = is_silent and now - self._heard > 0.9 * TICK
        return has_been_silent or (self._has_news and now >= self._next_news)

    def tick(self, run: Run) -> Ticked:
        now = self._clock()
        self._has_news, self._next_news = False, now + OFTEN
        running = tuple(
            Running(
                module=module,
                seconds=self._seconds(module),
                expected=self._expected(module),
            )
            for module in self._running
            if module is not None
        )
        return Ticked(
            running=running,
            closing=self._seconds(None),
            left=self._estimate(running, run.finished) if running else None,
            is_ending=run.is_interrupted,
        )

    def _estimate(self, running: Sequence[Running], finished: Collection[str]) -> float | None:
        """Seconds until the last step ends, as past runs predict it. None if that of a step that is left is not
        known."""
        left = [self._expected(module) for module in self._modules if module not in finished]
        known = [seconds for seconds in left if seconds is not None]
        if not known or len(known) < len(left):
            return None
        taken = sum(min(one.seconds, one.expected or 0.0) for one in running)
        return (sum(known) - taken) / min(self._workers, len(known))

    def _seconds(self, module: str | None) -> float:
        if module not in self._running:
            return 0.0
        since, paused_before = self._running[module]
        return self._clock() - since - (self._paused - paused_before)

    @property
    def total(self) -> float:
        return self._clock() - self._start - self._paused
