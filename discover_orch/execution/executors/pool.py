"""Carries out steps in several worker processes on this machine, each with its own connection and resources."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

from discover_orch.execution.events import Event
from discover_orch.execution.executors.local import LocalExecutor
from discover_orch.execution.supervisor import Supervisor, keep_alive
from discover_orch.planning.plan import Step
from discover_orch.worker.forks import Forks
from discover_orch.worker.protocol import Prepare

#: Seconds after which a worker is asked again though none of its descriptors is readable.
LONGEST_WAIT = 0.5


class WorkerPool:
    """At most `size` steps at a time. `first` is a worker that was started before, if any; the others are `forks`, as
    far as there are enough."""

    def __init__(self, prepare: Prepare, first: Supervisor | None, forks: Forks, size: int) -> None:
        self._prepare = prepare
        self._forks = forks
        self._size = size
        self._workers = [LocalExecutor(prepare, first or claim_worker(forks))]

    @property
    def is_idle(self) -> bool:
        return all(one.is_idle for one in self._workers)

    @property
    def is_over(self) -> bool:
        return not self._forks.pids and all(one.is_over for one in self._workers)

    def submit(self, step: Step) -> None:
        worker = next((one for one in self._workers if one.is_idle), None)
        if worker is None:
            assert len(self._workers) < self._size, "no more steps than workers are submitted"
            worker = self._start()
            self._workers.append(worker)
        worker.submit(step)

    def _start(self) -> LocalExecutor:
        return LocalExecutor(self._prepare, claim_worker(self._forks))

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        for worker in self._wait(timeout, wake):
            if not worker.is_over:
                yield from worker.events(0, wake)

    def _wait(self, timeout: float, wake: int) -> list[LocalExecutor]:
        """The workers that may have something: all of them, if none says so for long."""
        now = time.monotonic()
        due = min((one.next_deadline(now) for one in self._workers), default=now)
        wait = max(0.0, min(timeout, LONGEST_WAIT, due - now))
        owners = {fd: one for one in self._workers for fd in one.filenos()}
        poll = select.poll()
        for fd in (wake, *owners):
            poll.register(fd, select.POLLIN)
        ready = [owners[fd] for fd, _ in poll.poll(wait * 1000) if fd in owners]
        now = time.monotonic()
        if not ready or now >= due:
            return [*self._workers]
        return [*dict.fromkeys(ready)]

    def interrupt(self) -> None:
        for worker in self._workers:
            worker.interrupt()

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def suspend(self) -> None:
        for worker in self._workers:
            worker.suspend()

    def resume(self) -> None:
        for worker in self._workers:
            worker.resume()

    def finish(self) -> None:
        self._forks.close()
        for worker in self._workers:
            worker.finish()


def claim_worker(forks: Forks) -> Supervisor | None:
    """The next worker of `forks`; None if there is none left. The others are no orphans to be ended."""
    keep_alive(forks.pids)
    interpreter = forks.claim()
    keep_alive(forks.pids)
    return None if interpreter is None else Supervisor.start(interpreter=interpreter)
