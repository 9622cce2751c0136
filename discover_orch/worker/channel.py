"""The worker's ends of its pipes: orders in, messages out, and the life pipe, which ends with the parent.

`spawn` gives them fixed numbers. They are moved to higher numbers and closed in child processes. A tool can
still close them (daemons do) and open a file of its own under the same number. So the channel remembers what
each descriptor refers to, and does not write where that has changed.
"""

from __future__ import annotations

import os
import select
from _thread import RLock

from discover_orch.worker.capture import duplicate_fd
from discover_orch.worker.protocol import (
    CHANNEL_LOST,
    Message,
    Order,
    decode_order,
    encode_message,
)
from discover_orch.worker.spawn import LIFE_FD, MESSAGES_FD, ORDERS_FD


class Channel:
    """Reads orders, writes messages."""

    def __init__(self) -> None:
        self._orders, self._messages, self.life = map(_move, (ORDERS_FD, MESSAGES_FD, LIFE_FD))
        self._identities = {fd: _identify(fd) for fd in (self._orders, self._messages)}
        self._unread = b""
        self._waiting: list[Order] = []
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
        if self._waiting:
            return self._waiting.pop(0)
        return self._read()

    def receive_only(self, kind: type[Order]) -> Order | None:
        """The next order of this kind; orders before it are kept for `receive`."""
        while (order := self._read()) is not None:
            if isinstance(order, kind):
                return order
            self._waiting.append(order)
        return None

    def _read(self) -> Order | None:
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
            rest = memoryview(encode_message(message))
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
