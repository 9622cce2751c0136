"""Which files of a watch differ from when they were last judged, with real files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.tree import RACY_NS
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.live_status import Paths
from discover_orch.watch.watched_files import WatchedFiles, fixed_part
from tests.conftest import Project
from tests.support.project_builder import write_files
from tests.support.values import make_project


def make(root: Path, **more: Iterable[str]) -> WatchedFiles:
    """All modules below `src`, and more, as they are now."""
    files = WatchedFiles(str(root), ImportGraph(replace(make_project(), root=str(root))))
    assert configure(files, root, **more) == []
    return files


def configure(files: WatchedFiles, root: Path, **more: Iterable[str]) -> list[str]:
    project = replace(
        make_project(),
        root=str(root),
        exclude=tuple(more.get("excluded", ())),
        watch={"ignore": tuple(more.get("ignored", ()))},
        pythonpath=tuple(more.get("entries", (".",))),
    )
    given = {name: frozenset(more[name]) for name in ("code", "data", "listed") if name in more}
    return files.configure(project, Paths(globs=tuple(more.get("globs", ())), **given))


def changed(files: WatchedFiles) -> list[str]:
    """What differs; it is then noted."""
    found = sorted(files.find_changed())
    files.note(found)
    assert files.find_changed() == {}
    return found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# Modules.


@pytest.mark.parametrize("entries", [(".",), ("lib",)])
def test_a_scanned_folder_that_is_missing_for_a_moment_is_still_watched(
    project: Project, entries: tuple[str, ...]
) -> None:
    """Just when what counts is found out anew. With `lib`, `src` may also be a package there."""
    root = project({"src/a.py": "x = 1\n", "lib/m.py": ""})
    files = make(root, entries=entries)
    (root / "src").rename(root / "away")
    configure(files, root, entries=entries, data=["data.txt"])
    assert changed(files) == ["src/a.py"]
    (root / "away").rename(root / "src")
    assert changed(files) == ["src/a.py"]
    write(root / "src/new.py", "")
    assert changed(files) == ["src/new.py"]


def test_a_package_that_would_be_scanned_first_is_watched_before_it_is_there(
    project: Project,
) -> None:
    root = project({"lib/src/a.py": "x = 1\n"})
    files = make(root, entries=("lib",))
    assert len(files) == 1
    write(root / "src/b.py", "")
    assert changed(files) == ["src/b.py"]


def test_a_module_that_changes_comes_or_goes_differs(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/sub/b.py": "", "notes.txt": "", "src/c.txt": ""})
    files = make(root)
    assert len(files) == 2
    assert changed(files) == []
    write(root / "src/a.py", "x = 2\n")
    write(root / "src/sub/new.py", "")
    (root / "src/sub/b.py").unlink()
    write(root / "notes.txt", "1")
    write(root / "src/c.txt", "1")
    assert changed(files) == ["src/a.py", "src/sub/b.py", "src/sub/new.py"]
    shutil.rmtree(root / "src")
    assert changed(files) == ["src/a.py", "src/sub/new.py"]
    write(root / "src/a.py", "x = 2\n")
    assert changed(files) == ["src/a.py"]


def test_a_change_with_the_same_size_and_time_differs(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n"})
    files = make(root)
    before = (root / "src/a.py").stat()
    write(root / "src/a.py", "x = 2\n")
    os.utime(root / "src/a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed(files) == ["src/a.py"]


def test_a_file_that_changes_again_within_one_tick_of_the_clock_differs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that was written just before it was noted the content is compared, until its time is over."""
    root = project({"src/a.py": "x = 1\n"})
    monkeypatch.setattr("discover_orch.discovery.tree.file_mark", lambda _: "6 9 1 9")
    monkeypatch.setattr(time, "time_ns", lambda: 9)
    files = make(root)
    write(root / "src/a.py", "x = 2\n")
    assert changed(files) == ["src/a.py"]
    assert changed(files) == []
    monkeypatch.setattr(time, "time_ns", lambda: 10 * RACY_NS)
    assert changed(files) == []
    write(root / "src/a.py", "x = 3\n")
    assert changed(files) == []


