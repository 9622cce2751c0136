"""Several workers from one interpreter: each is a child of this process with pipes of its own, and none is left."""

from __future__ import annotations

import os
import sys

import pytest

from discover_orch.__main__ import count_jobs
from discover_orch.worker.child_processes import find_children
from discover_orch.worker.forks import MOST_FORKS, Forks
from discover_orch.worker.spawn import Interpreter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


def end(worker: Interpreter) -> None:
    """A worker ends by itself when its orders end."""
    pid, pipes = worker
    pipes.close()
    assert os.waitpid(pid, 0) == (pid, 0)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_each_worker_is_a_child_with_a_group_of_its_own() -> None:
    before = find_children(os.getpid())
    forks = Forks(3)
    workers = [forks.claim() for _ in range(3)]
    assert forks.claim() is None
    pids = {worker[0] for worker in workers if worker is not None}
    assert find_children(os.getpid()) - before == pids, "the interpreter that forked them has ended"
    assert {os.getpgid(pid) for pid in pids} == pids
    for worker in workers:
        assert worker is not None
        end(worker)
    forks.close()


def test_only_as_many_are_made_as_are_wanted() -> None:
    children, open_before = find_children(os.getpid()), descriptors()
    forks = Forks(4)
    forks.wanted = 1
    worker = forks.claim()
    assert worker is not None
    assert find_children(os.getpid()) - children == {worker[0]}
    assert forks.claim() is None
    end(worker)
    forks.close()
    assert descriptors() == open_before


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        ("run", 1),
        ("run --jobs 4", 4),
        ("run --jobs=4 a", 4),
        ("run --jobs", 1),
        ("run --jobs x", 1),
        ("run --jobs -1", 1),
        ("run --jobs 99999999999", 1),
    ],
)
def test_the_command_line_tells_early_how_many_workers_there_are(words: str, jobs: int) -> None:
    assert count_jobs(words.split()) == jobs


@pytest.mark.parametrize(("claimed", "begins"), [(0, False), (0, True), (1, False), (1, True)])
def test_what_is_not_claimed_is_ended(claimed: int, begins: bool) -> None:
    children, open_before = find_children(os.getpid()), descriptors()
    forks = Forks(3)
    if begins:
        forks.begin()
    for _ in range(claimed):
        worker = forks.claim()
        assert worker is not None
        end(worker)
    forks.close()
    assert find_children(os.getpid()) == children
    assert descriptors() == open_before
    assert forks.claim() is None


def test_there_are_no_forks_of_an_interpreter_that_has_died() -> None:
    children = find_children(os.getpid())
    forks = Forks(2)
    for pid in forks.pids:
        os.kill(pid, 9)
    assert forks.claim() is None
    forks.close()
    assert find_children(os.getpid()) == children


def test_a_great_number_of_workers_is_limited() -> None:
    forks = Forks(1000)
    workers = [*iter(forks.claim, None)]
    assert len(workers) == MOST_FORKS
    for worker in workers:
        end(worker)
    forks.close()
