"""Runs of other commands: told from the watch's own, and judged only when they have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.state.journal import begin_run
from discover_orch.state.lock import ProjectLock
from discover_orch.watch.other_runs import OtherRuns
from tests.conftest import Project
from tests.support.journals import started, tool_started, whole_run


@pytest.fixture
def root(project: Project) -> Path:
    return project({"orch.toml": ""})


@pytest.fixture
def others(root: Path) -> OtherRuns:
    whole_run(root)  # before it is watched
    return OtherRuns(str(root), ProjectLock(str(root)))


def test_the_tools_that_others_have_run_are_told_once(root: Path, others: OtherRuns) -> None:
    assert others.find_tools() == ()
    whole_run(root, ["fetch"])
    whole_run(root, ["parse", "fetch", "late"], ends={"late": {"status": "not_run"}})
    assert set(others.find_tools() or ()) == {"src.fetch", "src.parse"}
    assert others.find_tools() == ()


def test_runs_of_the_watch_itself_are_none_of_theirs(root: Path, others: OtherRuns) -> None:
    whole_run(root, ["fetch"])
    others.note_own(whole_run(root, ["parse"]))
    assert others.find_tools() == ("src.fetch",)
    others.note_own(whole_run(root, ["parse"]))
    assert others.find_tools() == ()


def test_a_run_that_goes_on_is_awaited(root: Path, others: OtherRuns) -> None:
    lock, journal = ProjectLock(str(root)), begin_run(str(root))
    assert lock.acquire() is None
    journal.write(started(journal.run, ["fetch"]))
    journal.write(tool_started("fetch"))
    assert others.find_tools() is None
    assert others.is_awaited
    assert not others.have_ended()
    lock.release()
    assert others.have_ended()
    assert not others.have_ended()
    assert others.find_tools() == ("src.fetch",)
    journal.close()


def test_without_another_run_nobody_tries_the_lock(root: Path, others: OtherRuns) -> None:
    lock = ProjectLock(str(root))
    assert lock.acquire() is None
    assert others.find_tools() == ()
    lock.release()
