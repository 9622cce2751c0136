"""What an attempt of a tool depended on and wrote: as `status` tells it later, and as `AttemptReader` reads one run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.execution import read_files
from discover_orch.execution.attempt import Attempt, AttemptReader
from discover_orch.execution.events import RunStarted, ToolFinished, ToolStarted
from discover_orch.execution.recorder import Recorder
from discover_orch.model.observation import CachedUse, Observation, file_stat
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.staleness import installed_packages
from discover_orch.staleness.current import CurrentState
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    UNSURE,
    Inputs,
    Key,
    Success,
    ToolResult,
    Write,
)
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.versions import Versions, hash_file, read_mark
from tests.conftest import Project
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files
from tests.support.recorded import (
    LONG_AGO,
    record,
    seen,
    stale,
    success,
    tool,
    view_of,
    write,
)  # fmt: skip

LATER = (1 << 62,) * 2  # after any change of a file of a test


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


def of_kind(kind: str, found: Success) -> dict[str, str]:
    """The versions of the files, folders or packages that it depended on, by name."""
    rows = ((*key.partition(":"), version) for key, version in found.inputs.other.items())
    return {name: version for one, _, name, version in rows if one == kind}


def files(found: Success) -> dict[str, str]:
    return of_kind("file", found)


def write_and_age(root: Path, name: str) -> None:
    """A file whose mark stands for its content: its last change is older than a tick of the clock."""
    write(root, name)
    while not Versions(str(root)).file(name)[1]:
        pass


# What a success rested on.


def test_files_that_it_read_have_their_hash(root: Path) -> None:
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv",))})
    found = success(root)
    assert files(found) == {"in.csv": Versions(str(root)).file("in.csv")[0]}
    assert found.flow.reads == ("in.csv",)
    assert "a" not in stale(root)


def test_what_it_wrote_itself_is_no_input_and_must_be_there(root: Path) -> None:
    write(root, "out.csv")
    write(root, "in.csv")
    both = seen(root, read=("in.csv", "out.csv"), written=("out.csv",), began=LONG_AGO)
    record(root, {"a": both})
    assert set(files(success(root))) == {"in.csv"}
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv", "out.csv"), written=("out.csv",))})
    write(root, "out.csv", "by somebody else")
    assert "a" not in stale(root)
    (root / "out.csv").unlink()
    assert stale(root)["a"] == ("out.csv is missing",)


@pytest.mark.parametrize(
    ("began", "is_sure"), [((0, 0), True), ((1 << 62, 1 << 62), True), (LONG_AGO, False)]
)
def test_a_file_that_changed_while_the_tool_ran_is_unsure(
    root: Path, began: tuple[int, int], is_sure: bool
) -> None:
    record(root, {"a": seen(root, read=("in.csv",), began=began)})
    assert (files(success(root))["in.csv"] != UNSURE) == is_sure
    if not is_sure:
        assert stale(root)["a"] == ("in.csv changed while the tool ran",)


def test_a_file_that_the_next_tool_rewrote_before_it_was_hashed_has_the_state_as_its_version(
    root: Path,
) -> None:
    sight = seen(root, read=("in.csv",), began=(1 << 62, 1 << 62))
    state = read_mark(str(root / "in.csv"))
    write(root, "in.csv", "other")
    found = Run(root).passes("a", sight)
    assert (files(found), found.marks) == ({"in.csv": state}, {})


def test_what_an_earlier_tool_of_the_run_wrote_just_before_is_sure(root: Path) -> None:
    written = (root / "in.csv").stat().st_ctime_ns
    coarse = (written - 1, written + 1)  # the coarse clock had not moved on
    sights = {"b": seen(root, read=("in.csv",), began=coarse)}
    record(root, sights)
    assert files(success(root, "src.b"))["in.csv"] == UNSURE
    record(root, {"a": Observation(written=("in.csv",)), **sights})
    assert files(success(root, "src.b"))["in.csv"] != UNSURE
    (root / "in.csv").write_text("other")
    written = (root / "in.csv").stat().st_ctime_ns
    later = {"b": seen(root, read=("in.csv",), began=(written - 1, written - 1))}
    record(root, {"a": Observation(written=("in.csv",)), **later})
    assert files(success(root, "src.b"))["in.csv"] == UNSURE


@pytest.mark.parametrize("how", ["changed", "replaced", "gone"])
def test_a_file_that_changed_between_the_end_of_the_tool_and_hashing_is_stale(
    root: Path, how: str
) -> None:
    sight = seen(root, read=("in.csv",))
    if how == "gone":
        (root / "in.csv").unlink()
    elif how == "replaced":
        os.replace(write(root, "other.csv"), root / "in.csv")
    else:
        (root / "in.csv").write_text("yy")
    record(root, {"a": sight})
    assert stale(root)["a"] == ("in.csv changed while the tool ran",)


def test_a_hash_that_is_known_by_then_is_not_that_of_the_text_that_a_tool_read(root: Path) -> None:
    declare(root, inputs="in.csv")
    write(root, "in.csv")
    sight = seen(root, read=("in.csv",))
    write(root, "in.csv", "changed since")
    record(root, {"b": sight})  # `a` is hashed as it is now, and before `b`
    assert stale(root)["b"] == ("in.csv changed while the tool ran",)
    assert "a" not in stale(root)


def test_a_file_that_changes_while_it_is_hashed_is_stale(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight = seen(root, read=("in.csv",))

    def hash_slowly(full: str, stat: os.stat_result) -> tuple[str, str]:
        write(root, "in.csv", "changed at this very moment")
        return hash_file(full, stat)

    monkeypatch.setattr(read_files, "hash_file", hash_slowly)
    record(root, {"a": sight})
    assert stale(root)["a"] == ("in.csv changed while the tool ran",)


def test_a_file_is_hashed_once_for_all_tools_that_read_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_age(root, "in.csv")
    hashed: list[str] = []

    def hash_and_count(full: str, stat: os.stat_result) -> tuple[str, str]:
        hashed.append(os.path.relpath(full, root))
        return hash_file(full, stat)

    monkeypatch.setattr(read_files, "hash_file", hash_and_count)
    sight = seen(root, read=("in.csv",))
    record(root, {"a": sight, "b": sight})
    assert hashed == ["in.csv"]
    assert stale(root) == {}


def test_a_file_without_a_stat_makes_the_tool_stale_and_breaks_nothing(root: Path) -> None:
    record(root, {"a": Observation(read=(("deep/x.csv", -1, 0, 0, 0),))})
    assert stale(root)["a"] == ("deep/x.csv changed while the tool ran",)


def test_a_file_that_may_not_be_read_is_fresh_until_it_may(root: Path) -> None:
    path = write(root, "in.csv")
    path.chmod(0)
    sight = seen(root, read=("in.csv",))
    said = run_bound(lambda: repr(record(root, {"a": sight}) or stale(root).get("a")))
    assert said == "None"
    if os.geteuid() == 0:
        assert stale(root)["a"] == ("in.csv changed",)


def test_folders_that_it_listed_are_compared_by_the_paths_in_them(root: Path) -> None:
    write(root, "data/x.csv")
    write(root, "data/own.csv")
    record(root, {"a": seen(root, listed=("data", "."), written=("data/own.csv",))})
    assert "a" not in stale(root)
    write(root, "data/x.csv", "changed")
    assert "a" not in stale(root)
    write(root, "data/new.csv")
    assert stale(root)["a"] == ("data/new.csv now exists",)
    (root / "data/new.csv").unlink()
    write(root, "top.csv")
    assert stale(root)["a"] == ("top.csv now exists",)


def test_a_folder_that_was_listed_and_is_gone_makes_it_stale(root: Path) -> None:
    path = write(root, "data/x.csv")
    record(root, {"a": seen(root, listed=("data",))})
    path.unlink()
    path.parent.rmdir()
    assert stale(root)["a"] == ("data/x.csv is missing",)


def test_the_database_in_a_folder_that_was_listed_is_no_name_in_it(root: Path) -> None:
    write(root, "src/a.py", tool(run="def run(conn): pass"))
    write(root, "data.db")
    record(root, {"a": seen(root, listed=(".",), database="data.db")})
    write(root, "data.db-wal")
    assert "a" not in stale(root)


def test_a_file_that_it_missed_makes_it_stale_when_it_comes(root: Path) -> None:
    (root / "link").symlink_to("nowhere")
    record(root, {"a": Observation(missed=("absent.csv", "link"))})
    assert "a" not in stale(root)
    write(root, "absent.csv")
    assert stale(root)["a"] == ("absent.csv now exists",)
    write(root, "nowhere")
    assert stale(root)["a"] == ("absent.csv now exists", "link now exists")


# Declared inputs and outputs.


def declare(root: Path, **orch: object) -> None:
    write(root, "src/a.py", tool(ORCH=orch))


def test_a_declared_file_counts_without_being_observed(root: Path) -> None:
    declare(root, inputs=["in.csv", "./absent.csv"])
    record(root)
    assert "a" not in stale(root)
    write(root, "in.csv", "other")
    write(root, "absent.csv")
    assert stale(root)["a"] == ("absent.csv now exists", "in.csv changed")
    (root / "in.csv").unlink()
    assert "in.csv is missing" in stale(root)["a"]


@pytest.mark.parametrize("pattern", ["data", "data/", "data/*.csv", "**/*.csv"])
def test_a_declared_glob_or_folder_counts_by_names_and_contents(root: Path, pattern: str) -> None:
    (root / "in.csv").unlink()
    write(root, "data/x.csv")
    declare(root, inputs=pattern)
    record(root)
    assert "a" not in stale(root)
    write(root, "data/x.csv", "other")
    assert stale(root)["a"] == ("data/x.csv changed",)
    write(root, "data/x.csv")
    write(root, "data/new.csv")
    assert stale(root)["a"] == ("data/new.csv now exists",)
    (root / "data/new.csv").unlink()
    (root / "data/x.csv").unlink()
    assert stale(root)["a"] == ("data/x.csv is missing",)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_declared_folder_that_was_empty_or_missing_and_is_filled_is_another_input(
    root: Path, is_there: bool
) -> None:
    if is_there:
        (root / "data").mkdir()
    declare(root, inputs="data")
    record(root)
    assert "a" not in stale(root)
    write(root, "data/x.csv")
    assert any(one.endswith("now exists") for one in stale(root)["a"])


def test_what_a_later_tool_writes_into_a_glob_of_an_earlier_one_belongs_to_the_later_ones(
    root: Path,
) -> None:
    """Two tools that declare the same glob, and a tool between them that writes there."""
    write(root, "data/x.csv")
    glob = {"inputs": "data/*.csv"}
    write(root, "src/a.py", tool(ORCH=glob))
    write(root, "src/c.py", tool("two", AFTER="b", ORCH=glob))
    view = view_of(root)
    recorder = Recorder(project_view.plan_targets(view, []), view.registry, view.project)
    recorder.record(RunStarted(run="1", targets=(), tools=("src.a", "src.b", "src.c")))
    for module in ("src.a", "src.b", "src.c"):
        recorder.record(ToolStarted(module=module))
        if module == "src.b":
            write(root, "data/new.csv")
        sight = Observation(written=("data/new.csv",)) if module == "src.b" else Observation()
        recorder.record(ToolFinished(module=module, status="passed", seen=sight))
    recorder.close()
    assert files(success(root, "src.c")).keys() == {"data/x.csv", "data/new.csv"}
    assert stale(root) == {}
    write(root, "data/new.csv", "by somebody else")
    assert stale(root).keys() >= {"a", "c"}


def test_a_declared_output_is_no_input_though_a_glob_of_inputs_matches_it(root: Path) -> None:
    """Its writing was not seen: a native program did it."""
    write(root, "data/x.csv")
    write(root, "data/out.csv")
    declare(root, inputs="data/*.csv", outputs=["data/out.csv"])
    record(root, {"a": seen(root, read=("data/out.csv",), began=LATER)})
    assert files(success(root)).keys() == {"data/x.csv"}
    write(root, "data/out.csv", "other")
    assert "a" not in stale(root)
    (root / "data/out.csv").unlink()
    assert "data/out.csv is missing" in stale(root)["a"]


def test_a_declared_glob_of_outputs_must_match_something(root: Path) -> None:
    write(root, "out/1.csv")
    declare(root, outputs="out/*.csv")
    record(root)
    assert "a" not in stale(root)
    (root / "out/1.csv").unlink()
    assert "a" in stale(root)


def test_the_database_is_no_input_of_a_glob(root: Path) -> None:
    write(root, "data.db")
    write(root, "src/a.py", tool(run="def run(conn): pass", ORCH={"inputs": "*"}))
    record(root, {"a": Observation(database="data.db", began=LATER)})
    assert "data.db" not in files(success(root))
    write(root, "data.db-journal")
    assert "a" not in stale(root)


# Code.


def test_a_module_that_no_import_names_is_code_of_the_tool_that_loaded_it(root: Path) -> None:
    write(root, "src/plugin.py", "X = 1\n")
    view = view_of(root)
    code = CurrentState(view.project, view.registry, Memory(str(root))).code
    content = code.read_code(["src.plugin"])["src.plugin"].hashes["src/plugin.py"]
    assert record(root, loaded={"a": {"src/plugin.py": content}}) == []
    assert success(root).modules == ("src.plugin",)
    assert "a" not in stale(root)
    write(root, "src/plugin.py", "X = 1  # a comment\n")
    assert "a" not in stale(root)
    write(root, "src/plugin.py", "X = 2\n")
    assert stale(root)["a"] == ("src/plugin.py changed",)
    assert not any("plugin" in reason for reason in stale(root).get("b", ()))


# One run, as `AttemptReader` hears of it.


class Run:
    """Tools that end one after another: what each depended on and wrote."""

    def __init__(
        self,
        root: Path,
        remembered: Mapping[str, Success] | None = None,
        *,
        values: GivenParams | None = None,
    ) -> None:
        view = view_of(root)
        plan = project_view.plan_targets(view, [], values=values or GivenParams())
        present = CurrentState(view.project, view.registry, Memory(str(root)))
        code = present.read_code(view.registry.order)
        self.remembered = remembered or {}
        self.steps = {step.tool.name: step for step in plan.steps}
        self.hashes = {path: text for one in code.values() for path, text in one.hashes.items()}
        self.reader = AttemptReader(present, code)

    def ends(
        self,
        name: str,
        sight: Observation | None = None,
        *,
        database: int = 1,
        status: Any = "passed",
        **end: Any,
    ) -> Attempt:
        step = self.steps[name]
        event = ToolFinished(module=step.tool.module, status=status, seen=sight, **end)
        before = ToolResult(module=step.tool.module, success=self.remembered.get(name))
        self.reader.add_event(event)
        return self.reader.read(event, step, 40, 41, database, before)

    def passes(self, name: str, sight: Observation | None = None, **end: Any) -> Success:
        return self.ends(name, sight, **end).success

    def writes(self, name: str, sight: Observation, **end: Any) -> dict[Key, Write]:
        return dict(self.ends(name, sight, **end).writes)


def test_a_success_has_its_duration_parameters_and_python_version(project: Project) -> None:
    run = "def run(*, since: str = '', api_key: str = ''): pass"
    root = project({"orch.toml": "", "src/a.py": tool(run=run)})
    values = GivenParams(options={"since": ("2024",), "api_key": ("hunter22",)})
    found = Run(root, values=values).passes("a", duration=1.5)
    assert found.duration == 1.5
    assert (found.asof, found.ended) == (40, 41)
    assert found.inputs.other == {
        "param:since": "2024",
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }
    assert found.inputs.code.keys() == {"src/a.py"}


def test_a_tool_of_which_nothing_was_seen_rests_on_its_code_alone(root: Path) -> None:
    found = Run(root).passes("a", None)
    assert found.inputs.other.keys() == {"python"}
    assert (found.tables, found.marks, found.modules) == ((), {}, ())
    assert (found.is_whole, found.flow.is_unclear) == (True, False)


def test_the_data_flow_is_what_was_seen(root: Path) -> None:
    write(root, "data/x.csv")
    sight = seen(
        root,
        read=("in.csv",),
        listed=("data",),
        written=("out.csv",),
        missed=("absent.csv",),
        tables_read=("t",),
        tables_written=("u",),
        is_unclear=True,
    )
    flow = Run(root).passes("a", sight).flow
    assert (flow.reads, flow.writes, flow.folders) == (("in.csv",), ("out.csv",), ("data",))
    assert (flow.tables_read, flow.tables_written) == (("t",), ("u",))
    assert (flow.missed, flow.is_unclear) == (("absent.csv",), True)


def test_writes_have_the_state_that_the_tool_left(root: Path) -> None:
    write(root, "out.csv")
    declare(root, outputs=["native.bin", "out.csv"])
    (root / "native.bin").write_text("x")
    found = Run(root).writes("a", Observation(written=("out.csv",), removed=("old.csv",)))
    assert found == {
        "file:out.csv": Write(41, read_mark(str(root / "out.csv"))),
        "file:old.csv": Write(41, ABSENT),
        "file:native.bin": Write(41, read_mark(str(root / "native.bin"))),
    }


def test_a_log_and_a_file_that_only_the_kernel_saw_written_need_not_stay(root: Path) -> None:
    sight = Observation(written=("log",), appended=("log",), native_written=("native",))
    found = Run(root).writes("a", sight)
    assert [found[f"file:{name}"].is_checked for name in ("log", "native")] == [False, False]


def test_tables_that_it_made_or_dropped_change_the_list_of_tables(root: Path) -> None:
    sight = Observation(
        tables_written=("t", "new", "old"), tables_created=("new",), tables_dropped=("old",)
    )
    assert Run(root).writes("a", sight, database=3) == {
        "table:3:t": Write(41, EXISTS),
        "table:3:new": Write(41, EXISTS),
        "table:3:old": Write(41, ABSENT),
        "table:3:": Write(41, EXISTS),
    }


def test_an_attempt_that_failed_leaves_its_files_and_what_it_committed(root: Path) -> None:
    run, sight = Run(root), Observation(written=("out.csv",), tables_written=("t",))
    assert run.writes("a", sight, status="failed").keys() == {"file:out.csv"}
    committed = Observation(tables_written=("t",), is_unclear=True, has_committed=True)
    found = run.writes("a", committed, status="failed")
    assert found.keys() == {"table:1:t", "table:1:*"}


def test_tables_that_it_read_looked_for_or_may_have_used_are_kept(root: Path) -> None:
    sight = Observation(tables_read=("t",), tables_missed=("u",), lists_tables=True)
    assert {*Run(root).passes("a", sight).tables} == {"table:1:t", "table:1:u", "table:1:"}
    unclear = Run(root).passes("a", Observation(is_unclear=True))
    assert (unclear.tables, unclear.is_whole) == (("table:1:*",), False)


def test_a_tool_of_which_something_may_have_gone_unseen_is_not_whole(root: Path) -> None:
    assert not Run(root).passes("a", Observation(gaps=("started a process",))).is_whole


def test_environment_variables_count_except_secrets(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGION", "north")
    found = Run(root).passes("a", Observation(environment=("REGION", "NOT_SET", "API_KEY")))
    assert of_kind("env", found).keys() == {"REGION", "NOT_SET"}
    assert of_kind("env", found)["NOT_SET"] == ABSENT


CONN = "def run(conn): pass"
HTTP = "from discover_orch import resource\n@resource\ndef http(conn): return 1\n"


@pytest.mark.parametrize(
    ("run", "has_database"),
    [("def run(): pass", False), (CONN, True), ("def run(http): pass", True)],
)
def test_the_database_counts_for_tools_with_a_connection_of_their_own_or_of_a_resource(
    root: Path, run: str, has_database: bool
) -> None:
    write_files(root, {"src/a.py": tool(run=run), "orchconf.py": HTTP})
    found = Run(root).passes("a", database=3).inputs.other.get("database")
    assert found == ("3 sqlite:///data.db" if has_database else None)


def test_a_file_that_may_change_again_unseen_has_a_hash_and_no_mark(root: Path) -> None:
    os.utime(root / "in.csv", ns=LATER)
    first = Run(root).passes("a", seen(root, read=("in.csv",)))
    assert files(first) == {"in.csv": Versions(str(root)).file("in.csv")[0]}
    assert first.marks == {}


def test_a_remembered_hash_holds_for_the_tool_and_the_mark_that_it_was_kept_with_alone(
    root: Path,
) -> None:
    write_and_age(root, "in.csv")
    sight = seen(root, read=("in.csv",))
    honest = Run(root).passes("a", sight)
    assert honest.marks == {"file:in.csv": read_mark(str(root / "in.csv"))}
    inputs = Inputs(other={"file:in.csv": "as remembered"})
    known = {"a": Success(asof=1, ended=2, inputs=inputs, marks=honest.marks)}
    assert files(Run(root, known).passes("a", sight)) == {"in.csv": "as remembered"}
    assert files(Run(root, known).passes("b", sight)) == files(honest)
    write(root, "in.csv", "other")
    now = Run(root, known).passes("a", seen(root, read=("in.csv",)))
    assert files(now)["in.csv"] == Versions(str(root)).file("in.csv")[0]


def test_a_file_whose_content_was_another_at_the_last_success_and_that_changed_meanwhile_is_unsure(
    root: Path,
) -> None:
    before = Run(root).passes("a", seen(root, read=("in.csv",)))
    (root / "in.csv").write_text("y")
    sight = seen(root, read=("in.csv",), began=LONG_AGO)
    assert files(Run(root, {"a": before}).passes("a", sight)) == {"in.csv": UNSURE}


TEXTS = st.sampled_from(["", "x", "y", "xyz"])
DOINGS = st.lists(st.tuples(st.sampled_from(["write", "read", "end"]), TEXTS), max_size=12)


@settings(max_examples=60, deadline=None)
@given(doings=DOINGS)
def test_a_hash_is_that_of_the_text_that_was_read_or_unsure(
    doings: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is written, by whomever, between what tools read and their ends."""
    root = tmp_path_factory.mktemp("law")
    write_files(root, {"orch.toml": "", "in.csv": "", "src/a.py": tool(), "src/b.py": tool()})
    stamp, text = 1_700_000_000_123_456_789, ""
    os.utime(root / "in.csv", ns=(stamp, stamp))
    hash_of: dict[str, str] = {}
    run, reads, names = Run(root), [(seen(root, read=("in.csv",)), text)], "ab"
    for number, (kind, other) in enumerate(doings):
        if kind == "write":
            stamp, text = stamp + 1, other
            (root / "in.csv").write_text(text)
            os.utime(root / "in.csv", ns=(stamp, stamp))  # each change has a mark of its own
        elif kind == "read":
            reads.append((seen(root, read=("in.csv",)), text))
        else:
            sight, was = reads[-1]
            found = run.passes(names[number % 2], sight)
            content = files(found)["in.csv"]
            stat = os.stat(root / "in.csv")
            hash_of.setdefault(text, hash_file(str(root / "in.csv"), stat)[0])
            is_as_read = sight.read[0][1:] == file_stat(stat)
            assert content == (hash_of[was] if is_as_read else UNSURE)
            assert found.marks.get("file:in.csv", "") in ("", read_mark(str(root / "in.csv")))


