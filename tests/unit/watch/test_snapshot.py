"""The watched files as seen and as accepted, with real files that are compared by what they mean."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.tree import RACY_NS
from discover_orch.model.digest import content_hash
from discover_orch.staleness.affected import ToolInputs
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch import snapshot as snapshot_module
from discover_orch.watch.snapshot import NO_INPUTS, Snapshot, fixed_part, is_git_busy, read_head
from tests.conftest import Project
from tests.support.project_builder import write_files
from tests.support.running import wait_until
from tests.support.values import make_project

Filter = Callable[[str], bool]


def make(
    root: Path,
    *,
    folders: Iterable[str] = ("src",),
    extras: Iterable[str] = (),
    patterns: Iterable[str] = (),
    is_excluded: Filter | None = None,
    is_ignored: Filter | None = None,
    inputs: ToolInputs = NO_INPUTS,
    database_files: str = "",
) -> Snapshot:
    """One that has accepted the project as it is."""
    project = replace(make_project(), root=str(root))
    made = Snapshot(str(root), ImportGraph(project), is_ignored)
    made.configure(
        folders, extras, patterns, is_excluded, inputs, frozenset(database_files.split())
    )
    return made


def needs(reads: str = "", missed: str = "", folders: str = "") -> ToolInputs:
    return ToolInputs(
        reads=frozenset(reads.split()),
        missed=frozenset(missed.split()),
        folders=frozenset(folders.split()),
    )


def differing(snapshot: Snapshot) -> set[str]:
    return set(snapshot.differing())


def let_it_age(path: Path) -> None:
    """Until a change of the file must have another time: the clock of a file system has ticks."""
    wait_until(
        lambda: time.time_ns() - path.stat().st_ctime_ns > RACY_NS, "the file to be no longer new"
    )


# What is a change.


def test_a_touch_is_saved_and_not_changed(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root)
    os.utime(root / "src/a.py", (1_600_000_000, 1_600_000_000))
    diff = snapshot.compare(["src/a.py"])
    assert (diff.paths, diff.saved) == ((), ("src/a.py",))
    assert snapshot.differing() == {}


@pytest.mark.parametrize(
    "text", ["x = f(1)  # why\n", "\n\nx  =  f( 1 )\n", "x = f(\n    1,\n)\n", "x = f(0x1)\n"]
)
def test_comments_and_layout_of_a_module_are_saved_and_not_changed(
    project: Project, text: str
) -> None:
    root = project({"src/a.py": "x = f(1)\n"})
    snapshot = make(root)
    project({"src/a.py": text})
    diff = snapshot.compare()
    assert (diff.paths, diff.saved) == ((), ("src/a.py",))
    assert snapshot.differing() == {}


def test_another_meaning_is_changed_and_differs_until_it_is_accepted(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/b.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 2\n"})
    assert snapshot.compare().paths == ("src/a.py",)
    assert snapshot.differing() == {"src/a.py": None}
    assert snapshot.compare().paths == ()
    assert snapshot.differing() == {"src/a.py": None}
    snapshot.accept(["src/a.py", "src/never-seen.py"])
    assert snapshot.differing() == {}


def test_a_module_that_is_named_as_an_input_is_still_a_module(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root, patterns=["src/*.py"])
    assert snapshot.is_module("src/a.py")
    project({"src/a.py": "x = 1  # a comment\n"})
    assert snapshot.compare().paths == ()


def test_a_python_file_that_only_a_pattern_finds_is_data(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "data/gen.py": "x = (\n"})
    snapshot = make(root, patterns=["data/*"])
    assert not snapshot.is_module("data/gen.py")
    assert snapshot.broken == {}
    project({"data/gen.py": "x = (  # a comment\n"})
    assert snapshot.compare().paths == ("data/gen.py",)


# Broken modules.


def test_a_broken_module_differs_and_has_its_problem(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 1\ny = (\n"})
    assert snapshot.compare().paths == ("src/a.py",)
    (problem,) = snapshot.broken.values()
    assert snapshot.differing() == {"src/a.py": problem}
    assert problem.location is not None
    assert (problem.location.path, problem.location.line) == ("src/a.py", 2)


# What hides a change.


def test_a_change_with_the_same_size_and_time_is_found(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    path = root / "src/a.py"
    os.utime(path, (1_600_000_000, 1_600_000_000))
    let_it_age(path)
    snapshot = make(root)
    with path.open("r+") as file:
        file.write("x = 2\n")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert snapshot.compare().paths == ("src/a.py",)


def test_a_file_with_the_same_signature_is_read_where_there_was_an_event(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"a.csv": "1\n", "b.csv": "1\n"})
    monkeypatch.setattr(snapshot_module, "signature_of", lambda path: "7 2 1000000001 1000000001")
    snapshot = make(root, patterns=["*.csv"])
    project({"a.csv": "2\n", "b.csv": "2\n"})
    assert snapshot.compare().paths == ()
    assert snapshot.compare(["a.csv"]).paths == ("a.csv",)
    assert snapshot.compare_paths(["b.csv"]).paths == ("b.csv",)


def test_a_file_written_just_before_a_comparison_is_read_at_the_next_one_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been written again within the same tick of the file system's clock."""
    root = project({"a.csv": "1\n"})
    now = time.time_ns()
    monkeypatch.setattr(snapshot_module, "signature_of", lambda path: f"7 2 {now} {now}")
    snapshot = make(root, patterns=["*.csv"])
    project({"a.csv": "2\n"})
    assert snapshot.compare().paths == ("a.csv",)


