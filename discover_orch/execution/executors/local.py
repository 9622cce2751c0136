"""Carries out steps in one worker process on this machine, one after another, sharing its resources.

The worker's messages and output become events of the run. A worker that dies is a failed tool. A tool that runs longer
than its timeout is interrupted, and its worker retires: it closes its resources and ends. Where there is more to do,
another worker is started.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from discover_orch.execution.events import (
    DatabaseWritten,
    DebuggerOpened,
    Event,
    RunNote,
    SecretFound,
    ToolDeclined,
    ToolFinished,
    ToolOutput,
    ToolProgress,
    ToolStarted,
    ToolStatus,
    TransactionEnded,
)
from discover_orch.execution.executors import Worker
from discover_orch.execution.supervisor import Supervisor, WorkerEvent
from discover_orch.execution.worker_reader import StepOutput, StepProgress
from discover_orch.execution.worker_shutdown import WorkerDied, WorkerEnded
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Step
from discover_orch.worker.protocol import (
    NOT_PRELOADED,
    Closed,
    CommitRun,
    DebugStarted,
    Declined,
    Finish,
    ForeignWrite,
    Preloaded,
    Prepare,
    Recorded,
    RunCommitted,
    RunStep,
    SecretSet,
    StepFinished,
    StepStarted,
    Warned,
    WireArgument,
)

KILLED = "was killed by the second interrupt"


class LocalExecutor:
    """`worker` may have been started before the project was known. One that `is_importing` ahead gets no order until
    it has reported how that went; if the imports end it, another takes its place. `start` is for workers elsewhere."""

    def __init__(
        self,
        prepare: Prepare,
        worker: Worker | None = None,
        *,
        is_importing: bool = False,
        start: Callable[[], Worker] | None = None,
    ) -> None:
        self._prepare = prepare
        self._start = start or partial(Supervisor.start, raw_output=prepare.raw_output)
        self._worker = worker
        self._is_importing = is_importing and worker is not None
        self._steps: list[Step] = []
        self._ordered_after: list[int] = []  # the failures of its worker that were known then
        self._waiting: list[RunStep] = []  # orders that are not sent yet
        self._events: list[WorkerEvent] = []  # read from the worker and not yet translated
        self._last_started = 0  # the step that started last: it gets output between steps
        self._must_confirm = False  # the worker waits until its last step is recorded
        self._is_interrupted = False
        self._deadline: float | None = None  # of the running tool
        self._timed_out: int | None = None  # the step that was stopped at its deadline
        self._is_retiring = False
        self._suspended_at = 0.0
        if worker is not None and not self._is_importing:
            worker.send(prepare)

    @property
    def is_idle(self) -> bool:
        worker = self._worker
        return worker is None or worker.is_over or not (self._is_busy or self._can_start(worker))

    @property
    def is_over(self) -> bool:
        return (self._worker is None or self._worker.is_over) and not self._events

    @property
    def has_room(self) -> bool:
        """One after another, steps may always be sent ahead."""
        return True

    def submit(self, step: Step) -> None:
        worker = self._worker
        if worker is None or worker.is_over:
            worker = self._start_worker()
        number = len(self._steps)
        self._steps.append(step)
        self._ordered_after.append(worker.failures)
        order = _order(step, number, worker.failures)
        if self._prepare.raw_output or self._is_importing or self._is_retiring:
            self._waiting.append(order)
        else:
            self._send(order, worker)

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        if self._worker is None or self.is_over:
            select.select([wake], [], [], timeout)
            return
        if self._must_confirm and not self._events:  # the caller has recorded what it was given
            self._must_confirm = False
            self._worker.send(Recorded())
        yield from self._start_waiting(self._worker)
        if not self._events:  # else the last caller stopped in between
            if self._deadline is not None:
                timeout = min(timeout, max(0.0, self._deadline - time.monotonic()))
            self._events.extend(self._worker.events(timeout, wake))
        while self._events:
            yield from self._translate(self._events.pop(0), self._worker)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._timed_out = self._worker.running
            self._worker.interrupt()

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `events` has something."""
        return () if self._worker is None or self._worker.is_over else self._worker.filenos()

    def next_deadline(self, now: float) -> float:
        """When `events` must be called even if nothing is readable: a time as `time.monotonic` gives it."""
        deadline = math.inf if self._deadline is None else self._deadline
        if self._worker is None or self._worker.is_over:
            return deadline
        return min(deadline, self._worker.next_deadline(now))

    def _start_waiting(self, worker: Worker) -> Iterator[Event]:
        """With raw output, `ToolStarted` comes before the tool can write: one order at a time."""
        if self._can_start(worker) and not self._is_busy:
            order = self._waiting.pop(0)
            yield ToolStarted(module=order.module)
            self._send(order, worker)

    def _can_start(self, worker: Worker) -> bool:
        """Whether an order waits that the worker would not decline."""
        is_held = worker.is_over or self._is_interrupted or self._is_importing or self._is_retiring
        return bool(self._waiting) and not is_held

    @property
    def _is_busy(self) -> bool:
        worker = self._worker
        if worker is None or (self._is_interrupted and self._is_importing):
            return False
        is_held = self._is_importing or (self._is_retiring and not self._is_interrupted)
        waits = is_held and bool(self._waiting)
        return worker.running is not None or bool(worker.unanswered) or waits

    def interrupt(self) -> None:
        self._is_interrupted = True
        if self._worker is not None and self._is_importing:
            self._worker.kill(KILLED)  # nothing has started that could end cleanly
        elif self._worker is not None:
            self._worker.interrupt()

    def kill(self) -> None:
        self._is_interrupted = True
        if self._worker is not None:
            self._worker.kill(KILLED)

    def suspend(self) -> None:
        self._suspended_at = time.monotonic()
        if self._worker is not None:
            self._worker.suspend()

    def resume(self) -> None:
        if self._deadline is not None:
            self._deadline += time.monotonic() - self._suspended_at
        if self._worker is not None:
            self._worker.resume()

    def commit_run(self) -> None:
        """Has the worker commit a run that is one transaction. It ends with `TransactionEnded`, unless the worker
        dies."""
        if self._worker is not None and not self._worker.is_over:
            self._worker.send(CommitRun())

    def finish(self) -> None:
        if self._worker is not None and not self._worker.is_over and not self._is_retiring:
            self._worker.send(Finish())

    def _translate(self, event: WorkerEvent, worker: Worker) -> Iterator[Event]:
        match event:
            case Preloaded() if self._is_importing:
                yield from self._end_preload(event.sentence, worker, is_usable=not event.shadowed)
            case StepStarted(step=step):
                self._last_started = step
                limit = self._steps[step].tool.timeout
                self._deadline = None if limit is None else time.monotonic() + limit
                if not self._prepare.raw_output:  # else it was reported before
                    yield ToolStarted(module=self._module(step))
            case StepOutput(step=number, stream=stream, text=text):
                step = self._last_started if number is None else number
                if step < len(self._steps):
                    yield ToolOutput(module=self._module(step), stream=stream, text=text)
            case StepProgress(step=step, text=text):
                yield ToolProgress(module=self._module(step), text=text)
            case StepFinished():
                self._deadline = None
                self._must_confirm = event.step + 1 < len(self._steps)
                status, error = event.status, event.error
                if status == "interrupted" and not self._is_interrupted:
                    # The tool was stopped at its deadline, or interrupted itself. Either is a failure.
                    status = "failed"
                # A driver may have turned the interrupt into an error of its own.
                if status == "failed" and event.step == self._timed_out and error is not None:
                    error = as_timeout(error, self._steps[event.step].tool.timeout)
                if event.step == self._timed_out:  # it declines all further steps
                    self._retire(worker)
                yield ToolFinished(
                    module=self._module(event.step),
                    status=status,
                    duration=event.duration,
                    error=error,
                    metrics=event.metrics,
                    notes=event.notes,
                    loaded={path: content for _, path, content in event.loaded},
                    loaded_as={path: name for name, path, _ in event.loaded},
                    seen=event.seen,
                    setup=event.setup,
                    opened=event.opened,
                    commit_seconds=event.commit_seconds,
                    is_locked=event.is_locked,
                )
                if event.status == "failed":  # the worker would decline them
                    waiting = [order.step for order in self._waiting]
                    self._waiting.clear()
                    yield from self._decline(waiting)
            case Declined(step=step):
                if self._ordered_after[step] == worker.failures and not self._is_retiring:
                    # An interrupt of the tool's own: the worker declines all further steps.
                    self._retire(worker)
                yield from self._decline([step])
            case ForeignWrite():
                yield DatabaseWritten()
            case SecretSet(text=text):
                yield SecretFound(text=text)
            case Warned(message=message, hint=hint):
                problem = Problem(code="conn", message=message, hint=hint, severity="warning")
                yield RunNote(problem=problem)
            case RunCommitted(error=error):
                if error is not None:
                    yield closing_note(error)
                yield TransactionEnded(status="passed" if error is None else "rolled_back")
            case DebugStarted(step=step):
                self._deadline = None
                yield DebuggerOpened(module=self._module(step))
                worker.lend_terminal()
            case Closed():
                yield from closing_notes(event)
            case WorkerDied():
                yield from self._on_worker_died(event, worker)
            case WorkerEnded(sentence=sentence, threads=threads):
                if sentence or threads:
                    yield ending_note(sentence, threads)
                if self._is_retiring and self._waiting and not self._is_interrupted:
                    self._start_worker()
                self._is_retiring = False
            case _:
                pass

    def _on_worker_died(self, event: WorkerDied, worker: Worker) -> Iterator[Event]:
        self._deadline = None
        number = event.step
        sentence = event.sentence
        hint = ""
        if number is None and self._is_importing and not self._is_interrupted:
            message = f"{NOT_PRELOADED}: the process that preloads them {sentence}"
            yield from self._end_preload(message, worker, is_usable=False, code="preload-died")
            return
        if number is None:
            waiting = self._drain_unstarted(worker)
            hint = "resources of orchconf.py may not have been closed"
            if self._is_interrupted:
                return
            if not waiting:
                message = f"the worker process {sentence}"
                yield RunNote(problem=Problem(code="worker-died", message=message, hint=hint))
                return
            number = waiting[0]  # no worker will start it
            unstarted = waiting[1:]
            sentence = f"the worker process {sentence} before the tool started"
        else:
            unstarted = self._drain_unstarted(worker)
        yield end_of_tool(
            self._steps[number].tool,
            event,
            sentence,
            hint,
            is_interrupted=self._is_interrupted,
            is_timed_out=number == self._timed_out,
            is_committing=number == worker.committing,
        )
        yield from self._decline(unstarted)

    def _retire(self, worker: Worker) -> None:
        self._is_retiring = True
        if not worker.is_over:  # it may have ended while its answers were read
            worker.send(Finish())

    def _drain_unstarted(self, worker: Worker) -> list[int]:
        """The steps that a dead worker did not start."""
        unstarted = [*worker.unanswered, *(order.step for order in self._waiting)]
        self._waiting.clear()
        return unstarted

    def _decline(self, steps: Iterable[int]) -> Iterator[Event]:
        if not self._is_interrupted:
            for step in steps:
                yield ToolDeclined(module=self._module(step))

    def _end_preload(
        self, sentence: str, worker: Worker, *, is_usable: bool, code: str = "cold-start"
    ) -> Iterator[Event]:
        """The warm worker has done its imports or died: the orders go to it or to a new worker."""
        self._is_importing = False
        if sentence:
            problem = Problem(code=code, message=sentence, severity="warning")
            yield RunNote(problem=problem)
        if not is_usable:
            worker.kill("is no longer needed")
            while not worker.is_over:
                worker.events(0.05)
            self._start_worker()
        else:
            worker.send(self._prepare)
            self._send_waiting(worker)

    def _start_worker(self) -> Worker:
        worker = self._worker = self._start()
        worker.send(self._prepare)
        self._send_waiting(worker)
        return worker

    def _send_waiting(self, worker: Worker) -> None:
        if not self._prepare.raw_output:
            for order in self._waiting:
                self._send(order, worker)
            self._waiting.clear()

    def _send(self, order: RunStep, worker: Worker) -> None:
        if worker.running is not None or worker.unanswered:
            order = replace(order, is_ahead=True)
        worker.send(order)
        self._must_confirm = False

    def _module(self, number: int) -> str:
        return self._steps[number].tool.module