def test_a_module_that_no_import_names_and_of_which_another_text_was_loaded_is_unsure(
    root: Path,
) -> None:
    write(root, "src/plugin.py", "X = 1\n")
    found = Run(root).ends("a", loaded={"src/plugin.py": "another text"})
    assert found.success.modules == ("src.plugin",)
    assert found.success.inputs.code["src/plugin.py"] == UNSURE
    assert found.changed == ("src/plugin.py",)


@pytest.mark.parametrize(
    ("text", "is_changed"), [("\n{}# formatted\n", False), ("{}X = 1\n", True)]
)
def test_a_module_that_was_formatted_before_it_was_loaded_is_what_the_plan_knew(
    root: Path, text: str, *, is_changed: bool
) -> None:
    run = Run(root)
    write_files(root, {"src/a.py": text.format((root / "src/a.py").read_text())})
    loaded = {"src/a.py": hash_file(str(root / "src/a.py"), os.stat(root / "src/a.py"))[0]}
    found = run.ends("a", loaded=loaded)
    assert found.changed == (("src/a.py",) if is_changed else ())
    assert (found.success.inputs.code["src/a.py"] == UNSURE) == is_changed


def test_a_module_that_another_tool_had_loaded_is_code_of_the_tool_that_uses_it(root: Path) -> None:
    write(root, "src/plugin.py", "X = 1\n")
    found = Run(root).passes("b", Observation(used_modules=("src.plugin",)))
    assert found.modules == ("src.plugin",)
    assert found.inputs.code.keys() == {"src/b.py", "src/plugin.py"}


