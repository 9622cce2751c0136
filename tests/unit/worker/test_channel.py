"""The worker's ends of its pipes: orders in, messages out, and nothing written where they have been taken away."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.worker import channel as channel_module
from discover_orch.worker.capture import OWN_FD
from discover_orch.worker.channel import Channel
from discover_orch.worker.protocol import (
    CHANNEL_LOST,
    Closed,
    Declined,
    Finish,
    Message,
    Order,
    RunStep,
    StepStarted,
    Terminal,
    decode_message,
    encode_order,
)

TERMINAL = Terminal(granted=True)


class Ends:
    """A channel, and the parent's ends of its three pipes."""

    def __init__(self) -> None:
        orders, self.orders = os.pipe()
        self.messages, messages = os.pipe()
        life, self.life = os.pipe()
        self.given = orders, messages, life
        with pytest.MonkeyPatch.context() as patch:  # in a worker these numbers are fixed
            for name, fd in zip(("ORDERS_FD", "MESSAGES_FD", "LIFE_FD"), self.given, strict=True):
                patch.setattr(channel_module, name, fd)
            self.channel = Channel()
        os.set_blocking(self.messages, False)

    def order(self, *orders: Order) -> None:
        os.write(self.orders, b"".join(map(encode_order, orders)))

    def no_more(self) -> None:
        os.close(self.orders)
        self.orders = -1

    def sent(self) -> list[Message]:
        """All messages that have come since the last time."""
        try:
            data = os.read(self.messages, 1 << 16)
        except BlockingIOError:
            return []
        assert data.endswith(b"\n")
        return [decode_message(line) for line in data.splitlines()]

    def close(self) -> None:
        known = self.channel._identities
        for fd in {self.orders, self.messages, self.life, self.channel.life, *known}:
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:  # the test has closed it
                    continue


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def step(number: int) -> RunStep:
    return RunStep(
        step=number,
        module="src.a",
        name="a",
        path="src/a.py",
        resources=(),
        arguments={},
        extra={"x": "å\n"},
        failures=0,
    )


# The descriptors.


def test_the_pipes_have_high_numbers_and_are_closed_in_child_processes(ends: Ends) -> None:
    moved = (*ends.channel._identities, ends.channel.life)
    for fd in moved:
        assert fd >= OWN_FD
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    for fd in {*ends.given} - {*moved}:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert ends.channel.messages_fd in moved


# Orders.


def test_an_incomplete_last_order_is_dropped(ends: Ends) -> None:
    os.write(ends.orders, encode_order(step(1)) + encode_order(step(2))[:-1])
    ends.no_more()
    assert (ends.channel.receive(), ends.channel.receive()) == (step(1), None)


@settings(max_examples=40, deadline=None)
@given(pieces=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_orders_may_come_in_pieces_of_any_size(pieces: list[int]) -> None:
    orders: list[Order] = [step(1), Finish(), step(2)]
    ends = Ends()
    data = b"".join(map(encode_order, orders))

    def write() -> None:
        rest = data
        for size in itertools.cycle(pieces):
            os.write(ends.orders, rest[:size])
            rest = rest[size:]
            if not rest:
                break
        ends.no_more()

    writer = threading.Thread(target=write)
    writer.start()
    received = [*iter(ends.channel.receive, None)]
    writer.join()
    ends.close()
    assert received == orders


def test_an_order_of_one_kind_can_be_received_first_and_the_others_keep_their_order(
    ends: Ends,
) -> None:
    ends.order(step(1), step(2), TERMINAL, step(3))
    assert ends.channel.receive_only(Terminal) == TERMINAL
    assert [ends.channel.receive() for _ in range(3)] == [step(1), step(2), step(3)]


def test_receiving_a_kind_that_never_comes_keeps_the_others(ends: Ends) -> None:
    ends.order(step(1), Finish())
    ends.no_more()
    assert ends.channel.receive_only(Terminal) is None
    assert [ends.channel.receive() for _ in range(3)] == [step(1), Finish(), None]


def test_it_is_idle_until_an_order_has_come_and_once_all_are_taken(ends: Ends) -> None:
    assert ends.channel.is_idle()
    ends.order(step(1))
    assert not ends.channel.is_idle()
    ends.channel.receive()
    assert ends.channel.is_idle()
    ends.no_more()
    assert not ends.channel.is_idle()  # there is something to be heard: the end


# Messages.


@pytest.mark.parametrize(
    ("ahead", "does_wait"),
    [([], False), ([Finish()], False), ([step(2)], True), ([step(2), Finish()], True), ([Finish(), step(2)], False)],
)  # fmt: skip
def test_a_message_waits_only_if_the_next_step_is_ordered_already(
    ends: Ends, ahead: list[Order], does_wait: bool
) -> None:
    ends.order(step(1), *ahead)
    ends.channel.receive()
    ends.channel.send(Declined(step=1), may_wait=True)
    assert ends.sent() == ([] if does_wait else [Declined(step=1)])
    ends.channel.send(StepStarted(step=2))
    assert ends.sent() == [*([Declined(step=1)] if does_wait else []), StepStarted(step=2)]


def test_a_message_does_not_wait_for_an_incomplete_order(ends: Ends) -> None:
    os.write(ends.orders, encode_order(step(1)) + encode_order(step(2))[:-5])
    ends.channel.receive()
    ends.channel.send(Declined(step=1), may_wait=True)
    assert ends.sent() == [Declined(step=1)]


def test_waiting_messages_are_sent_first_with_the_next_one(ends: Ends) -> None:
    ends.order(step(1), step(2))
    ends.channel.receive()
    for number in (1, 2):
        ends.channel.send(Declined(step=number), may_wait=True)
    ends.channel.send(Declined(step=3))
    assert ends.sent() == [Declined(step=number) for number in (1, 2, 3)]


def test_a_message_larger_than_the_pipe_is_sent_completely(
    ends: Ends,
) -> None:
    message = Closed(errors=(), threads=("x" * (1 << 20),))
    os.set_blocking(ends.messages, True)
    got: list[bytes] = []

    def read() -> None:
        while not got or not got[-1].endswith(b"\n"):
            got.append(os.read(ends.messages, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    ends.channel.send(message)
    reader.join()
    assert decode_message(b"".join(got)) == message


def test_sending_to_a_dead_parent_does_not_raise(ends: Ends) -> None:
    os.close(ends.messages)
    ends.messages = -1
    ends.channel.send(StepStarted(step=1))
    ends.channel.send(StepStarted(step=2))


# Where a tool has taken the ends away.


def ending_of(act: Callable[[], object]) -> int:
    """The exit code of a process that does this; 0 where it lives on."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_nothing_ends_while_all_ends_are_there(ends: Ends) -> None:
    assert ending_of(ends.channel.exit_if_closed) == 0


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_process_ends_if_a_tool_closed_or_replaced_a_pipe(
    ends: Ends, tmp_path: Path, which: int, is_taken: bool
) -> None:
    guarded = os.open(os.devnull, os.O_WRONLY)
    ends.channel.guard((guarded,))
    fd = [*ends.channel._identities][which]

    def take() -> None:
        os.close(fd)
        if is_taken:  # a file of its own comes under the same number
            os.dup2(os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT), fd)
        ends.channel.exit_if_closed()

    assert ending_of(take) == CHANNEL_LOST


def test_what_is_not_guarded_may_be_closed(ends: Ends) -> None:
    other = os.open(os.devnull, os.O_WRONLY)
    os.close(other)
    assert ending_of(ends.channel.exit_if_closed) == 0
