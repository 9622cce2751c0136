"""Keys as lines: from pipes, from a terminal, and from a terminal that belongs to somebody else."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from discover_orch.cli.show_watch import LONGEST, StandardInput
from tests.support.running import DEADLINE, on_terminal, wait_until


class Typed:
    """A pipe that stands for standard input, and what came of it."""

    def __init__(self) -> None:
        self.theirs, self.ours = os.pipe()
        self.bell = threading.Event()
        self.rings = 0
        self.lines: list[str] = []
        self.keys = StandardInput(self.theirs)
        self.keys.listen(self.ring)

    def ring(self) -> None:
        self.rings += 1
        self.bell.set()

    def type(self, data: bytes) -> None:
        os.write(self.ours, data)

    def until(self, number: int) -> list[str]:
        """All lines so far, once there are so many."""
        deadline = time.monotonic() + DEADLINE
        while len(self.lines) < number:
            assert self.bell.wait(deadline - time.monotonic()), f"only {self.lines} came"
            self.bell.clear()
            self.lines += self.keys.drain()
        return self.lines

    def close(self) -> None:
        """The end of the input, and of the thread that reads it."""
        if self.ours >= 0:
            os.close(self.ours)
            self.ours = -1
        for thread in threading.enumerate():
            if thread.name == "orch keys":
                thread.join(DEADLINE)
                assert not thread.is_alive()


@pytest.fixture
def typed() -> Iterator[Typed]:
    made = Typed()
    yield made
    made.close()
    os.close(made.theirs)


def test_a_line_is_a_key_and_rings(typed: Typed) -> None:
    assert typed.keys.drain() == []
    typed.type(b"a\n")
    assert typed.until(1) == ["a"]
    assert typed.rings == 1
    assert typed.keys.drain() == []


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"\n\n", ["", ""]),  # Enter alone is a key too
        (b"p\ns\nq\n", ["p", "s", "q"]),
        (b"\xff\xc3\nq\n", ["\ufffd\ufffd", "q"]),
    ],
)
def test_several_lines_come_in_their_order(typed: Typed, data: bytes, keys: list[str]) -> None:
    typed.type(data)
    assert typed.until(len(keys)) == keys


def test_a_line_may_come_in_pieces(typed: Typed) -> None:
    typed.type(b"x\nhel")
    assert typed.until(1) == ["x"]
    typed.type(b"p\n")
    assert typed.until(2) == ["x", "help"]


def test_what_ends_without_a_newline_is_no_key(typed: Typed) -> None:
    typed.type(b"a\nq")
    assert typed.until(1) == ["a"]
    typed.close()
    assert (typed.keys.drain(), typed.rings) == ([], 1)


def test_the_end_of_the_input_is_the_end_of_keys_and_rings_for_nobody(typed: Typed) -> None:
    typed.close()
    assert (typed.keys.drain(), typed.rings) == ([], 0)


def test_of_a_line_without_end_only_so_much_is_kept(typed: Typed) -> None:
    def write() -> None:
        for _ in range(64):
            typed.type(b"x" * LONGEST)
        typed.type(b"end\nq\n")

    writer = threading.Thread(target=write)
    writer.start()
    first, second = typed.until(2)
    writer.join()
    assert second == "q"
    assert first.endswith("xend")
    assert len(first) <= 2 * LONGEST


def test_an_input_that_is_closed_means_no_keys() -> None:
    receive, send = os.pipe()
    os.close(receive)
    os.close(send)
    keys = StandardInput(receive)
    keys.listen(lambda: None)
    wait_until(
        lambda: not any(one.name == "orch keys" for one in threading.enumerate()),
        "the end of the thread",
    )
    assert keys.drain() == []


def test_listening_never_keeps_the_process_from_ending(typed: Typed) -> None:
    (thread,) = [one for one in threading.enumerate() if one.name == "orch keys"]
    assert thread.daemon


# A terminal.

BEGIN = """
import os, signal, sys, threading
from discover_orch.cli.show_watch import StandardInput
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
signal.signal(signal.SIGTTIN, signal.SIG_IGN)

def listen(who):
    bell = threading.Event()
    keys = StandardInput()
    keys.listen(bell.set)
    print(who, "listens", flush=True)
    while True:
        bell.wait()
        bell.clear()
        for line in keys.drain():
            print(f"{who} got <{line}>", flush=True)
"""
BACKGROUND = (
    BEGIN
    + """
ready, tell = os.pipe()
child = os.fork()
if not child:
    os.setpgid(0, 0)
    os.write(tell, b"x")
    listen("child")
os.read(ready, 1)
print("leader reads", flush=True)
for _ in range(2):
    line = os.read(0, 100).decode().strip()
    print(f"leader read <{line}>", flush=True)
os.tcsetpgrp(0, child)
print("handed over", flush=True)
os.waitpid(child, 0)
"""
)


def test_in_the_background_of_a_terminal_nothing_is_read_until_it_is_the_foreground(
    tmp_path: Path,
) -> None:
    with on_terminal(tmp_path, "-c", BACKGROUND, program=sys.executable) as process:
        process.wait_for("child listens")
        process.type("one\n")
        process.wait_for("leader read <one>")
        process.type("two\n")
        process.wait_for("leader read <two>")
        process.wait_for("handed over")
        process.type("three\n")
        process.wait_for("child got <three>")
        assert "child got <one>" not in process.text
        assert "child got <two>" not in process.text
