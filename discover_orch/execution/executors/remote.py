"""orch's side of steps that run elsewhere: `RemoteWorker` has the methods of a `Supervisor`, so `LocalExecutor` drives
it as it drives a worker on this machine.

A `FarSide` carries the messages: a command or a Dask cluster. Each step is one attempt there. An attempt of which
nothing more will be heard is lost, and its tool `unknown`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.execution.executors.far_messages import (
    Ended,
    FarEvent,
    Lost,
    Refused,
    Start,
    Word,
    folder_identity,
    installation,
)
from discover_orch.execution.executors.local import ending_note
from discover_orch.execution.supervisor import WorkerEvent
from discover_orch.execution.worker_shutdown import WorkerDied, WorkerEnded
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Failure
from discover_orch.worker.protocol import (
    Committing,
    Declined,
    Finish,
    Order,
    Prepare,
    Recorded,
    RunStep,
    StepFinished,
    StepStarted,
    Warned,
)

#: Seconds after an interrupt until the worker is killed, and until no answer counts as lost. The far side itself needs
#: up to 3 s to end a tool.
TIME_TO_KILL, TIME_TO_ANSWER = 8.0, 20.0
#: Seconds after a second interrupt until no answer counts as lost.
TIME_TO_DIE = 1.0


class RunContext(Struct, frozen=True, kw_only=True):
    """What holds for all attempts of a run. `sources` and `takes_connection` are by module."""

    run: str
    is_remote: bool
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    with_connection: frozenset[str] = frozenset()


class FarSide(Protocol):
    """Carries attempts. Only the main thread calls it, and nothing but `close` waits."""

    name: str  # for messages: "srun", "the Dask cluster"

    def start(self, start: Start) -> None: ...

    def control(self, attempt: str, word: Word) -> None: ...

    def drain(self, attempt: str) -> list[FarEvent]:
        """The new events of an attempt. The last of all is `Ended`, `Lost` or `Refused`."""

    def forget(self, attempt: str) -> None:
        """Ends what is left of the attempt; its events are not wanted any more."""

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `drain` may have something."""

    def next_deadline(self, now: float) -> float:
        """When `drain` must be called even if nothing is readable."""

    def close(self) -> None:
        """Ends everything on the far side."""


