"""The run of a plan, as the events that the caller of the API sees, and its result.

A run has a thread of its own, so that the thread that asked for it is never inside orch when an interrupt comes. That
thread waits for events and may be any thread of any program: a notebook, a scheduler, a test.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Thread

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.execution import session
from discover_orch.execution.event_documents import (
    Event,
    Note,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TransactionEnded,
    build_event,
)
from discover_orch.execution.request import ReadyRun
from discover_orch.execution.run_events import Event as OwnEvent
from discover_orch.execution.run_events import StepsAdded, nothing_to_do_events
from discover_orch.execution.signal_handlers import SignalHandlers
from discover_orch.model.documents import Outcome
from discover_orch.model.errors import Problem
from discover_orch.render.problems import failure_line
from discover_orch.render.style import status_word

#: Characters of the output of a tool that a result holds.
LONGEST_OUTPUT = 1_000_000
#: Seconds after which a wait looks for signals: Python misses one that comes just before it waits for a lock.
LONGEST_WAIT = 0.5


def run_events(ready: ReadyRun, notes: Iterable[Problem]) -> Generator[Event, None, None]:
    """Runs the plan; `notes` are reported at its start. The caller holds the lock of the project. Raises OrchError."""
    view, plan = ready.view, ready.plan
    tools = plan.tools

    def start(interrupts: Interrupts) -> Generator[OwnEvent, None, None]:
        side = session.open_far_side(ready, is_guest=True)
        yield from session.run_plan(ready, session.Host(side=side, requests=interrupts))

    def events() -> Generator[OwnEvent, None, None]:
        yield from run_in_background(start) if plan.steps else nothing_to_do_events(plan)

    with closing(events()) as found:
        first = next(found)  # raises what is wrong with the executor
        yield from (Note(problem=problem) for problem in notes)
        run, end = "", None
        for event in itertools.chain([first], found):
            if isinstance(event, StepsAdded):
                tools.update(event.plan.tools)
            shown = build_event(event, tools)
            if isinstance(shown, RunStarted):
                run = shown.run or ""
            if isinstance(shown, RunFinished):
                end = shown  # it comes after the page
            elif shown is not None:
                yield shown
    if view.project.report and run:
        from discover_orch.render.report_page import write_page  # few projects ask for it

        written = write_page(view.project.root, run, plan.secrets)
        if isinstance(written, Problem):
            yield Note(problem=written)
    if end is not None:
        yield end


def build_result(events: Iterable[Event]) -> Result:
    """What is left of the events of a run when it has ended."""
    outcomes: dict[str, Outcome] = {}
    output: dict[str, str] = {}
    problems: list[Problem] = []
    run, status, seconds = "", "interrupted", 0.0
    for event in events:
        match event:
            case RunStarted():
                run = event.run or ""
            case ToolStarted():
                output[event.name] = ""
            case ToolOutput():
                printed = output.get(event.name, "") + event.text
                output[event.name] = printed[-LONGEST_OUTPUT:]
            case ToolFinished():
                outcomes[event.name] = event
            case TransactionEnded():
                outcomes = {
                    name: replace(one, status=event.status) if one.status == "done" else one
                    for name, one in outcomes.items()
                }
            case Note():
                problems.append(event.problem)
            case RunFinished():
                status, seconds = event.status, event.duration
            case _:
                pass
    return Result(
        run=run,
        status=status,
        duration=seconds,
        outcomes=outcomes,
        output=output,
        problems=tuple(problems),
    )


class Result(Struct, frozen=True, kw_only=True):
    """The result of a run. `run` is its id in the history, "" if there was nothing to run; `outcomes` are by name of
    the tool, in the order in which they ended, and so is `output`, the end of what each tool printed in its last
    attempt; `problems` are those outside any tool, warnings included."""

    run: str
    status: str
    duration: float
    outcomes: Mapping[str, Outcome]
    output: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether `orch run` would have exited with 0."""
        return self.status == "passed"

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes.values() if one.status in ("failed", "unknown"))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, object]]:
        """The metrics of the tools that returned some."""
        return {name: one.metrics for name, one in self.outcomes.items() if one.metrics}

    def raise_if_failed(self) -> Result:
        """Raises RunFailed unless the run passed. Returns this result."""
        if not self.is_passed:
            raise RunFailed(self)
        return self


class RunFailed(Exception):
    """A run did not pass; `result` says why. Its text names the tools that failed, where and why."""

    def __init__(self, result: Result) -> None:
        lines = [f"run {result.run} {status_word(result.status)}"]
        for one in result.failures:
            why = f": {failure_line(one.error)}" if one.error else ""
            lines.append(f"{one.name} {status_word(one.status)}{why}")
        errors = (one for one in result.problems if one.severity == "error")
        lines += [one.message for one in errors]
        super().__init__("\n".join(lines))
        self.result = result

    def __reduce__(self) -> tuple[type[RunFailed], tuple[Result]]:
        return RunFailed, (self.result,)


class Interrupts(SignalHandlers):
    """The requests to a run, made by any thread: the first `interrupt` interrupts it, the second kills. No handler is
    installed."""

    def interrupt(self) -> None:
        self._pending.append(signal.SIGINT)
        self.wake_up()


def run_in_background(
    start: Callable[[Interrupts], Generator[OwnEvent, None, None]],
) -> Iterator[OwnEvent]:
    """The events of the run that `start` begins. If the caller is interrupted or closes the iterator, the run is
    interrupted too; a second interrupt kills it. Either way it has ended when this returns."""
    interrupts = Interrupts()
    queue: SimpleQueue[OwnEvent | BaseException | None] = SimpleQueue()

    def run() -> None:
        events = start(interrupts)
        try:
            for event in events:
                queue.put(event)
        except BaseException as error:
            queue.put(error)
        finally:
            events.close()
            queue.put(None)

    thread = Thread(target=run, name="discover_orch run")
    thread.start()
    try:
        while (event := _get(queue)) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    except BaseException:  # KeyboardInterrupt, or the iterator was closed
        interrupts.interrupt()
        raise
    finally:
        _wait_for(thread, interrupts)
        interrupts.close()


def _get(queue: SimpleQueue[OwnEvent | BaseException | None]) -> OwnEvent | BaseException | None:
    while True:
        try:
            return queue.get(timeout=LONGEST_WAIT)
        except Empty:
            continue


def _wait_for(thread: Thread, interrupts: Interrupts) -> None:
    is_interrupted = False
    while thread.is_alive():
        try:
            thread.join(LONGEST_WAIT)
        except KeyboardInterrupt:
            is_interrupted = True
            interrupts.interrupt()
    if is_interrupted:
        raise KeyboardInterrupt
