"""What is left to run: of a plan what is stale, of another run what it did not come to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discover_orch.model.errors import UsageError
from discover_orch.model.observation import Observation
from discover_orch.planning import project_view
from discover_orch.planning.incremental import find_run_to_resume
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from tests.conftest import Project
from tests.support.journals import whole_run
from tests.support.recorded import database, record, remaining, result, stale, view_of

CONFIG = "[tool.orch]\nstages = ['one', 'two']\n"
SINCE = "def run(*, since: str = ''): pass"


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


def names(plan: Plan) -> list[str]:
    return [step.tool.name for step in plan.steps]


# Only what is stale.


def test_before_the_first_run_everything_is_left(root: Path) -> None:
    plan = keep_stale(root)
    assert names(plan) == ["a", "c", "b", "d"]
    assert {step.reason for step in plan.steps} == {"never ran"}
    assert plan.intro == "4 of 4 tools are stale"
    assert plan.fresh == ()


def test_what_is_stale_is_left_with_what_is_downstream_of_it(root: Path) -> None:
    record(root, FLOWS)
    (root / "src/a.py").write_text(tool(AFTER=(), run=CHANGED))
    plan = keep_stale(root)
    assert [(step.tool.name, step.reason) for step in plan.steps] == [
        ("a", "src/a.py changed"),
        ("b", "upstream a is stale (table ta)"),
    ]
    assert [one.name for one in plan.fresh] == ["c", "d"]
    assert plan.intro == "2 of 4 tools are stale"
    assert [step.after for step in plan.steps] == [(), ("src.a",)]


def test_steps_wait_for_none_that_do_not_run(root: Path) -> None:
    record(root, FLOWS)
    (root / "src/b.py").write_text(tool("two", AFTER=(), run=CHANGED))
    (step,) = keep_stale(root).steps
    assert step.after == ()


# Going on with a run.


def build_resumed_plan(
    root: Path, run: str | None = None, values: GivenParams | None = None
) -> Plan:
    return remaining(root, values).build_resumed_plan(find_run_to_resume(str(root), run))


def test_if_every_run_finished_there_is_nothing_to_resume(root: Path) -> None:
    assert build_resumed_plan(root).intro.startswith("nothing to resume")
    record(root, FLOWS)
    plan = build_resumed_plan(root)
    assert (plan.steps, plan.intro[:17]) == ((), "nothing to resume")


def test_a_failed_run_goes_on_where_it_failed_also_when_it_fails_again(root: Path) -> None:
    record(root, FLOWS, ends={"b": "failed"})
    plan = build_resumed_plan(root)
    assert names(plan) == ["b", "d"]
    record(root, FLOWS, plan=plan, ends={"d": "failed"})
    again = build_resumed_plan(root)
    assert (names(again), again.resumes) == (["d"], "2")
    assert [step.tool.name for step in again.all_steps] == ["a", "c", "b", "d"]
    record(root, FLOWS, plan=again)
    assert build_resumed_plan(root).steps == ()
    assert find_run_to_resume(str(root), None) is None
    assert stale(root) == {}


def test_what_passed_and_is_stale_now_runs_first_with_its_downstream(
    root: Path,
) -> None:
    record(root, FLOWS, ends={"d": "failed"})
    (root / "src/a.py").write_text(tool(AFTER=(), run=CHANGED))
    plan = build_resumed_plan(root)
    assert names(plan) == ["a", "b", "d"]
    assert "a (src/a.py changed); b (upstream a is stale (table ta))" in plan.intro
    record(root, FLOWS, plan=plan, ends={"a": "failed"})
    assert names(build_resumed_plan(root)) == ["a", "b", "d"]


@pytest.mark.parametrize("run", ["3", "0", "x", "../1", "01", ""])
def test_a_run_that_is_not_there_is_refused(root: Path, run: str) -> None:
    record(root)
    with pytest.raises(UsageError) as caught:
        find_run_to_resume(str(root), run)
    is_number = run.isdecimal()
    message = f"run {run} does not exist" if is_number else f'"{run}" is not the number of a run'
    assert caught.value.problems[0].message == message


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


# Accepting.


def accept(root: Path, *targets: str, values: GivenParams | None = None) -> bool:
    view = view_of(root)
    plan = project_view.plan_targets(view, targets, values=values or GivenParams())
    return remaining(root, values).accept(plan)


def test_what_is_accepted_is_fresh_though_it_never_ran(root: Path) -> None:
    assert accept(root)
    assert stale(root) == {}
    assert result(root, "src.a").last.status == "accepted"
    (root / "src/a.py").write_text(tool(AFTER=(), run=CHANGED))
    assert stale(root)["a"] == ("src/a.py changed",)


def test_what_was_written_before_accepting_no_longer_counts(root: Path) -> None:
    record(root, FLOWS)
    record(root, FLOWS, "a")
    assert stale(root)["b"] == ("table ta was rewritten by a (run 2)",)
    assert accept(root, "b")
    assert stale(root) == {}
    record(root, FLOWS, "a")
    assert stale(root)["b"] == ("table ta was rewritten by a (run 3)",)


def test_a_failed_tool_can_be_accepted(root: Path) -> None:
    record(root, FLOWS, ends={"d": "failed"})
    assert accept(root, "d")
    assert stale(root) == {}
    record(root, FLOWS, "d")
    found = result(root, "src.d")
    assert (found.last.status, found.success and found.success.is_accepted) == ("passed", False)


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


def test_looking_writes_no_result(root: Path) -> None:
    record(root, FLOWS)
    before = {p.name: p.read_bytes() for p in (root / ".orch/tools").iterdir()}
    (root / "src/a.py").write_text(tool(AFTER=(), run=CHANGED))
    keep_stale(root)
    build_resumed_plan(root)
    stale(root)
    assert {p.name: p.read_bytes() for p in (root / ".orch/tools").iterdir()} == before


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
