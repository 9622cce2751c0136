"""What is kept of a run: its journal, and of each tool what its success rested on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from discover_orch import basis, looking
from discover_orch.evidence import Evidence, hash_file, mark_of
from discover_orch.freshness import UNSURE
from discover_orch.journal import find_log, find_runs, read_record, timestamp
from discover_orch.memory import Memory, read_flows
from discover_orch.present import Present
from discover_orch.processes import is_alive
from discover_orch.recording import Recorder
from discover_orch.result import Mark, Success
from discover_orch.run import RunStarted, ToolFinished, ToolOutput, ToolStarted
from discover_orch.seen import Seen
from discover_orch.values import KeyValue, Values
from tests.conftest import Project
from tests.support.permissions import run_bound
from tests.support.recorded import LONG_AGO, record, result, seen, stale, view_of

OLD = (1_700_000_000_123_456_789,) * 2


def tool(stage: str = "one", run: str = "def run(): pass", **tags: object) -> str:
    lines = [f"STAGE = {stage!r}", *(f"{name} = {value!r}" for name, value in tags.items()), run]
    return "\n".join(lines) + "\n"


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


def write(root: Path, name: str, text: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=OLD)
    return path


def success(root: Path, module: str = "src.a") -> Success:
    found = result(root, module).success
    assert found is not None
    return found


def events(root: Path, run: str = "1") -> list[dict[str, Any]]:
    lines = (root / ".orch/runs" / run / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# The journal.


def test_the_first_line_has_all_that_a_resume_needs(project: Project) -> None:
    run = "def run(*, since: str = '', tags: list[str] = [], api_key: str = '', **more): pass"
    root = project({"orch.toml": "", "src/a.py": tool(run=run)})
    values = Values(
        options={"since": ("2024",), "tags": ("x", "y"), "api_key": ("hunter22",)},
        given=(
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


def test_the_code_of_a_step_is_told_by_its_meaning(root: Path) -> None:
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
    return Recorder(looking.plan(view, ["a"]), view.registry, view.project)


def test_what_a_tool_prints_is_in_its_log(root: Path) -> None:
    recorder = begin(root)
    recorder.take(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.take(ToolStarted(module="src.a"))
    recorder.take(ToolOutput(module="src.a", stream="stdout", text="one\n"))
    recorder.take(ToolOutput(module="src.a", stream="stderr", text="two\n"))
    recorder.take(ToolFinished(module="src.a", status="passed"))
    recorder.close()
    path = find_log(str(root), "1", "src.a")
    assert path is not None
    assert Path(path).read_text() == "one\ntwo\n"
    assert not any(one["event"] == "tool_output" for one in events(root))


def test_a_run_that_never_began_leaves_no_end(root: Path) -> None:
    recorder = begin(root)
    recorder.close()
    assert events(root) == []
    assert read_record(str(root), "1") is None
    assert stale(root)["a"] == ("never ran",)


def test_a_tool_that_the_journal_says_has_passed_is_remembered_as_it_passed(root: Path) -> None:
    """Whenever the process is killed: the memory is written before the line."""
    recorder = begin(root)
    recorder.take(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.take(ToolStarted(module="src.a"))
    wrote: list[bool] = []
    path, journal = root / ".orch/tools/src.a", root / ".orch/runs/1/events.jsonl"
    write, size = Memory.write, len(journal.read_bytes())

    def spy(memory: Memory, one: Any) -> None:
        write(memory, one)
        wrote.append(path.exists() and len(journal.read_bytes()) == size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "write", spy)
        recorder.take(ToolFinished(module="src.a", status="passed", seen=Seen()))
    recorder.close()
    assert wrote == [True]
    assert len(journal.read_bytes()) > size


def test_runs_beyond_those_that_are_kept_go(project: Project) -> None:
    root = project({"orch.toml": "keep_runs = 2\n", "src/a.py": tool()})
    for _ in range(4):
        record(root)
    assert find_runs(str(root)) == ["4", "3"]


def test_the_number_of_a_run_is_above_all_that_is_remembered(root: Path) -> None:
    record(root)
    record(root)
    shutil.rmtree(root / ".orch/runs")
    record(root)
    assert find_runs(str(root)) == ["3"]


# What a success rested on.


def test_files_that_it_read_have_their_hash_and_their_mark(root: Path) -> None:
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv",))})
    found = success(root)
    content, mark = Evidence(str(root)).file("in.csv")
    assert found.fingerprint.files == {"in.csv": content}
    assert found.marks == {"in.csv": mark}
    assert found.flow.reads == ("in.csv",)
    assert "a" not in stale(root)


def test_what_it_wrote_itself_is_no_input_and_must_be_there(root: Path) -> None:
    write(root, "out.csv")
    write(root, "in.csv")
    both = seen(root, read=("in.csv", "out.csv"), written=("out.csv",), began=LONG_AGO)
    record(root, {"a": both})
    assert set(success(root).fingerprint.files) == {"in.csv"}
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv", "out.csv"), written=("out.csv",))})
    write(root, "out.csv", "by somebody else")
    assert "a" not in stale(root)
    (root / "out.csv").unlink()
    assert stale(root)["a"] == ("out.csv is gone",)


@pytest.mark.parametrize(
    ("began", "is_sure"), [((0, 0), True), ((1 << 62, 1 << 62), True), (LONG_AGO, False)]
)
def test_a_file_that_changed_while_the_tool_ran_is_unsure(
    root: Path, began: tuple[int, int], is_sure: bool
) -> None:
    record(root, {"a": seen(root, read=("in.csv",), began=began)})
    assert (success(root).fingerprint.files["in.csv"] != UNSURE) == is_sure
    assert success(root).marks.keys() <= {"in.csv"}
    if not is_sure:
        assert stale(root)["a"] == ("in.csv changed while it ran",)


def test_what_an_earlier_tool_of_the_run_wrote_just_before_is_sure(root: Path) -> None:
    written = (root / "in.csv").stat().st_ctime_ns
    coarse = (written - 1, written + 1)  # the coarse clock had not moved on
    sights = {"b": seen(root, read=("in.csv",), began=coarse)}
    record(root, sights)
    assert success(root, "src.b").fingerprint.files["in.csv"] == UNSURE
    record(root, {"a": Seen(written=("in.csv",)), **sights})
    assert success(root, "src.b").fingerprint.files["in.csv"] != UNSURE
    (root / "in.csv").write_text("other")
    written = (root / "in.csv").stat().st_ctime_ns
    later = {"b": seen(root, read=("in.csv",), began=(written - 1, written - 1))}
    record(root, {"a": Seen(written=("in.csv",)), **later})
    assert success(root, "src.b").fingerprint.files["in.csv"] == UNSURE


def test_what_was_touched_while_the_tool_ran_and_is_as_it_was_is_sure(root: Path) -> None:
    """A link was made to it, or a process of the tool's own wrote the same text again."""
    record(root, {"b": seen(root, read=("in.csv",))})
    before = success(root, "src.b").fingerprint.files["in.csv"]
    os.link(root / "in.csv", root / "link.csv")
    changed = (root / "in.csv").stat().st_ctime_ns
    record(root, {"b": seen(root, read=("in.csv",), began=(changed - 1, changed - 1))})
    assert success(root, "src.b").fingerprint.files["in.csv"] == before


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
    assert stale(root)["a"] == ("in.csv is gone" if how == "gone" else "in.csv changed",)


