"""`orch history`: the runs, one run, what changed between two. Runs are recorded by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.state.journal import begin_run
from tests.conftest import Orch, Project
from tests.support.journals import finished, started, tool_started, whole_run


@pytest.fixture
def root(project: Project) -> Path:
    """A project without a single tool: history reads no source."""
    return project({"orch.toml": ""})


def test_a_run_that_was_killed_before_it_began_is_none(root: Path, orch: Orch) -> None:
    begin_run(str(root)).close()
    answer = orch("history")
    assert (answer.out, answer.err) == ("", "no run has been recorded yet\n")
    assert orch("history", "1").code == 2
    whole_run(root)
    assert orch("history").err == ""


def test_a_run_that_was_broken_off_counts_what_never_ended(root: Path, orch: Orch) -> None:
    journal = begin_run(str(root))
    journal.write(started("1"))
    journal.write(tool_started("fetch"))
    journal.write(finished("killed", counts={}))
    journal.close()
    assert "killed  0.50 s    1 unknown, 1 not run" in orch("history").out


def test_looking_at_the_history_writes_nothing(root: Path, orch: Orch) -> None:
    whole_run(root, logs={"fetch": "x"})
    before = sorted(path for path in root.rglob("*"))
    for words in ([], ["1"], ["1", "1"], ["--json"]):
        orch("history", *words)
    assert sorted(path for path in root.rglob("*")) == before


def test_history_completes_the_runs(root: Path, orch: Orch) -> None:
    for _ in range(11):
        whole_run(root)
    answer = orch(
        env={"_ORCH_COMPLETE": "bash_complete", "COMP_WORDS": "orch history 1", "COMP_CWORD": "2"}
    )
    assert [line.partition(",")[2] for line in answer.out.splitlines()] == ["11", "10", "1"]


def test_the_history_is_found_from_below_and_from_elsewhere(
    root: Path, orch: Orch, tmp_path: Path
) -> None:
    whole_run(root)
    (root / "src" / "deep").mkdir(parents=True)
    expected = orch("history").out
    assert orch("history", cwd=root / "src" / "deep").out == expected
    assert orch("history", "-C", str(root), cwd=tmp_path).out == expected
