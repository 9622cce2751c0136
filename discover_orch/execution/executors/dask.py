"""Runs each step as one task of a Dask cluster, and refuses a cluster where that would not work.

orch decides the order: a step is submitted when it may start, never more of them than the cluster has threads. What
a task says comes as events of a topic, and what orch says goes through `Client.run`. Calls that wait are made in a
thread of this module; they tell the main thread through a pipe.

A task that Dask repeats greets once more, and gets no answer. A tool is ended, which undoes its work, when its Dask
worker has lost the scheduler: orch calls it `unknown` then, and a resume may run it again. It is ended too when its
worker heard nothing for a minute of orch, which calls `ping` every few seconds.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from distributed import Client, Future, Worker, get_worker
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend
from distributed.core import Status

from discover_orch.execution.executors.far_side import (
    GONE,
    FromFar,
    Greeting,
    Mailbox,
    decode_from_far,
    serve,
)
from discover_orch.execution.supervisor import Word, WorkerDied, WorkerEnded
from discover_orch.model.errors import UsageError
from discover_orch.worker.protocol import encode_line

#: Seconds to reach a scheduler, and for a first worker.
TIME_TO_CONNECT, TIME_FOR_WORKERS = 10, 10
#: Seconds between two pings, and the number of them that a worker may miss.
PING, MOST_MISSED = 2.0, 2
#: Seconds until an empty cluster must have a worker again.
TIME_TO_REFILL = 60.0
#: Seconds to leave the cluster at the end of a run, and one that does not answer.
TIME_TO_CLOSE, TIME_TO_LEAVE = 5.0, 1.0
#: Seconds without a ping after which orch is taken to be gone.
LEASE = 60.0
#: Seconds between two looks at what this worker still has.
WATCH_INTERVAL = 0.2
DISCONNECTED = "the connection to the Dask scheduler was lost"


class _Task:
    """One attempt. `task` and `worker` are those of the first that greeted: a later one is a repetition by Dask, which
    means that the first is lost."""

    def __init__(self, side: DaskSide, attempt: str) -> None:
        self._side, self._attempt = side, attempt
        self.messages: list[FromFar] = []
        self.task = self.worker = ""
        self.future: Future[None] | None = None
        self.missed = 0
        self.is_over = False

    def send(self, line: bytes) -> None:
        self._side.deliver(self.worker, self.task, line)

    def stop(self, word: Word) -> None:
        self.lose("it was stopped")

    def drain(self) -> list[FromFar]:
        self._side.read()
        found, self.messages = self.messages, []
        return found

    def filenos(self) -> tuple[int, ...]:
        return (self._side.wake,)

    def next_deadline(self, now: float) -> float:
        return now if self.messages else math.inf

    def lose(self, sentence: str) -> None:
        if not self.is_over:
            self.messages.append(WorkerDied(sentence=sentence, cause="lost"))
            self.close()

    def close(self) -> None:
        self.is_over = True
        self._side.forget(self._attempt)
        if self.future is not None:
            self.future.release()  # one that is held runs again if its worker is lost


class DaskSide:
    """The attempts of one run on a cluster."""

    is_remote = True

    def __init__(self, client: Client, address: str, jobs: int) -> None:
        self.name, self.shown, self.jobs = "the Dask cluster", f"dask: {address}", jobs
        self._client = client
        self._run = f"orch-{os.urandom(12).hex()}"
        self._tasks: dict[str, _Task] = {}
        self._news = Mailbox[Callable[[], None]]()  # what to do in the main thread
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()  # in the thread
        self._is_lost = False  # the connection to the scheduler
        self._is_closing = False
        self._empty_since: float | None = None
        client.subscribe_topic(self._run, self._note_said)
        Thread(target=self._make_calls, daemon=True, name="orch-dask").start()

    # Called by the main thread.

    def open(self, title: str) -> _Task:
        attempt = os.urandom(12).hex()
        made = self._tasks[attempt] = _Task(self, attempt)
        try:
            if self._is_lost or self._client.status != "running":
                raise ConnectionError
            made.future = self._client.submit(
                run_attempt,
                self._run,
                attempt,
                key=f"orch-{title}-{attempt}",
                pure=False,
                retries=0,
            )
        except Exception:
            made.lose(DISCONNECTED)
            return made
        made.future.add_done_callback(lambda future: self._note_end(attempt, future))
        return made

    def deliver(self, worker: str, task: str, line: bytes) -> None:
        call = partial(self._client.run, deliver, task, line)
        self._calls.put(partial(call, workers=[worker], on_error="ignore"))

    def forget(self, attempt: str) -> None:
        self._tasks.pop(attempt, None)

    @property
    def wake(self) -> int:
        """The descriptor that is readable when there is news."""
        return self._news.wake

    def close(self) -> None:
        self._is_closing = True
        closing = Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(TIME_TO_LEAVE if self._is_lost else TIME_TO_CLOSE)

    def read(self) -> None:
        for call in self._news.drain():
            call()

    def _hear(self, attempt: str, task: str, worker: str, message: FromFar) -> None:
        one = self._tasks.get(attempt)
        if isinstance(message, Greeting) and one is not None and not one.task:
            one.task, one.worker = task, worker
        if one is None or one.task != task:
            self.deliver(worker, task, GONE)  # it waits for an answer
            if one is not None:
                one.lose(f"its Dask worker {one.worker} was lost")
            return
        one.messages.append(message)
        if isinstance(message, WorkerDied | WorkerEnded):
            one.close()

    def _end(self, attempt: str, status: str, error: str) -> None:
        """The task has ended. What one that has greeted said comes before, or soon; else the pings miss it."""
        one = self._tasks.get(attempt)
        if one is None:
            return
        if status in ("cancelled", "lost"):
            self._disconnect()
        elif status == "error":
            one.lose(f"its Dask task ended with {error}")
        elif not one.task:
            one.lose("its Dask task ended")

    def _disconnect(self) -> None:
        self._is_lost = True
        for one in [*self._tasks.values()]:
            one.lose(DISCONNECTED)

    def _note_ping(self, alive: dict[str, list[str]], sent: float) -> None:
        """Which workers answered, and what they carry out."""
        self._empty_since = None if alive else (self._empty_since or sent)
        is_empty = self._empty_since is not None and sent - self._empty_since > TIME_TO_REFILL
        for one in [*self._tasks.values()]:
            if one.task:
                one.missed = 0 if one.task in alive.get(one.worker, ()) else one.missed + 1
                if one.missed > MOST_MISSED:
                    one.lose(f"its Dask worker {one.worker} was lost")
            elif is_empty:
                one.lose("the Dask cluster lost its workers")

    # Called by other threads.

    def _note_said(self, event: tuple[float, Any]) -> None:
        with contextlib.suppress(ValueError):
            attempt, task, worker, line = event[1]
            message = decode_from_far(line.encode())
            self._news.put(lambda: self._hear(attempt, task, worker, message))

    def _note_end(self, attempt: str, future: Future[None]) -> None:
        status, error = str(future.status), ""
        if status == "error":
            raised = future.exception()
            error = f"{type(raised).__name__}: {raised}"
        self._news.put(lambda: self._end(attempt, status, error))

    def _make_calls(self) -> None:
        """Calls, one after another, and pings, in a thread that ends with the process."""
        next_ping = 0.0
        while not self._is_closing:
            with contextlib.suppress(Exception):  # what is lost is found out by the ping
                try:
                    call = self._calls.get(timeout=max(0.0, next_ping - time.monotonic()))
                except Empty:
                    next_ping = time.monotonic() + PING
                    self._ping()
                else:
                    call()

    def _ping(self) -> None:
        sent = time.monotonic()
        try:
            alive = self._client.run(ping, self._run, on_error="ignore")
        except Exception:
            if self._client.status != "running" and not self._is_closing:
                self._news.put(self._disconnect)
            return
        self._news.put(partial(self._note_ping, alive, sent))

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)


def open_dask(address: str, jobs: int | None, *, is_guest: bool) -> DaskSide:
    """The cluster at this address, for at most so many steps at once; None for its number of threads. The process of a
    guest belongs to another program, whose logging and warnings stay as they are. Raises UsageError."""
    if not is_guest:
        _silence()
    client, threads = _connect(address)
    return DaskSide(client, address, threads if jobs is None else min(jobs, threads))


def _silence() -> None:
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # orch says what is lost
    warnings.filterwarnings("ignore", module="distributed")


def _connect(address: str) -> tuple[Client, int]:
    """A client, and the number of the cluster's threads. Raises UsageError."""
    try:
        # A client that fails at this would be left half made.
        get_backend(parse_address(address)[0])
        client = Client(address, timeout=TIME_TO_CONNECT, set_as_default=False, name="orch")
    except Exception as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError.of(
            "executor",
            f"the Dask scheduler {address} cannot be reached: {said}",
            "check the address, and that the scheduler runs: tcp://HOST:8786",
        ) from None
    try:
        return client, _count_threads(client, address)
    except BaseException:
        client.close(timeout=1)
        raise