def test_a_time_in_the_future_makes_no_change(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root)
    os.utime(root / "src/a.py", (2_060_000_000, 2_060_000_000))
    assert snapshot.compare().paths == ()
    assert snapshot.compare() == snapshot_module.SnapshotDiff()


def test_of_a_large_data_file_the_signature_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "HASHED", 3)
    root = project({"large.csv": "1234\n"})
    snapshot = make(root, patterns=["*.csv"])
    os.utime(root / "large.csv", (1_600_000_000, 1_600_000_000))
    assert snapshot.compare().paths == ("large.csv",)


# A glance.


def test_comparing_paths_sees_only_those(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/b.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 2\n", "src/b.py": "x = 2\n"})
    assert snapshot.compare_paths(["src/a.py"]).paths == ("src/a.py",)
    assert snapshot.compare().paths == ("src/b.py",)


@pytest.mark.parametrize("hinted", ["src/new.py", "src/gone.py", "src"])
def test_comparing_paths_compares_everything_where_one_is_new_or_gone_or_a_folder(
    project: Project, hinted: str
) -> None:
    root = project({"src/a.py": "x = 1\n", "src/gone.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 2\n", "src/new.py": "x = 1\n"})
    (root / "src/gone.py").unlink()
    assert snapshot.compare_paths([hinted]).paths == ("src/a.py", "src/gone.py", "src/new.py")


def test_a_file_written_just_before_comparing_paths_is_read_at_the_next_comparison_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"a.csv": "1\n"})
    signature = ["7 2 1000000001 1000000001"]
    monkeypatch.setattr(snapshot_module, "signature_of", lambda path: signature[0])
    snapshot = make(root, patterns=["*.csv"])
    signature[0] = f"7 2 {time.time_ns()} {time.time_ns()}"
    project({"a.csv": "2\n"})
    assert snapshot.compare_paths(["a.csv"]).paths == ("a.csv",)
    project({"a.csv": "3\n"})
    assert snapshot.compare().paths == ("a.csv",)


# What comes and goes.


