"""Carries out steps in one worker process on this machine, one after another, sharing its resources.

The worker's messages and output become events of the run. A worker that dies is a failed tool. A tool that runs longer
than its timeout is interrupted, and its worker retires: it closes its resources and ends. Where there is more to do,
another worker is started.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterator
from functools import partial

from msgspec.structs import replace

from discover_orch.execution.supervisor import Supervisor, WorkerEvent
from discover_orch.execution.worker_shutdown import WorkerDied, WorkerEnded
from discover_orch.model.errors import Failure, Problem
from discover_orch.planning.plan import Step
from discover_orch.worker.protocol import (
    NOT_PRELOADED,
    Answer,
    Closed,
    Committing,
    DebuggerOpened,
    Finish,
    Preloaded,
    Prepare,
    Recorded,
    RunNote,
    RunStep,
    ToolDeclined,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    ToolStatus,
    WireArgument,
    WorkerSaid,
)

KILLED = "was killed by the second interrupt"


class LocalExecutor:
    """`worker` may have been started before the project was known. One that `is_importing` ahead gets no order until
    it has reported how that went; if the imports end it, another takes its place. `start` starts a worker.
    `has_terminal`: tools may be debugged on the terminal of this process."""

    def __init__(
        self,
        prepare: Prepare,
        worker: Supervisor | None = None,
        *,
        is_importing: bool = False,
        start: Callable[[], Supervisor] | None = None,
        has_terminal: bool = True,
    ) -> None:
        self._prepare = prepare
        self._start = start or partial(Supervisor.start, raw_output=prepare.raw_output)
        self._worker = worker
        self._is_importing = is_importing and worker is not None
        self._has_terminal = has_terminal
        self._orders: dict[str, RunStep] = {}  # the latest of each tool
        self._newest = ""  # the tool that was ordered last
        self._waiting: list[RunStep] = []  # orders that are not sent yet
        self._events: list[WorkerEvent] = []  # read from the worker and not yet translated
        self._must_confirm = False  # the worker waits until its last step is recorded
        self._is_interrupted = False
        self._deadline: float | None = None  # of the running tool
        self._timed_out = ""  # the tool that was stopped at its deadline
        self._is_retiring = False
        self._suspended_at = 0.0
        if worker is not None and not self._is_importing:
            worker.send(prepare)

    @property
    def is_idle(self) -> bool:
        worker = self._worker
        if worker is None or worker.is_over:
            return True
        waits = bool(self._waiting) and not self._is_interrupted
        return not (worker.running or worker.unanswered or waits)

    @property
    def is_over(self) -> bool:
        return (self._worker is None or self._worker.is_over) and not self._events

    @property
    def has_room(self) -> bool:
        """One after another, steps may always be sent ahead."""
        return True

    def submit(self, step: Step) -> None:
        self.submit_order(build_order(step))

    def submit_order(self, order: RunStep) -> None:
        worker = self._worker
        if worker is None or worker.is_over:
            worker = self._start_worker()
        self._orders[order.module] = order
        self._newest = order.module
        if self._prepare.raw_output or self._is_importing or self._is_retiring:
            self._waiting.append(order)
        else:
            self._send(order, worker)

    def events(self, timeout: float, wake: int) -> Iterator[WorkerSaid]:
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

    def _start_waiting(self, worker: Supervisor) -> Iterator[WorkerSaid]:
        """With raw output, `ToolStarted` comes before the tool can write: one order at a time."""
        if self._waiting and not (self._is_interrupted or self._is_importing or self._is_retiring):
            order = self._waiting.pop(0)
            yield ToolStarted(module=order.module)
            self._send(order, worker)

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

    def finish(self, *, commits: bool = False) -> None:
        if self._worker is not None and not self._worker.is_over and not self._is_retiring:
            self._worker.send(Finish(commits=commits))

    def _translate(self, event: WorkerEvent, worker: Supervisor) -> Iterator[WorkerSaid]:
        match event:
            case Preloaded() if self._is_importing:
                yield from self._end_preload(event.sentence, worker, is_usable=not event.shadowed)
            case ToolStarted(module=module):
                self._timed_out = ""
                limit = self._orders[module].timeout
                self._deadline = None if limit is None else time.monotonic() + limit
                if not self._prepare.raw_output:  # else it was reported before
                    yield event
            case ToolOutput(module=""):  # before the first tool has started
                if self._orders:
                    yield replace(event, module=next(iter(self._orders)))
            case ToolFinished():
                yield from self._end_tool(event, worker)
            case ToolDeclined(module=module):
                if event.is_retiring and not self._is_retiring:  # an interrupt of the tool's own
                    self._retire(worker)
                yield event
            case DebuggerOpened():
                self._deadline = None
                if self._has_terminal:
                    yield event
                worker.lend_terminal(has_terminal=self._has_terminal)
            case WorkerDied():
                yield from self._on_worker_died(event, worker)
            case WorkerEnded(sentence=sentence, threads=threads):
                if sentence or threads:
                    yield ending_note(sentence, threads)
                if self._is_retiring and self._waiting and not self._is_interrupted:
                    self._start_worker()
                self._is_retiring = False
            case Preloaded() | Committing() | Closed() | Answer():
                pass
            case _:
                yield event

    def _end_tool(self, event: ToolFinished, worker: Supervisor) -> Iterator[WorkerSaid]:
        self._deadline = None
        self._must_confirm = event.module != self._newest
        status, error = event.status, event.error
        if status == "interrupted" and not self._is_interrupted:
            # The tool was stopped at its deadline, or interrupted itself. Either is a failure.
            status = "failed"
        if event.module == self._timed_out:  # the worker declines all further steps
            # A driver may have turned the interrupt into an error of its own.
            if status == "failed" and error is not None:
                error = as_timeout(error, self._orders[event.module].timeout)
            self._retire(worker)
        yield replace(event, status=status, error=error)

    def _on_worker_died(self, event: WorkerDied, worker: Supervisor) -> Iterator[WorkerSaid]:
        self._deadline = None
        module, sentence, hint = event.module, event.sentence, ""
        if not module and self._is_importing and not self._is_interrupted:
            message = f"{NOT_PRELOADED}: the process that preloads them {sentence}"
            yield from self._end_preload(message, worker, is_usable=False, code="preload-died")
            return
        unstarted = [*worker.unanswered, *(order.module for order in self._waiting)]
        if not module and not self._is_interrupted:
            hint = "resources of orchconf.py may not have been closed"
            if not unstarted:
                message = f"the worker process {sentence}"
                yield RunNote(problem=Problem(code="worker-died", message=message, hint=hint))
                return
            module = unstarted.pop(0)  # no worker will start it
            sentence = f"the worker process {sentence} before the tool started"
        if module:
            yield self._end_of_dead(module, event, sentence, hint, worker)
        self._waiting.clear()
        yield from (ToolDeclined(module=one) for one in unstarted)

    def _end_of_dead(
        self, module: str, died: WorkerDied, sentence: str, hint: str, worker: Supervisor
    ) -> ToolFinished:
        """How a tool ended whose worker died. `sentence` says how the process ended."""
        order = self._orders[module]
        status: ToolStatus = "interrupted" if self._is_interrupted else "failed"
        failure = Failure(
            kind="crash",
            type=died.signal or "crash",
            message=sentence,
            path=died.path or order.path,
            line=died.line,
            traceback=died.traceback,
            hint=hint,
        )
        is_timed_out = died.module != "" and died.module == self._timed_out
        if is_timed_out:
            failure = as_timeout(failure, order.timeout, f", {sentence}")
        if module == worker.committing:
            status = "unknown"
            message = f"{failure.message} during its commit: what it wrote may be in the database"
            failure = replace(failure, message=message)
        if failure.traceback and not is_timed_out:  # else it ends with the message
            failure = replace(failure, traceback=f"{failure.traceback}{failure.message}\n")
        return ToolFinished(module=module, status=status, error=failure)

    def _retire(self, worker: Supervisor) -> None:
        self._is_retiring = True
        if not worker.is_over:  # it may have ended while its answers were read
            worker.send(Finish())

    def _end_preload(
        self, sentence: str, worker: Supervisor, *, is_usable: bool, code: str = "cold-start"
    ) -> Iterator[WorkerSaid]:
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

    def _start_worker(self) -> Supervisor:
        worker = self._worker = self._start()
        worker.send(self._prepare)
        self._send_waiting(worker)
        return worker

    def _send_waiting(self, worker: Supervisor) -> None:
        if not self._prepare.raw_output:
            for order in self._waiting:
                self._send(order, worker)
            self._waiting.clear()

    def _send(self, order: RunStep, worker: Supervisor) -> None:
        if worker.running or worker.unanswered:
            order = replace(order, is_ahead=True)
        worker.send(order)
        self._must_confirm = False


def build_order(step: Step) -> RunStep:
    tool = step.tool
    return RunStep(
        module=tool.module,
        name=tool.name,
        path=tool.path,
        arguments={
            bound.param.name: WireArgument(texts=bound.texts, type=bound.param.type)
            for bound in step.arguments
        },
        extra=step.extra,
        resources=tool.resources,
        is_readable=tool.is_readable,
        outputs=tool.outputs,
        commits_by_itself=tool.commits_by_itself,
        attempt=step.attempt,
        writes_alone=step.writes_alone,
        timeout=tool.timeout,
    )


def as_timeout(error: Failure, timeout: float | None, more: str = "") -> Failure:
    """The traceback shows where the tool was, and ends with the timeout: the interrupt was that of orch."""
    message = f"timed out after {timeout:g} s{more}"
    where = error.traceback.removesuffix("KeyboardInterrupt\n")
    traceback = f"{where}{message}\n" if where else ""
    return replace(error, kind="timeout", type="timeout", message=message, traceback=traceback)


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
