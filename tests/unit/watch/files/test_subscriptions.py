"""Which folders are subscribed to, and what real paths are called, with real folders and links."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.watch.files.subscriptions import (
    NOISE,
    SubscriptionPlan,
    build_plan,
    identity_of,
    is_below,
)

DEEP, FLAT = True, False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`project` with `src/sub` and `data`, beside `outside/deep`."""
    for path in ("project/src/sub", "project/data", "outside/deep"):
        (tmp_path / path).mkdir(parents=True)
    return tmp_path / "project"


def plan_of(root: Path, folders: Mapping[str, bool]) -> SubscriptionPlan:
    return build_plan(str(root), folders)


def reaches(root: Path, folders: Mapping[str, bool]) -> dict[str, str]:
    """By path relative to the root."""
    return {
        os.path.relpath(path, root): reach for path, reach in plan_of(root, folders).reaches.items()
    }


# What is subscribed to.


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({}, {}),
        ({"": DEEP}, {".": "deep"}),
        ({"": FLAT}, {".": "flat"}),
        ({"src": DEEP}, {"src": "deep", ".": "near"}),
        ({"src": FLAT}, {"src": "flat", ".": "near"}),
        ({"src/sub": DEEP}, {"src/sub": "deep", "src": "near"}),
        ({"src": DEEP, "data": FLAT}, {"src": "deep", "data": "flat", ".": "near"}),
        ({"src": DEEP, "": FLAT}, {"src": "deep", ".": "flat"}),
        # What lies in a deep one is seen by that.
        ({"": DEEP, "src": DEEP, "src/sub": FLAT}, {".": "deep"}),
        ({"src": DEEP, "src/sub": DEEP}, {"src": "deep", ".": "near"}),
        ({"src": FLAT, "src/sub": DEEP}, {"src": "flat", "src/sub": "deep", ".": "near"}),
        # What is missing comes in the nearest folder that is there.
        ({"absent": DEEP}, {".": "near"}),
        ({"src/absent/er": FLAT}, {"src": "near"}),
        ({"src": DEEP, "src/absent": DEEP}, {"src": "deep", ".": "near"}),
        # Outside of the root.
        ({"../outside": DEEP}, {"../outside": "deep", "..": "near"}),
        ({"../absent": DEEP}, {"..": "near"}),
    ],
)
def test_each_folder_is_subscribed_to_once_and_where_it_may_come_and_go(
    root: Path, folders: Mapping[str, bool], expected: Mapping[str, str]
) -> None:
    assert reaches(root, folders) == expected


def test_of_a_root_that_is_missing_the_folder_is_told_in_which_it_may_come(root: Path) -> None:
    assert reaches(root / "gone" / "er", {"": DEEP}) == {"../..": "near"}


def test_the_folder_above_the_root_is_none_of_its_matters(root: Path) -> None:
    assert str(root.parent) not in plan_of(root, {"": DEEP, "src": DEEP}).reaches


def test_a_link_is_subscribed_to_where_it_leads_and_where_it_stands(root: Path) -> None:
    (root / "src" / "link").symlink_to("../../outside/deep")
    assert reaches(root, {"src/link": DEEP}) == {
        "../outside/deep": "deep",
        "../outside": "near",
        "src": "near",
    }


def test_a_link_that_leads_nowhere_is_waited_for_where_it_would_lead(root: Path) -> None:
    (root / "link").symlink_to("../outside/absent/deep")
    assert reaches(root, {"link": FLAT}) == {"../outside": "near", ".": "near"}


def test_a_folder_by_two_names_is_subscribed_to_once_and_as_far_as_either_asks(root: Path) -> None:
    (root / "link").symlink_to("src")
    assert reaches(root, {"src": FLAT, "link": DEEP}) == {"src": "deep", ".": "near"}


def test_a_file_in_the_place_of_a_folder_is_waited_for_as_one_that_is_missing(root: Path) -> None:
    (root / "file").touch()
    assert reaches(root, {"file": DEEP, "file/deep": DEEP}) == {".": "near"}


def test_all_above_a_wanted_folder_and_its_link_are_at_stake(root: Path) -> None:
    (root / "link").symlink_to("../outside/deep")
    stakes = plan_of(root, {"link": DEEP, "absent/deep": FLAT}).stakes
    for one in ("link", "absent/deep", "absent", ".", "../outside/deep", "../outside", ".."):
        assert os.path.normpath(root / one) in stakes
    assert "/" in stakes
    assert str(root / "src") not in stakes


# What a path is called.