def test_a_file_that_was_last_changed_in_the_moment_in_which_the_tool_began_is_sure(
    root: Path,
) -> None:
    changed = (root / "in.csv").stat().st_ctime_ns
    for began, is_sure in (((changed, changed), True), ((changed - 1, changed), False)):
        found = Run(root).passes("a", seen(root, read=("in.csv",), began=began))
        assert (files(found)["in.csv"] != UNSURE) == is_sure


# What a worker loads and opens once, for all its tools.


@pytest.fixture
def shared(root: Path) -> Path:
    """`a` and `b` import the same module, `c` does not."""
    with_lib = tool(run="import src.lib\ndef run(): pass")
    return_one = "from discover_orch import resource\n@resource\ndef inner(): return 1\n"
    write_files(
        root,
        {
            "src/a.py": with_lib,
            "src/b.py": with_lib.replace("one", "two"),
            "src/c.py": tool("two"),
            "src/d.py": tool("two", run="def run(outer): pass"),
            "src/lib.py": "X = 1\n",
            "orchconf.py": f"{return_one}@resource\ndef outer(inner): return 1\n",
        },
    )
    write(root, "in.csv")
    return root


def load(run: Run, setup: Observation | None, **more: Any) -> Success:
    """`a` is the first that loads the module, and reads what the module reads."""
    own = more.pop("own", setup)
    loaded = {"src/lib.py": run.hashes["src/lib.py"], "src/a.py": run.hashes["src/a.py"]}
    return run.passes("a", own, setup=setup, loaded=loaded, **more)


