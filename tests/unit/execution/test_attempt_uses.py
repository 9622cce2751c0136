"""What an attempt of a tool depended on and wrote: as `status` tells it later, and as `AttemptReader` reads one run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.execution import attempt_reads as read_files
from discover_orch.execution.attempt_uses import AttemptReader
from discover_orch.execution.attempt_writes import AttemptEnd
from discover_orch.model.observation import Observation, file_mark
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning import project_view
from discover_orch.staleness.current_inputs import CurrentState
from discover_orch.staleness.input_versions import Versions, hash_file, read_mark
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.tool_result import (
    ABSENT,
    UNSURE,
    Inputs,
    Success,
    ToolResult,
)
from tests.conftest import Project
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
from tests.support.seen import observation

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
    record(root, {"a": observation(written=("in.csv",)), **sights})
    assert files(success(root, "src.b"))["in.csv"] != UNSURE
    (root / "in.csv").write_text("other")
    written = (root / "in.csv").stat().st_ctime_ns
    later = {"b": seen(root, read=("in.csv",), began=(written - 1, written - 1))}
    record(root, {"a": observation(written=("in.csv",)), **later})
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


# One run, as `AttemptReader` hears of it.


class Run:
    """Tools that end one after another: what each success depended on."""

    def __init__(self, root: Path, remembered: Mapping[str, Success] | None = None) -> None:
        view = view_of(root)
        present = CurrentState(view.project, view.registry, Memory(str(root)))
        code = present.read_code(view.registry.order)
        self.remembered = remembered or {}
        self.steps = {step.tool.name: step for step in project_view.plan_targets(view, []).steps}
        self.hashes = {path: text for one in code.values() for path, text in one.hashes.items()}
        self.reader = AttemptReader(present, code)

    def passes(self, name: str, sight: Observation | None = None, **end: Any) -> Success:
        module = self.steps[name].tool.module
        event = ToolFinished(module=module, status="passed", seen=sight, **end)
        before = ToolResult(module=module, success=self.remembered.get(name))
        self.reader.add_event(event)
        step = self.steps[name]
        return self.reader.read(
            AttemptEnd(step=step, event=event, began=40, ended=41, database=1, before=before)
        ).success


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
            is_as_read = sight.uses[0].state == file_mark(stat)
            assert content == (hash_of[was] if is_as_read else UNSURE)
            assert found.marks.get("file:in.csv", "") in ("", read_mark(str(root / "in.csv")))


def test_a_file_that_was_last_changed_in_the_moment_in_which_the_tool_began_is_sure(
    root: Path,
) -> None:
    changed = (root / "in.csv").stat().st_ctime_ns
    for began, is_sure in (((changed, changed), True), ((changed - 1, changed), False)):
        found = Run(root).passes("a", seen(root, read=("in.csv",), began=began))
        assert (files(found)["in.csv"] != UNSURE) == is_sure


def test_a_tool_of_which_something_may_have_gone_unseen_is_not_whole(root: Path) -> None:
    for sight in observation(gaps=("started a process",)), observation(is_unclear=True):
        assert not Run(root).passes("a", sight).is_whole
    assert Run(root).passes("a", observation()).is_whole


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


def sharing(owner: str, early: Observation) -> Observation:
    """An observation all of which counts for the users of a module or resource."""
    return replace(early, uses=tuple(replace(use, owners=(owner,)) for use in early.uses))


def load(run: Run, early: Observation) -> Success:
    """`a` is the first that loads the module, and reads what the module reads."""
    loaded = {"src/lib.py": run.hashes["src/lib.py"], "src/a.py": run.hashes["src/a.py"]}
    return run.passes("a", sharing("src/lib.py", early), loaded=loaded)


def test_a_file_of_which_a_tool_is_unsure_itself_is_not_made_sure_by_an_early_read(
    shared: Path,
) -> None:
    run = Run(shared)
    load(run, seen(shared, read=("in.csv",), began=LATER))
    found = run.passes("b", seen(shared, read=("in.csv",), began=LONG_AGO))
    assert files(found) == {"in.csv": UNSURE}


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
        (observation(), [], ("absent.csv",)),
        (observation(missed=("absent.csv", "other.csv")), [], ("absent.csv", "other.csv")),
        (observation(written=("absent.csv",)), [], ()),
        (observation(removed=("absent.csv",)), [], ()),
        (observation(), ["absent.csv"], ()),
    ],
)
def test_a_file_that_was_missed_early_is_missed_except_by_the_tool_that_writes_it(
    shared: Path, sight: Observation, outputs: list[str], missed: tuple[str, ...]
) -> None:
    run = "import src.lib\ndef run(): pass"
    (shared / "src/b.py").write_text(tool("two", run=run, ORCH={"outputs": outputs}))
    here = Run(shared)
    load(here, observation(missed=("absent.csv",)))
    assert files(here.passes("b", sight)) == dict.fromkeys(missed, ABSENT)
