"""The pipes between a worker and its parent: orders, messages, output, and one that only closes.

`start_interpreter` opens them and gives the worker its ends under fixed numbers; `Channel` is what the
worker makes of those. It moves them out of the way of tools and keeps them from child processes. A tool
can close them all the same (daemons do), and then open a file of its own under the same number: so each
is known by what it refers to, and nothing is written where that has changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys

from discover_orch.capture import keep_copy
from discover_orch.protocol import (
    CHANNEL_LOST,
    Message,
    Order,
    decode_order,
    encode_message,
)
from discover_orch.value import value

ORDERS, MESSAGES, LIFE = 3, 4, 5
RUN_ORDER = b'{"kind": "run"'
FREE_FD = 16  # the parent's ends are made above the numbers that the worker's ends get
PIPE_SIZE = 1 << 18


class Channel:
    """Reads orders, writes messages."""

    def __init__(self) -> None:
        self._orders, self._messages, self.life = map(_move, (ORDERS, MESSAGES, LIFE))
        self._known = {fd: _identify(fd) for fd in (self._orders, self._messages)}
        self._rest = b""
        self._waiting: list[Order] = []
        self._unsent = b""

    @property
    def messages_fd(self) -> int:
        return self._messages

    def guard(self, fds: tuple[int, ...]) -> None:
        """Watch over these descriptors too."""
        self._known.update({fd: _identify(fd) for fd in fds})

    def check(self) -> None:
        """End the process where the tool has taken away what orch writes to."""
        for fd, known in self._known.items():
            if _identify(fd) != known:
                os._exit(CHANNEL_LOST)

    def receive(self) -> Order | None:
        """The next order; None when there will be none."""
        if self._waiting:
            return self._waiting.pop(0)
        return self._read()

    def receive_only(self, kind: type[Order]) -> Order | None:
        """The next order of this kind; others that were sent ahead wait for their turn."""
        while (order := self._read()) is not None:
            if isinstance(order, kind):
                return order
            self._waiting.append(order)
        return None

    def _read(self) -> Order | None:
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                return decode_order(line)
            data = os.read(self._orders, 1 << 16)
            if not data:
                return None
            self._rest += data

    def send(self, message: Message, *, may_wait: bool = False) -> None:
        """Write one message; a parent that is gone is no error here: the life pipe tells of it.

        With `may_wait` it goes with the next one, where the order to run another step is here already:
        that is answered at once, and the parent is woken once for both.
        """
        data = self._unsent = self._unsent + encode_message(message)
        if may_wait and b"\n" in self._rest and self._rest.startswith(RUN_ORDER):
            return
        self._unsent = b""
        try:
            while data:
                data = data[os.write(self._messages, data) :]
        except BrokenPipeError:
            pass


def _move(fd: int) -> int:
    moved = keep_copy(fd)
    os.close(fd)
    return moved


def _identify(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@value
class Pipes:
    """The supervisor's own ends; -1 where there is none."""

    orders: int
    messages: int
    life: int
    out: int
    err: int
    pidfd: int


def start_interpreter(raw_output: bool) -> tuple[int, Pipes]:
    """Start the interpreter of a worker in a process group of its own, with its ends of the pipes."""
    own: list[int] = []  # all that is open, in case it fails
    given: list[tuple[int, int]] = []

    def pipe(target: int, *, reads: bool) -> int:
        """A pipe whose one end the worker gets as `target`, to read from it or to write to it."""
        ends = os.pipe()
        theirs, mine = (_raise_fd(fd) for fd in (ends if reads else reversed(ends)))
        own.extend((theirs, mine))
        given.append((theirs, target))
        os.set_blocking(mine, False)
        return mine

    try:
        null = _raise_fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        own.append(null)
        given.append((null, 0))
        orders = pipe(ORDERS, reads=True)
        messages = pipe(MESSAGES, reads=False)
        life = pipe(LIFE, reads=True)
        out = err = -1
        if not raw_output:
            out, err = pipe(1, reads=False), pipe(2, reads=False)
            for fd in (out, err):
                with contextlib.suppress(OSError, AttributeError):
                    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", _find_start_code()],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, target) for theirs, target in given],
            setpgroup=0,
            setsigmask=[signal.SIGINT],  # until it can handle it
            setsigdef=[signal.SIGTERM, signal.SIGCHLD, signal.SIGQUIT],
        )
    except BaseException:
        for fd in own:
            os.close(fd)
        raise
    for theirs, _ in given:
        os.close(theirs)
    pidfd = -1
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
    return pid, Pipes(orders=orders, messages=messages, life=life, out=out, err=err, pidfd=pidfd)


def _find_start_code() -> str:
    """What the worker's interpreter runs: this package, from the place it has here.

    The place is on its path already where the package is installed, and must not come in front then.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (
        f"import sys; place = {folder!r}; new = place not in sys.path\n"
        "if new: sys.path.insert(0, place)\n"
        "from discover_orch.worker import main\n"
        "if new: sys.path.remove(place)\n"
        "del new, place; main()"
    )


def _raise_fd(fd: int) -> int:
    """The same descriptor at a number that is none of the worker's; closed in child processes."""
    raised = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FREE_FD)
    os.close(fd)
    return raised
