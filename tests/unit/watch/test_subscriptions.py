"""Which folders are subscribed to, what real paths are called, and which file systems send events."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.watch import subscriptions
from discover_orch.watch.subscriptions import (
    NOISE,
    SubscriptionPlan,
    build_plan,
    filesystem_of,
    is_below,
    sends_events,
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
    plan = build_plan("/", {"": DEEP})
    assert plan.folders == {"/": DEEP}
    assert plan.names_of("/absent/a.py") == ["absent/a.py"]
    assert plan.names_of("/") == [""]


NOISY = ".git a/.orch/x a/node_modules/b/c.js .#a.py a/.#b a.py~ .a.py.swp a.pyc".split()
QUIET = "a.py .github/x git/x a.git/x node_modules2 a~b #a .#a/b swp".split()


def test_noise_is_what_editors_caches_and_version_control_write() -> None:
    assert [path for path in (*NOISY, *QUIET) if NOISE.search(path)] == NOISY


# File systems.

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /home rw,relatime shared:7 - btrfs /dev/vdb rw
24 22 0:22 / /home/me/with\040blank rw,relatime shared:8 master:1 - fuse.sshfs me@there: rw
25 22 0:23 / /mnt/c rw,noatime - 9p drvfs rw
26 22 0:24 / /mnt/c rw,noatime - nfs4 there:/ rw
damaged
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(subscriptions, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/homeless", "ext4"),
        ("/home", "btrfs"),
        ("/home/you/project", "btrfs"),
        ("/home/me/with blank/project", "fuse.sshfs"),
        ("/mnt/c/x", "nfs4"),
    ],
)
def test_the_file_system_is_that_of_the_longest_and_topmost_mount(path: str, expected: str) -> None:
    assert filesystem_of(path) == expected


def test_without_a_list_of_mounts_the_file_system_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "_MOUNTS", "/nonexistent")
    assert filesystem_of("/") == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_this_file_is_on_some_file_system() -> None:
    assert filesystem_of(__file__) != ""
    assert filesystem_of("/proc/self") == "proc"


@pytest.mark.parametrize(
    "name",
    ["9p", "drvfs", "nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse", "fuse.sshfs", "vboxsf", "osxfs",
     "virtiofs", "prl_fs", "vmhgfs", "afs"],
)  # fmt: skip
def test_network_and_shared_file_systems_send_no_events(name: str) -> None:
    assert not sends_events(name)


@pytest.mark.parametrize("name", ["ext4", "btrfs", "xfs", "tmpfs", "overlay", "zfs", "fuseblk", ""])
def test_local_disks_and_unknown_ones_count_as_sending_events(name: str) -> None:
    assert sends_events(name)


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
    plan = build_plan(str(tree), folders)
    deep = {path for path, is_deep in plan.folders.items() if is_deep}
    assert not any(is_below(path, deep) for path in plan.folders)
    for name, is_deep in folders.items():
        real = os.path.realpath(tree / name)
        is_in_deep = real in deep or is_below(real, deep)
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
            assert above in plan.folders or above in deep or is_below(above, deep)
            assert place in plan.anchors