def test_another_text_that_one_tool_has_loaded_is_what_all_that_import_it_ran(shared: Path) -> None:
    run = Run(shared)
    for name in "ab":
        loaded = {"src/lib.py": "another text"} if name == "a" else {}
        found = run.ends(name, loaded=loaded)
        assert found.success.inputs.code["src/lib.py"] == UNSURE
        assert found.success.inputs.code[f"src/{name}.py"] != UNSURE
        assert found.changed == ("src/lib.py",)
    assert run.ends("c").changed == ()


def test_what_a_shared_module_read_counts_for_all_that_import_it(shared: Path) -> None:
    run = Run(shared)
    setup = seen(
        shared, read=("in.csv",), listed=("src",), missed=("absent.csv",), tables_read=("t",)
    )
    first = load(run, setup)
    found = run.passes("b", Observation(tables_read=("own",)))
    assert files(found) == files(first)
    assert files(found).keys() == {"in.csv", "absent.csv"}
    assert of_kind("folder", found) == of_kind("folder", first) != {}
    assert {*found.tables} == {"table:1:own", "table:1:t"}
    assert (found.flow.reads, found.flow.tables_read) == (("in.csv",), ("own", "t"))
    assert (found.flow.folders, found.flow.missed) == (("src",), ("absent.csv",))
    for other in "cd":
        nothing = run.passes(other)
        assert (files(nothing), nothing.tables, nothing.flow.tables_read) == ({}, (), ())


