"""Carries out steps in one worker process on this machine, one after another, sharing its resources.

The worker's messages and output become events of the run. A worker that dies is a failed tool; another one is started
if there is more to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    RunNote,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.execution.supervisor import Supervisor, WorkerEvent
from discover_orch.execution.worker_reader import StepOutput
from discover_orch.execution.worker_shutdown import WorkerDied, WorkerEnded
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.planning.plan import Step
from discover_orch.worker.protocol import (
    Closed,
    DebugStarted,
    Finish,
    Preloaded,
    Prepare,
    RunStep,
    StepFinished,
    StepStarted,
    Warned,
    WireArgument,
)

KILLED = "was killed by the second interrupt"


class LocalExecutor:
    """`worker` may have been started before the project was known. One that `is_importing` ahead gets no order until
    it has reported how that went; if the imports end it, another takes its place."""

    def __init__(
        self, prepare: Prepare, worker: Supervisor | None = None, *, is_importing: bool = False
    ) -> None:
        self._prepare = prepare
        self._worker = worker
        self._is_importing = is_importing and worker is not None
        self._steps: list[Step] = []
        self._waiting: list[RunStep] = []  # orders that are not sent yet
        self._events: list[WorkerEvent] = []  # read from the worker and not yet translated
        self._last_started = 0  # the step that started last: it gets output between steps
        self._is_interrupted = False
        if worker is not None and not self._is_importing:
            worker.send(prepare)

    @property
    def is_idle(self) -> bool:
        worker = self._worker
        return worker is None or worker.is_over or not (self._is_busy or self._can_start(worker))

    @property
    def is_over(self) -> bool:
        return (self._worker is None or self._worker.is_over) and not self._events

    def submit(self, step: Step) -> None:
        worker = self._worker
        if worker is None or worker.is_over:
            worker = self._worker = Supervisor.start(raw_output=self._prepare.raw_output)
            worker.send(self._prepare)
        number = len(self._steps)
        self._steps.append(step)
        order = _order(step, number, worker.failures)
        if self._prepare.raw_output or self._is_importing:
            self._waiting.append(order)
        else:
            worker.send(order)

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        if self._worker is None:
            return
        yield from self._start_waiting(self._worker)
        if not self._events:  # else the last caller stopped in between
            self._events.extend(self._worker.events(timeout, wake))
        while self._events:
            yield from self._translate(self._events.pop(0), self._worker)

    def _start_waiting(self, worker: Supervisor) -> Iterator[Event]:
        """With raw output, `ToolStarted` comes before the tool can write: one order at a time."""
        if self._can_start(worker) and not self._is_busy:
            order = self._waiting.pop(0)
            yield ToolStarted(module=order.module)
            worker.send(order)

    def _can_start(self, worker: Supervisor) -> bool:
        """Whether an order waits that the worker would not decline."""
        if worker.is_over or self._is_interrupted or self._is_importing or not self._waiting:
            return False
        return self._waiting[0].failures == worker.failures

    @property
    def _is_busy(self) -> bool:
        worker = self._worker
        if worker is None or (self._is_interrupted and self._is_importing):
            return False
        waits = self._is_importing and bool(self._waiting)
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
        if self._worker is not None:
            self._worker.suspend()

    def resume(self) -> None:
        if self._worker is not None:
            self._worker.resume()

    def finish(self) -> None:
        if self._worker is not None and not self._worker.is_over:
            self._worker.send(Finish())

    def _translate(self, event: WorkerEvent, worker: Supervisor) -> Iterator[Event]:
        match event:
            case Preloaded() if self._is_importing:
                yield from self._end_preload(event.sentence, worker, is_usable=not event.shadowed)
            case StepStarted(step=step):
                self._last_started = step
                if not self._prepare.raw_output:  # else it was reported before
                    yield ToolStarted(module=self._module(step))
            case StepOutput(step=number, stream=stream, text=text):
                step = self._last_started if number is None else number
                if step < len(self._steps):
                    yield ToolOutput(module=self._module(step), stream=stream, text=text)
            case StepFinished():
                yield ToolFinished(
                    module=self._module(event.step),
                    # The tool interrupted itself, and that is a failure.
                    status="failed"
                    if event.status == "interrupted" and not self._is_interrupted
                    else event.status,
                    duration=event.duration,
                    error=event.error,
                    metrics=event.metrics,
                    notes=event.notes,
                    loaded={path: content for _, path, content in event.loaded},
                    seen=event.seen,
                    setup=event.setup,
                    opened=event.opened,
                )
            case Warned(message=message, hint=hint):
                problem = Problem(code="conn", message=message, hint=hint, severity="warning")
                yield RunNote(problem=problem)
            case DebugStarted(step=step):
                yield DebuggerOpened(module=self._module(step))
                worker.lend_terminal()
            case Closed(errors=errors):
                for error in errors:
                    yield RunNote(problem=_closing_problem(error), traceback=_own_traceback(error))
            case WorkerDied():
                yield from self._on_worker_died(event, worker)
            case WorkerEnded(sentence=sentence, threads=threads):
                if sentence or threads:
                    yield RunNote(problem=_ending_problem(sentence, threads))
            case _:
                pass

    def _on_worker_died(self, event: WorkerDied, worker: Supervisor) -> Iterator[Event]:
        number = event.step
        sentence = event.sentence
        hint = ""
        if number is None and self._is_importing and not self._is_interrupted:
            message = f"cold start: the warm worker {sentence}"
            yield from self._end_preload(message, worker, is_usable=False)
            return
        if number is None:
            waiting = [*worker.unanswered, *(order.step for order in self._waiting)]
            self._waiting.clear()
            hint = "resources of orchconf.py may not have been closed"
            if self._is_interrupted:
                return
            if not waiting:
                message = f"the worker process {sentence}"
                yield RunNote(problem=Problem(code="worker-died", message=message, hint=hint))
                return
            number = waiting[0]  # no worker will start it
            sentence = f"the worker process {sentence} before the tool started"
        failure = Failure(
            kind="crash",
            type=event.signal or "crash",
            message=sentence,
            path=event.path or self._steps[number].tool.path,
            line=event.line,
            traceback=event.traceback,
            hint=hint,
        )
        if number == worker.committing:
            message = f"{sentence} while it was committed: what it wrote may be in the database"
            yield ToolFinished(
                module=self._module(number),
                status="unknown",
                error=replace(failure, message=message),
            )
            return
        yield ToolFinished(
            module=self._module(number),
            status="interrupted" if self._is_interrupted else "failed",
            error=failure,
        )

    def _end_preload(
        self, sentence: str, worker: Supervisor, *, is_usable: bool
    ) -> Iterator[Event]:
        """The warm worker has done its imports or died: the orders go to it or to a new worker."""
        self._is_importing = False
        if sentence:
            problem = Problem(code="cold-start", message=sentence, severity="warning")
            yield RunNote(problem=problem)
        if not is_usable:
            worker.kill("is no longer needed")
            while not worker.is_over:
                worker.events(0.05)
            worker = self._worker = Supervisor.start(raw_output=self._prepare.raw_output)
        worker.send(self._prepare)
        if not self._prepare.raw_output:
            for order in self._waiting:
                worker.send(order)
            self._waiting.clear()

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
        outputs=step.tool.outputs,
        commits_by_itself=step.tool.commits_by_itself,
        failures=failures,
    )


def _closing_problem(error: Failure) -> Problem:
    """A failure without a line in the user's code has a message of orch."""
    if error.path is None:
        return Problem(code="closing", message=error.message, hint=error.hint)
    return Problem(
        code="closing",
        message=f"{error.message} ({error.type})",
        hint=error.hint,
        location=Location(path=error.path, line=error.line),
    )


def _own_traceback(error: Failure) -> str:
    return error.traceback if error.path else ""


def _ending_problem(sentence: str, threads: tuple[str, ...]) -> Problem:
    names = ", ".join(f'"{name}"' for name in threads)
    return Problem(
        code="threads-left" if threads else "ending",
        message=f"the worker process {sentence}" + (f"; still running: {names}" if names else ""),
        hint="make such threads daemons, or join them before run() returns" if threads else "",
        severity="warning",
    )
