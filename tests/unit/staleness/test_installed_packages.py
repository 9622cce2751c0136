"""Names and versions of installed distributions, as their folders are named."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from discover_orch.staleness.installed_packages import find_owners, find_versions, normalise


def install(folder: Path, entry: str, **files: str) -> None:
    (folder / entry).mkdir(parents=True)
    for name, text in files.items():
        (folder / entry / name.replace("_txt", ".txt").replace("PKG_INFO", "PKG-INFO")).write_text(
            text
        )


def test_versions_are_those_of_importlib_metadata() -> None:
    expected: dict[str, str] = {}
    for one in metadata.distributions():
        expected.setdefault(normalise(one.metadata["Name"]), one.version)
    assert find_versions(sys.path) == expected


def test_each_way_to_name_a_distribution_is_read(tmp_path: Path) -> None:
    install(tmp_path, "Big_Name.x-1.0.post1.dist-info")
    install(tmp_path, "old-2.0-py3.11.egg-info")
    install(
        tmp_path, "dev.egg-info", PKG_INFO="Metadata-Version: 2.1\nVersion: 3.0\n\nVersion: 4\n"
    )
    install(tmp_path, "bare.egg-info")
    (tmp_path / "single-5.0.egg-info").write_text("")
    (tmp_path / "other").mkdir()
    assert find_versions([str(tmp_path)]) == {
        "big-name-x": "1.0.post1",
        "old": "2.0",
        "dev": "3.0",
        "bare": "",
        "single": "5.0",
    }


def test_the_first_folder_that_has_it_counts(tmp_path: Path) -> None:
    install(tmp_path / "a", "x-2.dist-info")
    install(tmp_path / "b", "X-1.dist-info")
    paths = [str(tmp_path / "missing"), str(tmp_path / "a"), str(tmp_path / "b")]
    assert find_versions(paths) == {"x": "2"}


def test_owners_come_from_the_top_level_or_from_the_record(tmp_path: Path) -> None:
    install(tmp_path, "one-1.dist-info", top_level_txt="alpha\n_beta\n")
    install(
        tmp_path,
        "two-1.dist-info",
        RECORD="gamma/__init__.py,sha256=x,1\nsingle.py,,\n_native.cpython-311.so,,\n"
        "two-1.dist-info/RECORD,,\n../../bin/tool,,\n__pycache__/single.pyc,,\n",
    )
    found = find_owners(["alpha", "_beta", "gamma", "single", "_native", "bin"], [str(tmp_path)])
    assert found == {
        "alpha": ("one",),
        "_beta": ("one",),
        "gamma": ("two",),
        "single": ("two",),
        "_native": ("two",),
    }


def test_a_namespace_has_several_owners(tmp_path: Path) -> None:
    install(tmp_path, "g_storage-1.dist-info", RECORD="google/storage/__init__.py,,\n")
    install(tmp_path, "g_auth-1.dist-info", RECORD="google/auth/__init__.py,,\n")
    assert find_owners(["google"], [str(tmp_path)]) == {"google": ("g-auth", "g-storage")}


def test_what_nobody_brings_has_no_owner(tmp_path: Path) -> None:
    assert find_owners(["nothing"], [str(tmp_path), ""]) == {}
    assert find_owners([], sys.path) == {}


def test_real_packages_have_their_owners() -> None:
    found = find_owners(["pytest", "_pytest", "hypothesis", "click"], sys.path)
    assert found["pytest"] == found["_pytest"] == ("pytest",)
    assert (found["hypothesis"], found["click"]) == (("hypothesis",), ("click",))


def test_it_does_without_importlib_metadata() -> None:
    code = "import sys, discover_orch.staleness.installed_packages as d; d.find_versions(sys.path); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"importlib.metadata", "email", "zipfile", "pathlib"} & {*done.stdout.split()}