def test_what_a_cached_function_read_counts_for_the_tools_with_its_code_and_never_for_the_order(
    shared: Path,
) -> None:
    run = Run(shared)
    read = seen(shared, read=("in.csv",)).read
    use = CachedUse(path="src/lib.py", read=read, missed=("absent.csv",), environment=("REGION",))
    run.passes("a", Observation(cached=(use,)))
    found = run.passes("b")
    assert files(found).keys() == {"in.csv", "absent.csv"}
    assert of_kind("env", found).keys() == {"REGION"}
    assert (found.flow.reads, found.flow.missed) == ((), ())
    assert files(run.passes("c")) == {}


@pytest.mark.parametrize("opened", ["outer", "inner"])
def test_what_a_resource_read_as_it_opened_counts_for_all_that_take_it(
    shared: Path, opened: str
) -> None:
    run = Run(shared)
    setup = seen(shared, read=("in.csv",))
    run.passes("c", setup, setup=setup, opened=(opened,))
    assert files(run.passes("d")).keys() == {"in.csv"}
    assert files(run.passes("b")) == {}


def test_the_output_file_of_orch_that_the_kernel_saw_as_a_resource_opened_is_no_input(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shared, "run.log")
    inodes = frozenset([(shared / "run.log").stat().st_ino])
    monkeypatch.setattr("discover_orch.execution.attempt.find_output_files", lambda: inodes)
    run = Run(shared)
    setup = Observation(native_read=seen(shared, read=("in.csv", "run.log")).read)
    assert files(run.passes("c", setup, setup=setup, opened=("outer",))).keys() == {"in.csv"}
    assert files(run.passes("d")).keys() == {"in.csv"}


