"""Where tools stand, after runs that were recorded by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from discover_orch.model.observation import Observation
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.status import CLOCK_TOLERANCE
from discover_orch.state.journal import begin_run, read_record
from tests.conftest import Project
from tests.support.journals import started, tool_started
from tests.support.recorded import (
    database,
    freshnesses,
    record,
    remaining,
    result,
    seen,
    stale,
    success,
    view_of,
)  # fmt: skip

CONFIG = "[tool.orch]\nstages = ['one', 'two']\n"


def tool(stage: str = "one", run: str = "def run(): pass", **tags: object) -> str:
    lines = [f"STAGE = {stage!r}", *(f"{name} = {value!r}" for name, value in tags.items()), run]
    return "\n".join(lines) + "\n"


CONN = "def run(conn): pass"


def count_calls(root: Path) -> int:
    """The function calls that it takes to find out what is stale, those of C functions too."""
    work, count = remaining(root), 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work.freshness()
    finally:
        sys.setprofile(None)
    return count


def test_twice_as_many_tools_that_never_ran_are_twice_the_work(project: Project) -> None:
    counts = []
    for tools in (200, 400):
        files = {f"src/t{number}.py": tool() for number in range(tools)}
        root = project({"pyproject.toml": CONFIG, **files})
        freshnesses(root)  # from now on the code is known
        counts.append(count_calls(root))
    assert counts[1] < 2.2 * counts[0], counts


@pytest.fixture
def updating(project: Project) -> Path:
    """Two tools that update one table in place, and one that reads it."""
    return project(
        {
            "pyproject.toml": CONFIG,
            "src/a.py": tool(run=CONN),
            "src/b.py": tool(AFTER="a", run=CONN),
            "src/c.py": tool("two", run=CONN),
            "data.db": database(5),
        }
    )


UPDATES = Observation(tables_read=("t",), tables_written=("t",), database="data.db")
READS = Observation(tables_read=("t",), database="data.db")
SIGHTS = {"a": UPDATES, "b": UPDATES, "c": READS}


def test_a_table_written_later_by_a_tool_before_makes_the_others_stale(updating: Path) -> None:
    record(updating, SIGHTS)
    record(updating, SIGHTS, "a")
    assert stale(updating) == {
        "b": ("table t was rewritten by a (run 2)",),
        "c": ("table t was rewritten by a (run 2)",),
    }
    record(updating, SIGHTS, "b")
    assert stale(updating) == {
        "c": ("table t was rewritten by a (run 2)", "table t was rewritten by b (run 3)"),
    }
    record(updating, SIGHTS, "c")
    assert stale(updating) == {}


def test_a_tool_that_updated_a_table_a_second_time_used_it_out_of_order(updating: Path) -> None:
    twice = ("table t had already been changed by this tool or a later one when this tool used it",)
    record(updating, SIGHTS)
    record(updating, SIGHTS, "b", "c")
    assert stale(updating) == {
        "a": ("table t is no longer as a left it",),
        "b": twice,
        "c": ("upstream b is stale (table t)",),
    }
    record(updating, SIGHTS)
    assert stale(updating) == {}


def test_a_tool_that_says_that_it_is_repeatable_may_update_a_table_twice(updating: Path) -> None:
    (updating / "src/b.py").write_text(tool(AFTER="a", ORCH={"repeatable": True}, run=CONN))
    record(updating, SIGHTS)
    record(updating, SIGHTS, "b")
    assert stale(updating) == {"c": ("table t was rewritten by b (run 2)",)}
    record(updating, SIGHTS, "c")
    assert stale(updating) == {}


def test_an_update_in_place_that_must_run_again_sends_back_to_the_first_writer(
    updating: Path,
) -> None:
    record(updating, SIGHTS)
    changed = "def run(conn): return {}"
    (updating / "src/b.py").write_text(tool(AFTER="a", run=changed))
    assert stale(updating) == {
        "a": ("table t is no longer as a left it",),
        "b": ("src/b.py changed",),
        "c": ("upstream b is stale (table t)",),
    }
    (updating / "src/b.py").write_text(tool(AFTER="a", run=CONN))
    (updating / "src/c.py").write_text(tool("two", run=changed))
    assert stale(updating) == {"c": ("src/c.py changed",)}


def test_a_scratch_table_is_made_again_for_a_tool_that_needs_it(updating: Path) -> None:
    makes = replace(UPDATES, tables_read=(), tables_created=("t",))
    drops = replace(UPDATES, tables_dropped=("t",))
    record(updating, {"a": makes, "b": drops})
    (updating / "src/b.py").write_text(tool(AFTER="a", run="def run(conn): return {}"))
    assert stale(updating)["a"] == ("table t is no longer as a left it",)


def test_a_failed_run_of_a_writer_wrote_nothing(updating: Path) -> None:
    record(updating, SIGHTS)
    record(updating, SIGHTS, "a", ends={"a": "failed"})
    found = freshnesses(updating)
    assert (found["a"].last_ending, found["a"].reasons) == ("failed", ("failed (run 2)",))
    assert found["c"].sentences == ("upstream b is stale (table t)",)


def test_what_was_written_in_another_database_was_not_written_in_this_one(updating: Path) -> None:
    (updating / "other.db").write_bytes(b"")
    record(updating, SIGHTS)
    other = replace(UPDATES, database="other.db")
    record(updating, {"a": other}, "a", database="sqlite:///other.db")
    found = stale(updating)
    assert found["a"] == ("database: sqlite:///other.db → sqlite:///data.db",)
    assert not any("written by a" in one for reasons in found.values() for one in reasons)
    found = stale(updating, database="sqlite:///other.db")
    assert "a" not in found
    assert found["c"][0] == "database: sqlite:///data.db → sqlite:///other.db"


def test_a_copied_project_whose_first_run_is_killed_keeps_its_memory(
    updating: Path, tmp_path: Path
) -> None:
    record(updating, SIGHTS)
    copy = Path(shutil.copytree(updating, tmp_path / "copy"))
    record(copy, SIGHTS, broken_off="b")
    (copy / "data.db").write_bytes(database(6))
    found = stale(copy)
    assert found["b"][0].startswith("outcome unknown: run 2 was killed")
    assert found["c"] == ("table t was rewritten by a (run 2)",)
    assert "a" not in found


def test_a_connection_that_is_no_file_is_remembered_though_the_run_was_killed(
    project: Project,
) -> None:
    root = project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": "def get_connection(): ...\n",
            "src/a.py": tool(run=CONN),
            "src/b.py": tool("two"),
        }
    )
    record(root, {"a": Observation(is_unclear=True)}, broken_off="b")
    assert set(stale(root)) == {"b"}


def test_a_tool_whose_statements_nobody_saw_comes_after_all_that_used_the_database(
    updating: Path,
) -> None:
    unclear = Observation(is_unclear=True, database="data.db")
    record(updating, {**SIGHTS, "a": unclear})
    assert stale(updating) == {}
    record(updating, {**SIGHTS, "a": unclear}, "a")
    said = "a used the database in a way that cannot be observed (run 2)"
    assert stale(updating) == {"b": (said,), "c": (said,)}


# What comes after what is stale.


@pytest.fixture
def chain(project: Project) -> Path:
    return project(
        {
            "pyproject.toml": CONFIG,
            "in.csv": "x",
            "src/a.py": tool(),
            "src/b.py": tool(AFTER="a"),
            "src/c.py": tool("two"),
            "src/d.py": tool("two"),
        }
    )


def flow(root: Path, name: str) -> Observation:
    """`a` reads a file and writes another, which `b` reads; `c` reads what `b` writes."""
    paths = {"a": ("in.csv", "a.csv"), "b": ("a.csv", "b.csv"), "c": ("b.csv", "c.csv")}
    read, written = paths.get(name, ("in.csv", "d.csv"))
    for path in (read, written):
        if not (root / path).exists():
            (root / path).write_text(path)
    return seen(root, read=(read,), written=(written,))


def flows(root: Path) -> dict[str, Observation]:
    return {name: flow(root, name) for name in "abcd"}


def test_what_is_downstream_of_a_stale_tool_is_stale_and_says_what_it_waits_for(
    chain: Path,
) -> None:
    record(chain, flows(chain))
    assert stale(chain) == {}
    (chain / "src/a.py").write_text(tool(run="def run(): return {}"))
    assert stale(chain) == {
        "a": ("src/a.py changed",),
        "b": ("upstream a is stale (a.csv)",),
        "c": ("upstream b is stale (b.csv)",),
    }


def test_a_tool_with_reasons_of_its_own_tells_those_alone(chain: Path) -> None:
    record(chain, flows(chain))
    (chain / "src/a.py").write_text(tool(run="def run(): return {}"))
    (chain / "src/b.py").write_text(tool(AFTER="a", run="def run(): return {}"))
    assert stale(chain)["b"] == ("src/b.py changed",)


def test_a_tool_of_which_no_read_is_known_waits_for_all_earlier_stages(chain: Path) -> None:
    record(chain, {**flows(chain), "d": Observation()})
    (chain / "src/b.py").write_text(tool(AFTER="a", run="def run(): return {}"))
    found = stale(chain)
    assert found["d"] == ("b is stale and may be upstream (the reads of this tool are not known)",)
    assert "a" not in found


def test_the_tool_that_is_named_is_one_that_it_may_really_depend_on(chain: Path) -> None:
    """`a` is stale too, but writes only what others read; of `b` nobody knows what it writes."""
    (chain / "src/b.py").write_text(tool(AFTER=()))
    record(chain, {**flows(chain), "b": Observation(), "c": seen(chain), "d": flow(chain, "d")})
    for name in "ab":
        (chain / f"src/{name}.py").write_text(tool(AFTER=(), run="def run(): return {}"))
    found = stale(chain)
    assert found["d"] == ("b is stale and may be upstream (the writes of b are not known)",)
    assert found["c"] == ("a is stale and may be upstream (the reads of this tool are not known)",)


# How it ended.


@pytest.mark.parametrize(
    ("status", "sentence", "last_ending"),
    [
        ("failed", "failed (run 2)", "failed"),
        ("interrupted", "interrupted (run 2)", ""),
        ("cancelled", "cancelled (run 2)", ""),
        (
            "unknown",
            "outcome unknown: its worker was lost in run 2 and may have committed",
            "unknown",
        ),
    ],
)
def test_a_tool_that_did_not_end_well_is_stale(
    chain: Path, status: str, sentence: str, last_ending: str
) -> None:
    record(chain, flows(chain))
    record(chain, {}, "d", ends={"d": status})  # type: ignore[dict-item]
    found = freshnesses(chain)["d"]
    assert (found.reasons, found.last_ending) == ((sentence,), last_ending)


@pytest.mark.parametrize("status", ["blocked", "not_run"])
def test_a_tool_whose_turn_never_came_is_as_it_was(chain: Path, status: str) -> None:
    record(chain, flows(chain))
    record(chain, {}, "d", ends={"d": status})  # type: ignore[dict-item]
    assert stale(chain) == {}


def test_a_tool_that_was_tried_has_not_never_run(chain: Path) -> None:
    record(chain, {}, "d", ends={"d": "interrupted"})
    assert freshnesses(chain)["d"].state == "stale"
    record(chain, {}, "d", ends={"d": "failed"})
    assert freshnesses(chain)["d"].state == "failed"
    assert freshnesses(chain)["a"].state == "never"


def test_a_tool_that_failed_makes_what_comes_after_it_stale(chain: Path) -> None:
    record(chain, flows(chain))
    record(chain, {}, "a", ends={"a": "failed"})
    assert {name: one.state for name, one in freshnesses(chain).items() if not one.is_fresh} == {
        "a": "failed",
        "b": "stale",
        "c": "stale",
    }


def killed(root: Path, tools: tuple[str, ...] = ("a", "b"), begun: tuple[str, ...] = ("a",)) -> str:
    """A run whose process is no more: it was another one, which has ended."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    journal = begin_run(str(root))
    journal.write(started(journal.run, tools, pid=gone.pid, process=None))
    for name in begun:
        journal.write(tool_started(name))
    journal.close()
    return journal.run