def test_a_hash_that_is_known_by_then_is_not_that_of_the_text_that_a_tool_read(root: Path) -> None:
    declare(root, inputs="in.csv")
    write(root, "in.csv")
    sight = seen(root, read=("in.csv",))
    write(root, "in.csv", "changed since")
    record(root, {"b": sight})  # `a` is hashed as it is now, and before `b`
    assert stale(root)["b"] == ("in.csv changed",)
    assert "a" not in stale(root)


def test_a_file_that_changes_while_it_is_hashed_is_stale(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight = seen(root, read=("in.csv",))

    def hash_slowly(full: str, mark: Mark) -> tuple[str, Mark | None]:
        write(root, "in.csv", "changed at this very moment")
        return hash_file(full, mark)

    monkeypatch.setattr(basis, "hash_file", hash_slowly)
    record(root, {"a": sight})
    assert stale(root)["a"] == ("in.csv changed",)


def test_a_file_is_hashed_once_for_all_tools_that_read_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "in.csv")
    hashed: list[str] = []

    def hash_and_count(full: str, mark: Mark) -> tuple[str, Mark | None]:
        hashed.append(os.path.relpath(full, root))
        return hash_file(full, mark)

    monkeypatch.setattr(basis, "hash_file", hash_and_count)
    sight = seen(root, read=("in.csv",))
    record(root, {"a": sight, "b": sight})
    assert hashed == ["in.csv"]
    assert stale(root) == {}


