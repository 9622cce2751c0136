"""Which folders are subscribed to, and what real paths are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.watch.file_events import (
    NOISE,
    SubscriptionPlan,
    is_inside_any,
    plan_subscriptions,
)

DEEP, FLAT = True, False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`project` with `src/sub` and `data`, beside `outside/deep`."""
    for path in ("project/src/sub", "project/data", "outside/deep"):
        (tmp_path / path).mkdir(parents=True)
    return tmp_path / "project"


def plan_of(root: Path, folders: Mapping[str, bool]) -> SubscriptionPlan:
    return plan_subscriptions(str(root), folders)


def subscribed(root: Path, folders: Mapping[str, bool]) -> dict[str, str]:
    """By path relative to the root."""
    return {
        os.path.relpath(path, root): "deep" if is_deep else "flat"
        for path, is_deep in plan_of(root, folders).folders.items()
    }


# What is subscribed to.


def test_a_missing_root_is_awaited_in_the_nearest_folder(root: Path) -> None:
    assert subscribed(root / "gone" / "er", {"": DEEP}) == {"../..": "flat"}


def test_the_folder_above_the_root_is_left_out(root: Path) -> None:
    assert str(root.parent) not in plan_of(root, {"": DEEP, "src": DEEP}).folders


def test_a_file_in_the_place_of_a_folder_counts_as_a_missing_folder(root: Path) -> None:
    (root / "file").touch()
    assert subscribed(root, {"file": DEEP, "file/deep": DEEP}) == {".": "flat"}


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


def test_a_root_behind_a_link_has_the_names_below_it(root: Path) -> None:
    (root.parent / "alias").symlink_to("project")
    plan = plan_of(root.parent / "alias", {"": FLAT, "src": DEEP})
    assert plan.names_of(str(root / "src/a.py")) == ["src/a.py"]
    assert plan.folders == {str(root): FLAT, str(root / "src"): DEEP}


def test_the_folder_of_all_is_a_folder_as_others() -> None:
    plan = plan_subscriptions("/", {"": DEEP})
    assert plan.folders == {"/": DEEP}
    assert plan.names_of("/absent/a.py") == ["absent/a.py"]
    assert plan.names_of("/") == [""]


NOISY = ".git a/.orch/x a/node_modules/b/c.js .#a.py a/.#b a.py~ .a.py.swp a.pyc".split()
QUIET = "a.py .github/x git/x a.git/x node_modules2 a~b #a .#a/b swp".split()


def test_noise_is_what_editors_caches_and_version_control_write() -> None:
    assert [path for path in (*NOISY, *QUIET) if NOISE.search(path)] == NOISY


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


@given(folders=WANTED)
def test_all_that_is_wanted_is_seen_and_nothing_is_seen_twice(
    tree: Path, folders: dict[str, bool]
) -> None:
    plan = plan_subscriptions(str(tree), folders)
    deep = {path for path, is_deep in plan.folders.items() if is_deep}
    assert not any(is_inside_any(path, deep) for path in plan.folders)
    for name, is_deep in folders.items():
        real = os.path.realpath(tree / name)
        is_in_deep = real in deep or is_inside_any(real, deep)
        if os.path.isdir(real):
            assert is_in_deep or (not is_deep and plan.folders[real] is FLAT)
        for inner in ("f.py", "sub/f.py") if is_deep else ("f.py",):
            assert (f"{name}/{inner}" if name else inner) in plan.names_of(f"{real}/{inner}")
        # Its coming and going has an event: in its parent, or in the nearest folder above that exists.
        spot = os.path.join(os.path.realpath((tree / name).parent), Path(name).name)
        for place in (real, spot) if name else ():
            above = os.path.dirname(place)
            while not os.path.isdir(above):
                above = os.path.dirname(above)
            assert above in plan.folders or above in deep or is_inside_any(above, deep)
            assert place in plan.anchors