UNKNOWN = "outcome unknown: run 2 was killed and may have committed"


def test_a_tool_of_a_killed_run_is_unknown_until_it_runs_again(chain: Path) -> None:
    record(chain, flows(chain))
    killed(chain)
    found = freshnesses(chain)
    assert (found["a"].last_ending, found["a"].reasons) == ("unknown", (UNKNOWN,))
    assert found["b"].reasons == ()
    record(chain, flows(chain), "c")  # the next run hides that one
    found = freshnesses(chain)
    assert (found["a"].last_ending, found["a"].reasons) == ("unknown", (UNKNOWN,))
    record(chain, flows(chain), "a")
    assert freshnesses(chain)["a"].last_ending == ""


def test_a_tool_that_was_only_ordered_may_have_started(chain: Path) -> None:
    record(chain, flows(chain))
    run = killed(chain, begun=())
    with (chain / ".orch" / "runs" / run / "events.jsonl").open("a") as file:
        file.write('{"event":"tool_ordered","module":"src.a"}\n')
    started_it = f"outcome unknown: run {run} was killed and may have started it"
    for _ in range(2):
        found = freshnesses(chain)["a"]
        assert (found.last_ending, found.reasons) == ("unknown", (started_it,))
        record(chain, flows(chain), "c")  # the next run hides that one


