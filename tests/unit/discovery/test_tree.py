"""The project's tree: what is looked at; two looks differ exactly where something changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.discovery.tree import Tree, is_racy, read_tree
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


# Two looks are equal exactly where nothing changed.


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


@given(st.lists(st.sampled_from(sorted(NO_MATTER)), unique=True), st.sampled_from(["", *MATTERS]))
@settings(max_examples=40, deadline=None)
def test_looks_are_equal_exactly_where_nothing_changed(noise: list[str], change: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, START)
        before = look(root).marks
        for what in noise:
            NO_MATTER[what](root / "src")
        assert look(root).marks == before
        if change:
            MATTERS[change](root / "src")
            assert look(root).marks != before


# Signatures.


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