def test_tables_written_early_count_as_read_by_later_tools_only(shared: Path) -> None:
    run = Run(shared)
    first = load(run, Observation(tables_written=("made",), written=("made.csv",)))
    assert (first.flow.tables_read, first.flow.tables_written) == ((), ("made",))
    second = run.passes("b")
    assert (second.flow.tables_read, second.flow.tables_written) == (("made",), ())
    assert second.flow.writes == ()


def test_an_unclear_early_observation_makes_all_importing_tools_unclear(shared: Path) -> None:
    run = Run(shared)
    load(run, Observation(is_unclear=True), own=Observation())
    assert run.passes("b").flow.is_unclear
    assert not run.passes("c").flow.is_unclear


def test_each_worker_loads_a_module_anew_and_all_that_was_read_so_counts(shared: Path) -> None:
    write(shared, "more.csv")
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",)))
    load(run, seen(shared, read=("more.csv",)))
    assert files(run.passes("b")).keys() == {"in.csv", "more.csv"}


def test_a_file_that_a_tool_writes_itself_is_no_input_of_it_though_a_shared_module_read_it(
    shared: Path,
) -> None:
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",)))
    found = run.passes("b", Observation(written=("in.csv",)))
    assert (files(found), found.flow.reads) == ({}, ())


def test_a_file_that_changed_after_a_shared_module_read_it_is_unsure_for_all_that_import_it(
    shared: Path,
) -> None:
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",)))
    write(shared, "in.csv", "changed since")
    found = run.passes("b", seen(shared, read=("in.csv",)))  # which reads the new text itself
    assert files(found) == {"in.csv": UNSURE}
    assert found.marks == {}


