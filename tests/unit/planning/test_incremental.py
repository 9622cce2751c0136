"""What is left to run: of a plan what is stale, of another run what it did not come to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discover_orch.model.observation import Observation
from discover_orch.planning import project_view
from discover_orch.planning.incremental import find_run_to_resume
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from tests.conftest import Project
from tests.support.journals import whole_run
from tests.support.recorded import database, record, remaining, stale, view_of

CONFIG = "[tool.orch]\nstages = ['one', 'two']\n"


def tool(stage: str = "one", run: str = "def run(): pass", **tags: object) -> str:
    lines = [f"STAGE = {stage!r}", *(f"{name} = {value!r}" for name, value in tags.items()), run]
    return "\n".join(lines) + "\n"


CHANGED = "def run(): return {}"


@pytest.fixture
def root(project: Project) -> Path:
    """`b` reads what `a` writes, and `d` what `c` writes."""
    root = project(
        {
            "pyproject.toml": CONFIG,
            "src/a.py": tool(AFTER=()),
            "src/b.py": tool("two", AFTER=()),
            "src/c.py": tool(AFTER=()),
            "src/d.py": tool("two", AFTER=()),
        }
    )
    (root / "data.db").write_bytes(database(1))
    return root


FLOWS = {
    "a": Observation(missed=("x",), tables_written=("ta",)),
    "b": Observation(tables_read=("ta",), tables_written=("tb",)),
    "c": Observation(missed=("y",), tables_written=("tc",)),
    "d": Observation(tables_read=("tc",), tables_written=("td",)),
}


def keep_stale(root: Path, *targets: str, values: GivenParams | None = None) -> Plan:
    view = view_of(root)
    plan = project_view.plan_targets(view, targets, values=values or GivenParams())
    return remaining(root, values).keep_stale(plan)


def test_steps_wait_for_none_that_do_not_run(root: Path) -> None:
    record(root, FLOWS)
    (root / "src/b.py").write_text(tool("two", AFTER=(), run=CHANGED))
    (step,) = keep_stale(root).steps
    assert step.after == ()


def test_of_many_runs_the_one_is_found_past_those_that_cannot_be_read(root: Path) -> None:
    whole_run(root, ends={"parse": {"status": "failed"}})
    for _ in range(20):
        whole_run(root)
    damaged = whole_run(root, ends={"parse": {"status": "failed"}})
    (root / ".orch/runs" / damaged / "events.jsonl").write_bytes(b"{}\n" * 9)
    os.mkdir(root / ".orch/runs/99")
    found = find_run_to_resume(str(root), None)
    assert found is not None
    assert found.run == "1"


def accept(root: Path, *targets: str, values: GivenParams | None = None) -> bool:
    view = view_of(root)
    plan = project_view.plan_targets(view, targets, values=values or GivenParams())
    return remaining(root, values).accept(plan)


def test_what_was_written_before_accepting_no_longer_counts(root: Path) -> None:
    record(root, FLOWS)
    record(root, FLOWS, "a")
    assert stale(root)["b"] == ("table ta was rewritten by a (run 2)",)
    assert accept(root, "b")
    assert stale(root) == {}
    record(root, FLOWS, "a")
    assert stale(root)["b"] == ("table ta was rewritten by a (run 3)",)


def test_a_declared_input_that_is_missing_is_accepted_until_it_comes(root: Path) -> None:
    (root / "src/a.py").write_text(tool(AFTER=(), ORCH={"inputs": ["absent.csv", "more/"]}))
    assert accept(root)
    assert stale(root) == {}
    (root / "absent.csv").write_text("x")
    assert stale(root)["a"] == ("absent.csv now exists",)


def test_what_a_tool_wrote_itself_is_no_input_after_it_was_accepted(root: Path) -> None:
    (root / "src/a.py").write_text(tool(AFTER=(), ORCH={"inputs": "*.csv"}))
    (root / "in.csv").write_text("x")
    (root / "out.csv").write_text("x")
    record(root, {**FLOWS, "a": Observation(written=("out.csv",), tables_written=("ta",))})
    assert accept(root, "a")
    (root / "out.csv").write_text("by somebody else")
    assert "a" not in stale(root)


def test_a_database_that_is_another_one_is_accepted_too(root: Path) -> None:
    (root / "src/a.py").write_text(tool(AFTER=(), run="def run(conn): pass"))
    (root / "data.db").write_bytes(database(5))
    record(root, {**FLOWS, "a": Observation(database="data.db", tables_written=("ta",))})
    (root / "data.db").write_bytes(database(1))
    assert set(stale(root)) == set("abcd")
    assert accept(root, *"abcd")
    assert stale(root) == {}
    record(root, FLOWS, "c", "d")
    assert stale(root) == {}


def test_after_another_database_was_accepted_its_tables_count(root: Path) -> None:
    for name in "ab":
        (root / f"src/{name}.py").write_text(tool(AFTER=(), run="def run(conn): pass"))
    (root / "data.db").write_bytes(database(5))
    writes = Observation(database="data.db", tables_written=("t",))
    reads = Observation(database="data.db", tables_read=("t",))
    sights = {**FLOWS, "a": writes, "b": reads}
    record(root, sights)
    (root / "data.db").write_bytes(database(1))
    assert accept(root)
    assert stale(root) == {}
    record(root, sights, "a")
    assert stale(root)["b"] == ("table t was rewritten by a (run 2)",)


def test_what_a_tool_that_was_accepted_after_a_kill_has_written_must_be_there(root: Path) -> None:
    (root / "out.csv").write_text("x")
    sights = {**FLOWS, "a": Observation(written=("out.csv",), tables_written=("ta",))}
    record(root, sights)
    record(root, sights, "a", broken_off="a")
    record(root, sights, "d")  # which learns that nobody knows the end of `a`
    assert accept(root)
    assert stale(root) == {}
    (root / "out.csv").unlink()
    assert stale(root)["a"] == ("out.csv is missing",)