def _order(step: Step, number: int, failures: int) -> RunStep:
    return RunStep(
        step=number,
        module=step.tool.module,
        name=step.tool.name,
        path=step.tool.path,
        arguments={
            bound.param.name: WireArgument(texts=bound.texts, type=bound.param.type)
            for bound in step.arguments
        },
        extra=step.extra,
        resources=step.tool.resources,
        is_readable=step.tool.is_readable,
        outputs=step.tool.outputs,
        commits_by_itself=step.tool.commits_by_itself,
        attempt=step.attempt,
        writes_alone=step.writes_alone,
        failures=failures,
    )


# The end of a worker.


def end_of_tool(
    tool: Tool,
    died: WorkerDied,
    sentence: str,
    hint: str,
    *,
    is_interrupted: bool,
    is_timed_out: bool,
    is_committing: bool,
) -> ToolFinished:
    """How a tool ended whose worker died. `sentence` says how the process ended."""
    failure = Failure(
        kind="crash",
        type=died.signal or "crash",
        message=sentence,
        path=died.path or tool.path,
        line=died.line,
        traceback=died.traceback,
        hint=hint,
    )
    if is_timed_out:
        failure = as_timeout(failure, tool.timeout, f", {sentence}")
    status: ToolStatus = "interrupted" if is_interrupted else "failed"
    if died.is_lost:
        status = "unknown"
        message = f"{failure.message}: what the tool wrote may be in the database"
        failure = replace(failure, message=message, type="lost")
    elif is_committing:
        status = "unknown"
        message = f"{failure.message} during its commit: what it wrote may be in the database"
        failure = replace(failure, message=message)
    if failure.traceback and not is_timed_out:  # else it ends with the message
        failure = replace(failure, traceback=f"{failure.traceback}{failure.message}\n")
    return ToolFinished(module=tool.module, status=status, error=failure)