def test_a_file_of_which_a_tool_is_unsure_itself_is_not_made_sure_by_an_early_read(
    shared: Path,
) -> None:
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",), began=LATER))
    found = run.passes("b", seen(shared, read=("in.csv",), began=LONG_AGO))
    assert files(found) == {"in.csv": UNSURE}


def test_a_file_that_changed_while_a_shared_module_read_it_is_unsure_for_all_that_import_it(
    shared: Path,
) -> None:
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",), began=LONG_AGO), own=Observation())
    assert files(run.passes("b", Observation(began=LATER))) == {"in.csv": UNSURE}


def test_a_folder_that_was_listed_early_counts_as_it_was_unless_the_tool_lists_it_itself(
    shared: Path,
) -> None:
    run = Run(shared)
    write(shared, "data/x.csv")
    load(run, seen(shared, listed=("data",)))
    write(shared, "data/new.csv")
    assert of_kind("folder", run.passes("b")) == {"data": "data/x.csv"}
    own = seen(shared, listed=("data",))
    assert of_kind("folder", run.passes("b", own)) == {"data": "data/new.csv\0data/x.csv"}


@pytest.mark.parametrize(
    ("sight", "outputs", "missed"),
    [
        (Observation(), [], ("absent.csv",)),
        (Observation(missed=("absent.csv", "other.csv")), [], ("absent.csv", "other.csv")),
        (Observation(written=("absent.csv",)), [], ()),
        (Observation(removed=("absent.csv",)), [], ()),
        (Observation(), ["absent.csv"], ()),
    ],
)
def test_a_file_that_was_missed_early_is_missed_except_by_the_tool_that_writes_it(
    shared: Path, sight: Observation, outputs: list[str], missed: tuple[str, ...]
) -> None:
    run = "import src.lib\ndef run(): pass"
    (shared / "src/b.py").write_text(tool("two", run=run, ORCH={"outputs": outputs}))
    here = Run(shared)
    load(here, Observation(missed=("absent.csv",)))
    assert files(here.passes("b", sight)) == dict.fromkeys(missed, ABSENT)


