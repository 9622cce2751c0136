"""Carries out steps in one worker process, one after another, sharing its resources.

A step is sent when the one before it has ended, and a moment before that one is recorded.

The worker's messages and output become events of the run. A worker that dies is a failed tool. A tool that runs longer
than its timeout is interrupted, and its worker retires: it closes its resources and ends. Where there is more to do,
another worker is started. A tool that has a worker of its own gets one that has run nothing, which then retires.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.supervisor import (
    Supervisor,
    Word,
    WorkerDied,
    WorkerEnded,
    WorkerEvent,
)
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import (
    DebuggerOpened,
    RunNote,
    ToolDeclined,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    ToolStatus,
    WorkerSaid,
)
from discover_orch.planning.plan import Removal, Step
from discover_orch.worker.protocol import (
    Answer,
    Closed,
    Committing,
    Finish,
    Prepare,
    RunStep,
    WireArgument,
    build_defaults,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.execution.executors.remote_worker import RemoteWorker
    from discover_orch.execution.warm_worker import WorkerAhead

UNCLOSED = "resources of orchconf.py may not have been closed"
#: How far a step is that was submitted and has not ended.
Stage = Literal["waiting", "sent", "started", "committing"]


class WorkerDriver:
    """`worker` may have been started before the project was known. One that `is_warm` may still be importing ahead; if
    it ends before it has said anything, another takes its place. `start` starts a worker. `sources_of` gives the files
    of a tool's code, and `run_of` the number and the key of the run. `ahead` starts the next worker ahead, where tools
    have workers of their own."""

    def __init__(
        self,
        prepare: Prepare,
        worker: Supervisor | None = None,
        *,
        is_warm: bool = False,
        start: Callable[[], Supervisor | RemoteWorker],
        sources_of: Callable[[Tool], Iterable[str]],
        run_of: Callable[[], tuple[int, str]] = lambda: (0, ""),
        ahead: WorkerAhead | None = None,
    ) -> None:
        self._ahead = ahead
        self._has_own_worker = False  # the tool of this order
        self._is_used = False  # the worker has got a step
        self._prepare = prepare
        self._sources_of, self._run_of = sources_of, run_of
        self._start = start
        self._worker: Supervisor | RemoteWorker | None = worker
        self._is_silent = is_warm and worker is not None  # it has said nothing yet
        self._order: RunStep | None = None  # of the step that was submitted and has not ended
        self._stage: Stage = "waiting"
        self._events: list[WorkerEvent] = []  # read from the worker and not yet translated
        self._is_interrupted = False
        self._deadline: float | None = None  # of the running tool
        self._is_timed_out = False  # the tool was stopped at its deadline
        self._is_retiring = False
        self._suspended_at = 0.0
        if worker is not None:
            worker.send(prepare)

    @property
    def is_idle(self) -> bool:
        if self._is_retiring:
            return False
        return self._order is None or (self._stage == "waiting" and self._is_interrupted)

    @property
    def is_over(self) -> bool:
        if self._events or self._may_send:
            return False
        return self._worker is None or self._worker.is_over

    def submit(self, step: Step) -> None:
        run, key = self._run_of()
        order = replace(build_order(step, self._sources_of(step.tool)), run=run, key=key)
        self._order, self._stage, self._is_timed_out = order, "waiting", False
        if self._prepare.transaction == "run":  # of one worker
            self._order = order = replace(order, is_traced=self._prepare.is_traced)
        self._has_own_worker = step.tool.has_own_worker
        is_other = order.is_traced != self._prepare.is_traced  # that holds as long as a worker
        if is_other:
            self._prepare = replace(self._prepare, is_traced=order.is_traced)
        if is_other or (self._has_own_worker and self._is_used):
            self._retire()
        if not self._prepare.raw_output:
            self._send_order()

    def _retire(self) -> None:
        worker = self._worker
        if worker is not None and not worker.is_over and not self._is_retiring:
            self._is_retiring = True
            worker.send(Finish())

    def events(self) -> Iterator[WorkerSaid]:
        """What has happened; does not wait."""
        if self._prepare.raw_output and self._order is not None and self._may_send:
            yield ToolStarted(module=self._order.module)  # before the tool can write
        self._send_order()
        if self._worker is None or self.is_over:
            return
        if not self._events:  # else the last caller stopped in between
            self._events.extend(self._worker.events(0))
        while self._events:
            yield from self._translate(self._events.pop(0), self._worker)
        self._send_order()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._is_timed_out = True
            self._worker.control("interrupt")

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `events` has something."""
        return () if self._worker is None or self._worker.is_over else self._worker.filenos()

    def next_deadline(self, now: float) -> float:
        """When `events` must be called even if nothing is readable: a time as `time.monotonic` gives it."""
        if self._events or self._may_send:
            return now
        deadline = math.inf if self._deadline is None else self._deadline
        if self._worker is None or self._worker.is_over:
            return deadline
        return min(deadline, self._worker.next_deadline(now))

    def control(self, word: Word) -> None:
        worker, now = self._worker, time.monotonic()
        self._is_interrupted |= word in ("interrupt", "kill")
        if word == "suspend":
            self._suspended_at = now
        elif word == "resume" and self._deadline is not None:
            self._deadline += now - self._suspended_at
        if word == "interrupt" and self._is_silent:
            word = "kill"  # nothing has started that could end cleanly
        if self._ahead is not None and self._is_interrupted:
            self._ahead.close()
        if worker is not None:
            worker.control(word)

    def finish(self, *, commits: bool = False, records: tuple[SuccessRecord, ...] = ()) -> bool:
        """Whether a worker was there, which keeps the records."""
        if self._ahead is not None:
            self._ahead.close()
        worker = self._worker
        if worker is None or worker.is_over or self._is_retiring:
            return False
        worker.send(Finish(commits=commits, records=records))
        return not worker.runs_one_step

    @property
    def _may_send(self) -> bool:
        """Whether a step waits for a worker that can take it: what is not translated may be the worker's end."""
        is_waiting = self._order is not None and self._stage == "waiting"
        is_held = self._is_interrupted or self._is_retiring
        return is_waiting and not is_held and not self._events

    def _send_order(self) -> None:
        """Sends the order that waits, if it may be sent. If the worker is over, another takes its place."""
        if self._order is None or not self._may_send:
            return
        if self._worker is None or self._worker.is_over:
            ahead = None if self._ahead is None else self._ahead.claim(self._order.module)
            self._is_silent = ahead is not None
            self._worker = ahead or self._start()
            self._worker.send(self._prepare)
        self._is_used = True
        self._worker.send(self._order)
        self._stage = "sent"

    def _translate(
        self, event: WorkerEvent, worker: Supervisor | RemoteWorker
    ) -> Iterator[WorkerSaid]:
        order = self._order
        if self._is_silent:
            self._is_silent = False
            if isinstance(event, WorkerDied) and not self._is_interrupted:
                self._stage = "waiting"  # for another worker
                return
        match event:
            case ToolStarted() if order is not None:
                self._stage = "started"
                if self._ahead is not None and self._has_own_worker and not self._is_interrupted:
                    self._ahead.prepare(order.module)
                if order.timeout is not None:
                    self._deadline = time.monotonic() + order.timeout
                if not self._prepare.raw_output:  # else it was reported before
                    yield event
            case Committing():
                self._stage = "committing"
            case ToolOutput(module=""):  # before the first tool has started
                if order is not None:
                    yield replace(event, module=order.module)
            case ToolFinished() if order is not None:
                yield self._end_tool(event, order, worker)
            case DebuggerOpened() if isinstance(worker, Supervisor):
                self._deadline = None
                yield event
                worker.lend_terminal()
            case WorkerDied():
                yield from self._on_worker_died(event)
            case WorkerEnded(sentence=sentence, threads=threads):
                if sentence or threads:
                    yield ending_note(sentence, threads)
                self._is_retiring = False
            case Closed() | Answer():
                pass
            case _:
                yield event

    def _end_tool(
        self, event: ToolFinished, order: RunStep, worker: Supervisor | RemoteWorker
    ) -> ToolFinished:
        self._order = self._deadline = None
        status, error = event.status, event.error
        # The tool was stopped at its deadline, or interrupted itself. Either is a failure.
        is_stopped = self._is_timed_out or (status == "interrupted" and not self._is_interrupted)
        if status == "interrupted" and not self._is_interrupted:
            status = "failed"
        if self._is_timed_out and status == "failed" and error is not None:
            # A driver may have turned the interrupt into an error of its own.
            error = as_timeout(error, order.timeout)
        if is_stopped or worker.runs_one_step or self._has_own_worker:  # it is not used again
            self._is_retiring = True
            if not worker.is_over:  # it may have ended while its answers were read
                worker.send(Finish())
        return replace(event, status=status, error=error)

    def _on_worker_died(self, died: WorkerDied) -> Iterator[WorkerSaid]:
        order, stage = self._order, self._stage
        self._deadline = None
        self._is_retiring = False
        if order is None or (stage == "waiting" and not self._is_interrupted):
            if not self._is_interrupted:
                yield death_note(died)
            return
        self._order = None
        may_have_begun = stage in ("started", "committing")
        may_have_begun |= stage == "sent" and died.cause == "lost"
        if self._is_interrupted and not may_have_begun:
            yield ToolDeclined(module=order.module)
        else:
            yield self._end_of_dead(order, died)

    def _end_of_dead(self, order: RunStep, died: WorkerDied) -> ToolFinished:
        """How a tool ended whose worker died."""
        status: ToolStatus = "interrupted" if self._is_interrupted else "failed"
        sentence, hint = died.sentence, died.hint
        match died.cause, self._stage:
            case "crash", "sent":
                sentence = f"the worker process {sentence} before the tool started"
                hint = UNCLOSED
            case "lost", "sent":
                sentence += " before it reported whether the tool had started"
            case "lost", "started":
                sentence += " while the tool ran"
        failure = Failure(
            kind="crash",
            type=died.signal or died.cause,
            message=sentence,
            path=None if died.cause == "refused" else died.path or order.path,
            line=died.line,
            traceback=died.traceback,
            hint=hint,
        )
        if self._is_timed_out:
            failure = as_timeout(failure, order.timeout, f", {sentence}")
        if self._stage == "committing" or died.cause == "lost":
            status = "unknown"
            what = (
                " during its commit: what it" if self._stage == "committing" else ": what the tool"
            )
            message = f"{failure.message}{what} wrote may be in the database"
            failure = replace(failure, message=message)
        if failure.traceback and not self._is_timed_out:  # else it ends with the message
            failure = replace(failure, traceback=f"{failure.traceback}{failure.message}\n")
        return ToolFinished(module=order.module, status=status, error=failure)


