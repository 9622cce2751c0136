"""Installed distributions: their versions, and which top-level modules they contain.

Names are normalised (PEP 503). Names and versions are read from the names of `*.dist-info` and `*.egg-info`, since
`importlib.metadata` takes 20 ms to import and reads a file for each. The first folder of `sys.path` that has a
distribution counts. Imports nothing of what it finds.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

_KINDS = (".dist-info", ".egg-info")
_MODULE_FILES = (".py", ".pyc", ".so", ".pyd")


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def find_versions(paths: Sequence[str]) -> dict[str, str]:
    """The version of each distribution; "" where that is not known."""
    return {name: version or _read_version(place) for name, version, place in _find(paths)}


def find_owners(
    top_level_names: Collection[str], paths: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The distributions that contain each of these top-level modules; a namespace package is in several.

    Reads one file of every distribution, again only after one was installed or removed.
    """
    if not top_level_names:
        return {}
    folders = tuple(dict.fromkeys(paths))
    owners = _read_owners(folders, tuple(map(_read_time, folders)))
    return {name: owners[name] for name in top_level_names if name in owners}


@functools.lru_cache(maxsize=2)
def _read_owners(
    paths: tuple[str, ...], _: tuple[int | None, ...]
) -> Mapping[str, tuple[str, ...]]:
    """Of all top-level modules; kept for these folders at these times of change."""
    owners: dict[str, set[str]] = {}
    for name, _version, place in _find(paths):
        for module in _read_modules(place):
            owners.setdefault(module, set()).add(name)
    return {module: tuple(sorted(names)) for module, names in owners.items()}


def _read_time(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


def _find(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(normalised name, version or "", path) of each distribution."""
    known = set()
    for folder in dict.fromkeys(paths):
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:  # a zip file, or a folder that does not exist
            continue
        for entry in entries:
            stem, kind = os.path.splitext(entry)
            if kind not in _KINDS:
                continue
            # foo-1.0.dist-info, foo-1.0-py3.11.egg-info, foo.egg-info
            name, _, version = stem.partition("-")
            name = normalise(name)
            if name and name not in known:
                known.add(name)
                yield name, re.sub(r"-py\d.*$", "", version), os.path.join(folder, entry)


def _read_version(place: str) -> str:
    """For an `.egg-info` without a version in its name."""
    lines = _read_lines(os.path.join(place, "PKG-INFO"))
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("Version:"))
    return next(found, "")


def _read_modules(place: str) -> set[str]:
    """The top-level modules and packages of a distribution, by its RECORD or the files that setuptools writes."""
    modules = {line.strip() for line in _read_lines(os.path.join(place, "top_level.txt"))}
    for line in _read_lines(os.path.join(place, "RECORD")):
        top, slash, _ = line.partition(",")[0].strip('"').partition("/")
        if slash:
            modules.add(top)
        elif top.endswith(_MODULE_FILES):
            modules.add(top.partition(".")[0])
    return {name for name in modules if name.isidentifier()}


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