def test_what_is_awaited_outside_differs_when_it_appears(project: Project) -> None:
    root = project({"src/a.py": ""})
    files = make(root, code=["lib.py", "lib/", "src/a.py"])
    assert changed(files) == []
    write(root / "lib/x.py", "")
    assert changed(files) == ["lib/"]
    write(root / "lib.py", "")
    shutil.rmtree(root / "lib")
    assert changed(files) == ["lib.py", "lib/"]


def test_what_is_excluded_later_no_longer_counts_until_it_is_included_again(
    project: Project,
) -> None:
    root = project({"src/a.py": "x = 1\n", "src/gen/b.py": "x = 1\n", "src/c.py": "x = 1\n"})
    files = make(root, code=["src/a.py", "src/c.py"])
    for excluded in (["src/a.py"], ["src/gen/", "a.py"]):
        assert configure(files, root, code=["src/c.py"], excluded=excluded) == []
        assert changed(files) == []
        assert not files.is_relevant("src/a.py", is_folder=False)
        write(root / "src/a.py", f"x = {excluded}\n")
        assert changed(files) == []
    assert configure(files, root, code=["src/c.py"]) == ["src/a.py", "src/gen/b.py"]
    assert changed(files) == []


def test_modules_of_a_folder_that_becomes_a_virtual_environment_go(project: Project) -> None:
    root = project({"src/a.py": "x = 1\n", "src/env/b.py": "x = 1\n"})
    files = make(root)
    write(root / "src/env/pyvenv.cfg", "")
    assert files.is_relevant("src/env/pyvenv.cfg", is_folder=False)
    assert not files.is_relevant("env/pyvenv.cfg", is_folder=False)
    assert changed(files) == ["src/env/b.py"]
    write(root / "src/env/b.py", "x = 2\n")
    assert changed(files) == []
    (root / "src/env/pyvenv.cfg").unlink()
    assert changed(files) == ["src/env/b.py"]


def test_what_is_excluded_counts_only_where_it_is_imported(project: Project) -> None:
    root = project({"src/a.py": "", "src/gen/b.py": "", "src/gen/c.py": ""})
    files = make(root, code=["src/gen/b.py"], excluded=["src/gen"])
    write(root / "src/gen/b.py", "x = 1\n")
    write(root / "src/gen/c.py", "x = 1\n")
    assert files.resolve(["src/gen/c.py"]) == ["src/gen/b.py"]
    assert changed(files) == ["src/gen/b.py"]


def test_what_is_ignored_never_counts(project: Project) -> None:
    root = project({"src/a.py": "", "src/b.py": "", "in/x": ""})
    files = make(root, listed=["in"], ignored=["b*"])
    for name in ("src/a.py", "src/b.py", "in/b", "in/c"):
        write(root / name, "x = 1\n")
    assert not files.is_relevant("src/b.py", is_folder=False)
    assert sorted(files.find_changed()) == ["in/c", "src/a.py"]


# Data.


def test_of_data_the_mark_counts_whether_it_is_there_or_not(project: Project) -> None:
    root = project({"in.csv": "1", "src/t.json": ""})
    files = make(root, data=["in.csv", "late.csv", "late", "src/t.json"])
    assert changed(files) == []
    write(root / "in.csv", "2")
    write(root / "late/x", "")
    write(root / "src/t.json", "1")
    assert changed(files) == ["in.csv", "late", "src/t.json"]
    (root / "in.csv").unlink()
    write(root / "late.csv", "")
    write(root / "late/y", "")  # it is a folder, of which only its existence counts
    assert changed(files) == ["in.csv", "late.csv"]


def test_a_link_differs_when_it_leads_to_another_folder(project: Project) -> None:
    root = project({"one/x": "", "two/x": ""})
    (root / "current").symlink_to("one")
    files = make(root, data=["current"])
    for target in ("two", "nowhere", "nothing"):
        (root / "current").unlink()
        (root / "current").symlink_to(target)
        assert changed(files) == ["current"]