def build_prepare(registry: Registry, project: Project, **settings: Any) -> Prepare:
    """`settings` are fields of `Prepare`."""
    conf = registry.conf
    resources = conf.resources if conf else ()
    # Those arguments of a resource that are resources themselves; the others keep their defaults.
    offered = {"conn", *(one.name for one in resources)}
    return Prepare(
        root=project.root,
        pythonpath=project.absolute_pythonpath,
        database=project.database,
        transaction=project.transaction,
        orchconf=os.path.join(project.root, conf.path) if conf else None,
        has_connection=uses_get_connection(registry, project),
        resources={
            one.name: tuple(name for name, _ in one.needs if name in offered) for one in resources
        },
        table_version_rows=project.table_version_rows,
        project=project.project if project.memory == "database" else "",
        secrets=project.secrets,
        # The worker may be older than these variables.
        environment=dict(os.environ) if project.env_file else None,
        **settings,
    )


def build_order(step: Step, code: Iterable[str]) -> RunStep:
    """`code` are the files that the tool imports."""
    tool, removal = step.tool, step.removal or Removal()
    return RunStep(
        module=tool.module,
        name=tool.name,
        path=tool.path,
        arguments=build_defaults(tool)
        | {
            bound.param.name: WireArgument(texts=bound.texts, type=bound.param.type)
            for bound in step.arguments
        },
        extra=step.extra,
        resources=tool.resources,
        is_readable=tool.is_readable,
        checks=tool.checks,
        check_resources=tool.check_resources,
        previous=step.previous,
        outputs=tool.outputs,
        code=tuple(code),
        commits_by_itself=tool.commits_by_itself,
        attempt=step.attempt,
        writes_alone=step.writes_alone,
        is_traced=tool.is_traced,
        timeout=tool.timeout,
        drops=removal.drops,
        empties=removal.empties,
        may_drop=removal.may_drop,
        column=tool.column,
        value=tool.value_of_column,
    )


def as_timeout(error: Failure, timeout: float | None, more: str = "") -> Failure:
    """The traceback shows where the tool was, and ends with the timeout: the interrupt was that of orch."""
    message = f"timed out after {timeout:g} s{more}"
    where = error.traceback.removesuffix("KeyboardInterrupt\n")
    traceback = f"{where}{message}\n" if where else ""
    return replace(error, kind="timeout", type="timeout", message=message, traceback=traceback)


def death_note(died: WorkerDied) -> RunNote:
    """The worker died between two tools, or while it closed its resources."""
    is_lost = died.cause == "lost"
    problem = Problem(
        code="worker-died",
        message=died.sentence if is_lost else f"the worker process {died.sentence}",
        hint=UNCLOSED,
        severity="warning" if is_lost else "error",
    )
    return RunNote(problem=problem)


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