def test_a_tool_of_a_run_that_goes_on_is_running(chain: Path) -> None:
    record(chain, flows(chain))
    journal = begin_run(str(chain))
    journal.write(started(journal.run, ("a", "b")))  # of this process
    journal.write(tool_started("a"))
    found = freshnesses(chain)
    assert (found["a"].last_ending, found["a"].reasons) == ("", ("running now (run 2)",))
    journal.close()


def test_a_run_that_was_broken_off_knows_no_end_of_the_tool_that_ran(chain: Path) -> None:
    record(chain, flows(chain))
    record(chain, flows(chain), broken_off="b")
    assert freshnesses(chain)["b"].reasons == (UNKNOWN,)
    assert freshnesses(chain)["c"].reasons == ()
    ended = read_record(str(chain), "2")
    assert ended is not None
    assert [one.status for one in ended.tools] == ["passed", "unknown", "not_run", "not_run"]


def test_what_was_accepted_after_a_kill_is_known(chain: Path) -> None:
    record(chain, flows(chain))
    killed(chain)
    left = remaining(chain)
    assert left.accept(project_view.plan_targets(view_of(chain), ["a"]))
    assert stale(chain) == {}
    record(chain, flows(chain), "c")
    assert "a" not in stale(chain)


# Parameters.


def test_a_parameter_that_would_be_another_one_now_is_a_reason(project: Project) -> None:
    run = "def run(*, since: str = '', api_key: str = '', **more): pass"
    root = project({"orch.toml": "", "src/a.py": tool(run=run)})
    given = GivenParams(options={"since": ("2024",), "api_key": ("secret-1",)})
    record(root, values=given)
    assert stale(root, given) == {}
    assert stale(root, replace(given, options={**given.options, "api_key": ("other",)})) == {}
    assert stale(root) == {"a": ("--since: 2024 → default",)}
    more = replace(given, pairs=(KeyValue(tool=None, name="si-ze", text="3"),))
    assert stale(root, more) == {"a": ("--si-ze: not given → 3",)}
    (root / "orch.toml").write_text("[params]\nsince = '2025'\n")
    assert stale(root) == {"a": ("--since: 2024 → 2025",)}