def test_a_file_that_stands_as_at_the_last_success_is_not_hashed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(root, "in.csv")
    os.utime(path, (1_700_000_000, 1_700_000_000))  # long ago: its mark stands for it
    record(root, {"a": seen(root, read=("in.csv",))})
    hashed: list[str] = []

    def hash_and_count(full: str, mark: Mark) -> tuple[str, Mark | None]:
        hashed.append(os.path.relpath(full, root))
        return hash_file(full, mark)

    monkeypatch.setattr(basis, "hash_file", hash_and_count)
    record(root, {"a": seen(root, read=("in.csv",))})
    assert (hashed, stale(root)) == ([], {})
    write(root, "in.csv", "another")
    record(root, {"a": seen(root, read=("in.csv",))})
    assert (hashed, stale(root)) == (["in.csv"], {})


def test_a_file_that_could_not_be_asked_for_costs_no_more_than_freshness(root: Path) -> None:
    record(root, {"a": Seen(read=(("deep/x.csv", -1, 0, 0),))})
    assert stale(root)["a"] == ("deep/x.csv is gone",)


def test_a_file_that_may_not_be_read_is_fresh_until_it_may(root: Path) -> None:
    path = write(root, "in.csv")
    path.chmod(0)
    sight = seen(root, read=("in.csv",))
    said = run_bound(lambda: repr(record(root, {"a": sight}) or stale(root).get("a")))
    assert said == "None"
    if os.geteuid() == 0:
        assert stale(root)["a"] == ("in.csv changed",)


def test_folders_that_it_listed_are_told_by_their_names(root: Path) -> None:
    write(root, "data/x.csv")
    write(root, "data/own.csv")
    sight = seen(root, listed=("data", "."), written=("data/own.csv",))
    record(root, {"a": sight})
    assert "a" not in stale(root)
    write(root, "data/x.csv", "changed")
    assert "a" not in stale(root)
    write(root, "data/new.csv")
    assert stale(root)["a"] == ("the names in data/ changed",)
    (root / "data/new.csv").unlink()
    write(root, "top.csv")
    assert stale(root)["a"] == ("the names in the project's folder changed",)


def test_the_database_in_a_folder_that_was_listed_is_no_name_in_it(root: Path) -> None:
    write(root, "src/a.py", tool(run="def run(conn): pass"))
    write(root, "data.db")
    record(root, {"a": seen(root, listed=(".",), database="data.db")})
    write(root, "data.db-wal")
    assert "a" not in stale(root)


def test_a_file_that_it_missed_makes_it_stale_when_it_comes(root: Path) -> None:
    (root / "link").symlink_to("nowhere")
    record(root, {"a": Seen(missed=("absent.csv", "link"))})
    assert "a" not in stale(root)
    write(root, "absent.csv")
    assert stale(root)["a"] == ("absent.csv is there now",)
    write(root, "nowhere")
    assert stale(root)["a"] == ("absent.csv is there now", "link is there now")


# Declared inputs and outputs.


def declare(root: Path, **orch: object) -> None:
    write(root, "src/a.py", tool(ORCH=orch))


def test_a_declared_file_counts_though_nobody_saw_it_read(root: Path) -> None:
    declare(root, inputs=["in.csv", "./absent.csv"])
    record(root)
    assert "a" not in stale(root)
    write(root, "in.csv", "other")
    write(root, "absent.csv")
    assert stale(root)["a"] == ("in.csv changed", "absent.csv is there now")
    (root / "in.csv").unlink()
    assert stale(root)["a"][0] == "in.csv is gone"


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
    assert stale(root)["a"] == (f"{pattern} means other files now",)
    (root / "data/new.csv").unlink()
    (root / "data/x.csv").unlink()
    assert stale(root)["a"] == ("data/x.csv is gone", f"{pattern} means other files now")


def test_an_empty_folder_that_is_declared_and_filled_later_is_another_input(root: Path) -> None:
    (root / "data").mkdir()
    declare(root, inputs="data")
    record(root)
    assert "a" not in stale(root)
    write(root, "data/x.csv")
    assert stale(root)["a"] == ("data means other files now",)