@pytest.mark.parametrize(
    ("folders", "path", "names"),
    [
        ({"": DEEP}, "a.py", ["a.py"]),
        ({"": DEEP}, "src/sub/a.py", ["src/sub/a.py"]),
        ({"": FLAT}, "a.py", ["a.py"]),
        ({"": FLAT}, "src/a.py", []),
        ({"": FLAT, "src": DEEP}, "src/a.py", ["src/a.py"]),
        ({"src": DEEP}, "src", ["src"]),
        ({"": DEEP}, ".", [""]),
        ({"src": DEEP}, "a.py", []),
        ({"src": DEEP}, "src2/a.py", []),
        ({"src": DEEP}, "src2", []),
        ({"src": DEEP}, "lib/a.py", []),
        ({"../outside": DEEP}, "../outside/deep/a.py", ["../outside/deep/a.py"]),
        ({"src": DEEP, "": DEEP}, "src/a.py", ["src/a.py"]),
        # Noise, but for a folder that is itself wanted.
        ({"": DEEP}, ".git/index", []),
        ({"": DEEP}, "src/__pycache__/a.pyc", []),
        ({"": DEEP}, "src/a.py~", []),
        ({"": DEEP}, ".venv", []),
        ({".venv": DEEP}, ".venv/lib/a.py", [".venv/lib/a.py"]),
        ({".venv": DEEP}, ".venv", [".venv"]),
        ({".venv": DEEP}, ".venv/__pycache__/a.py", []),
        ({"": DEEP, "data/.git": FLAT}, "data/.git/x", ["data/.git/x"]),
    ],
)
def test_a_path_is_called_by_each_wanted_folder_that_it_counts_for(
    root: Path, folders: Mapping[str, bool], path: str, names: list[str]
) -> None:
    full = os.path.normpath(root / path)
    assert plan_of(root, folders).names_of(full) == names


def test_a_path_has_all_names_that_links_give_it(root: Path) -> None:
    (root / "link").symlink_to("src")
    plan = plan_of(root, {"src": DEEP, "link": FLAT})
    assert plan.names_of(str(root / "src/a.py")) == ["src/a.py", "link/a.py"]
    assert plan.names_of(str(root / "src")) == ["src", "link"]
    assert plan.names_of(str(root / "src/sub/a.py")) == ["src/sub/a.py"]


def test_a_root_behind_a_link_has_the_names_below_it(root: Path) -> None:
    (root.parent / "alias").symlink_to("project")
    plan = plan_of(root.parent / "alias", {"": FLAT, "src": DEEP})
    assert plan.names_of(str(root / "src/a.py")) == ["src/a.py"]
    assert plan.reaches == {str(root): "flat", str(root / "src"): "deep"}


def test_the_folder_of_all_is_a_folder_as_others() -> None:
    plan = build_plan("/", {"": DEEP})
    assert plan.reaches == {"/": "deep"}
    assert plan.names_of("/absent/a.py") == ["absent/a.py"]
    assert plan.names_of("/") == [""]


@pytest.mark.parametrize(
    ("path", "is_noise"),
    [
        (".git", True),
        ("a/.orch/x", True),
        ("a/node_modules/b/c.js", True),
        (".#a.py", True),
        ("a/.#b", True),
        ("a.py~", True),
        (".a.py.swp", True),
        ("a.pyc", True),
        ("a.py", False),
        (".github/x", False),
        ("git/x", False),
        ("a.git/x", False),
        ("node_modules2", False),
        ("a~b", False),
        ("#a", False),
        (".#a/b", False),
        ("swp", False),
    ],
)
def test_noise_is_what_editors_caches_and_version_control_write(path: str, is_noise: bool) -> None:
    assert bool(NOISE.search(path)) == is_noise


# Paths.


def test_a_path_is_below_the_folders_above_it_and_not_below_itself_or_a_namesake() -> None:
    assert is_below("/a/b/c", {"/a"})
    assert is_below("/a/b/c", {"/"})
    assert not is_below("/a/b", {"/a/b"})
    assert not is_below("/ab/c", {"/a"})
    assert not is_below("/", {"/"})


def test_an_identity_is_that_of_what_a_path_leads_to(root: Path) -> None:
    (root / "link").symlink_to("src")
    assert identity_of(str(root / "link")) == identity_of(str(root / "src")) != (0, 0)
    assert identity_of(str(root / "src")) != identity_of(str(root / "data"))
    assert identity_of(str(root / "absent")) == (0, 0)


# The law.

PLACES = ["", "a", "a/b", "a/b/c", "d", "d/e", "link", "link/c", "x", "x/y"]
WANTED = st.dictionaries(st.sampled_from(PLACES), st.booleans(), min_size=1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`x` is missing, and `link` leads to `a/b`."""
    root = tmp_path_factory.mktemp("law")
    for path in ("a/b/c", "d/e"):
        (root / path).mkdir(parents=True)
    (root / "link").symlink_to("a/b")
    return root


@settings(max_examples=100, deadline=None)
@given(folders=WANTED)
def test_all_that_is_wanted_is_seen_and_nothing_is_seen_twice(
    tree: Path, folders: dict[str, bool]
) -> None:
    plan = build_plan(str(tree), folders)
    deep = {path for path, reach in plan.reaches.items() if reach == "deep"}
    assert not any(is_below(path, deep) for path in plan.reaches)
    for name, is_deep in folders.items():
        real = os.path.realpath(tree / name)
        is_in_deep = real in deep or is_below(real, deep)
        if os.path.isdir(real):
            assert is_in_deep or (not is_deep and plan.reaches[real] == "flat")
        for inner in ("f.py", "sub/f.py") if is_deep else ("f.py",):
            assert (f"{name}/{inner}" if name else inner) in plan.names_of(f"{real}/{inner}")
        # Wherever it goes and comes, somebody is told: above it, or where the nearest folder is.
        spot = os.path.join(os.path.realpath((tree / name).parent), Path(name).name)
        for place in (real, spot) if name else ():
            above = os.path.dirname(place)
            while not os.path.isdir(above):
                above = os.path.dirname(above)
            assert above in plan.reaches or above in deep or is_below(above, deep)
            assert place in plan.stakes
