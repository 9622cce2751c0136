"""Installed distributions: their versions, which top-level modules they contain, and what they require.

Names are normalised (PEP 503). Names and versions are read from the names of `*.dist-info` and `*.egg-info`, since
`importlib.metadata` takes 20 ms to import and reads a file for each. The first folder of `sys.path` that has a
distribution counts. Imports nothing of what it finds.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

_KINDS = (".dist-info", ".egg-info")
_MODULE_FILES = (".py", ".pyc", ".so", ".pyd")
_NO_EXTRAS: frozenset[str] = frozenset()
#: `name[extra] (>=1); python_version < "3.12" and extra == "all"`
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([^\]]*)\])?[^;]*(.*)")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)")


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def find_versions(paths: Sequence[str]) -> dict[str, str]:
    """The version of each distribution; "" where that is not known."""
    return {name: version or _read_version(place) for name, version, place in _find(paths)}


class InstalledPackages(Struct, frozen=True, kw_only=True):
    """Those of one search path: where each distribution has its metadata, and which contain each top-level module (a
    namespace package is in several)."""

    places: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def find_needed(self, modules: Iterable[str]) -> set[str]:
        """The distributions of these top-level modules, and all that these require, directly or not."""
        seen: set[tuple[str, frozenset[str]]] = set()
        waiting = [(name, _NO_EXTRAS) for one in modules for name in self.owners.get(one, ())]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += [
                    needed
                    for needed in _read_requirements(self.places[one[0]], one[1])
                    if needed[0] in self.places
                ]
        return {name for name, _ in seen}


def read_installed(paths: Sequence[str]) -> InstalledPackages:
    """Reads a file or two of every distribution, again only after one was installed or removed."""
    folders = tuple(dict.fromkeys(paths))
    return _read_installed(folders, tuple(map(_read_time, folders)))


@functools.lru_cache(maxsize=2)
def _read_installed(paths: tuple[str, ...], _: tuple[int | None, ...]) -> InstalledPackages:
    """Kept for these folders at these times of change."""
    places = {name: place for name, _version, place in _find(paths)}
    owners: dict[str, set[str]] = {}
    for name, place in places.items():
        for module in _read_modules(place):
            owners.setdefault(module, set()).add(name)
    return InstalledPackages(
        places=places, owners={module: frozenset(names) for module, names in owners.items()}
    )


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


def _read_requirements(place: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What the distribution requires, each with the extras that it asks for. Markers about the system do not matter:
    only what is installed counts. An egg-info of setuptools lists the same in a file of its own."""
    for line in _read_lines(os.path.join(place, "METADATA")):
        if not line:
            return  # the description follows
        key, _, value = line.partition(":")
        found = _REQUIREMENT.match(value.strip()) if key == "Requires-Dist" else None
        if found and (not (asked := _EXTRA.findall(found[3])) or extras.intersection(asked)):
            words = (found[2] or "").split(",")
            yield normalise(found[1]), frozenset(one.strip() for one in words if one.strip())
    section = ""
    for line in _read_lines(os.path.join(place, "requires.txt")):
        if line[:1] == "[":
            section = line.strip("[]").partition(":")[0]
        elif (not section or section in extras) and (found := _REQUIREMENT.match(line)):
            yield normalise(found[1]), _NO_EXTRAS


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
