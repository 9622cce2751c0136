"""Where tools stand, after runs that were recorded by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.model.observation import Observation
from discover_orch.planning import project_view
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reason_sentences import CLOCK_TOLERANCE
from discover_orch.state.journal import begin_run
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
from tests.support.seen import observation

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


UPDATES = observation(tables_read=("t",), tables_written=("t",), database="data.db")
READS = observation(tables_read=("t",), database="data.db")
SIGHTS = {"a": UPDATES, "b": UPDATES, "c": READS}


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
    # Who wrote after the last end that is recorded is unknown: the tool that was killed, or another program.
    for name in ("a", "c"):
        assert found[name][0].startswith("another program wrote to the database")
    assert found["c"][1:] == ("table t was rewritten by a (run 2)",)


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
    record(root, {"a": observation(is_unclear=True)}, broken_off="b")
    assert set(stale(root)) == {"b"}


def test_a_tool_whose_statements_nobody_saw_comes_after_all_that_used_the_database(
    updating: Path,
) -> None:
    unclear = observation(is_unclear=True, database="data.db")
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


def test_a_tool_of_which_no_read_is_known_waits_for_all_earlier_stages(chain: Path) -> None:
    record(chain, {**flows(chain), "d": observation()})
    (chain / "src/b.py").write_text(tool(AFTER="a", run="def run(): return {}"))
    found = stale(chain)
    assert found["d"] == (
        "b is stale and may be upstream (this tool is not known to read anything)",
    )
    assert "a" not in found


def test_the_tool_that_is_named_is_one_that_it_may_really_depend_on(chain: Path) -> None:
    """`a` is stale too, but writes only what others read; of `b` nobody knows what it writes."""
    (chain / "src/b.py").write_text(tool(AFTER=()))
    record(chain, {**flows(chain), "b": observation(), "c": seen(chain), "d": flow(chain, "d")})
    for name in "ab":
        (chain / f"src/{name}.py").write_text(tool(AFTER=(), run="def run(): return {}"))
    found = stale(chain)
    assert found["d"] == ("b is stale and may be upstream (the writes of b are not known)",)
    assert found["c"] == (
        "a is stale and may be upstream (this tool is not known to read anything)",
    )


# How it ended.


def test_a_tool_that_was_tried_has_not_never_run(chain: Path) -> None:
    record(chain, {}, "d", ends={"d": "interrupted"})
    assert freshnesses(chain)["d"].state == "stale"
    record(chain, {}, "d", ends={"d": "failed"})
    assert freshnesses(chain)["d"].state == "failed"
    assert freshnesses(chain)["a"].state == "never"


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


def test_what_was_accepted_after_a_kill_is_known(chain: Path) -> None:
    record(chain, flows(chain))
    killed(chain)
    left = remaining(chain)
    assert left.accept(project_view.plan_targets(view_of(chain), ["a"]))
    assert stale(chain) == {}
    record(chain, flows(chain), "c")
    assert "a" not in stale(chain)


# Parameters.


# Where memory is damaged.


def test_a_journal_that_cannot_be_read_is_no_run(chain: Path) -> None:
    record(chain, flows(chain))
    run = killed(chain)
    (chain / ".orch/runs" / run / "events.jsonl").write_bytes(b"\xff{\n")
    assert stale(chain) == {}


# What a tool that failed has left in the database.

COMMITTED = replace(UPDATES, has_committed=True)


def test_statements_that_went_unseen_may_have_left_anything(updating: Path) -> None:
    record(updating, SIGHTS)
    unseen = observation(is_unclear=True, has_committed=True, database="data.db")
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
