"""Starts the interpreter of a worker, with its ends of the pipes under fixed numbers.

In: nothing but whether its output is captured. Out: its process id, and the parent's ends. `orch run` does this
before anything else, since the interpreter takes as long to get up as the command line takes to be read: so
this module imports nothing that costs a millisecond, not even `signal` (2 ms, for its enums) or `contextlib`.
"""

from __future__ import annotations

import fcntl
import os
import sys
from _signal import SIGCHLD, SIGINT, SIGKILL, SIGQUIT, SIGTERM  # type: ignore[import-not-found]

from msgspec import Struct

ORDERS, MESSAGES, LIFE = 3, 4, 5  # the worker's ends
FREE_FD = 16  # the parent's ends are made above the numbers that the worker's ends get
PIPE_SIZE = 1 << 18


class Pipes(Struct, frozen=True, kw_only=True):
    """The supervisor's own ends; -1 where there is none."""

    orders: int
    messages: int
    life: int
    out: int
    err: int
    pidfd: int


Interpreter = tuple[int, Pipes]  # process id, and the parent's ends


def start_interpreter(*, raw_output: bool = False) -> Interpreter:
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
                _widen(fd)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", _find_start_code()],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, target) for theirs, target in given],
            setpgroup=0,
            setsigmask=[SIGINT],  # until it can handle it
            setsigdef=[SIGTERM, SIGCHLD, SIGQUIT],
        )
    except BaseException:
        for fd in own:
            os.close(fd)
        raise
    for theirs, _ in given:
        os.close(theirs)
    pipes = Pipes(
        orders=orders, messages=messages, life=life, out=out, err=err, pidfd=_open_pid(pid)
    )
    return pid, pipes


def end_interpreter(interpreter: Interpreter) -> None:
    """End one that nobody has a use for; it has been told nothing yet, and has done nothing."""
    pid, _ = interpreter
    os.kill(pid, SIGKILL)
    os.waitpid(pid, 0)


def _find_start_code() -> str:
    """What the worker's interpreter runs: this package, from the place it has here.

    The place is on its path already where the package is installed, and must not come in front then.
    """
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return (
        f"import gc, sys; gc.disable(); place = {folder!r}; new = place not in sys.path\n"
        "if new: sys.path.insert(0, place)\n"
        "from discover_orch.worker.main import main\n"
        "if new: sys.path.remove(place)\n"
        "del gc, new, place; main()"
    )


def _raise_fd(fd: int) -> int:
    """The same descriptor at a number that is none of the worker's; closed in child processes."""
    raised = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FREE_FD)
    os.close(fd)
    return raised


def _widen(fd: int) -> None:
    """A larger pipe, where the system has such: a tool that prints much waits less."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:  # the user has many pipes already: this one stays small
            return


def _open_pid(pid: int) -> int:
    """A descriptor that can be read when the process has ended; -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
