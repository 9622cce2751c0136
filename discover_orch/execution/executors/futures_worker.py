"""What runs in a thread or process of a `concurrent.futures.Executor`: one attempt, then it returns.

It connects to orch's socket, which is a file only this user can open. orch answers each attempt once, so a call that
the executor repeats starts nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from threading import Thread, current_thread, main_thread

from discover_orch.execution.executors.far_messages import (
    Ended,
    FarEvent,
    Said,
    decode_control,
    decode_start,
    encode_said,
)
from discover_orch.execution.executors.far_side import GONE, Controls, carry_out
from discover_orch.state.process import read_start
from discover_orch.worker.child_processes import find_children

#: Seconds between two looks at the processes that orch has started.
REFRESH = 1.0


def run_attempt(path: str, attempt: str, near: int, owns_children: bool) -> None:
    """`path` is that of orch's socket and `near` orch's process, which `owns_children` that nothing else has started.
    Raises OSError if there is no such socket here."""
    if os.getpid() != near:
        _forget_signals_of_orch()
        _start_watch(near, owns_children)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        link.sendall(encode_said(Said(attempt=attempt, events=())))
        with link.makefile("rb") as lines:
            first = lines.readline()
            if not first:  # it was carried out before, or is not wanted any more
                return
            controls = Controls()
            Thread(target=_listen, args=(lines, controls), daemon=True).start()

            def send(events: Sequence[FarEvent]) -> None:
                try:
                    link.sendall(encode_said(Said(attempt=attempt, events=tuple(events))))
                except OSError:
                    controls.put(GONE)

            try:
                carry_out(decode_start(first), controls, send)
                send([Ended()])
            finally:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)  # ends the thread that listens


def _listen(lines: object, controls: Controls) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in lines:  # type: ignore[attr-defined]
            controls.put(decode_control(line).word)
    controls.put(GONE)


def _watch(near: int, pidfd: int, pool: Mapping[int, int | None], owns_children: bool) -> None:
    """Waits for the end of orch, which may be killed, and ends all processes that it had started, this one too: the
    processes of a pool would wait for ever. The end of this process ends the worker of the tool."""
    while not select.select([pidfd], [], [], REFRESH if owns_children else None)[0]:
        pool = _find_pool(near)
    for pid, start in pool.items():
        if pid != os.getpid() and start is not None and read_start(pid) == start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    os._exit(1)


@cache
def _start_watch(near: int, owns_children: bool) -> None:
    try:
        pidfd = os.pidfd_open(near)
    except ProcessLookupError:
        os._exit(1)
    except (OSError, AttributeError):  # the system has none
        return
    pool = _find_pool(near) if owns_children else {}  # before orch can know that a tool runs here
    arguments = (near, pidfd, pool, owns_children)
    Thread(target=_watch, args=arguments, daemon=True, name="orch-watch").start()


def _find_pool(near: int) -> dict[int, int | None]:
    """The processes that orch has started, with their start times."""
    return {pid: read_start(pid) for pid in find_children(near)}


def _forget_signals_of_orch() -> None:
    """A forked process has orch's signal handlers. Ctrl-C reaches it too, but orch says what is to end."""
    if current_thread() is main_thread():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGALRM, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
