"""Installed distributions: their versions, and which of them a top-level module comes from.

In: the folders of `sys.path`. Out: names in their normal form (PEP 503) and versions, read from the names of
`*.dist-info` and `*.egg-info`: `importlib.metadata` takes 20 ms to import, and a file for each. The first
folder that has a distribution counts. Imports nothing of what it finds.
"""

from __future__ import annotations

import functools
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

KINDS = (".dist-info", ".egg-info")
#: Ends of the files that are modules by themselves.
MODULES = (".py", ".pyc", ".so", ".pyd")
_RUNS = re.compile(r"[-_.]+")


def normalise(name: str) -> str:
    return _RUNS.sub("-", name).lower()


def find_versions(paths: Sequence[str]) -> dict[str, str]:
    """Distribution -> version; "" where nothing says which."""
    return {name: version or _read_version(place) for name, version, place in _find(paths)}


def find_owners(
    top_level_names: Collection[str], paths: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Top-level module -> the distributions that bring it, of those asked for that somebody brings.

    Reads a file of every distribution, once as long as none comes or goes. A namespace package has several owners.
    """
    if not top_level_names:
        return {}
    folders = tuple(dict.fromkeys(paths))
    owners = _read_owners(folders, tuple(map(_read_time, folders)))
    return {one: owners[one] for one in top_level_names if one in owners}


@functools.lru_cache(maxsize=2)
def _read_owners(
    paths: tuple[str, ...], _: tuple[int | None, ...]
) -> Mapping[str, tuple[str, ...]]:
    """Of all top-level modules; remembered for these folders at these times of change."""
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
    """(normal name, version or "", path) of each distribution, none twice."""
    known = set()
    for folder in dict.fromkeys(paths):
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:  # a zip, or not there
            continue
        for entry in entries:
            stem, kind = os.path.splitext(entry)
            if kind not in KINDS:
                continue
            name, _, rest = stem.partition("-")
            # foo-1.0.dist-info, foo-1.0-py3.11.egg-info, foo.egg-info
            version = rest if kind == ".dist-info" else re.sub(r"-py\d.*$", "", rest)
            normal = normalise(name)
            if normal and normal not in known:
                known.add(normal)
                yield normal, version, os.path.join(folder, entry)


def _read_version(place: str) -> str:
    """What an `.egg-info` without a version in its name says within."""
    for line in _read_lines(os.path.join(place, "PKG-INFO")):
        if line.startswith("Version:"):
            return line.partition(":")[2].strip()
        if not line:
            break
    return ""


def _read_modules(place: str) -> set[str]:
    """Top-level modules and packages of a distribution."""
    modules = {line.strip() for line in _read_lines(os.path.join(place, "top_level.txt"))}
    lines = _read_lines(os.path.join(place, "RECORD"))
    for line in lines or _read_lines(os.path.join(place, "SOURCES.txt")):
        path = line.partition(",")[0].strip('"')
        top, slash, _ = path.partition("/")
        if slash:
            modules.add(top)
        elif top.endswith(MODULES):
            modules.add(top.partition(".")[0])
    return {one for one in modules if one.isidentifier()}


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
