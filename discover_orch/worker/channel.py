"""The worker's ends of its pipes to the parent: orders in, messages out, and one that only closes.

`spawn` gives them fixed numbers; they are moved out of the way of tools and kept from child processes. A tool
can close them all the same (daemons do), and then open a file of its own under the same number: so each is
known by what it refers to, and nothing is written where that has changed.
"""

from __future__ import annotations

import os
import select

from discover_orch.worker.capture import duplicate_fd
from discover_orch.worker.protocol import (
    CHANNEL_LOST,
    RUN_STEP_PREFIX,
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
        self._unsent = b""

    @property
    def messages_fd(self) -> int:
        return self._messages

    def guard(self, fds: tuple[int, ...]) -> None:
        """Watch over these descriptors too."""
        self._identities.update({fd: _identify(fd) for fd in fds})

    def exit_if_closed(self) -> None:
        """End the process where the tool has taken away what orch writes to."""
        for fd, known in self._identities.items():
            if _identify(fd) != known:
                os._exit(CHANNEL_LOST)

    def is_idle(self) -> bool:
        """Whether no order has come yet."""
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        return not poll.poll(0)

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
            line, found, rest = self._unread.partition(b"\n")
            if found:
                self._unread = rest
                return decode_order(line)
            data = os.read(self._orders, 1 << 16)
            if not data:
                return None
            self._unread += data

    def send(self, message: Message, *, may_wait: bool = False) -> None:
        """Write one message; a parent that is gone is no error here: the life pipe tells of it.

        With `may_wait` it goes with the next one, where the order to run another step is here already:
        that is answered at once, and the parent is woken once for both.
        """
        data = self._unsent = self._unsent + encode_message(message)
        if may_wait and b"\n" in self._unread and self._unread.startswith(RUN_STEP_PREFIX):
            return
        self._unsent = b""
        try:
            while data:
                data = data[os.write(self._messages, data) :]
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