def test_a_declared_input_that_becomes_a_folder_is_another_one(root: Path) -> None:
    declare(root, inputs="data")
    record(root)
    assert "a" not in stale(root)
    write(root, "data/x.csv")
    assert stale(root)["a"] == ("data means other files now",)


def test_what_a_later_tool_writes_into_a_glob_of_an_earlier_one_belongs_to_the_later_ones(
    root: Path,
) -> None:
    """Two tools that declare the same glob, and a tool between them that writes there."""
    write(root, "data/x.csv")
    glob = {"inputs": "data/*.csv"}
    write(root, "src/a.py", tool(ORCH=glob))
    write(root, "src/c.py", tool("two", AFTER="b", ORCH=glob))
    view = view_of(root)
    recorder = Recorder(looking.plan(view, []), view.registry, view.project)
    recorder.take(RunStarted(run="1", targets=(), tools=("src.a", "src.b", "src.c")))
    for module in ("src.a", "src.b", "src.c"):
        recorder.take(ToolStarted(module=module))
        if module == "src.b":
            write(root, "data/new.csv")
        sight = Seen(written=("data/new.csv",)) if module == "src.b" else Seen()
        recorder.take(ToolFinished(module=module, status="passed", seen=sight))
    recorder.close()
    assert success(root, "src.c").fingerprint.files.keys() == {"data/x.csv", "data/new.csv"}
    found = stale(root)
    assert found["a"] == ("data/*.csv means other files now",)
    assert not any("other files" in reason for reason in found.get("c", ()))


def test_a_declared_output_is_no_input_though_a_glob_of_inputs_matches_it(root: Path) -> None:
    """Its writing was not seen: a native program did it."""
    write(root, "data/x.csv")
    write(root, "data/out.csv")
    declare(root, inputs="data/*.csv", outputs=["data/out.csv"])
    record(root, {"a": seen(root, read=("data/out.csv",), began=(1 << 62, 1 << 62))})
    assert success(root).fingerprint.files.keys() == {"data/x.csv"}
    write(root, "data/out.csv", "other")
    assert "a" not in stale(root)
    (root / "data/out.csv").unlink()
    assert stale(root)["a"] == ("data/out.csv is gone",)


def test_a_declared_glob_of_outputs_must_match_something(root: Path) -> None:
    write(root, "out/1.csv")
    declare(root, outputs="out/*.csv")
    record(root)
    assert "a" not in stale(root)
    (root / "out/1.csv").rename(root / "out/2.csv")
    assert "a" not in stale(root)
    (root / "out/2.csv").unlink()
    assert stale(root)["a"] == ("out/*.csv is gone",)


def test_the_database_is_no_input_of_a_glob(root: Path) -> None:
    write(root, "data.db")
    write(root, "src/a.py", tool(run="def run(conn): pass", ORCH={"inputs": "*"}))
    record(root, {"a": Seen(database="data.db", began=(1 << 62, 1 << 62))})
    assert "data.db" not in success(root).fingerprint.files
    write(root, "data.db-journal")
    assert "a" not in stale(root)


# Code.


def test_code_that_is_another_text_than_the_plan_knew_is_told_and_stale(root: Path) -> None:
    told = record(root, loaded={"a": {"src/a.py": "another text"}})
    (problem,) = told
    assert problem.message == "src/a.py changed after a had been planned, or while it ran"
    assert problem.severity == "warning"
    assert stale(root)["a"] == ("src/a.py changed while it ran",)
    record(root)
    assert "a" not in stale(root)


def test_a_module_that_no_import_names_is_code_of_the_tool_that_loaded_it(root: Path) -> None:
    write(root, "src/plugin.py", "X = 1\n")
    view = view_of(root)
    code = Present(view.project, view.registry, Memory(str(root))).code
    content = code.read(("src.plugin",))["src.plugin"].hashes["src/plugin.py"]
    assert record(root, loaded={"a": {"src/plugin.py": content}}) == []
    assert success(root).modules == ("src.plugin",)
    assert "a" not in stale(root)
    write(root, "src/plugin.py", "X = 1  # a comment\n")
    assert "a" not in stale(root)
    write(root, "src/plugin.py", "X = 2\n")
    assert stale(root)["a"] == ("src/plugin.py changed",)
    assert not any("plugin" in reason for reason in stale(root).get("b", ()))


