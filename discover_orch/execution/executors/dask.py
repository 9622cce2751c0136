"""Runs each step as one task of a Dask cluster, and refuses a cluster where that would not work.

orch decides the order: a step is submitted when it may start, never more of them than the cluster has threads. Each
attempt has a key of its own and a token, an item in a queue of the scheduler that its task must take. So orch can also
take the token back: then the attempt has not started and never will. Calls that wait are made in threads of this
module; they tell the main thread through a pipe.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from queue import SimpleQueue
from threading import Event as ThreadEvent
from threading import Thread
from typing import Any

import msgspec
from distributed import Client, Future, Queue
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend

from discover_orch.execution.executors import Word, dask_worker
from discover_orch.execution.executors.far_side import (
    Ended,
    FarEvent,
    Installation,
    Lost,
    Mailbox,
    Refused,
    Said,
    Start,
    decode_far,
    find_difference,
    installation,
    is_last,
)
from discover_orch.model.errors import UsageError
from discover_orch.model.run_events import ToolDeclined
from discover_orch.worker.protocol import encode_line

#: Seconds to reach a scheduler, and for a first worker.
TIME_TO_CONNECT, TIME_FOR_WORKERS = 10, 10
#: Seconds between two pings, and the number of them that a worker may miss.
PING, MOST_MISSED = 2.0, 2
#: Seconds from the end of a task until what it said must have come, and until an empty cluster has a worker again.
TIME_TO_HEAR, TIME_TO_REFILL = 10.0, 60.0
#: Seconds to leave the cluster at the end of a run, and one that does not answer.
TIME_TO_CLOSE, TIME_TO_LEAVE = 5.0, 1.0
DISCONNECTED = "the connection to the Dask scheduler was lost"


class _Attempt:
    def __init__(self, side: DaskSide, start: Start) -> None:
        self.start, self._side = start, side
        self.token: Queue | None = None
        self.future: Future[None] | None = None
        self.worker = ""  # the address of the one that has started it
        self.events: list[FarEvent] = []
        self.is_over = False
        self.has_stopped = False  # orch has taken its token back
        self.words: list[Word] = []  # asked of it before it was known to have started
        self.done_at: float | None = None
        self.missed = 0

    def control(self, word: Word) -> None:
        if not self.is_over:
            self._side.pass_on(self, word)

    def drain(self) -> list[FarEvent]:
        self._side.read()
        found, self.events = self.events, []
        if any(map(is_last, found)):
            self.forget()
        return found

    def filenos(self) -> tuple[int, ...]:
        return (self._side.wake,)

    def next_deadline(self, now: float) -> float:
        if self.events:
            return now
        return math.inf if self.done_at is None else self.done_at + TIME_TO_HEAR

    def forget(self) -> None:
        self.is_over = True
        self._side.release(self)


class DaskSide:
    """The attempts of one run on a cluster with so many `threads`."""

    def __init__(self, client: Client, threads: int) -> None:
        self.name = "the Dask cluster"
        self.threads = threads
        self._client = client
        self._topic = f"orch-{os.urandom(12).hex()}"
        self._attempts: dict[str, _Attempt] = {}
        self._run = ""
        self._news = Mailbox[Callable[[], None]]()  # what to do in the main thread
        self._calls = _Calls()
        self._is_lost = False  # the connection to the scheduler
        self._is_closing = ThreadEvent()
        self._empty_since: float | None = None
        client.subscribe_topic(self._topic, self._note_said)

    # Called by the main thread.

    def start(self, start: Start) -> _Attempt:
        if not self._run:
            self._run = start.run
            Thread(target=self._ping, daemon=True, name="orch-ping").start()
        one = self._attempts[start.attempt] = _Attempt(self, start)
        if self._is_lost:
            self._note_stop(one, DISCONNECTED)
        else:
            self._calls.submit(self._launch, one)
        return one

    def pass_on(self, one: _Attempt, word: Word) -> None:
        if one.worker:
            self._calls.submit(self._deliver, one, word)
        else:
            one.words.append(word)
            if word in ("interrupt", "kill"):
                self._calls.submit(self._take_back, one)

    def release(self, one: _Attempt) -> None:
        if self._attempts.pop(one.start.attempt, None) is not None:
            self._calls.submit(self._release, one)

    @property
    def wake(self) -> int:
        """The descriptor that is readable when there is news."""
        return self._news.wake

    def close(self) -> None:
        self._is_closing.set()
        closing = Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(TIME_TO_LEAVE if self._is_lost else TIME_TO_CLOSE)

    def read(self) -> None:
        for call in self._news.drain():
            call()
        now = time.monotonic()
        for one in self._attempts.values():
            if one.done_at is not None and now - one.done_at > TIME_TO_HEAR:
                self._lose(one, "its task ended without a result")

    def _lose(self, one: _Attempt, sentence: str) -> None:
        if not one.is_over:
            one.is_over = True
            one.events.append(Lost(sentence=sentence))

    def _hear(self, said: Said) -> None:
        one = self._attempts.get(said.attempt)
        if one is None or one.is_over:
            return
        if not one.worker and not any(isinstance(event, Lost) for event in said.events):
            one.worker = said.by
            for word in one.words:
                self._calls.submit(self._deliver, one, word)
        one.events.extend(said.events)
        one.is_over = any(isinstance(event, Ended | Lost | Refused) for event in said.events)

    def _note_end(self, one: _Attempt, status: str, error: str) -> None:
        """Its task has ended. What it said comes before, or soon."""
        if one.is_over or one.has_stopped:
            return
        if status == "finished":
            one.done_at = time.monotonic()
        elif status in ("cancelled", "lost"):
            self._note_disconnected()
        elif one.worker:
            self._lose(one, f"its Dask worker was lost: {error}")
        else:
            one.words.append("interrupt")
            self._calls.submit(self._take_back, one, error)

    def _note_disconnected(self) -> None:
        self._is_lost = True
        for one in self._attempts.values():
            self._lose(one, DISCONNECTED)

    def _note_stop(self, one: _Attempt, error: str) -> None:
        """Its token was taken back."""
        if one.is_over:
            return
        one.is_over = one.has_stopped = True
        if error:
            one.events.append(Refused(message=f"{self.name} did not start it: {error}"))
        else:
            one.events += [ToolDeclined(module=one.start.order.module), Ended()]

    def _note_ping(self, alive: dict[str, list[str]], sent: float) -> None:
        """Which workers answered, and what they carry out. Attempts that began or ended since are left alone."""
        self._empty_since = None if alive else (self._empty_since or sent)
        is_empty = self._empty_since is not None and sent - self._empty_since > TIME_TO_REFILL
        for attempt, one in self._attempts.items():
            if one.is_over:
                continue
            if one.worker:
                is_there = attempt in alive.get(one.worker, ())
                one.missed = 0 if is_there else one.missed + 1
                if one.missed > MOST_MISSED:
                    self._lose(one, f"its Dask worker {one.worker} was lost")
            elif is_empty:
                self._calls.submit(self._take_back, one, "the cluster no longer has workers")

    # Called by other threads.

    def _note_said(self, event: tuple[float, Any]) -> None:
        with contextlib.suppress(ValueError):
            said = decode_far(str(event[1]).encode(), Said)
            self._news.put(lambda: self._hear(said))

    def _launch(self, one: _Attempt) -> None:
        try:
            if self._client.status != "running":
                self._news.put(lambda: self._note_stop(one, DISCONNECTED))
                return
            token = f"orch-{os.urandom(12).hex()}"
            one.token = Queue(token, client=self._client)
            one.token.put(1)
            one.future = self._client.submit(
                dask_worker.run_attempt,
                encode_line(one.start),
                token,
                self._topic,
                key=f"orch-{one.start.order.name}-{one.start.attempt}",
                pure=False,
                retries=0,
            )
            one.future.add_done_callback(lambda done: self._end(one, done))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if one.future is None:
                self._news.put(lambda: self._note_stop(one, said))
            else:
                self._news.put(lambda: self._lose(one, said))

    def _end(self, one: _Attempt, future: Future[None]) -> None:
        status = future.status
        error = ""
        if status == "error":
            raised = future.exception()
            error = f"{type(raised).__name__}: {raised}"
        self._news.put(lambda: self._note_end(one, str(status), error))

    def _deliver(self, one: _Attempt, word: Word) -> None:
        with contextlib.suppress(Exception):  # it is lost then, as the ping finds out
            self._client.run(
                dask_worker.deliver,
                one.start.attempt,
                word,
                workers=[one.worker],
                on_error="ignore",
            )

    def _take_back(self, one: _Attempt, error: str = "") -> None:
        if one.token is None or one.has_stopped:
            return
        try:
            one.token.get(timeout="100 ms")
        except Exception:  # it has started
            return
        self._news.put(lambda: self._note_stop(one, error))
        if one.future is not None:
            with contextlib.suppress(Exception):
                one.future.cancel()

    def _release(self, one: _Attempt) -> None:
        """At once: a future that is held runs again if its worker is lost."""
        with contextlib.suppress(Exception):
            if one.future is not None:
                one.future.release()
            if one.token is not None:
                one.token.close()

    def _ping(self) -> None:
        while not self._is_closing.wait(PING):
            sent = time.monotonic()
            try:
                alive = self._client.run(dask_worker.ping, self._run, on_error="ignore")
            except Exception:
                if self._client.status != "running" and not self._is_closing.is_set():
                    self._news.put(self._note_disconnected)
                continue
            self._news.put(partial(self._note_ping, alive, sent))

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)


class _Calls:
    """Makes calls that wait, one after another, in a thread that ends with the process."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], object]] = SimpleQueue()
        Thread(target=self._make, daemon=True, name="orch-dask").start()

    def submit(self, call: Callable[..., object], *arguments: object) -> None:
        self._waiting.put(partial(call, *arguments))

    def _make(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # what is lost is found out by the ping
                self._waiting.get()()


def open_dask(address: str, *, is_guest: bool) -> DaskSide:
    """The cluster at this address. The process of a guest belongs to another program, whose logging and warnings stay
    as they are. Raises UsageError."""
    if not is_guest:
        _silence()
    client, threads = _connect(address)
    return DaskSide(client, threads)


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
    ours = version("distributed")
    found = client.run(dask_worker.describe, on_error="return")
    for worker, answer in found.items():
        if isinstance(answer, Exception):
            raise UsageError.of(
                "executor",
                f"the Dask worker {worker} cannot load discover_orch: {answer}",
                "install the same discover-orch[dask] where the workers run",
            )
        data, theirs = answer
        far = msgspec.json.decode(data, type=Installation)
        difference = find_difference(installation(), far)
        if not difference and theirs != ours:
            difference = f"distributed is {theirs} on {far.host} and {ours} here"
        if difference:
            raise UsageError.of(
                "executor",
                f"{difference} (the Dask worker {worker})",
                "install the same versions on both",
            )
    threads: dict[str, int] = client.nthreads()
    return max(1, sum(threads.values()))