# Where memory is damaged.


def test_a_journal_that_cannot_be_read_is_no_run(chain: Path) -> None:
    record(chain, flows(chain))
    run = killed(chain)
    (chain / ".orch/runs" / run / "events.jsonl").write_bytes(b"\xff{\n")
    assert stale(chain) == {}


# What a tool that failed has left in the database.

COMMITTED = replace(UPDATES, has_committed=True)


def test_what_a_failed_tool_committed_was_written(updating: Path) -> None:
    record(updating, SIGHTS)
    record(updating, {"a": COMMITTED}, "a", ends={"a": "failed"})
    written = ("table t was rewritten by a (run 2)",)
    assert stale(updating) == {"a": ("failed (run 2)",), "b": written, "c": written}
    record(updating, SIGHTS, "b", "c")
    assert stale(updating) == {
        "a": ("failed (run 2)",),
        "b": ("upstream a is stale (table t)",),
        "c": ("upstream b is stale (table t)",),
    }


@pytest.mark.parametrize("end", ["interrupted", "cancelled"])
def test_so_it_is_where_it_was_made_to_end(updating: Path, end: Any) -> None:
    record(updating, SIGHTS)
    record(updating, {"a": COMMITTED}, "a", ends={"a": end})
    assert stale(updating)["c"][0] == "table t was rewritten by a (run 2)"


