"""What runs in a Dask worker: `run_attempt` as a task, all else through `Client.run`, which is answered at any time.

An attempt starts only if it can take its token, so a task that Dask repeats starts nothing. A tool is ended, which
undoes its work, when this worker has lost its scheduler: orch calls it `unknown` then, and a resume may run it again.
It is ended too when nothing was heard for a minute of orch, which calls `ping` every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock, Thread

import msgspec
from distributed import Worker, get_worker
from distributed.core import Status
from distributed.utils import sync

from discover_orch.execution.executors import Word
from discover_orch.execution.executors.far_side import (
    GONE,
    Ended,
    FarEvent,
    Heard,
    Lost,
    Mailbox,
    Refused,
    Said,
    Start,
    carry_out,
    decode_far,
    encode_said,
    installation,
)

#: Seconds without a ping after which orch is taken to be gone.
LEASE = 60.0
#: Seconds for which the scheduler is asked for a token. It is there before the task is submitted.
TOKEN_TIMEOUT = 2.0
#: Seconds between two looks at what this worker still has.
WATCH_INTERVAL = 0.2
TAKEN = "the Dask worker that ran it was lost"

_running: dict[str, _Attempt] = {}
_lock = Lock()
_has_watch = False


class _Attempt:
    def __init__(self, run: str, worker: Worker) -> None:
        self.run, self.worker = run, worker
        self.controls = Mailbox[Heard]()
        self.heard = time.monotonic()  # when orch was last heard of

    def is_lost(self, now: float) -> bool:
        """Whether the run is gone. A worker without a scheduler closes, but waits for its tasks first."""
        is_closing = self.worker.status in (Status.closing, Status.closed, Status.failed)
        return is_closing or now - self.heard > LEASE


def run_attempt(request: bytes, token: str, topic: str) -> None:
    """The task of one attempt. What it says are events of the topic."""
    worker = get_worker()

    def send(events: Sequence[FarEvent]) -> None:
        said = Said(attempt=attempt, events=tuple(events), by=worker.address)
        worker.log_event(topic, encode_said(said).decode())

    attempt = token
    try:
        start = decode_far(request, Start)
    except ValueError as error:
        send([Refused(message=f"the order is not readable by the Dask worker: {error}")])
        return
    attempt = start.attempt
    if not _take(token, worker):
        send([Lost(sentence=TAKEN)])
        return
    one = _Attempt(start.run, worker)
    with _lock:
        _running[attempt] = one
    _start_watch()
    try:
        send(())  # which worker it is
        carry_out(start, one.controls, send)
        send([Ended()])
    finally:
        with _lock:
            del _running[attempt]
        one.controls.close()


def deliver(attempt: str, word: Word) -> bool:
    """Passes on what is asked of an attempt; whether it runs here."""
    with _lock:
        found = _running.get(attempt)
    if found is not None:
        found.controls.put(word)
    return found is not None


def ping(run: str) -> list[str]:
    """orch is there. The attempts of the run that are carried out here."""
    with _lock:
        found = {attempt: one for attempt, one in _running.items() if one.run == run}
    for one in found.values():
        one.heard = time.monotonic()
    return [*found]


def describe() -> tuple[bytes, str]:
    """The `Installation`, and the version of distributed."""
    return msgspec.json.encode(installation()), version("distributed")


def _take(token: str, worker: Worker) -> bool:
    try:
        sync(worker.loop, worker.scheduler.queue_get, name=token, timeout=TOKEN_TIMEOUT)
    except Exception:  # taken, or released when orch ended
        return False
    return True


def _start_watch() -> None:
    global _has_watch
    with _lock:
        if not _has_watch:
            _has_watch = True
            Thread(target=_watch, daemon=True, name="orch-watch").start()


def _watch() -> None:
    """Ends the tools whose runs are lost."""
    while True:
        time.sleep(WATCH_INTERVAL)
        now = time.monotonic()
        with _lock:
            for one in _running.values():
                if one.is_lost(now):
                    one.controls.put(GONE)
