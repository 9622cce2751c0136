"""Output that nobody reads: a signal must end orch all the same."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import Project
from tests.support.running import is_gone, running, wait_until

CHATTY = "STAGE = 's'\ndef run():\n    for i in range(2_000_000): print('line', i)\n"


def is_blocked(pid: int) -> bool:
    """Whether it waits for somebody to read its pipe."""
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return "pipe_write" in file.read()


@pytest.mark.skipif(not os.path.exists("/proc/self/wchan"), reason="the kernel tells no wchan")
@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["run"], signal.SIGINT),
        (["watch"], signal.SIGTERM),
        pytest.param(["watch", "--json"], signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_orch_though_nobody_reads_what_it_writes(
    project: Project, words: list[str], number: signal.Signals
) -> None:
    root = project({"orch.toml": "", "src/x.py": CHATTY})
    with running(root, *words) as orch:
        try:
            wait_until(lambda: is_blocked(orch.pid), "a full pipe")
        except AssertionError:
            pytest.skip("the kernel does not tell what a process waits for")
        orch.send(number)
        wait_until(lambda: is_gone(orch.pid), "its end")
        assert orch.wait() == 128 + number
