"""The same function for many files, in several forked processes where that is worth it.

The children run no code of the user. One that is killed, or whose answer cannot be encoded, costs only time: its share
is done here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
R = TypeVar("R")

#: With fewer files to read, a second process costs more than it saves (measured: about 15 ms).
SHARE_FROM = 150
MOST_PROCESSES = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


def parallel_map(function: Callable[[T], R], items: Sequence[T], result: Any) -> list[R]:
    """`function` of each item, in this order. `result` is the type of what it returns, as msgspec takes it.

    What else the function changes in the memory of a child is lost.
    """
    processes = min(MOST_PROCESSES, len(items) // SHARE_FROM + 1)
    if processes > 1:  # the system takes 0.1 ms to count its processors
        processes = min(processes, os.cpu_count() or 1)
    if processes < 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return [function(item) for item in items]
    shares = [items[part::processes] for part in range(processes)]
    children = [_fork(function, share) for share in shares[1:]]
    answers = [[function(item) for item in shares[0]]]
    for child, share in zip(children, shares[1:], strict=True):
        data = _read_answer(*child) if child is not None else b""
        try:
            answers.append(msgspec.msgpack.decode(data, type=list[result]))
        except (msgspec.DecodeError, ValueError):
            answers.append([])
        if len(answers[-1]) != len(share):
            answers[-1] = [function(item) for item in share]
    found: list[Any] = [None] * len(items)
    for part, answer in enumerate(answers):
        found[part::processes] = answer
    return found


def _fork(function: Callable[[T], R], share: Sequence[T]) -> tuple[int, int] | None:
    """Forks a child that answers with one list. Gives its id and the pipe; None where the system gives no process.

    A fork is safe here: there is one thread, so no lock is held, and the child ends without flushing what its parent
    has buffered. A signal from the terminal is for the parent, whose handler may write to a pipe that both have.
    """
    try:
        receive, send = os.pipe()
    except OSError:
        return None
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
    except OSError:
        os.close(receive)
        os.close(send)
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pid:
        os.close(send)
        return pid, receive
    try:
        os.close(receive)
        found = []
        for item in share:
            if os.getppid() != parent:
                return None  # nothing waits for the answer
            found.append(function(item))
        with os.fdopen(send, "wb") as answer:
            answer.write(msgspec.msgpack.encode(found))
    finally:
        os._exit(0)


def _read_answer(pid: int, pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as answer:
        data = answer.read()
    os.waitpid(pid, 0)
    return data
