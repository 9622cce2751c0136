"""The worker's ends of its pipes. Orders come in, and messages and captured output go out; the life pipe ends with the
parent.

`spawn` gives them fixed numbers. They are moved to higher numbers and closed in child processes. A tool
can still close them (daemons do) and open a file of its own under the same number. So the channel remembers what each
descriptor refers to, and does not write where that has changed.

Output is captured at the level of file descriptors, that of child processes included: 1 and 2 are pipes. `Capture`
restores them and `sys.stdout` after each tool. The parent's side is `execution/worker_reader.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import sys
from _thread import RLock

from discover_orch.worker.protocol import (
    CHANNEL_LOST,
    Message,
    Order,
    decode_order,
    encode_line,
)
from discover_orch.worker.spawn import LIFE_FD, MESSAGES_FD, ORDERS_FD, TRACE_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OWN_FD = 10  # orch's own descriptors begin here: tools use low numbers


def duplicate_fd(fd: int) -> int:
    """A copy of a descriptor, closed in child processes."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OWN_FD)


class Channel:
    """Reads orders, writes messages."""

    def __init__(self) -> None:
        fds = map(_move, (ORDERS_FD, MESSAGES_FD, LIFE_FD, TRACE_FD))
        self._orders, self._messages, self.life, self.trace = fds
        known = self._orders, self._messages, self.trace
        self._identities = {fd: _identify(fd) for fd in known}
        self._unread = b""
        self._lock = RLock()  # a thread of a tool may set a secret while another sends

    @property
    def messages_fd(self) -> int:
        return self._messages

    def guard(self, fds: tuple[int, ...]) -> None:
        """Check these descriptors too."""
        self._identities.update({fd: _identify(fd) for fd in fds})

    def exit_if_closed(self) -> None:
        """End the process if the tool has closed or replaced a descriptor of orch."""
        for fd, known in self._identities.items():
            if _identify(fd) != known:
                os._exit(CHANNEL_LOST)

    def is_idle(self) -> bool:
        """Whether no order waits to be read."""
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        return not poll.poll(0)

    def receive(self) -> Order | None:
        """The next order; None when the parent is gone."""
        while True:
            line, found, rest = self._unread.partition(b"\n")
            if found:
                self._unread = rest
                return decode_order(line)
            data = os.read(self._orders, 1 << 16)
            if not data:
                return None
            self._unread += data

    def send(self, message: Message) -> None:
        """Write one message. Does not raise if the parent is gone: the life pipe handles that."""
        try:
            rest = memoryview(encode_line(message))
            while rest:
                rest = rest[os.write(self._messages, rest) :]
        except BrokenPipeError:
            pass


def _move(fd: int) -> int:
    moved = duplicate_fd(fd)
    os.close(fd)
    return moved


def _identify(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Capture:
    """The worker's standard streams."""

    def __init__(self) -> None:
        self.fds = tuple(duplicate_fd(fd) for fd in (0, 1, 2))
        self._streams: list[io.TextIOWrapper | None] = [None, None, None]
        self._flush_c = _find_c_flush()
        self.restore()

    def restore(self) -> None:
        """Flush, and restore descriptors 0 to 2 and the streams of `sys`."""
        self._flush()
        for fd, kept in enumerate(self.fds):
            os.dup2(kept, fd)
            if not os.get_blocking(fd):  # a child process can set this for all that share the pipe
                os.set_blocking(fd, True)
        self._flush()
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            stream = self._streams[fd]
            if stream is None or not _is_usable(stream, fd):
                self._streams[fd] = stream = _open_stream(fd, name)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)

    def redirect_to(self, fd: int) -> None:
        """Make this descriptor, a terminal, the tool's input and output until `restore`."""
        self._flush()
        for target in (0, 1, 2):
            os.dup2(fd, target)

    def _flush(self) -> None:
        for stream in {sys.stdout, sys.stderr, self._streams[1], self._streams[2]}:
            if stream is not None:
                with contextlib.suppress(Exception):  # closed, or of a class of the user's own
                    stream.flush()
        self._flush_c()


def _open_stream(fd: int, name: str) -> io.TextIOWrapper:
    """A stream with `closefd` off: a tool that closes `sys.stdout` does not close the descriptor."""
    raw = io.FileIO(fd, "w" if fd else "r", closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedWriter(raw) if fd else io.BufferedReader(raw)
    stream = io.TextIOWrapper(
        buffer,
        encoding="utf-8",
        errors="backslashreplace" if fd else "surrogateescape",
        newline="\n" if fd else None,
        line_buffering=bool(fd),
    )
    stream.mode = "w" if fd else "r"  # type: ignore[misc]
    return stream


def _is_usable(stream: io.TextIOWrapper, fd: int) -> bool:
    try:
        return not stream.closed and (
            fd == 0
            or (stream.encoding, stream.errors, stream.line_buffering)
            == ("utf-8", "backslashreplace", True)
        )
    except ValueError:  # its buffer was detached
        return False


def _find_c_flush() -> Callable[[], None]:
    """A function that flushes the buffers of C's stdio."""
    try:
        import ctypes  # the parent imports this module too, and does not need it

        fflush = ctypes.CDLL(None).fflush
    except (ImportError, OSError, AttributeError):
        return lambda: None
    return lambda: fflush(None)  # of all streams