class RemoteWorker:
    """The steps of one slot, one after another."""

    def __init__(self, far: FarSide, context: RunContext) -> None:
        self.is_over = False
        self.failures = 0
        self.committing: int | None = None
        self.running: int | None = None
        self._far, self._context = far, context
        self._prepare: Prepare | None = None
        self._sent: int | None = None  # the step that has neither ended nor been declined
        self._attempt: str | None = None  # that has not ended
        self._held: Start | None = None  # until what the step before left is closed
        self._is_finishing = False
        self._events: list[WorkerEvent] = []
        self._interrupted_at: float | None = None
        self._limit = TIME_TO_ANSWER
        self._has_killed = False

    @property
    def unanswered(self) -> tuple[int, ...]:
        return () if self._sent is None or self._sent == self.running else (self._sent,)

    def filenos(self) -> tuple[int, ...]:
        return self._far.filenos()

    def send(self, order: Order) -> None:
        match order:
            case Prepare():
                self._prepare = replace(order, is_remote=self._context.is_remote)
            case RunStep():
                self._sent = order.step
                self._held = self._build_start(order)
                self._start_held()
            case Finish():
                self._is_finishing = True
            case Recorded():
                pass  # an order over there is sent after the last step is recorded
            case _:
                raise AssertionError(f"{order} is not for a worker elsewhere")

    def _start_held(self) -> None:
        """One at a time: a database such as DuckDB lets only one process open its file."""
        if self._held is not None and self._attempt is None:
            self._attempt = self._held.attempt
            self._far.start(self._held)
            self._held = None

    def _build_start(self, order: RunStep) -> Start:
        prepare, context = self._prepare, self._context
        assert prepare is not None, "Prepare comes first"
        shown = masked_url(prepare.database)
        return Start(
            run=context.run,
            attempt=os.urandom(12).hex(),
            near=installation(),
            prepare=replace(prepare, database=shown),
            order=order,
            sources=context.sources.get(order.module, {}),
            takes_connection=order.module in context.with_connection,
            resolves_database=shown != prepare.database,
            folder=folder_identity(prepare.root),
        )

    def events(self, timeout: float | None, wake: int | None = None) -> list[WorkerEvent]:
        """What has arrived. Waits up to `timeout` seconds for the first, or until `wake` is readable."""
        found = self._read()
        if not found and not self.is_over and timeout != 0:
            now = time.monotonic()
            due = min(math.inf if timeout is None else now + timeout, self.next_deadline(now))
            wait_readable(self.filenos(), wake, due - now)
            found = self._read()
        return found

    def interrupt(self) -> None:
        if self._interrupted_at is None and not self.is_over:
            self._interrupted_at = time.monotonic()
            self._control("interrupt")

    def kill(self, reason: str = "") -> None:
        if not self.is_over:
            self._limit, self._has_killed = TIME_TO_DIE, True
            self._interrupted_at = time.monotonic()
            self._control("kill")

    def suspend(self) -> None:
        self._control("suspend")

    def resume(self) -> None:
        self._control("resume")

    def lend_terminal(self) -> bool:
        return False

    def next_deadline(self, now: float) -> float:
        due = self._far.next_deadline(now)
        if self._events or (self._is_finishing and self._attempt is None and not self.is_over):
            return now
        if self._interrupted_at is not None and self._attempt is not None:
            kill_at = math.inf if self._has_killed else TIME_TO_KILL
            due = min(due, self._interrupted_at + min(kill_at, self._limit))
        return due

    def _control(self, word: Word) -> None:
        if self._held is not None and word in ("interrupt", "kill"):
            self._events.append(Declined(step=self._held.order.step))
            self._held = self._sent = None
        if self._attempt is not None:
            self._far.control(self._attempt, word)

    def _read(self) -> list[WorkerEvent]:
        found, self._events = self._events, []
        self._be_patient(found)
        for event in () if self._attempt is None else self._far.drain(self._attempt):
            if self._attempt is not None:
                self._track(event, self._attempt, found)
        self._start_held()
        if self._is_finishing and self._attempt is None and not self.is_over:
            self.is_over = True
            found.append(WorkerEnded())
        return found

    def _be_patient(self, found: list[WorkerEvent]) -> None:
        """After an interrupt, not for ever."""
        if self._interrupted_at is None or self._attempt is None:
            return
        waited = time.monotonic() - self._interrupted_at
        if waited >= self._limit:
            attempt = self._attempt
            self._track(Lost(sentence=f"{self._far.name} did not answer"), attempt, found)
            self._far.forget(attempt)
        elif waited >= TIME_TO_KILL and not self._has_killed:
            self._has_killed = True
            self._control("kill")

    def _track(self, event: FarEvent, attempt: str, found: list[WorkerEvent]) -> None:
        is_latest = self._held is None  # else its step has ended
        match event:
            case Ended():
                self._attempt = None
                if is_latest and self._sent is not None:
                    self._lose(f"{self._far.name} ended without saying how the tool ended", found)
                return
            case Lost(sentence=sentence):
                self._attempt = None
                if is_latest and self._sent is not None:
                    self._lose(sentence, found)
                elif not self._has_killed:
                    found.append(
                        Warned(
                            message=f"the resources of a worker may not have been closed: {sentence}"
                        )
                    )
                return
            case Refused(message=message, hint=hint):
                self._attempt = None
                if self._sent is None:
                    return
                failure = Failure(kind="crash", type="refused", message=message, hint=hint)
                event = StepFinished(step=self._sent, status="failed", duration=0.0, error=failure)
            case WorkerEnded(sentence=sentence, threads=threads):
                if sentence or threads:
                    said = ending_note(sentence, threads).problem
                    found.append(Warned(message=said.message, hint=said.hint))
                return
            case _:
                pass
        match event:
            case StepStarted(step=step):
                self.running = step
            case Committing(step=step):
                self.committing = step
            case StepFinished(status=status):
                self.running = self.committing = self._sent = None
                self.failures += status == "failed"
            case Declined():
                self._sent = None
            case WorkerDied():
                if self._sent is None or not is_latest:  # it had done its work
                    return
                self._attempt = None
                self.is_over = True
                self._far.forget(attempt)
            case _:
                pass
        found.append(event)

    def _lose(self, sentence: str, found: list[WorkerEvent]) -> None:
        self.is_over = True
        self.running = self._sent
        found.append(WorkerDied(sentence=sentence, step=self._sent, is_lost=True))


def wait_readable(fds: Iterable[int], wake: int | None, seconds: float) -> None:
    import select

    poll = select.poll()
    for fd in (*fds, *(() if wake is None else (wake,))):
        poll.register(fd, select.POLLIN)
    poll.poll(None if seconds == math.inf else max(0.0, seconds) * 1000 + 0.5)