def test_new_and_deleted_files_differ(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/b.py": ""})
    snapshot = make(root)
    (root / "src/a.py").unlink()
    project({"src/deep/er/c.py": "x = 1\n"})
    assert snapshot.compare().paths == ("src/a.py", "src/deep/er/c.py")
    assert differing(snapshot) == {"src/a.py", "src/deep/er/c.py"}
    assert not snapshot.exists("src/a.py")
    assert snapshot.exists("src/deep/er/c.py")
    assert len(snapshot) == 2


def test_a_whole_folder_that_goes_and_comes_back(project: Project) -> None:
    root = project({"src/p/a.py": "x = 1\n", "src/p/b.py": "x = 1\n"})
    snapshot = make(root)
    os.rename(root / "src/p", root / "src/q")
    diff = snapshot.compare()
    assert diff.paths == ("src/p/a.py", "src/p/b.py", "src/q/a.py", "src/q/b.py")
    os.rename(root / "src/q", root / "src/p")
    snapshot.compare()
    assert snapshot.differing() == {}


def test_what_is_awaited_outside_is_found_when_it_appears(project: Project) -> None:
    root = project({"src/a.py": ""})
    snapshot = make(root, extras=["orch.toml", "lib/helper.py"])
    assert snapshot.compare().paths == ()
    project({"lib/helper.py": "", "orch.toml": ""})
    assert snapshot.compare().paths == ("lib/helper.py", "orch.toml")


def test_a_folder_that_is_awaited_outside_is_found_when_it_appears_and_when_it_goes(
    project: Project,
) -> None:
    root = project({"src/a.py": ""})
    snapshot = make(root, extras=["wanted/"])
    project({"wanted/x.py": ""})
    assert snapshot.compare().paths == ("wanted/",)
    assert snapshot.compare().paths == ()
    os.rename(root / "wanted", root / "unwanted")
    assert snapshot.compare().paths == ("wanted/",)
    assert snapshot.differing() == {}


def test_only_configured_files_count(project: Project) -> None:
    root = project({"src/a.py": ""})
    snapshot = make(root)
    project({"src/notes.txt": "", "lib/b.py": "", "src/.hidden.py": "", "src/__pycache__/a.py": ""})
    assert snapshot.compare() == snapshot_module.SnapshotDiff()
    assert len(snapshot) == 1


def test_what_is_excluded_is_not_walked_but_counts_where_it_is_imported(project: Project) -> None:
    root = project({"src/a.py": "", "src/old/b.py": "x = 1\n", "src/old/c.py": "x = 1\n"})

    def is_excluded(path: str) -> bool:
        return path.startswith("src/old/")

    snapshot = make(root, extras=["src/old/b.py"], is_excluded=is_excluded)
    project({"src/old/b.py": "x = 2\n", "src/old/c.py": "x = 2\n"})
    assert snapshot.compare().paths == ("src/old/b.py",)


@pytest.mark.parametrize("path", ["src/test_a.py", "src/conftest.py", "src/build/a.py"])
def test_a_file_that_no_tool_can_be_in_counts_where_it_is_imported(
    project: Project, path: str
) -> None:
    root = project({path: "x = 1\n"})
    snapshot = make(root, extras=[path])
    project({path: "x = 2\n"})
    assert snapshot.compare().paths == (path,)


def test_what_is_ignored_is_accepted_as_it_comes(project: Project) -> None:
    root = project({"src/gen.py": "x = 1\n", "src/a.py": "x = 1\n"})
    snapshot = make(root, is_ignored=lambda path: path.endswith("gen.py"))
    project({"src/gen.py": "x = 2\n", "src/a.py": "x = 2\n", "src/other_gen.py": ""})
    diff = snapshot.compare(["src/gen.py"])
    assert (diff.paths, diff.saved) == (("src/a.py",), ())
    assert differing(snapshot) == {"src/a.py"}


# Arranged anew.


def test_what_changed_while_it_was_configured_is_returned(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/b.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 2\n", "src/new.py": "x = 1\n"})
    assert snapshot.configure(["src"], [], []) == ("src/a.py", "src/new.py")
    assert differing(snapshot) == {"src/a.py", "src/new.py"}
    assert snapshot.configure(["src"], [], []) == ()


def test_a_file_that_is_no_longer_watched_has_not_changed(project: Project) -> None:
    """A tool that no longer imports a helper outside the scanned folders: the helper is as it was."""
    root = project({"src/a.py": "", "lib/helper.py": "x = 1\n", "data/a.csv": "1\n"})
    snapshot = make(root, extras=["lib/helper.py"], patterns=["data/*.csv"])
    assert snapshot.configure(["src"], [], []) == ()
    assert snapshot.differing() == {}
    assert len(snapshot) == 1


# Inputs.


def test_a_new_file_below_a_folder_that_is_an_input_is_found(project: Project) -> None:
    root = project({"in/": ""})
    snapshot = make(root, patterns=["in", "more/**/*.csv", "late.json"])
    project({"in/sub/a.csv": "", "more/deep/b.csv": "", "more/c.txt": "", "late.json": ""})
    assert snapshot.compare().paths == ("in/sub/a.csv", "late.json", "more/deep/b.csv")


# What tools were seen to need.


def test_of_a_file_that_was_read_the_content_counts(project: Project) -> None:
    root = project({"x.csv": "1", "[ab].csv": "1", "a.csv": "1"})
    snapshot = make(root, inputs=needs(reads="x.csv [ab].csv gone.csv"))
    assert len(snapshot) == 2
    (root / "x.csv").touch()
    project({"a.csv": "2", "gone.csv": "1", "[ab].csv": "2"})
    assert snapshot.compare(["x.csv"]).paths == ("[ab].csv", "gone.csv")
    (root / "x.csv").unlink()
    assert snapshot.compare().paths == ("x.csv",)
    assert differing(snapshot) == {"[ab].csv", "gone.csv", "x.csv"}
    assert [snapshot.was_present(path) for path in ("x.csv", "gone.csv")] == [True, False]


def test_of_what_was_missed_counts_that_it_is_there_file_or_folder(project: Project) -> None:
    root = project({"a": ""})
    snapshot = make(root, inputs=needs(missed="x.csv in/deep"))
    project({"x.csv": "1", "in/deep/y.csv": ""})
    assert snapshot.compare().paths == ("in/deep", "x.csv")
    snapshot.accept(["in/deep", "x.csv"])
    project({"x.csv": "2, and longer"})
    assert snapshot.compare().paths == ()


def test_what_was_missed_and_is_read_from_now_on_has_not_changed_by_that(project: Project) -> None:
    root = project({"a": ""})
    snapshot = make(root, inputs=needs(missed="x.csv"))
    project({"x.csv": "1"})
    snapshot.compare()
    snapshot.accept(["x.csv"])
    assert snapshot.configure(["src"], [], [], None, needs(reads="x.csv")) == ()
    assert snapshot.differing() == {}
    project({"x.csv": "2"})
    assert snapshot.compare(["x.csv"]).paths == ("x.csv",)


def test_of_a_folder_that_was_listed_the_names_count(project: Project) -> None:
    root = project({"in/a.csv": "1", "in/b.csv": "1"})
    snapshot = make(root, inputs=needs(reads="in/b.csv", folders="in"))
    project({"in/a.csv": "2", "in/b.csv": "2", "in/c.csv": "1", "in/d.py": "x = ("})
    assert set(snapshot.compare().paths) == {"in/b.csv", "in/c.csv", "in/d.py"}
    assert differing(snapshot) == {"in/b.csv", "in/c.csv", "in/d.py"}
    assert snapshot.differing_names() == {"in/c.csv", "in/d.py"}
    assert (snapshot.exists("in/c.csv"), snapshot.is_listed_name("in/c.csv")) == (True, True)
    assert snapshot.broken == {}
    snapshot.accept(["in/b.csv", "in/c.csv", "in/d.py"])
    assert snapshot.differing() == {}


def test_names_that_are_to_be_ignored_never_count(project: Project) -> None:
    root = project({"in/a.csv": "1"})
    snapshot = make(root, inputs=needs(folders="in"), is_ignored=lambda path: path.endswith(".log"))
    project({"in/x.log": "1", "in/x.csv": "1"})
    assert snapshot.compare().paths == ("in/x.csv",)
    assert differing(snapshot) == {"in/x.csv"}


def test_the_database_is_no_data_however_it_is_named(project: Project) -> None:
    root = project({"in/x.db": "1", "in/a.csv": "1"})
    inputs = needs(reads="in/x.db", folders="in")
    snapshot = make(root, patterns=["in"], inputs=inputs, database_files="in/x.db in/x.db-wal")
    project({"in/x.db": "2", "in/x.db-wal": "2", "in/a.csv": "2"})
    assert snapshot.compare().paths == ("in/a.csv",)


def test_while_data_is_ignored_its_changes_are_found_afterwards(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "x.csv": "1", "in/a.csv": "1"})
    inputs = needs(reads="x.csv", missed="late.csv", folders="in")
    snapshot = make(root, patterns=["more/*"], inputs=inputs)
    snapshot.ignores_data = True
    project({"src/a.py": "x = 2\n", "x.csv": "2", "in/b.csv": "1", "late.csv": "", "more/y": ""})
    paths = ("x.csv", "in/b.csv", "late.csv", "more/z", "src/a.py")
    assert [one for one in paths if snapshot.is_relevant(one, is_folder=False)] == ["src/a.py"]
    assert "x.csv" not in snapshot.compare().paths
    assert differing(snapshot) == {"src/a.py", "more/y"}  # what is new is seen
    snapshot.ignores_data = False
    assert set(snapshot.compare().paths) == {"x.csv", "in/b.csv", "late.csv"}


def test_a_file_that_is_marked_as_changed_differs(project: Project) -> None:
    root = project({"x.csv": "1"})
    snapshot = make(root, inputs=needs(reads="x.csv"))
    snapshot.mark_changed("x.csv")
    snapshot.mark_changed("never")
    assert differing(snapshot) == {"x.csv"}
    snapshot.accept(["x.csv"])
    assert snapshot.differing() == {}


def test_a_file_that_no_tool_needs_any_more_does_not_count(project: Project) -> None:
    root = project({"x.csv": "1", "in/a.csv": "1"})
    snapshot = make(root, inputs=needs(reads="x.csv", folders="in"))
    project({"x.csv": "2", "in/b.csv": ""})
    snapshot.compare()
    assert snapshot.configure(["src"], [], [], None, NO_INPUTS) == ()
    assert snapshot.differing() == {}
    assert len(snapshot) == 0


def test_an_event_of_what_tools_need_counts(project: Project) -> None:
    root = project({"x.csv": "1", "in/a.csv": "1"})
    snapshot = make(root, inputs=needs(reads="x.csv", missed="late.csv", folders="in"))
    project({"in/b.csv": ""})
    paths = ("x.csv", "late.csv", "in/a.csv", "in/b.csv", "y.csv", "in/.git")
    assert [one for one in paths if snapshot.is_relevant(one, is_folder=False)] == [
        *("x.csv", "late.csv", "in/b.csv")
    ]


def test_the_sure_folder_of_a_pattern() -> None:
    cases = {
        "data/*.csv": "data",
        "data/raw": "data/raw",
        "data/x[12].csv": "data",
        "*.csv": "",
        "**/x": "",
        "./in/a?": "in",
        "a/../b/*": "b",
    }
    assert {pattern: fixed_part(pattern) for pattern in cases} == cases


# Events.


def test_an_event_is_relevant_where_a_comparison_could_find_a_change(project: Project) -> None:
    root = project({"src/a.py": "", "src/p/b.py": "", "data/": ""})
    snapshot = make(root, extras=["orch.toml", "lib/x.py", "ns/"], patterns=["data/*.csv"])

    def heard(*paths: str, is_folder: bool = False) -> list[str]:
        return [path for path in paths if snapshot.is_relevant(path, is_folder=is_folder)]

    assert heard("src/a.py", "src/new.py", "src/a.txt", "README.md") == ["src/a.py", "src/new.py"]
    assert heard("orch.toml", "lib/x.py", "lib/y.py", "pyproject.toml") == ["orch.toml", "lib/x.py"]
    assert heard("data/x.csv", "data/x.tmp", "other/x.csv") == ["data/x.csv"]
    folders = ("src", "src/new", "lib", "ns", "data", "data/sub", "docs", ".git")
    assert heard(*folders, is_folder=True) == ["src", "src/new", "lib", "ns", "data", "data/sub"]


def test_a_path_is_complete_incomplete_or_missing(project: Project) -> None:
    root = project(
        {
            "src/a.py": "x = 1\n",
            "src/broken.py": "x = (\n",
            "src/empty.py": "",
            "src/emptied.py": "x = 1\n",
            "a.csv": "",
        }
    )
    snapshot = make(root, patterns=["*.csv"])
    (root / "src/emptied.py").write_text(" \n")
    paths = ("src/a.py", "src/broken.py", "src/emptied.py", "src/empty.py", "src/no.py")
    assert [snapshot.check_file(path) for path in paths] == [
        *("complete", "incomplete", "incomplete", "complete", "missing"),
    ]
    assert [snapshot.check_file(path) for path in ("a.csv", "b.csv", "src")] == [
        *("complete", "missing", "complete"),
    ]


def test_a_check_hides_nothing_from_the_next_comparison(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root)
    project({"src/a.py": "x = 2\n"})
    snapshot.check_file("src/a.py")
    assert snapshot.differing() == {}
    assert snapshot.compare().paths == ("src/a.py",)


def test_content_that_no_comparison_saw_was_read_while_it_was_written(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    snapshot = make(root)
    first, second = (content_hash(text) for text in (b"x = 1\n", b"x = 2\n"))
    assert not snapshot.is_unseen_content("src/a.py", first)
    assert snapshot.is_unseen_content("src/a.py", second)
    project({"src/a.py": "x = 2\n"})
    snapshot.compare()
    assert not snapshot.is_unseen_content("src/a.py", first)
    assert not snapshot.is_unseen_content("src/a.py", second)
    assert not snapshot.is_unseen_content("src/b.py", second)  # of which nothing is known


# git.


def test_git_is_busy_while_it_holds_its_lock_or_merges_or_rebases(
    project: Project,
) -> None:
    root = project({".git/HEAD": "ref: refs/heads/main\n"})
    assert not is_git_busy(str(root))
    for name in ("index.lock", "MERGE_HEAD", "rebase-merge/x", "rebase-apply/x"):
        project({f".git/{name}": ""})
        assert is_git_busy(str(root)), name
        (root / ".git" / name).unlink()
        if "/" in name:
            (root / ".git" / name).parent.rmdir()
    assert not is_git_busy(str(root))


def test_what_git_has_checked_out(project: Project) -> None:
    root = project({"a": ""})
    assert read_head(str(root)) == ""
    project({".git/HEAD": "ref: refs/heads/main\n"})
    assert read_head(str(root)) == "ref: refs/heads/main\n"
    project({".git/HEAD": b"\xff"})
    assert read_head(str(root)) == "\ufffd"


# Whatever happens.

#: Texts by what they mean; the broken ones differ from one another, so that each is a change of its own.
TEXTS = {
    "x = 1\n": "one",
    "x =  1 # a\n": "one",
    "x = 2\n": "two",
    "x = 3\n": "three",
    "x = (\n": "broken (",
    "x = [\n": "broken [",
    "": "empty",
}
PATHS = ("src/a.py", "src/p/b.py", "src/p/c.py", "data/d.csv")
texts = st.sampled_from(sorted(TEXTS))
paths = st.sampled_from(PATHS)
deeds = st.lists(
    st.tuples(st.just("write"), paths, texts)
    | st.tuples(st.just("replace"), paths, texts)
    | st.tuples(st.just("delete"), paths, st.just(""))
    | st.tuples(st.just("compare"), st.just(""), st.just(""))
    | st.tuples(st.just("compare paths"), paths, st.just(""))
    | st.tuples(st.just("accept"), paths, st.just(""))
    | st.tuples(st.just("arrange"), st.just(""), st.just("")),
    max_size=14,
)


class Model:
    """What the files mean, and what they meant when they were accepted; of data each byte counts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.accepted = self.now = {path: self._meaning(path) for path in PATHS}

    def look(self) -> None:
        self.now = {path: self._meaning(path) for path in PATHS}

    def accept(self, path: str) -> None:
        self.accepted = {**self.accepted, path: self.now[path]}

    @property
    def differing(self) -> set[str]:
        return {path for path in PATHS if self.now[path] != self.accepted[path]}

    def _meaning(self, path: str) -> str:
        try:
            text = (self.root / path).read_text()
        except FileNotFoundError:
            return "gone"
        return TEXTS[text] if path.endswith(".py") else "content " + text


@given(st.dictionaries(paths, texts), deeds)
@settings(max_examples=120, deadline=None)
def test_what_differs_is_exactly_what_means_something_else_than_was_accepted(
    first: dict[str, str], deeds: Collection[tuple[str, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, {"src/p/": "", "data/": "", **first})
        snapshot = make(root, patterns=["data/*.csv", "data/d.csv"], extras=PATHS[:3])
        model = Model(root)
        hinted: set[str] = set()
        for deed, path, text in deeds:
            match deed:
                case "write":
                    (root / path).write_text(text)
                    hinted.add(path)
                case "replace":
                    (root / "beside").write_text(text)
                    os.replace(root / "beside", root / path)
                    hinted.add(path)
                case "delete":
                    (root / path).unlink(missing_ok=True)
                    hinted.add(path)
                case "compare":
                    snapshot.compare()
                    model.look()
                case "compare paths":  # at all that there was an event for, as a watch does it
                    snapshot.compare_paths({*hinted, path})
                    hinted.clear()
                    model.look()
                case "accept":
                    snapshot.accept([path])
                    model.accept(path)
                case _:
                    snapshot.compare()
                    model.look()
                    snapshot.configure(["src"], PATHS[:3], ["data/*.csv", "data/d.csv"])
            assert differing(snapshot) == model.differing
        snapshot.compare()
        model.look()
        assert differing(snapshot) == model.differing
        assert set(snapshot.broken) == {p for p in PATHS if model.now[p].startswith("broken")}
