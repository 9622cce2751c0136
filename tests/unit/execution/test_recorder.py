"""What is kept of a run: its journal, and of each tool what its success rested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from discover_orch.execution.recorder import Recorder
from discover_orch.execution.run_events import RunStarted
from discover_orch.model.tool_events import ToolFinished, ToolStarted
from discover_orch.planning import project_view
from discover_orch.staleness.memory import Memory
from discover_orch.state.journal import read_record, timestamp
from discover_orch.state.sealed_files import read_flows
from tests.conftest import Project
from tests.support.recorded import record, result, stale, tool, view_of, write
from tests.support.seen import observation


@pytest.fixture
def root(project: Project) -> Path:
    return project(
        {
            "pyproject.toml": "[tool.orch]\nstages = ['one', 'two']\n",
            "in.csv": "x",
            "src/a.py": tool(),
            "src/b.py": tool("two"),
        }
    )


def events(root: Path, run: str = "1") -> list[dict[str, Any]]:
    lines = (root / ".orch/runs" / run / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def begin(root: Path) -> Recorder:
    view = view_of(root)
    return Recorder(project_view.plan_targets(view, ["a"]), view.registry, view.project)


def test_a_run_that_never_began_leaves_no_end(root: Path) -> None:
    recorder = begin(root)
    recorder.close()
    assert events(root) == []
    assert read_record(str(root), "1") is None
    assert stale(root)["a"] == ("never ran",)


def test_a_tool_that_the_journal_says_has_passed_is_remembered_as_it_passed(root: Path) -> None:
    """Whenever the process is killed: the memory is written before the line."""
    recorder = begin(root)
    recorder.record(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.record(ToolStarted(module="src.a"))
    wrote: list[bool] = []
    path, journal = root / ".orch/tools/src.a", root / ".orch/runs/1/events.jsonl"
    write, size = Memory.write, len(journal.read_bytes())

    def spy(memory: Memory, one: Any) -> None:
        write(memory, one)
        wrote.append(path.exists() and len(journal.read_bytes()) == size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "write", spy)
        recorder.record(ToolFinished(module="src.a", status="passed", seen=observation()))
    recorder.close()
    assert wrote == [True]
    assert len(journal.read_bytes()) > size


def test_a_tool_that_crashed_without_an_observation_is_remembered_as_failed(root: Path) -> None:
    recorder = begin(root)
    recorder.record(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.record(ToolStarted(module="src.a"))
    recorder.record(ToolFinished(module="src.a", status="failed", seen=None))
    recorder.close()
    assert result(root, "src.a").last.status == "failed"


def test_the_flow_of_a_file_that_is_broken_or_gone_is_kept_since_it_may_come_back(
    root: Path,
) -> None:
    record(root, {"a": observation(tables_read=("t",)), "b": observation(tables_written=("t",))})
    write(root, "src/a.py", "STAGE = 'one'\ndef run(:\n")
    record(root, {"b": observation(tables_written=("u",))}, "b")
    assert set(read_flows(str(root))) == {"src.a", "src.b"}
    (root / "src/a.py").unlink()
    record(root, {}, "b")
    assert set(read_flows(str(root))) == {"src.a", "src.b"}


def test_times_have_their_offset() -> None:
    assert len(timestamp()) == len("2024-01-31T12:00:00+01:00")
    assert timestamp()[-3] == ":"
