"""Drives a plan: asks `Run` what is ready, hands it to an executor, yields what happens.

In: a `Plan`, an `Executor`, a source of interrupts, a clock. Out: events, their secrets masked. It prints
nothing, knows no signal handlers, and reads no clock but the one that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from discover_orch.executors import Executor
from discover_orch.plan import Plan
from discover_orch.registry import Registry
from discover_orch.run import (
    DebuggerOpened,
    Event,
    Run,
    RunFinished,
    RunStarted,
    Ticked,
    ToolFinished,
    ToolStarted,
)

#: Seconds of silence after which a terminal is told how long the running tool has taken.
TICK = 0.5


class Interruptions(Protocol):
    """What the user asked for from outside; `wake` can be read as soon as there is something new."""

    wake: int
    signal: int

    def take(self) -> list[str]:
        """`interrupt`, `kill`, `suspend`, in the order in which they came."""

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
) -> Iterator[Event]:
    """All events of one run, from `RunStarted` to `RunFinished`, and the executor closed in between."""
    started = clock()
    run = Run(plan, registry)
    steps = {step.tool.module: step for step in plan.steps}
    yield RunStarted(run=run_id, targets=plan.words, tools=tuple(steps))
    watch = _Stopwatch(clock)
    while not (run.is_over and executor.is_idle):
        while (module := run.ready()) is not None:
            executor.submit(steps[module])
            run.hand_out(module)
        yield from _next_events(run, executor, interruptions, watch)
    for event in run.left_over():
        yield event
    executor.finish()
    while not executor.is_over:
        yield from _next_events(run, executor, interruptions, watch)
    yield RunFinished(status=run.status, duration=clock() - started, signal=interruptions.signal)


def _next_events(
    run: Run, executor: Executor, interruptions: Interruptions, watch: _Stopwatch
) -> Iterator[Event]:
    happened = False
    for event in executor.events(TICK, interruptions.wake):
        happened = True
        run.apply(event)
        watch.take(event)
        yield event
    for wish in interruptions.take():
        happened = True
        if wish == "interrupt":
            run.interrupt()
            executor.interrupt()
        elif wish == "kill":
            run.interrupt()
            executor.kill()
        else:
            executor.suspend()
            interruptions.pause()
            executor.resume()
    if not happened and watch.module is not None:
        yield Ticked(module=watch.module, seconds=watch.seconds)


class _Stopwatch:
    """Which tool is running, and since when; silent while a debugger has the terminal."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = 0.0
        self.module: str | None = None

    def take(self, event: Event) -> None:
        match event:
            case ToolStarted(module=module):
                self.module, self._since = module, self._clock()
            case ToolFinished() | DebuggerOpened():
                self.module = None
            case _:
                pass

    @property
    def seconds(self) -> float:
        return self._clock() - self._since
