"""Who is below a process, and that nobody is after a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from discover_orch.worker import child_processes
from discover_orch.worker.child_processes import find_children, find_descendants, kill_group, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are only groups elsewhere")


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A child with a child of its own, which has said that it is there."""
    script = "sh -c 'echo ready; exec sleep 60' & wait"
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    for pid in find_descendants(child.pid) | {child.pid}:
        os.kill(pid, 9)
    child.wait()
    child.stdout.close()


def test_children_and_descendants(family: subprocess.Popen[str]) -> None:
    below = find_children(family.pid)
    assert len(below) == 1
    assert family.pid in find_children(os.getpid())
    assert find_descendants(family.pid) == below
    assert {family.pid, *below} <= find_descendants(os.getpid())


def test_the_slow_way_finds_the_same(family: subprocess.Popen[str]) -> None:
    assert child_processes._find_children_slowly(family.pid) == find_children(family.pid)


def test_a_process_that_is_gone_has_no_children() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert find_children(child.pid) == set()
    kill_group(child.pid)


def test_a_sweep_ends_all_but_those_to_keep(family: subprocess.Popen[str]) -> None:
    """In a process of its own: it sweeps up what is below it."""
    code = """
import os, subprocess, sys, time
from discover_orch.worker.child_processes import *
become_subreaper()
before = find_children(os.getpid())
kept = subprocess.Popen(["sleep", "60"])
subprocess.Popen(["sh", "-c", "setsid sh -c 'sleep 61 & sleep 62 & wait' & wait"])
deadline = time.monotonic() + 60
while len(find_descendants(os.getpid())) < 5 and time.monotonic() < deadline:
    time.sleep(0.01)
assert len(find_descendants(os.getpid())) >= 5
sweep({kept.pid}, time.monotonic() + 60)
assert find_descendants(os.getpid()) == {kept.pid}, find_descendants(os.getpid())
kept.kill(); kept.wait()
sweep(set(), time.monotonic() + 60)
assert find_children(os.getpid()) == set()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_sweep_keeps_its_deadline(family: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    sweep(find_children(os.getpid()), started)
    assert time.monotonic() - started < 10
    assert family.poll() is None
