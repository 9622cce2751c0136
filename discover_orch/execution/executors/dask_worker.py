"""What runs in a Dask worker: `run_attempt` as a task, all else through `Client.run`, which is answered at any time.

A task that Dask repeats greets once more, and gets no answer. A tool is ended, which undoes its work, when this worker
has lost its scheduler: orch calls it `unknown` then, and a resume may run it again. It is ended too when nothing was
heard for a minute of orch, which calls `ping` every few seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from threading import Lock

from distributed import Worker, get_worker
from distributed.core import Status

from discover_orch.execution.executors.far_side import (
    FromFar,
    Mailbox,
    encode_from_far,
    serve,
)

#: Seconds without a ping after which orch is taken to be gone.
LEASE = 60.0
#: Seconds between two looks at what this worker still has.
WATCH_INTERVAL = 0.2

_tasks: dict[str, _Task] = {}
_lock = Lock()


class _Task:
    def __init__(self, run: str, worker: Worker) -> None:
        self.run, self.worker = run, worker
        self.inbox = Mailbox[bytes]()
        self.heard = time.monotonic()  # when orch was last heard of

    def is_lost(self) -> bool:
        """Whether the run is gone. A worker without a scheduler closes, but waits for its tasks first."""
        is_closing = self.worker.status in (Status.closing, Status.closed, Status.failed)
        return is_closing or time.monotonic() - self.heard > LEASE


def run_attempt(run: str, attempt: str) -> None:
    """The task of one attempt. What it says are events of the topic `run`, with a name for this task."""
    worker, name = get_worker(), os.urandom(8).hex()

    def send(message: FromFar) -> None:
        line = encode_from_far(message).decode()
        worker.log_event(run, (attempt, name, worker.address, line))

    task = _Task(run, worker)
    with _lock:
        _tasks[name] = task
    try:
        serve(task.inbox, send, interval=WATCH_INTERVAL, is_gone=task.is_lost)
    finally:
        with _lock:
            del _tasks[name]
        task.inbox.close()


def deliver(name: str, line: bytes) -> None:
    """Passes a line on to a task, if it still runs here."""
    with _lock:
        task = _tasks.get(name)
    if task is not None:
        task.inbox.put(line)


def ping(run: str) -> Sequence[str]:
    """orch is there. The tasks of the run that are carried out here."""
    with _lock:
        found = {name: task for name, task in _tasks.items() if task.run == run}
    for task in found.values():
        task.heard = time.monotonic()
    return [*found]
