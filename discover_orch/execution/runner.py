"""Drives a plan: asks `Run` what is ready, submits it to an executor, yields what happens.

It prints nothing, knows no signal handlers, and reads only the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    Resumed,
    RunFinished,
    RunNote,
    RunStarted,
    Suspended,
    Ticked,
    ToolFinished,
    ToolOrdered,
    ToolProgress,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.execution.executors import Executor
from discover_orch.execution.run_state import Run
from discover_orch.execution.step_queue import StepQueue
from discover_orch.model.errors import Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan

#: Seconds without an event after which `Ticked` says how long the running tool has taken.
TICK = 0.5


Outcome = Literal["passed", "rolled_back", "unknown"]
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


def run_steps(
    plan: Plan,
    registry: Registry,
    executor: Executor,
    requests: RunRequests,
    *,
    run_id: str,
    clock: Callable[[], float],
    has_known_flow: Callable[[Tool], bool],
    at_once: int = Run.AHEAD,
    queue: StepQueue | None = None,
    max_failures: int | None = None,
    has_retries: bool = True,
    random: Callable[[], float] = lambda: 0.5,
    settle: Settle = lambda event, _: (event, ()),
    commit: Callable[[], None] | None = None,
) -> Iterator[Event]:
    """All events of one run, from `RunStarted` to `RunFinished`. The executor is closed before the last. `settle`
    gives the end of a tool as it is known elsewhere, and problems; the number is that of the attempt. With
    `commit`, which has the executor commit, the run is one transaction."""
    run = Run(
        plan,
        registry,
        has_known_flow=has_known_flow,
        at_once=at_once,
        queue=queue,
        max_failures=max_failures if commit is None else 1,
        has_retries=has_retries and commit is None,
        is_one_transaction=commit is not None,
        random=random,
    )
    steps = {step.tool.module: step for step in plan.steps}
    stopwatch = _Stopwatch(clock)
    fresh = [tool.module for tool in plan.fresh]
    workers = 1 if queue is None else at_once
    yield RunStarted(run=run_id, targets=plan.targets, tools=(*steps, *fresh), workers=workers)
    for one in fresh:
        yield ToolFinished(module=one, status="fresh")
    while not (run.is_over and executor.is_idle):
        while (module := run.ready(clock())) is not None:
            yield ToolOrdered(module=module)
            attempt = run.attempt_of(module)
            step = steps[module]
            is_alone = run.writes_alone(module)
            if attempt > 1 or is_alone:
                step = replace(step, attempt=attempt, writes_alone=is_alone)
            executor.submit(step)
            run.mark_submitted(module)
        yield from _next_events(run, executor, requests, stopwatch, settle)
    for end in run.unstarted():
        run.apply(end)
        yield end
    outcome: Outcome = "rolled_back"
    if commit is not None and run.is_all_done:
        outcome = "unknown"
        commit()
    executor.finish()
    stopwatch.begin(None)
    has_ended = False
    while not executor.is_over:
        for event in _next_events(run, executor, requests, stopwatch, settle):
            has_ended |= isinstance(event, TransactionEnded)
            yield event
    if commit is not None and not has_ended:
        yield _find_end(run, outcome, settle)
    yield RunFinished(status=run.status, duration=stopwatch.total, signal=requests.signal)


def _find_end(run: Run, outcome: Outcome, settle: Settle) -> TransactionEnded:
    """How a run ended that is one transaction, and whose worker has not said so."""
    module = run.first_done
    if outcome == "unknown" and module is not None:
        known, _ = settle(ToolFinished(module=module, status="unknown"), 1)
        if known.status == "passed":
            outcome = "passed"
        elif known.status == "failed":
            outcome = "rolled_back"
    return TransactionEnded(status=outcome)


def _next_events(
    run: Run, executor: Executor, requests: RunRequests, stopwatch: _Stopwatch, settle: Settle
) -> Iterator[Event]:
    happened = False
    wait = min(TICK, requests.poll_interval, run.wait_time(stopwatch.now))
    for event in executor.events(wait, requests.wake):
        happened = True
        if isinstance(event, ToolFinished):
            event, problems = settle(event, run.attempt_of(event.module))
            yield from (RunNote(problem=one) for one in problems)
        timed = run.classify(stopwatch.time(event))
        run.apply(timed, stopwatch.now)
        yield timed
        yield from run.drain_blocked(timed)
    for request in requests.drain():
        happened = True
        if request == "interrupt":
            run.interrupt()
            executor.interrupt()
        elif request == "kill":
            run.interrupt()
            executor.kill()
        elif request == "cancel":
            run.cancel()
            executor.interrupt()
        elif request == "hold":
            run.cancel()
        elif request == "wake":
            yield Resumed()
        else:
            yield Suspended()
            executor.suspend()
            stopwatch.pause(requests.pause)
            executor.resume()
    if not happened and stopwatch.is_running and stopwatch.silence > 0.9 * TICK:
        yield Ticked(
            module=stopwatch.module,
            seconds=stopwatch.seconds,
            others=stopwatch.others,
            is_ending=run.is_interrupted,
        )


class _Stopwatch:
    """What is running, and for how long, without pauses. It is stopped while a debugger is open."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = self._heard = clock()
        self._paused = 0.0
        self._running: dict[
            str | None, tuple[float, float]
        ] = {}  # since when, and the pauses before
        self._is_stopped = False

    def begin(self, module: str | None) -> None:
        """A tool starts, or with None the closing of resources."""
        self._heard = self._clock()
        self._running[module] = self._heard, self._paused
        self._is_stopped = False

    def time(self, event: Event) -> Event:
        """The event with its duration, if only this stopwatch knows it."""
        self._heard = self._clock()
        match event:
            case ToolStarted(module=module):
                self.begin(module)
            case ToolFinished(module=module):
                seconds = self._seconds(module)
                _, paused_before = self._running.pop(module, (0.0, self._paused))
                if not event.duration and event.error and event.error.kind in ("crash", "timeout"):
                    return replace(event, duration=seconds)  # a dead worker reports none
                paused = self._paused - paused_before
                return replace(event, duration=max(0.0, event.duration - paused))
            case ToolProgress(module=module):
                others = tuple(one for one in self._running if one not in (module, None))
                return replace(event, seconds=self._seconds(module), others=others)
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
    def is_running(self) -> bool:
        return bool(self._running) and not self._is_stopped

    @property
    def module(self) -> str | None:
        """What has been running longest."""
        return next(iter(self._running), None)

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(one for one in [*self._running][1:] if one is not None)

    @property
    def seconds(self) -> float:
        return self._seconds(self.module)

    def _seconds(self, module: str | None) -> float:
        if module not in self._running:
            return 0.0
        since, paused_before = self._running[module]
        return self._clock() - since - (self._paused - paused_before)

    @property
    def silence(self) -> float:
        """Seconds since the last event."""
        return self._clock() - self._heard

    @property
    def total(self) -> float:
        return self._clock() - self._start - self._paused