def as_timeout(error: Failure, timeout: float | None, more: str = "") -> Failure:
    """The traceback shows where the tool was, and ends with the timeout: the interrupt was that of orch."""
    message = f"timed out after {timeout:g} s{more}"
    where = error.traceback.removesuffix("KeyboardInterrupt\n")
    traceback = f"{where}{message}\n" if where else ""
    return replace(error, kind="timeout", type="timeout", message=message, traceback=traceback)


def closing_notes(closed: Closed) -> list[RunNote]:
    """What went wrong when resources were closed."""
    return [closing_note(error) for error in closed.errors]


def closing_note(error: Failure) -> RunNote:
    """A failure without a line in the user's code has a message of orch."""
    if error.path is None:
        problem = Problem(code="closing", message=error.message, hint=error.hint)
        return RunNote(problem=problem)
    problem = Problem(
        code="closing",
        message=f"{error.message} ({error.type})",
        hint=error.hint,
        location=Location(path=error.path, line=error.line),
    )
    return RunNote(problem=problem, traceback=error.traceback)


def ending_note(sentence: str, threads: tuple[str, ...]) -> RunNote:
    """The process did not end as usual, or only because its threads were ended."""
    names = ", ".join(f'"{name}"' for name in threads)
    problem = Problem(
        code="threads-left" if threads else "ending",
        message=f"the worker process {sentence}" + (f"; still running: {names}" if names else ""),
        hint="make such threads daemons, or join them before run() returns" if threads else "",
        severity="warning",
    )
    return RunNote(problem=problem)