def test_a_later_failure_adds_to_what_was_left_and_takes_nothing_away(updating: Path) -> None:
    reads = replace(READS, tables_read=("t", "u"))
    record(updating, {**SIGHTS, "c": reads})
    record(updating, {"a": COMMITTED}, "a", ends={"a": "failed"})
    record(updating, {"a": UPDATES}, "a", ends={"a": "failed"})
    assert stale(updating)["c"] == ("table t was rewritten by a (run 2)",)
    record(updating, {"a": replace(COMMITTED, tables_written=("u",))}, "a", ends={"a": "failed"})
    assert [*result(updating, "src.a").writes] == ["table:1:t", "table:1:u"]
    record(updating, {"a": UPDATES}, "a")
    assert stale(updating)["c"] == ("table t was rewritten by a (run 5)",)


def test_what_was_left_survives_that_nobody_knows_how_the_next_try_ended(updating: Path) -> None:
    record(updating, SIGHTS)
    record(updating, {"a": COMMITTED}, "a", ends={"a": "failed"})
    record(updating, SIGHTS, "a", broken_off="a")
    record(updating, SIGHTS, "b")
    assert stale(updating)["c"][0] == "table t was rewritten by a (run 2)"


def test_statements_that_went_unseen_may_have_left_anything(updating: Path) -> None:
    record(updating, SIGHTS)
    unseen = Observation(is_unclear=True, has_committed=True, database="data.db")
    record(updating, {"a": unseen}, "a", ends={"a": "failed"})
    assert stale(updating)["c"] == ("a used the database in a way that cannot be observed (run 2)",)


def test_what_was_left_in_another_database_is_no_reason(updating: Path) -> None:
    (updating / "other.db").write_bytes(b"")
    record(updating, SIGHTS)
    other = replace(COMMITTED, database="other.db")
    record(updating, {"a": other}, "a", ends={"a": "failed"}, database="sqlite:///other.db")
    assert stale(updating)["c"] == ("upstream b is stale (table t)",)


def test_a_success_in_the_future_has_no_known_age(project: Project) -> None:
    root = project({"pyproject.toml": CONFIG, "src/a.py": tool(ORCH={"max_age": "1d"})})
    record(root)
    made, before = result(root, "src.a"), success(root)
    assert stale(root) == {}
    for at, sentences in (
        (datetime.now(UTC) + timedelta(seconds=CLOCK_TOLERANCE / 2), {}),
        (
            datetime.now(UTC) + timedelta(days=400),  # the clock was wrong, and is right now
            {"a": ("the last success is dated in the future, so its age is not known (max_age)",)},
        ),
    ):
        Memory(str(root)).write(replace(made, success=replace(before, at=at.isoformat())))
        assert stale(root) == sentences