def test_what_a_glob_or_a_folder_matches_differs_when_it_appears(project: Project) -> None:
    root = project({"in/a.csv": "", "raw/deep/x": ""})
    files = make(root, globs=["in/*.csv", "raw"])
    for name in ("in/b.csv", "in/b.txt", "raw/deep/y", "raw/z"):
        write(root / name, "")
    assert changed(files) == ["in/b.csv", "raw/deep/y", "raw/z"]
    (root / "in/a.csv").unlink()
    assert changed(files) == ["in/a.csv"]


def test_of_a_listed_folder_the_names_count(project: Project) -> None:
    root = project({"in/a.csv": "1", "in/sub/x": "", "top": ""})
    files = make(root, listed=["in", "."])
    write(root / "in/a.csv", "2")
    write(root / "in/sub/y", "")
    assert changed(files) == []
    write(root / "in/b.csv", "")
    write(root / "new", "")
    (root / "in/a.csv").unlink()
    assert changed(files) == ["in/a.csv", "in/b.csv", "new"]
    shutil.rmtree(root / "in")
    assert changed(files) == ["in", "in/b.csv", "in/sub"]


def test_during_a_run_data_is_left_for_later(project: Project) -> None:
    root = project({"src/a.py": "", "in.csv": "1", "in/a.csv": "", "deep/a": ""})
    files = make(root, data=["in.csv"], listed=["in"], globs=["deep"])
    files.skips_data = True
    for name in ("src/a.py", "in.csv", "in/b.csv", "deep/b"):
        write(root / name, "2")
    assert changed(files) == ["src/a.py"]
    for name in ("in.csv", "in/b.csv", "deep/b"):
        assert not files.is_relevant(name, is_folder=False), name
    write(root / "deep/by_tool", "")
    files.note(["deep/by_tool"])  # as a tool that has just ended left it
    assert changed(files) == []
    files.skips_data = False
    assert changed(files) == ["deep/b", "in.csv", "in/b.csv"]


# What is watched changes.


def test_what_is_new_here_is_returned_once(project: Project) -> None:
    root = project({"src/a.py": "", "lib.py": "", "in.csv": "", "in/x": ""})
    files = make(root)
    wanted = {"code": ["lib.py"], "data": ["in.csv"], "listed": ["in"]}
    assert sorted(configure(files, root, **wanted)) == ["in.csv", "in/", "lib.py"]
    assert configure(files, root, **wanted) == []
    assert changed(files) == []


def test_what_has_just_appeared_and_counted_before_is_not_noted_by_configuring(
    project: Project,
) -> None:
    root = project({"src/a.py": "", "raw/a": "", "in/a": ""})
    files = make(root, globs=["raw"], listed=["in"])
    for name in ("src/b.py", "raw/b", "in/b", "in/c"):
        write(root / name, "")
    more = {"globs": ["raw"], "listed": ["in"], "data": ["in.csv", "in/c"]}
    assert sorted(configure(files, root, **more)) == ["in.csv", "in/c"]
    assert changed(files) == ["in/b", "raw/b", "src/b.py"]


def test_what_is_no_longer_watched_does_not_differ(project: Project) -> None:
    root = project({"src/a.py": "", "lib.py": "", "in.csv": "", "in/x": ""})
    files = make(root, code=["lib.py"], data=["in.csv"], listed=["in"])
    configure(files, root)
    for name in ("lib.py", "in.csv", "in/y"):
        write(root / name, "2")
        assert not files.is_relevant(name, is_folder=False), name
    assert changed(files) == []


# Events.


def test_an_event_of_known_files_concerns_them_alone(project: Project) -> None:
    root = project({"src/a.py": "", "src/b.py": ""})
    files = make(root)
    write(root / "src/b.py", "x = 1\n")
    assert files.resolve(["src/a.py"]) == ["src/a.py"]
    assert files.resolve(["src/new.py"]) == ["src/b.py"]
    (root / "src/a.py").unlink()
    assert files.resolve(["src/a.py"]) == ["src/a.py", "src/b.py"]


