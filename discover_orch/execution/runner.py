"""Drives a plan: asks `Run` what is ready, submits it to an executor, yields what happens.

It prints nothing, knows no signal handlers, and reads only the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    Resumed,
    RunFinished,
    RunStarted,
    Suspended,
    Ticked,
    ToolFinished,
    ToolOrdered,
    ToolProgress,
    ToolStarted,
)
from discover_orch.execution.executors import Executor
from discover_orch.execution.run_state import Run
from discover_orch.planning.plan import Plan

#: Seconds without an event after which `Ticked` says how long the running tool has taken.
TICK = 0.5


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
    ahead: int = Run.AHEAD,
) -> Iterator[Event]:
    """All events of one run, from `RunStarted` to `RunFinished`. The executor is closed before the last."""
    run = Run(plan, registry, ahead=ahead)
    steps = {step.tool.module: step for step in plan.steps}
    stopwatch = _Stopwatch(clock)
    fresh = [tool.module for tool in plan.fresh]
    yield RunStarted(run=run_id, targets=plan.targets, tools=(*steps, *fresh))
    for one in fresh:
        yield ToolFinished(module=one, status="fresh")
    while not (run.is_over and executor.is_idle):
        while (module := run.ready()) is not None:
            yield ToolOrdered(module=module)
            executor.submit(steps[module])
            run.mark_submitted(module)
        yield from _next_events(run, executor, requests, stopwatch)
    yield from run.unstarted()
    executor.finish()
    stopwatch.begin(None)
    while not executor.is_over:
        yield from _next_events(run, executor, requests, stopwatch)
    yield RunFinished(status=run.status, duration=stopwatch.total, signal=requests.signal)


def _next_events(
    run: Run, executor: Executor, requests: RunRequests, stopwatch: _Stopwatch
) -> Iterator[Event]:
    happened = False
    for event in executor.events(min(TICK, requests.poll_interval), requests.wake):
        happened = True
        timed = run.classify(stopwatch.time(event))
        run.apply(timed)
        yield timed
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
            module=stopwatch.module, seconds=stopwatch.seconds, is_ending=run.is_interrupted
        )


class _Stopwatch:
    """What is running, and for how long, without pauses. It is stopped while a debugger is open."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = self._since = self._heard = clock()
        self._paused = self._paused_before = 0.0
        self.module: str | None = None
        self.is_running = False

    def begin(self, module: str | None) -> None:
        self.module, self.is_running = module, True
        self._since = self._heard = self._clock()
        self._paused_before = self._paused

    def time(self, event: Event) -> Event:
        """The event with its duration, if only this stopwatch knows it."""
        self._heard = self._clock()
        match event:
            case ToolStarted(module=module):
                self.begin(module)
            case ToolFinished():
                self.is_running = False
                if event.error is not None and event.error.kind == "crash":
                    return replace(event, duration=self.seconds)  # a dead worker reports none
                paused = self._paused - self._paused_before
                return replace(event, duration=max(0.0, event.duration - paused))
            case ToolProgress():
                return replace(event, seconds=self.seconds)
            case DebuggerOpened():
                self.is_running = False
            case _:
                pass
        return event

    def pause(self, pause: Callable[[], None]) -> None:
        before = self._clock()
        pause()
        self._paused += self._clock() - before

    @property
    def seconds(self) -> float:
        return self._clock() - self._since - (self._paused - self._paused_before)

    @property
    def silence(self) -> float:
        """Seconds since the last event."""
        return self._clock() - self._heard

    @property
    def total(self) -> float:
        return self._clock() - self._start - self._paused
