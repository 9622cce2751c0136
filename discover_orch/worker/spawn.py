"""Starts the interpreter of a worker, with its ends of the pipes under fixed numbers.

`orch run` does this before anything else, because the interpreter needs as long to start as the command line
needs to be read. So nothing is imported here that takes a millisecond: no msgspec, no `contextlib`, and not
`signal`, which takes 2 ms to build its enums.
"""

from __future__ import annotations

import fcntl
import os
import sys
from _signal import SIGCHLD, SIGINT, SIGKILL, SIGQUIT, SIGTERM  # type: ignore[import-not-found]

ORDERS_FD, MESSAGES_FD, LIFE_FD = 3, 4, 5  # the worker's ends
FREE_FD = 16  # the parent's ends are made above the numbers that the worker's ends get
PIPE_SIZE = 1 << 18


class Pipes:
    """The parent's ends of a worker's pipes, and a descriptor of its process; -1 where there is none."""

    def __init__(
        self, *, orders: int, messages: int, life: int, out: int, err: int, pidfd: int
    ) -> None:
        self.orders = orders
        self.messages = messages
        self.life = life
        self.out = out
        self.err = err
        self.pidfd = pidfd


Interpreter = tuple[int, Pipes]  # process id, and the parent's ends


def start_interpreter(*, raw_output: bool = False) -> Interpreter:
    """Start an interpreter in a process group of its own. It waits for orders and has captured output,
    unless `raw_output`. Raises OSError.
    """
    own: list[int] = []  # everything open, to close it where the start fails
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
        orders = pipe(ORDERS_FD, reads=True)
        messages = pipe(MESSAGES_FD, reads=False)
        life = pipe(LIFE_FD, reads=True)
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
    """End an interpreter that is not needed. It has received no order and has done nothing."""
    pid, _ = interpreter
    os.kill(pid, SIGKILL)
    os.waitpid(pid, 0)


def _find_start_code() -> str:
    """The code that the worker's interpreter runs. It imports this package from where it is now.

    That folder goes first on `sys.path` only if it is not there already, as it is for an installed package.
    """
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return (
        f"import gc, sys; gc.disable(); folder = {folder!r}; is_new = folder not in sys.path\n"
        "if is_new: sys.path.insert(0, folder)\n"
        "from discover_orch.worker.main import main\n"
        "if is_new: sys.path.remove(folder)\n"
        "del gc, is_new, folder; main()"
    )


def _raise_fd(fd: int) -> int:
    """Move a descriptor to a number that the worker does not use, closed in child processes."""
    raised = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FREE_FD)
    os.close(fd)
    return raised


def _widen(fd: int) -> None:
    """Enlarge a pipe where the system can, so that a tool that prints much waits less."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:  # the user's limit for pipes is reached
            return


def _open_pid(pid: int) -> int:
    """A descriptor that becomes readable when the process ends; -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
