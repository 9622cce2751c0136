"""The project's tree: what is looked at; two looks differ exactly where something changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.discovery.tree import ABSENT, Tree, is_racy, read_tree, signature_of
from tests.support.project_builder import write_files


def look(
    root: Path,
    *folders: str,
    excluded: tuple[str, ...] = (),
    is_excluded: Callable[[str], bool] | None = None,
    extras: tuple[str, ...] = (),
) -> Tree:
    return read_tree(
        str(root),
        folders or ("src",),
        excluded=excluded,
        is_excluded=is_excluded,
        extras=extras,
    )


def files(tree: Tree) -> list[str]:
    return sorted(tree.signatures)


def reasons(tree: Tree) -> dict[str, str]:
    return dict(tree.passed_over)


def test_python_files_are_found_at_any_depth(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "", "src/b/c/__init__.py": "", "src/d.txt": "", "e.py": ""})
    assert files(look(tmp_path)) == ["src/a.py", "src/b/c/__init__.py"]
    assert files(look(tmp_path, "")) == ["e.py", "src/a.py", "src/b/c/__init__.py"]
    assert sorted(look(tmp_path).folders) == ["src", "src/b", "src/b/c"]


def test_what_the_contract_names_is_not_scanned(tmp_path: Path) -> None:
    skipped = [
        "test_x.py",
        "x_test.py",
        "conftest.py",
        "orchconf.py",
        "__main__.py",
        ".hidden.py",
        ".hidden/x.py",
        "__pycache__/x.py",
        "venv/x.py",
        "node_modules/x.py",
        "build/x.py",
        "dist/x.py",
    ]
    write_files(tmp_path, {f"src/{name}": "" for name in [*skipped, "venv/pyvenv.cfg", "good.py"]})
    tree = look(tmp_path)
    assert files(tree) == ["src/good.py"]
    assert reasons(tree)["src/venv"] == "a virtual environment"
    assert reasons(tree)["src/test_x.py"] == "files of this name are not scanned"
    assert reasons(tree)["src/build"] == "folders named build are not scanned"


def test_a_scanned_folder_itself_may_have_any_name(tmp_path: Path) -> None:
    write_files(tmp_path, {"build/x.py": ""})
    assert files(look(tmp_path, "build")) == ["build/x.py"]


def test_only_regular_files_are_signed(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/folder.py/x.py": ""})
    os.mkfifo(tmp_path / "src/fifo.py")
    (tmp_path / "src/dangling.py").symlink_to("nowhere")
    (tmp_path / "src/loop.py").symlink_to("loop.py")
    tree = look(tmp_path)
    assert files(tree) == ["src/folder.py/x.py"]
    assert reasons(tree) == {"src/fifo.py": "not a regular file"}


def test_a_folder_that_two_paths_lead_to_is_scanned_once_at_its_real_path(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/real/x.py": "", "src/zz/y.py": "", "other/z.py": ""})
    (tmp_path / "src/alias").symlink_to("real")
    (tmp_path / "src/zz/up").symlink_to("..")
    (tmp_path / "src/one").symlink_to("../other")
    (tmp_path / "src/two").symlink_to("../other")
    tree = look(tmp_path)
    assert files(tree) == ["src/one/z.py", "src/real/x.py", "src/zz/y.py"]
    assert {"src/alias", "src/zz/up", "src/two"} <= set(reasons(tree))


def test_a_linked_file_is_a_file(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/real.py": ""})
    (tmp_path / "src/linked.py").symlink_to("real.py")
    assert files(look(tmp_path)) == ["src/linked.py", "src/real.py"]


def test_overlapping_folders_are_entered_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a/x.py": ""})
    tree = look(tmp_path, "src", "src/a", "src")
    assert sorted(tree.folders) == ["src", "src/a"]


def test_what_a_pattern_excludes_is_remembered(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "", "src/old/b.py": "", "src/c.py": ""})
    asked = []

    def judge(path: str) -> bool:
        asked.append(path)
        return path in ("src/c.py", "src/old/")

    tree = look(tmp_path, is_excluded=judge)
    assert (files(tree), tree.excluded) == (["src/a.py"], {"src/c.py", "src/old/"})
    asked.clear()
    again = look(tmp_path, excluded=tuple(tree.excluded), is_excluded=judge)
    assert (again.text, asked) == (tree.text, ["src/a.py"])


def test_a_missing_folder_is_told_and_so_is_its_coming(tmp_path: Path) -> None:
    before = look(tmp_path)
    assert before.unreadable == [("src", "No such file or directory")]
    write_files(tmp_path, {"src/": ""})
    assert look(tmp_path).text != before.text


def test_extras_count_whether_they_are_there_or_not(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": ""})
    before = look(tmp_path, extras=("orchconf.py", "src/a.py"))
    assert before.signatures["orchconf.py"] == ABSENT
    assert before.signatures["src/a.py"] != ABSENT
    write_files(tmp_path, {"orchconf.py": ""})
    assert look(tmp_path, extras=("orchconf.py", "src/a.py")).text != before.text


def test_names_of_any_kind_are_kept_apart(tmp_path: Path) -> None:
    names = ["a\nb.py", "a b.py", "é.py", "\u202e.py"]
    write_files(tmp_path, {f"src/{name}": "" for name in names})
    os.close(os.open(os.fsencode(tmp_path / "src") + b"/\xff.py", os.O_CREAT))
    tree = look(tmp_path)
    assert len(tree.signatures) == 5
    assert tree.text.encode("utf-8", "surrogateescape")


# Two texts are equal exactly where nothing changed.


def link_folder(src: Path) -> None:
    write_files(src.parent, {"other/x.py": ""})
    (src / "link").symlink_to("../other")


START = {"src/a.py": "1", "src/b.py": "22", "src/p/c.py": "333", "src/p/q/d.py": "4444"}
MATTERS: dict[str, Callable[[Path], object]] = {
    "a new module": lambda src: (src / "new.py").write_text(""),
    "a new module deeper": lambda src: write_files(src, {"x/y/new.py": ""}),
    "a longer text": lambda src: (src / "a.py").write_text("11"),
    "an emptied text": lambda src: (src / "p/c.py").write_text(""),
    "another file in its place": lambda src: os.replace(src / "a.py", src / "b.py"),
    "a removed file": lambda src: (src / "p/q/d.py").unlink(),
    "another time": lambda src: os.utime(src / "a.py", ns=(1, 1)),
    "other rights": lambda src: (src / "a.py").chmod(0o600),
    "another name": lambda src: (src / "a.py").rename(src / "z.py"),
    "another folder name": lambda src: (src / "p").rename(src / "r"),
    "a virtual environment": lambda src: write_files(src, {"p/pyvenv.cfg": ""}),
    "a linked folder": link_folder,
}
NO_MATTER: dict[str, Callable[[Path], object]] = {
    "nothing": lambda src: None,
    "a data file": lambda src: (src / "data.csv").write_text("x"),
    "bytecode": lambda src: write_files(src, {"__pycache__/a.pyc": "", "p/__pycache__/x.py": ""}),
    "a test": lambda src: (src / "test_new.py").write_text(""),
    "a hidden file": lambda src: (src / ".a.py").write_text(""),
    "an empty folder": lambda src: (src / "empty").mkdir(),
    "a dangling link": lambda src: (src / ".#a.py").symlink_to("nowhere"),
    "a file beside": lambda src: (src.parent / "x.py").write_text(""),
}


@pytest.mark.parametrize("what", MATTERS)
def test_a_change_that_matters_is_seen(tmp_path: Path, what: str) -> None:
    write_files(tmp_path, START)
    before = look(tmp_path).text
    MATTERS[what](tmp_path / "src")
    assert look(tmp_path).text != before


@given(st.lists(st.sampled_from(sorted(NO_MATTER)), unique=True), st.sampled_from(["", *MATTERS]))
@settings(max_examples=40, deadline=None)
def test_texts_are_equal_exactly_where_nothing_changed(noise: list[str], change: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, START)
        before = look(root).text
        for what in noise:
            NO_MATTER[what](root / "src")
        assert look(root).text == before
        if change:
            MATTERS[change](root / "src")
            assert look(root).text != before


# Signatures.


def test_a_signature_is_that_of_a_regular_file_or_absent(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": ""})
    assert signature_of(str(tmp_path)) == ABSENT
    assert signature_of(str(tmp_path / "nowhere")) == ABSENT
    assert signature_of(str(tmp_path) + "\0") == ABSENT
    assert look(tmp_path, "").signatures["a.py"] == signature_of(str(tmp_path / "a.py"))


@pytest.mark.parametrize(
    ("changed", "now", "racy"),
    [
        (5_000_000_001, 5_000_000_002, True),
        (5_000_000_001, 5_019_000_000, True),
        (5_000_000_001, 5_030_000_000, False),
        (5_000_000_001, 4_000_000_000, True),  # in the future
        (5_000_000_000, 6_900_000_000, True),  # whole seconds
        (5_000_000_000, 7_100_000_000, False),
    ],
)
def test_a_file_that_has_just_changed_may_change_again_unseen(
    changed: int, now: int, racy: bool
) -> None:
    assert is_racy(f"1 2 3 {changed}", now) is racy


def test_a_file_that_is_not_there_is_not_racy() -> None:
    assert not is_racy(ABSENT, 5_000_000_000)
