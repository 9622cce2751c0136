"""What runs in a Dask worker: `run_attempt` as a task, all else through `Client.run`, which is answered at any time.

An attempt starts only if it can take its token, so a task that Dask repeats starts nothing. orch calls `ping` every
few seconds. A run of which nothing has been heard for a minute is over: its tools are ended, which undoes
their work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock, Thread

import msgspec
from distributed import Worker, get_worker
from distributed.utils import sync

from discover_orch.execution.executors.far_messages import (
    Ended,
    FarEvent,
    Lost,
    Refused,
    Said,
    decode_start,
    encode_said,
    installation,
)
from discover_orch.execution.executors.far_side import GONE, Controls, KeptWorkers, carry_out
from discover_orch.worker.protocol import Closed

#: Seconds without a ping after which orch is taken to be gone.
LEASE = 60.0
#: Seconds for which the scheduler is asked for a token. It is there before the task is submitted.
TOKEN_TIMEOUT = 2.0
TAKEN = "the Dask worker that ran it was lost"

_kept = KeptWorkers()
_running: dict[str, tuple[str, Controls]] = {}  # attempt → run and its controls
_heard: dict[str, float] = {}  # run → when orch was last heard of
_lock = Lock()
_has_watch = False


def run_attempt(request: bytes, token: str, topic: str) -> None:
    """The task of one attempt. What it says are events of the topic."""
    worker = get_worker()

    def send(events: Sequence[FarEvent]) -> None:
        said = Said(attempt=attempt, events=tuple(events), by=worker.address)
        worker.log_event(topic, encode_said(said).decode())

    attempt = token
    try:
        start = decode_start(request)
    except ValueError as error:
        send([Refused(message=f"the order is not readable by the Dask worker: {error}")])
        return
    attempt = start.attempt
    if not _take(token, worker):
        send([Lost(sentence=TAKEN)])
        return
    controls = Controls()
    with _lock:
        _running[attempt] = start.run, controls
        _heard[start.run] = time.monotonic()
    _start_watch()
    try:
        send(())  # which worker it is
        carry_out(start, controls, send, kept=_kept)
        send([Ended()])
    finally:
        with _lock:
            del _running[attempt]
        controls.close()


def deliver(attempt: str, word: str) -> bool:
    """Passes on what is asked of an attempt; whether it runs here."""
    with _lock:
        found = _running.get(attempt)
    if found is not None:
        found[1].put(word)
    return found is not None


def ping(run: str) -> list[str]:
    """orch is there. The attempts of the run that are carried out here."""
    with _lock:
        _heard[run] = time.monotonic()
        return [attempt for attempt, (one, _) in _running.items() if one == run]


async def close_run(run: str) -> bytes:
    """Ends the idle workers of the run; what closing their resources gave, as a `Said`. In a thread, since it takes as
    long as the user's code takes."""
    with _lock:
        _heard.pop(run, None)
    closed = await asyncio.to_thread(_kept.close_run, run)
    events = [one for one in closed if isinstance(one, Closed)]
    return encode_said(Said(attempt="", events=tuple(events)))


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
    """Ends what belongs to runs that are over."""
    while True:
        time.sleep(5)  # nothing tells of the end of a process on another machine
        now = time.monotonic()
        with _lock:
            over = {run for run, heard in _heard.items() if now - heard > LEASE}
            gone = [controls for run, controls in _running.values() if run in over]
            for run in over:
                del _heard[run]
        for controls in gone:
            controls.put(GONE)
        with contextlib.suppress(Exception):
            _kept.close_idle()
