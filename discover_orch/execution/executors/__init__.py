"""How the steps of a run are carried out: by an executor, at most so many at a time, each in a worker process of its
own, on this machine or on a far side."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from discover_orch.execution.executors.worker_driver import WorkerDriver
from discover_orch.execution.run_events import Event
from discover_orch.execution.supervisor import Word
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool_events import ToolStarted
from discover_orch.planning.plan import Step

#: Seconds after which a worker is asked again though none of its descriptors is readable.
LONGEST_WAIT = 0.5


class Executor:
    """Carries out steps, at most `size` at a time. It prints nothing and decides no order. `build` makes what carries
    out one after another; the `first` is made."""

    def __init__(self, build: Callable[[], WorkerDriver], first: WorkerDriver, size: int) -> None:
        self._build, self._size = build, size
        self._workers = [first]
        self._poll = select.poll()
        self._polled: set[int] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no submitted step is running or may still start."""
        return all(one.is_idle for one in self._workers)

    @property
    def is_over(self) -> bool:
        """Whether all is closed and ended, and `events` has nothing more to give."""
        return all(one.is_over for one in self._workers)

    @property
    def has_room(self) -> bool:
        """Whether another step can be submitted."""
        return len(self._workers) < self._size or any(one.is_idle for one in self._workers)

    def submit(self, step: Step) -> None:
        worker = next((one for one in self._workers if one.is_idle), None)
        if worker is None:
            worker = self._build()
            self._workers.append(worker)
        worker.submit(step)

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        """What has happened. Waits up to `timeout` seconds for the first event, or until the descriptor `wake` is
        readable."""
        ready = self._wait(timeout, wake)
        for number, worker in enumerate(self._workers, 1):
            if worker in ready and not worker.is_over:
                for event in worker.events():
                    is_start = isinstance(event, ToolStarted)
                    yield replace(event, worker=number) if is_start else event

    def _wait(self, timeout: float, wake: int) -> list[WorkerDriver]:
        """The workers that may have something: all of them, if none says so for long."""
        now = time.monotonic()
        due = min((one.next_deadline(now) for one in self._workers), default=now)
        wait = max(0.0, min(timeout, LONGEST_WAIT, due - now))
        fds = [(one, one.filenos()) for one in self._workers]  # several may wait for the same one
        wanted = {wake, *(fd for _, theirs in fds for fd in theirs)}
        if wanted != self._polled:
            self._poll, self._polled = select.poll(), wanted
            for fd in wanted:
                self._poll.register(fd, select.POLLIN)
        readable = {fd for fd, _ in self._poll.poll(wait * 1000)}
        ready = [one for one, theirs in fds if not readable.isdisjoint(theirs)]
        if not ready or time.monotonic() >= due:
            return self._workers
        return ready

    def control(self, word: Word) -> None:
        """`interrupt` and `kill` are for what is running; nothing more is started."""
        for worker in self._workers:
            worker.control(word)

    def finish(self, *, commits: bool = False, records: tuple[SuccessRecord, ...] = ()) -> bool:
        """Closes resources: nothing more will be submitted. `commits`: the run is one transaction, of one worker, and
        is committed first, which `TransactionEnded` says unless the worker dies. Whether a worker keeps the `records`
        in the database."""
        for worker in self._workers:
            if worker.finish(commits=commits, records=records):
                records = ()
        return not records
