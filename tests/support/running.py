"""`orch` while it runs: in a pipe or on a terminal, with signals, always with a deadline.

A test waits for output that matches, never for a time. What has come so far is shown when it fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.project_builder import clean_environment

DEADLINE = 60.0  # seconds; the machine may be busy with other tests
# The tests may themselves run where some are ignored: under nohup, in the background of a script.
SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
)


class Running:
    """One `orch` process and what it has written; `fd` is what we read of it and type into."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.text = ""
        self.fd = fd
        self._matched = 0  # of `text`: what `wait_for` has been through
        self._status: int | None = None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until something new matches."""
        deadline = time.monotonic() + DEADLINE
        while True:
            found = re.compile(pattern).search(self.text, self._matched)
            if found:
                self._matched = found.end()
                return found
            if not self._read(deadline):
                raise AssertionError(f"no {pattern!r} came, but:\n{self.text}")

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def type(self, text: str) -> None:
        """Keys on the terminal: `\\x03` is Ctrl-C, `\\x1a` Ctrl-Z."""
        os.write(self.fd, text.encode())

    def hang_up(self) -> None:
        """Nobody reads any more: the pipe is closed, or the terminal gone."""
        os.close(self.fd)
        self.fd = -1

    def wait_until_stopped(self) -> None:
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._status = status
            raise AssertionError(f"ended instead of being stopped:\n{self.text}")

    def wait(self) -> int:
        """The exit code, or minus the signal that ended it; reads to the end first."""
        deadline = time.monotonic() + DEADLINE
        while self.fd >= 0 and self._read(deadline):
            pass
        if self._status is None:
            wait_until(self._has_ended, f"the end of orch:\n{self.text}")
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _has_ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._status = status
        return bool(pid)

    def _read(self, deadline: float) -> bool:
        """Whether something came before the end and the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            return False
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:  # a terminal whose other side is closed
            return False
        self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


@contextlib.contextmanager
def running(root: Path, *words: str, **environment: str) -> Iterator[Running]:
    """`orch` in a process group of its own; stdout and stderr come through one pipe."""
    ours, theirs = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "discover_orch", "-C", str(root), *words],
            clean_environment(**environment),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, theirs, 1),
                (os.POSIX_SPAWN_DUP2, theirs, 2),
            ],
            setpgroup=0,
            setsigdef=SIGNALS,
        )
    finally:
        os.close(theirs)
        os.close(null)
    process = Running(pid, ours)
    try:
        yield process
    finally:
        process.close()


@contextlib.contextmanager
def on_terminal(
    root: Path, *words: str, columns: int = 80, program: str = "", **environment: str
) -> Iterator[Running]:
    """`orch` as the leader of a session on a terminal of its own, or another `program` there."""
    settings = {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    env = clean_environment(**settings)
    argv = [sys.executable, "-m", "discover_orch", *words]
    pid, fd = pty.fork()
    if pid == 0:
        try:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.chdir(root)
            os.execve(program or argv[0], [program, *words] if program else argv, env)
        finally:
            os._exit(127)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = Running(pid, fd)
    try:
        yield process
    finally:
        process.close()


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """For what no descriptor tells of; looked at every few milliseconds until the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        select.select([], [], [], 0.005)


def find_marked(mark: str) -> set[int]:
    """Processes that have the mark in their first environment."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                found.add(int(name))
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return True
    except OSError:  # no /proc here, or it went in between
        return False
    return stat.rpartition(")")[2].split()[0] in "ZX"
