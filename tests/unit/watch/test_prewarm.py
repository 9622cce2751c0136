"""The warm worker of a watch: what it preloads, and what is reported where it could not be used."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from discover_orch.watch import prewarm
from discover_orch.watch.prewarm import Prewarmer
from discover_orch.watch.project_state import WatchedProject
from tests.conftest import Project
from tests.support.looked_at import request_for
from tests.support.running import is_gone
from tests.support.watched import DEADLINE, Watch, tool


@pytest.fixture
def root(project: Project) -> Path:
    return project({"orch.toml": "", "src/a.py": tool(top="import decimal")})


@pytest.fixture
def prewarmer(root: Path) -> Iterator[Prewarmer]:
    made = Prewarmer(WatchedProject(request_for(root), {}), None)
    yield made
    made.close()


def test_before_it_is_prepared_there_is_none_and_after_that_one(prewarmer: Prewarmer) -> None:
    assert prewarmer.claim().worker is None
    prewarmer.prepare()
    first = prewarmer._warm_worker._worker
    assert first is not None
    prewarmer.prepare()  # the same will do
    assert prewarmer._warm_worker._worker is first
    prewarmer.close()
    assert is_gone(first.pid)
    assert prewarmer.claim().worker is None


def test_it_imports_what_the_tools_do_or_what_the_user_names(
    root: Path, prewarmer: Prewarmer
) -> None:
    watched = WatchedProject(request_for(root), {})
    assert ("decimal", ()) in prewarmer._spec().order.modules
    assert prewarmer._spec().order.root == str(root)
    assert Prewarmer(watched, ("json",))._spec().order.modules == (("json", ()),)
    assert Prewarmer(watched, ())._spec().order.modules == ()


def test_imports_that_end_the_warm_worker_are_left_out(prewarmer: Prewarmer) -> None:
    prewarmer.mark_fatal()
    prewarmer.prepare()
    had = prewarmer._warm_worker._spec
    assert had is not None
    assert had.order.modules == ()


def test_an_installation_counts_when_it_is_seen_twice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter("aaabbcbbb")
    monkeypatch.setattr(prewarm, "read_installation", lambda: next(looks))
    prewarmer = Prewarmer(WatchedProject(request_for(root), {}), ())
    assert [prewarmer.has_new_packages() for _ in "aab"] == [False, False, False]
    assert [prewarmer.has_new_packages() for _ in "bc"] == [True, False]
    assert prewarmer._spec().installed == "b"
    assert [prewarmer.has_new_packages() for _ in "bbb"] == [False, False, False]


def test_a_reason_is_new_once(prewarmer: Prewarmer) -> None:
    assert [prewarmer.is_new(one) for one in ("a", "b", "a")] == [True, True, False]


def test_each_run_after_the_first_uses_the_warm_worker(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", top="import decimal")}, preload=None)
    assert watched.runs[0].began.imported == ()
    warm_worker = watched.watching._prewarmer._warm_worker._worker
    assert warm_worker is not None
    _wait_for_its_word(warm_worker.filenos()[0])
    watched.save({"src/a.py": tool("a1", top="import decimal")})
    run = watched.next_run()
    assert "decimal" in [name for name, _, _ in run.began.imported]
    assert (run.began.cold, run.output) == ("", "a1\n")


def test_after_a_killed_warm_worker_the_run_is_a_cold_start_and_says_so(watch: Watch) -> None:
    watched = watch(preload=("decimal",))
    warm_worker = watched.watching._prewarmer._warm_worker._worker
    assert warm_worker is not None
    _wait_for_its_word(warm_worker.filenos()[0])
    os.kill(warm_worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, warm_worker.pid, os.WEXITED | os.WNOWAIT)
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.status, run.output) == ("passed", "a1\n")
    assert "the warm worker was killed by SIGKILL" in run.began.cold


def _wait_for_its_word(fd: int) -> None:
    assert select.select([fd], [], [], DEADLINE)[0]
