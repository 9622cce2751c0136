"""Drives a plan: asks `Run` what is ready, hands it to an executor, yields what happens.

In: a `Plan`, an `Executor`, a source of interrupts, a clock. Out: events. It prints nothing, knows no
signal handlers, and reads no clock but the one that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.executors import Executor
from discover_orch.execution.run_state import (
    DebuggerOpened,
    Event,
    Resumed,
    Run,
    RunFinished,
    RunStarted,
    Suspended,
    Ticked,
    ToolFinished,
    ToolOrdered,
    ToolStarted,
)
from discover_orch.planning.plan import Plan

#: Seconds of silence after which a terminal is told how long the running tool has taken.
TICK = 0.5


class Interruptions(Protocol):
    """What is asked for from outside; `wake` is readable when there is something new."""

    @property
    def wake(self) -> int: ...

    @property
    def signal(self) -> int:
        """The number of the signal that interrupted the run, or 0."""

    @property
    def patience(self) -> float:
        """Seconds after which `take` wants to be asked again, though nothing woke anybody."""

    def take(self) -> list[str]:
        """What is wished for, in the order in which it came: `interrupt`, `kill`, `suspend`; by a watch also
        `cancel` (interrupt what runs, and begin nothing more), `hold` (begin nothing more) and `wake`."""

    def pause(self) -> None:
        """Stop this process until the user lets it go on."""


def drive(
    plan: Plan,
    registry: Registry,
    executor: Executor,
    interruptions: Interruptions,
    *,
    run_id: str,
    clock: Callable[[], float],
    ahead: int = Run.AHEAD,
) -> Iterator[Event]:
    """All events of one run, from `RunStarted` to `RunFinished`; the executor is closed between."""
    run = Run(plan, registry, ahead=ahead)
    steps = {step.tool.module: step for step in plan.steps}
    watch = _Stopwatch(clock)
    fresh = [tool.module for tool in plan.fresh]
    yield RunStarted(run=run_id, targets=plan.words, tools=(*steps, *fresh))
    for one in fresh:
        yield ToolFinished(module=one, status="fresh")
    while not (run.is_over and executor.is_idle):
        while (module := run.ready()) is not None:
            yield ToolOrdered(module=module)
            executor.submit(steps[module])
            run.hand_out(module)
        yield from _next_events(run, executor, interruptions, watch)
    yield from run.left_over()
    executor.finish()
    watch.begin(None)
    while not executor.is_over:
        yield from _next_events(run, executor, interruptions, watch)
    yield RunFinished(status=run.status, duration=watch.total, signal=interruptions.signal)


def _next_events(
    run: Run, executor: Executor, interruptions: Interruptions, watch: _Stopwatch
) -> Iterator[Event]:
    happened = False
    for event in executor.events(min(TICK, interruptions.patience), interruptions.wake):
        happened = True
        timed = run.settle(watch.take(event))
        run.apply(timed)
        yield timed
    for wish in interruptions.take():
        happened = True
        if wish == "interrupt":
            run.interrupt()
            executor.interrupt()
        elif wish == "kill":
            run.interrupt()
            executor.kill()
        elif wish == "cancel":
            run.cancel()
            executor.interrupt()
        elif wish == "hold":
            run.cancel()
        elif wish == "wake":
            yield Resumed()
        else:
            yield Suspended()
            executor.suspend()
            watch.pause(interruptions.pause)
            executor.resume()
    if not happened and watch.is_running and watch.silence > 0.9 * TICK:
        yield Ticked(module=watch.module, seconds=watch.seconds, is_ending=run.is_interrupted)


class _Stopwatch:
    """What is running, and for how long; pauses do not count. Stopped while one debugs."""

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

    def take(self, event: Event) -> Event:
        """The event, with the time that it took where only this watch knows."""
        self._heard = self._clock()
        match event:
            case ToolStarted(module=module):
                self.begin(module)
            case ToolFinished():
                self.is_running = False
                if event.error is not None and event.error.kind == "crash":
                    return replace(event, duration=self.seconds)  # who died could not tell
                paused = self._paused - self._paused_before
                return replace(event, duration=max(0.0, event.duration - paused))
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
        """Seconds since the last event, which may be less than was waited for the next."""
        return self._clock() - self._heard

    @property
    def total(self) -> float:
        return self._clock() - self._start - self._paused
