"""Whether the process that wrote a run still runs, though process ids are used again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from discover_orch.state.lock import is_alive, read_boot, read_start

IS_LINUX = sys.platform == "linux"


def test_this_process_is_there() -> None:
    assert is_alive(os.getpid(), read_start(os.getpid()), read_boot())
    assert is_alive(os.getpid(), None, None)


@pytest.mark.skipif(not IS_LINUX, reason="only Linux tells when a process started")
def test_a_number_that_is_used_again_is_another_process() -> None:
    start = read_start(os.getpid())
    assert start is not None
    assert not is_alive(os.getpid(), start - 1, read_boot())


@pytest.mark.skipif(not IS_LINUX, reason="only Linux names its boots")
def test_no_process_outlives_a_boot() -> None:
    assert not is_alive(os.getpid(), read_start(os.getpid()), "another boot")


def test_a_process_that_ended_is_not_there_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = read_start(child.pid)
        assert is_alive(child.pid, start, read_boot())
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(child.pid, start, read_boot()) or not IS_LINUX
    assert not is_alive(child.pid, start, read_boot())
    assert read_start(child.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 1 << 40, 1 << 100])
def test_a_number_that_no_process_has_is_not_there(pid: int) -> None:
    assert not is_alive(pid, None, None)
