"""Starts processes as forks of another process. Each becomes a child of the process that has asked for it.

The new process is forked by a child of the forker that ends at once. So the kernel gives it to the nearest ancestor
that is a "child subreaper", which is the process that has asked; it becomes one.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from discover_orch.worker.child_processes import become_subreaper
from tests.support.forked_workers import close_as_exec_does

FORKERS_FD = 20
LONGEST, MOST_FDS = 1 << 17, 128  # of one order


@dataclass(frozen=True, kw_only=True)
class Order:
    """A process to start: `what` it does, where, and its descriptors as pairs of one here and its number there."""

    what: Any
    folder: str
    environment: Mapping[str, str]
    given: Iterable[tuple[int, int]]
    default: Iterable[int] = ()  # signals that get their usual effect
    mask: Iterable[int] = ()


class Forker:
    """The end of the process that asks."""

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self._end = socket.socket(fileno=end)
        self.owner = os.getpid()
        self._lock = threading.Lock()

    def fork(self, order: Order) -> int:
        """The process id. Raises OSError if the forker has ended, or belongs to another process."""
        if os.getpid() != self.owner:
            raise OSError("the forker starts processes for the one that has started it")
        given = [*order.given]
        text = {
            "what": order.what,
            "folder": order.folder,
            "environment": {**order.environment},
            "targets": [target for _, target in given],
            "default": [*map(int, order.default)],
            "mask": [*map(int, order.mask)],
        }
        with self._lock:
            become_subreaper()
            socket.send_fds(self._end, [json.dumps(text).encode()], [fd for fd, _ in given])
            pid, is_ours = self._end.recv(32), self._end.recv(32)
        if not pid or not is_ours:
            raise BrokenPipeError("the forker has ended")
        return int(pid)

    def is_alive(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == 0
        except ChildProcessError:  # a test has ended all children of its process
            return False


def start_forker(code: str, environment: Mapping[str, str]) -> Forker:
    """A new interpreter that runs `code`, in which `fd` is the number of the forker's socket."""
    ours, theirs = make_sockets()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", f"fd = {FORKERS_FD}\n{code}"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, theirs, FORKERS_FD),
            ],
            setpgroup=0,
        )
    finally:
        os.close(theirs)
    return Forker(pid, ours)


def can_fork() -> bool:
    """Whether this system gives orphans to a "child subreaper"."""
    return sys.platform == "linux"


#: The forkers of this process, by their code.
_forkers: dict[str, Forker] = {}


def find_forker(code: str, environment: Mapping[str, str]) -> Forker:
    """The one that runs `code`. It lives as long as this process, or until a test ends all child processes.
    Raises OSError."""
    found = _forkers.get(code)
    if found is not None and found.owner != os.getpid():
        raise OSError("this fork of the process of the tests ends too soon for a forker of its own")
    if found is None or not found.is_alive():
        found = _forkers[code] = start_forker(code, environment)
        from discover_orch.execution import supervisor  # which no forker imports

        if supervisor._others is not None:  # what later workers leave behind is ended, but not this
            supervisor._others.add(found.pid)
    return found


def make_sockets() -> tuple[int, int]:
    """The end of the process that asks, and the forker's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours.detach(), theirs.detach()


def wait_for_first_order(fd: int) -> None:
    """In the forker; ends it when no order can come."""
    with socket.socket(fileno=os.dup(fd)) as end:
        if not end.recv(1, socket.MSG_PEEK):
            os._exit(0)


def wait_for_order(fd: int) -> Any:
    """In the forker, whose socket this is: returns in each new process with what it is to do. It ends the forker when
    no order can come."""
    os.set_inheritable(fd, False)
    end = socket.socket(fileno=fd)
    while True:
        size = socket.CMSG_SPACE(MOST_FDS * array.array("i").itemsize)
        data, ancillary, _, _ = end.recvmsg(LONGEST, size, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        fds = array.array("i")
        for _, _, part in ancillary:
            fds.frombytes(part[: len(part) - len(part) % fds.itemsize])
        between = os.fork()
        if not between:
            pid = os.fork()
            if not pid:
                order = json.loads(data)
                os.close(end.detach())  # its number may be one that the process gets
                _become(order, fds)
                return order["what"]
            with contextlib.suppress(OSError):  # it has done so, and may have ended
                os.setpgid(pid, pid)
            end.send(b"%d" % pid)
            os._exit(0)
        for fd in fds:
            os.close(fd)
        os.waitpid(between, 0)
        end.send(b"is yours")


def _become(order: Mapping[str, Any], fds: Iterable[int]) -> None:
    os.setpgid(0, 0)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    above = max(order["targets"], default=0) + 1
    raised = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in fds]
    for fd, target in zip(raised, order["targets"], strict=True):
        os.dup2(fd, target)
    for number in order["default"]:
        is_interrupt = number == signal.SIGINT  # for which Python has a handler
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["mask"])
    close_as_exec_does()