# Installed packages.


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three distributions are installed, of a module each."""
    folder = tmp_path / "site"
    for number, name in enumerate(("alpha", "beta", "gamma"), 1):
        write_files(folder, {f"Dist_{name}-{number}.0.dist-info/top_level.txt": f"{name}\n"})
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def importing(root: Path, **modules: str) -> Path:
    for name, module in modules.items():
        write(root, f"src/{name}.py", tool(run=f"import {module}\ndef run(): pass"))
    return root


def test_the_packages_that_a_tool_loaded_count_with_their_versions(root: Path, site: Path) -> None:
    found = Run(root).passes("a", Observation(third_party=("alpha", "beta", "_nobodys")))
    assert of_kind("package", found) == {"dist-alpha": "1.0", "dist-beta": "2.0"}


def test_a_package_that_was_loaded_before_brings_all_that_came_with_it(
    root: Path, site: Path
) -> None:
    run = Run(importing(root, b="alpha"))
    run.passes("a", Observation(third_party=("alpha", "beta")))
    assert of_kind("package", run.passes("b")) == {"dist-alpha": "1.0", "dist-beta": "2.0"}


def test_an_imported_package_that_no_tool_has_loaded_counts_alone(root: Path, site: Path) -> None:
    run = Run(importing(root, b="gamma"))
    run.passes("a", Observation(third_party=("alpha", "beta")))
    assert of_kind("package", run.passes("b")) == {"dist-gamma": "3.0"}


def test_a_tool_without_packages_rests_on_none(root: Path, site: Path) -> None:
    run = Run(root)
    run.passes("a", Observation(third_party=("alpha",)))
    assert of_kind("package", run.passes("b")) == {}


def test_the_owner_of_a_module_is_looked_up_once_in_a_run(
    root: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    find_owners = installed_packages.find_owners

    def ask(names: list[str], paths: list[str]) -> Mapping[str, tuple[str, ...]]:
        asked.extend(names)
        return find_owners(names, paths)

    monkeypatch.setattr(installed_packages, "find_owners", ask)
    run = Run(importing(root, b="alpha"))
    run.passes("a", Observation(third_party=("alpha", "_nobodys")))
    run.passes("b", Observation(third_party=("beta", "_nobodys")))
    assert sorted(asked) == ["_nobodys", "alpha", "beta"]
