"""How a step that is ready is carried out: one protocol, a module for each way, and a pool that carries out several at
a time, each in a worker process of its own, on this machine or on a far side."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from discover_orch.execution.run_events import Event
from discover_orch.execution.supervisor import Word
from discover_orch.model.tool_events import ToolStarted
from discover_orch.planning.plan import Step

#: Seconds after which a worker is asked again though none of its descriptors is readable.
LONGEST_WAIT = 0.5


class Executor(Protocol):
    """Carries out steps in the order in which they are submitted. It prints nothing and decides no order."""

    @property
    def is_idle(self) -> bool:
        """Whether no submitted step is running or may still start."""

    @property
    def has_room(self) -> bool:
        """Whether another step can be submitted."""

    def submit(self, step: Step) -> None:
        """Carries out `step` after those submitted before it. If one of them fails, declines it."""

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        """What has happened. Waits up to `timeout` seconds for the first event, or until the descriptor `wake` is
        readable."""

    def control(self, word: Word) -> None:
        """`interrupt` and `kill` are for what is running; nothing more is started."""

    def finish(self, *, commits: bool = False) -> None:
        """Closes resources: nothing more will be submitted. `commits`: the run is one transaction, of one worker, and
        is committed first, which `TransactionEnded` says unless the worker dies."""

    @property
    def is_over(self) -> bool:
        """Whether all is closed and ended, and `events` has nothing more to give."""


class OneAtATime(Executor, Protocol):
    """An executor that carries out one step after another, with others beside it."""

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `events` has something."""

    def next_deadline(self, now: float) -> float:
        """When `events` must be called even if nothing is readable: a time as `time.monotonic` gives it."""


class WorkerPool:
    """At most `size` steps at a time. `build` makes what carries out one after another; the `first` is made."""

    def __init__(self, build: Callable[[], OneAtATime], first: OneAtATime, size: int) -> None:
        self._build, self._size = build, size
        self._workers = [first]
        self._poll = select.poll()
        self._polled: set[int] = set()

    @property
    def is_idle(self) -> bool:
        return all(one.is_idle for one in self._workers)

    @property
    def is_over(self) -> bool:
        return all(one.is_over for one in self._workers)

    @property
    def has_room(self) -> bool:
        return len(self._workers) < self._size or any(one.is_idle for one in self._workers)

    def submit(self, step: Step) -> None:
        worker = next((one for one in self._workers if one.is_idle), None)
        if worker is None:
            worker = self._build()
            self._workers.append(worker)
        worker.submit(step)

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        ready = self._wait(timeout, wake)
        for number, worker in enumerate(self._workers, 1):
            if worker in ready and not worker.is_over:
                for event in worker.events(0, wake):
                    is_start = isinstance(event, ToolStarted)
                    yield replace(event, worker=number) if is_start else event

    def _wait(self, timeout: float, wake: int) -> list[OneAtATime]:
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
        for worker in self._workers:
            worker.control(word)

    def finish(self, *, commits: bool = False) -> None:
        for worker in self._workers:
            worker.finish()