def _count_threads(client: Client, address: str) -> int:
    try:
        client.wait_for_workers(1, timeout=TIME_FOR_WORKERS)
    except TimeoutError:
        raise UsageError.of(
            "executor",
            f"the Dask cluster {address} has no workers",
            "start workers; give an adaptive cluster a minimum of 1",
        ) from None
    for worker, answer in client.run(ping, "", on_error="return").items():
        if isinstance(answer, Exception):
            raise UsageError.of(
                "executor",
                f"the Dask worker {worker} cannot load discover_orch: {answer}",
                "install the same discover-orch[dask] where the workers run",
            )
    threads: dict[str, int] = client.nthreads()
    return max(1, sum(threads.values()))


# What runs in a Dask worker: `run_attempt` as a task, all else through `Client.run`, which is answered at any time.

_running: dict[str, _Running] = {}
_lock = Lock()


class _Running:
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
        line = encode_line(message).decode()
        worker.log_event(run, (attempt, name, worker.address, line))

    task = _Running(run, worker)
    with _lock:
        _running[name] = task
    try:
        serve(task.inbox, send, interval=WATCH_INTERVAL, is_gone=task.is_lost)
    finally:
        with _lock:
            del _running[name]
        task.inbox.close()


def deliver(name: str, line: bytes) -> None:
    """Passes a line on to a task, if it still runs here."""
    with _lock:
        task = _running.get(name)
    if task is not None:
        task.inbox.put(line)


def ping(run: str) -> Sequence[str]:
    """orch is there. The tasks of the run that are carried out here."""
    with _lock:
        found = {name: task for name, task in _running.items() if task.run == run}
    for task in found.values():
        task.heard = time.monotonic()
    return [*found]
