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
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.staleness.memory import Memory
from discover_orch.state.journal import read_record, timestamp
from discover_orch.state.lock import is_alive
from discover_orch.state.sealed_files import read_flows
from tests.conftest import Project
from tests.support.recorded import record, result, seen, stale, success, tool, view_of, write
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


# The journal.


def test_the_first_line_has_all_that_a_resume_needs(project: Project) -> None:
    run = "def run(*, since: str = '', tags: list[str] = [], api_key: str = '', **more): pass"
    root = project({"orch.toml": "", "src/a.py": tool(run=run)})
    values = GivenParams(
        options={"since": ("2024",), "tags": ("x", "y"), "api_key": ("hunter22",)},
        pairs=(
            KeyValue(tool=None, name="size", text="3"),
            KeyValue(tool="a", name="my_token", text="hunter23"),
        ),
    )
    record(root, values=values)
    first = events(root)[0]
    assert first["event"] == "run_started"
    assert (first["run"], first["kind"], first["resumes"], first["passed_before"]) == (
        "1",
        "run",
        None,
        [],
    )
    assert (first["tools"], first["modules"]) == (["a"], ["src.a"])
    assert is_alive(first["pid"], first["process"], first["boot"])
    (row,) = first["plan"]
    assert (row["module"], row["name"], row["stage"]) == ("src.a", "a", "one")
    assert row["params"] == {
        "since": {"texts": ["2024"], "origin": "--since"},
        "tags": {"texts": ["x", "y"], "origin": "--tags"},
    }
    assert (row["extra"], sorted(row["secrets"])) == ({"size": "3"}, ["api_key", "my_token"])
    everything = b"".join(p.read_bytes() for p in (root / ".orch").rglob("*") if p.is_file())
    assert b"hunter2" not in everything


def test_each_tool_has_its_lines_and_the_run_its_end(root: Path) -> None:
    record(root)
    assert [(one["event"], one.get("module")) for one in events(root)] == [
        ("run_started", None),
        ("tool_started", "src.a"),
        ("tool_finished", "src.a"),
        ("tool_started", "src.b"),
        ("tool_finished", "src.b"),
        ("run_finished", None),
    ]
    found = read_record(str(root), "1")
    assert found is not None
    assert (found.status, found.counts) == ("passed", {"passed": 2})


def test_the_journal_has_a_hash_of_the_code_of_each_step(root: Path) -> None:
    record(root)
    write(root, "src/a.py", tool() + "# a comment\n")
    record(root)
    write(root, "src/a.py", tool(run="def run(): return {}"))
    record(root)
    first, second, third = (events(root, run)[0]["plan"] for run in "123")
    assert first == second
    assert first[0]["code"] != third[0]["code"]
    assert first[1]["code"] == third[1]["code"]


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


# Code.


def test_code_that_changed_since_the_plan_is_reported_and_stale(root: Path) -> None:
    told = record(root, loaded={"a": {"src/a.py": "another text"}})
    (problem,) = told
    assert problem.message == "src/a.py changed after a was planned or while it ran"
    assert problem.severity == "warning"
    assert stale(root)["a"] == ("src/a.py changed while the tool ran",)
    record(root)
    assert "a" not in stale(root)


# Ends that are no success.


@pytest.mark.parametrize("status", ["failed", "interrupted", "cancelled"])
def test_another_end_keeps_what_the_last_success_rested_on(root: Path, status: str) -> None:
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv",))}, "a")
    before = success(root)
    record(root, {"a": observation(written=("x",))}, "a", ends={"a": status})  # type: ignore[dict-item]
    assert result(root, "src.a").last.status == status
    assert success(root) == before


@pytest.mark.parametrize("status", ["blocked", "not_run", "fresh"])
def test_a_tool_whose_turn_never_came_is_not_written(root: Path, status: str) -> None:
    record(root, {}, "a")
    before = (root / ".orch/tools/src.a").read_bytes()
    record(root, {}, "a", ends={"a": status})  # type: ignore[dict-item]
    assert (root / ".orch/tools/src.a").read_bytes() == before


def test_a_tool_that_crashed_without_an_observation_is_remembered_as_failed(root: Path) -> None:
    recorder = begin(root)
    recorder.record(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.record(ToolStarted(module="src.a"))
    recorder.record(ToolFinished(module="src.a", status="failed", seen=None))
    recorder.close()
    assert result(root, "src.a").last.status == "failed"


# What all read and write.


def test_the_data_flow_of_a_run_is_the_order_of_the_next_one(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool(), "src/b.py": tool()})
    sights = {"a": observation(tables_read=("t",)), "b": observation(tables_written=("t",))}
    (problem,) = record(root, sights)
    assert problem.message == (
        "stage one now runs in the order b, a, because of the data that its tools read and write"
    )
    assert view_of(root).registry.order == ("src.b", "src.a")
    assert record(root, sights) == []


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