def test_an_event_is_relevant_where_something_can_differ(project: Project) -> None:
    root = project({"src/a.py": "", "in.csv": "", "in/a": "", "raw/a.csv": "", "other/x.py": ""})
    files = make(root, code=["lib.py"], data=["in.csv"], listed=["in"], globs=["raw/*.csv"])
    write(root / "in/new", "")
    for name in ("src/a.py", "src/deep/n.py", "in.csv", "lib.py", "in/new", "raw/b.csv"):
        assert files.is_relevant(name, is_folder=False), name
    for name in ("in/a", "other/x.py", "src/a.txt", "raw/b.txt"):
        assert not files.is_relevant(name, is_folder=False), name
    for name in ("src", "src/deep", "raw", "raw/deep"):
        assert files.is_relevant(name, is_folder=True), name
    assert not files.is_relevant("other", is_folder=True)


@pytest.mark.parametrize("is_racy", [False, True])
def test_a_path_is_complete_unless_it_is_missing_or_a_half_written_module(
    project: Project, monkeypatch: pytest.MonkeyPatch, is_racy: bool
) -> None:
    monkeypatch.setattr("discover_orch.discovery.source_files.is_racy", lambda *_: is_racy)
    root = project({"src/a.py": "x = 1\n", "src/empty.py": "", "in.csv": "", "raw.py": "("})
    files = make(root, data=["in.csv", "raw.py"])
    assert files.is_complete("src/a.py")
    assert files.is_complete("src/empty.py")  # as it was before
    assert files.is_complete("in.csv")
    assert files.is_complete("raw.py")  # data
    assert not files.is_complete("src/none.py")
    assert not files.is_complete("none.csv")
    for text in ("", "\n", "x = (\n"):
        write(root / "src/a.py", text)
        assert not files.is_complete("src/a.py"), text
    assert changed(files) == ["src/a.py"]  # a check hides nothing


# Folders.


def test_it_names_the_folders_to_subscribe_to(project: Project) -> None:
    root = project({"src/a.py": "", "lib/x.py": "", "raw/deep/x": "", "data/a.csv": ""})
    files = make(
        root,
        code=["lib/x.py", "other.py"],
        data=["one/two/in.csv"],
        listed=["in"],
        globs=["data/*.csv", "raw", "more/**/x", "file.txt"],
        entries=[".", "lib2"],
    )
    deep, flat = files.folders()
    assert set(deep) == {"src", "lib", "raw", "more"}
    assert set(flat) == {"", "lib2", "one/two", "in", "data"}


def test_many_folders_below_one_are_subscribed_to_through_it(project: Project) -> None:
    files = make(project({"src/a.py": ""}), data=[f"in/{n}/x.csv" for n in range(40)])
    assert files.folders() == (("src", "in"), ("",))


@pytest.mark.parametrize(
    ("pattern", "fixed"),
    [("data/*.csv", "data"), ("data/raw", "data/raw"), ("*.csv", ""), ("./a/b?/c", "a")],
)
def test_the_fixed_part_of_a_pattern(pattern: str, fixed: str) -> None:
    assert fixed_part(pattern) == fixed


NAMES = st.sampled_from(["src/a.py", "src/b/c.py", "in.csv", "in/x", "in/y", "raw/z", "lib.py"])
STEPS = st.lists(st.tuples(NAMES, st.sampled_from(["", "1", "22", None])), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=4))
def test_what_differs_is_exactly_what_is_another_than_when_it_was_noted(
    history: list[list[tuple[str, str | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, {"src/k.py": "", "in/k": "", "raw/k": ""})
        files = make(root, code=["lib.py"], data=["in.csv"], listed=["in"], globs=["raw"])
        state: dict[str, str] = {}
        for steps in history:
            before = dict(state)
            for name, text in steps:
                if text is None:
                    (root / name).unlink(missing_ok=True)
                    state.pop(name, None)
                else:
                    write(root / name, text)
                    state[name] = text
            must = {
                name
                for name in {*before, *state}
                if (name in before) != (name in state)
                or (not name.startswith("in/") and before.get(name) != state.get(name))
            }
            found = set(files.find_changed())
            assert must <= found <= {name for name, _ in steps}
            files.note(sorted(found))
            assert files.find_changed() == {}
