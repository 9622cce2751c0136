"""Names and versions of installed distributions, as their folders are named."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from discover_orch.staleness.variables_and_packages import find_versions, normalise, read_installed


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
    install(tmp_path, "g_storage-1.dist-info", RECORD="google/storage/__init__.py,,\n")
    install(tmp_path, "g_auth-1.dist-info", RECORD="google/auth/__init__.py,,\n")
    owners = read_installed([str(tmp_path), ""]).owners
    assert {name: owners[name] for name in owners if name != "__pycache__"} == {
        **{name: {"one"} for name in ("alpha", "_beta")},
        **{name: {"two"} for name in ("gamma", "single", "_native")},
        "google": {"g-auth", "g-storage"},
    }


def test_requirements_are_those_of_importlib_metadata() -> None:
    packages = read_installed(sys.path)
    assert packages.places.keys() >= {"pytest", "hypothesis", "click"}
    for module, names in packages.owners.items():
        waiting: list[tuple[str, str]] = [(name, "") for name in names]
        expected: set[tuple[str, str]] = set()
        while waiting:
            name, extra = waiting.pop()
            if name in packages.places and (name, extra) not in expected:
                expected.add((name, extra))
                for one in map(Requirement, metadata.requires(name) or ()):
                    marker = str(one.marker or "")
                    if "extra" not in marker or (extra and f'extra == "{extra}"' in marker):
                        waiting += [(normalise(one.name), wish) for wish in ("", *one.extras)]
        assert packages.find_needed([module]) == {name for name, _ in expected}, module


def test_an_egg_info_has_its_requirements_in_a_file_of_its_own(tmp_path: Path) -> None:
    install(
        tmp_path,
        "old.egg-info",
        top_level_txt="old\n",
        requires_txt="one>=1\nTwo_x\n\n[more]\nthree\n\n[:os_name=='y']\nfour\n",
    )
    for name in ("one", "two_x", "three", "four"):
        install(tmp_path, f"{name}-1.dist-info")
    assert read_installed([str(tmp_path)]).find_needed(["old", "none"]) == {
        *("old", "one", "two-x", "four")
    }


def test_it_does_without_importlib_metadata() -> None:
    code = "import sys, discover_orch.staleness.variables_and_packages as d; d.find_versions(sys.path); d.read_installed(sys.path); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"importlib.metadata", "email", "zipfile", "pathlib"} & {*done.stdout.split()}