# Ends that are no success.


@pytest.mark.parametrize("status", ["failed", "interrupted", "cancelled"])
def test_another_end_keeps_what_the_last_success_rested_on(root: Path, status: str) -> None:
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv",))}, "a")
    before = success(root)
    record(root, {"a": Seen(written=("x",))}, "a", ends={"a": status})  # type: ignore[dict-item]
    assert result(root, "src.a").last.status == status
    assert success(root) == before


@pytest.mark.parametrize("status", ["blocked", "not_run", "fresh"])
def test_a_tool_whose_turn_never_came_is_not_written(root: Path, status: str) -> None:
    record(root, {}, "a")
    before = (root / ".orch/tools/src.a").read_bytes()
    record(root, {}, "a", ends={"a": status})  # type: ignore[dict-item]
    assert (root / ".orch/tools/src.a").read_bytes() == before


def test_a_tool_that_crashed_and_told_nothing_is_kept_as_failed(root: Path) -> None:
    recorder = begin(root)
    recorder.take(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))
    recorder.take(ToolStarted(module="src.a"))
    recorder.take(ToolFinished(module="src.a", status="failed", seen=None))
    recorder.close()
    assert result(root, "src.a").last.status == "failed"


# What all read and write.


def test_the_data_flow_of_a_run_is_the_order_of_the_next_one(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool(), "src/b.py": tool()})
    sights = {"a": Seen(tables_read=("t",)), "b": Seen(tables_written=("t",))}
    (problem,) = record(root, sights)
    assert problem.message == (
        "from now on stage one runs in the order b, a, by what its tools were seen to read and write"
    )
    assert view_of(root).registry.order == ("src.b", "src.a")
    assert record(root, sights) == []


def test_the_flow_of_a_file_that_is_broken_for_a_while_is_kept_and_of_one_that_is_gone_is_not(
    root: Path,
) -> None:
    record(root, {"a": Seen(tables_read=("t",)), "b": Seen(tables_written=("t",))})
    write(root, "src/a.py", "STAGE = 'one'\ndef run(:\n")
    record(root, {"b": Seen(tables_written=("u",))}, "b")
    assert set(read_flows(str(root))) == {"src.a", "src.b"}
    (root / "src/a.py").unlink()
    record(root, {}, "b")
    assert set(read_flows(str(root))) == {"src.b"}


# Where nothing can be kept.


def test_a_memory_that_is_removed_meanwhile_costs_the_history_and_is_told_once(root: Path) -> None:
    recorder = begin(root)
    told = [*recorder.take(RunStarted(run=recorder.run, targets=(), tools=("src.a",)))]
    shutil.rmtree(root / ".orch")
    told += recorder.take(ToolStarted(module="src.a"))
    told += recorder.take(ToolFinished(module="src.a", status="passed", seen=Seen()))
    recorder.close()
    assert [one.code for one in told] == ["memory"]
    assert all(one.severity == "warning" for one in told)
    record(root)
    assert stale(root) == {}


def test_a_memory_that_may_not_be_written_costs_the_memory_and_is_told_once(root: Path) -> None:
    record(root)
    before = (root / ".orch/tools/src.a").read_bytes()
    for path in [root / ".orch", *(root / ".orch").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = run_bound(lambda: repr([(one.code, one.severity) for one in record(root)]))
    for path in [root / ".orch", *(root / ".orch").rglob("*")]:
        path.chmod(0o755)
    assert said == "[('memory', 'warning')]"
    assert (root / ".orch/tools/src.a").read_bytes() == before


def test_a_memory_that_is_a_file_costs_the_memory(root: Path) -> None:
    shutil.rmtree(root / ".orch", ignore_errors=True)
    (root / ".orch").write_text("")
    assert [one.code for one in record(root)] == ["memory"]


def test_times_have_their_offset() -> None:
    assert len(timestamp()) == len("2024-01-31T12:00:00+01:00")
    assert timestamp()[-3] == ":"


def test_marks_are_of_the_file_as_the_tool_left_it(root: Path) -> None:
    write(root, "in.csv")
    record(root, {"a": seen(root, read=("in.csv",))})
    assert success(root).marks["in.csv"] == mark_of(str(root / "in.csv"))
