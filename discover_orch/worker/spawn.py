"""Starts the interpreter of a worker, with its ends of the pipes under fixed numbers.

`orch run` does this before anything else, because the interpreter needs as long to start as the command line
needs to be read. So nothing is imported here that takes a millisecond: no msgspec, no `contextlib`, and not
`signal`, which takes 2 ms to build its enums.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from _signal import SIGCHLD, SIGINT, SIGKILL, SIGQUIT, SIGTERM  # type: ignore[import-not-found]
from _socket import SHUT_RDWR, socket, socketpair

ORDERS_FD, MESSAGES_FD, LIFE_FD, TRACE_FD = 3, 4, 5, 6  # the worker's ends
FREE_FD = 16  # the parent's ends are made above the numbers that the worker's ends get
PIPE_SIZE = 1 << 18
HELD = (SIGINT,)  # until the worker can handle it
STOPPED = (SIGTERM, SIGCHLD, SIGQUIT)  # get their usual effect back


class Pipes:
    """The parent's ends of a worker's pipes, and a descriptor of its process; -1 where there is none. `trace` belongs
    to the thread that answers the kernel."""

    def __init__(
        self, orders: int, messages: int, life: int, out: int, err: int, trace: socket
    ) -> None:
        self.orders, self.messages, self.life = orders, messages, life
        self.out, self.err, self.trace = out, err, trace
        self.pidfd = -1

    def close(self) -> None:
        for fd in (self.orders, self.messages, self.life, self.out, self.err, self.pidfd):
            if fd >= 0:
                os.close(fd)
        try:
            self.trace.shutdown(SHUT_RDWR)
        except OSError:  # its thread has closed it
            return


Interpreter = tuple[int, Pipes]  # process id, and the parent's ends


class PipeEnds:
    """Pipes to a process that is about to start: each has an end here and one that it gets under a fixed number."""

    def __init__(self) -> None:
        self._own: list[int] = []  # everything open, to close it where the start fails
        self._given: list[tuple[int, int]] = []

    def give_null(self) -> None:
        """The process gets `/dev/null` as its input."""
        null = _raise_fd(os.open(os.devnull, os.O_CLOEXEC))
        self._own.append(null)
        self._given.append((null, 0))

    def pipe(self, target: int, *, reads: bool, is_wide: bool = False) -> int:
        """The end here of a pipe whose other end the process gets as `target`, to read from it or to write to it."""
        ends = os.pipe()
        theirs, mine = (_raise_fd(fd) for fd in (ends if reads else reversed(ends)))
        self._own.extend((theirs, mine))
        self._given.append((theirs, target))
        os.set_blocking(mine, False)
        if is_wide:
            _widen(mine)
        return mine

    def connect(self, target: int) -> socket:
        """The end here of a connection whose other end the process gets as `target`."""
        mine, theirs = (_raise_fd(one.detach()) for one in socketpair())
        self._own.append(theirs)
        self._given.append((theirs, target))
        return socket(fileno=mine)

    def spawn(self, code: str, *, default: tuple[int, ...], mask: tuple[int, ...]) -> int:
        """Starts an interpreter that runs `code`, in a process group of its own; its process id."""
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", code],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, target) for theirs, target in self._given],
            setpgroup=0,
            setsigmask=mask,
            setsigdef=default,
        )
        for theirs, _ in self._given:
            os.close(theirs)
        return pid

    def close(self) -> None:
        """Closes both ends of everything: the start has failed."""
        for fd in self._own:
            os.close(fd)


def _raise_fd(fd: int) -> int:
    """Move a descriptor to a number that the process does not use, closed in child processes."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FREE_FD)
    except OSError as error:
        if error.errno == errno.EINVAL:  # the user's limit is below this number
            raise OSError(errno.EMFILE, "too many open files") from None
        raise
    finally:
        os.close(fd)


def start_interpreter(*, raw_output: bool = False) -> Interpreter:
    """Start an interpreter in a process group of its own. It waits for orders and has captured output,
    unless `raw_output`. Raises OSError.
    """
    ends, outputs = PipeEnds(), () if raw_output else (1, 2)
    try:
        ends.give_null()
        out, err = [ends.pipe(fd, reads=False, is_wide=True) for fd in outputs] or (-1, -1)
        pipes = Pipes(
            ends.pipe(ORDERS_FD, reads=True),
            ends.pipe(MESSAGES_FD, reads=False),
            ends.pipe(LIFE_FD, reads=True),
            out,
            err,
            ends.connect(TRACE_FD),
        )
        pid = ends.spawn(find_start_code(), default=STOPPED, mask=HELD)
    except BaseException:
        ends.close()
        raise
    pipes.pidfd = open_pid(pid)
    return pid, pipes


def end_interpreter(interpreter: Interpreter) -> None:
    """End an interpreter that is not needed. It has received no order and has done nothing."""
    pid, _ = interpreter
    os.kill(pid, SIGKILL)
    os.waitpid(pid, 0)


def find_start_code(module: str = "main") -> str:
    """The code that the interpreter runs: `main` of this module. It imports this package from where it is now.

    That folder goes first on `sys.path` only if it is not there already, as it is for an installed package.
    """
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return (
        f"import gc, sys; gc.disable(); folder = {folder!r}; is_new = folder not in sys.path\n"
        "if is_new: sys.path.insert(0, folder)\n"
        f"from discover_orch.worker.{module} import main\n"
        "if is_new: sys.path.remove(folder)\n"
        "del gc, is_new, folder; main()"
    )


def _widen(fd: int) -> None:
    """Enlarge a pipe where the system can, so that a tool that prints much waits less."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:  # the user's limit for pipes is reached
            return


def open_pid(pid: int) -> int:
    """A descriptor that becomes readable when the process ends; -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
