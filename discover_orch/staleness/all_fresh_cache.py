"""Remembers that all tools are fresh, so that the next `orch run --changed` need not compare them again.

Kept with it are the signatures of all that could change it: files, folders, paths that are not there. The answer may
be dropped too early, never kept too long. What may change without a new signature is not kept at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch import __version__
from discover_orch.config.file import config_key, find_root, read_config_bytes
from discover_orch.discovery.listing_cache import is_unchanged
from discover_orch.discovery.tree import ABSENT, build_signature, is_racy
from discover_orch.staleness.versions import Versions
from discover_orch.state.journal import EVENTS, RUNS, find_runs, has_ended
from discover_orch.state.store import FOLDER, flows_stamp, open_index, read_sealed, write_sealed

_KIND = "all-fresh 4"
#: What orch remembers of tools and databases. And the index: a new one
#: means that another tree was found.
_MEMORY = (f"{FOLDER}/tools", f"{FOLDER}/databases", f"{FOLDER}/index")


#: The name of each stage, and the names of the tools that run for it, in order.
Stages = Sequence[tuple[str, Sequence[str]]]


class CacheKey(Struct, frozen=True, kw_only=True):
    """What the freshness of all tools depends on, beside the scanned tree and the configuration.

    `paths` are those of files and folders, there or not; relative to the root, or absolute. `environment` has the
    versions of environment variables, and `variables` the names of all, where a new one can count. `has_packages`:
    versions of installed packages count too.
    """

    paths: frozenset[str] = frozenset()
    environment: Mapping[str, str] = {}
    variables: tuple[str, ...] = ()
    has_packages: bool = False


class _Document(Struct, frozen=True, kw_only=True):
    made_with: list[object]
    stages: list[tuple[str, list[str]]]
    stamps: dict[str, str]
    absent: list[str]
    environment: Mapping[str, str]
    variables: tuple[str, ...]


def read_all_fresh(start: str, folder: str | None, environ: Mapping[str, str]) -> Stages | None:
    """The stages and their tools where all are known to be fresh, else None. Raises ProjectError."""
    found = find_root(start, folder)
    root, config, _ = found
    kept = read_sealed(_path(root), _KIND, _Document)
    key = config_key(found, read_config_bytes(root, config), environ) + flows_stamp(root)
    if kept is None or kept.made_with != _circumstances(root, key):
        return None
    if not is_unchanged(root, open_index(root, __version__), key):
        return None
    if any(_stamp(os.path.join(root, path)) != stamp for path, stamp in kept.stamps.items()):
        return None
    if any(os.path.lexists(os.path.join(root, path)) for path in kept.absent):
        return None
    versions = Versions(root, environ=environ)
    if any(versions.variable(name, was) != was for name, was in kept.environment.items()):
        return None
    if kept.variables and not environ.keys() <= {*kept.variables}:
        return None
    return kept.stages


def write_all_fresh(root: str, key: str, stages: Stages, cache_key: CacheKey, since: int) -> None:
    """To be called when all tools were compared and are fresh. `key` is that of the configuration in the index.

    Keeps nothing where something has changed after `since` (ns), when the comparison began, or just before: it is not
    known which of the two states was compared.
    """
    runs = find_runs(root)
    if runs and not has_ended(root, runs[0]):  # it may make tools stale at any moment
        return
    paths = [
        *cache_key.paths,
        *(f"{FOLDER}/{RUNS}/{run}/{EVENTS}" for run in runs[:1]),
        *(one for one in _MEMORY if os.path.lexists(os.path.join(root, one))),
        *_result_files(root),
    ]
    if cache_key.has_packages:
        paths += [os.path.abspath(one) for one in sys.path]
    nearest: dict[str, str] = {}
    stamps: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        full = os.path.join(root, path)
        folder = os.path.dirname(full)
        is_possible = _find_nearest(folder, nearest) == folder  # often the folder is not there
        stamps[path] = _stamp(full) if is_possible else ABSENT
    absent = [path for path, stamp in stamps.items() if stamp == ABSENT]
    above = {nearest[os.path.dirname(os.path.join(root, path))] for path in absent}
    if any(is_racy(stamp, since) for stamp in (*stamps.values(), *map(_nearest_stamp, above))):
        return
    document = _Document(
        made_with=_circumstances(root, key),
        stages=[(name, [*tools]) for name, tools in stages],
        stamps={path: stamp for path, stamp in stamps.items() if stamp != ABSENT},
        absent=absent,
        environment=cache_key.environment,
        variables=cache_key.variables,
    )
    write_sealed(_path(root), _KIND, document)


def delete_all_fresh(root: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_path(root))


def _result_files(root: str) -> list[str]:
    try:
        return [f"{_MEMORY[0]}/{name}" for name in os.listdir(os.path.join(root, _MEMORY[0]))]
    except OSError:
        return []


def _circumstances(root: str, key: str) -> list[object]:
    """The configuration, the versions of orch and Python, where Python looks for packages, and the latest run."""
    runs = find_runs(root)
    return [key, __version__, [*sys.version_info[:3]], [*sys.path], runs[0] if runs else ""]


def _stamp(path: str) -> str:
    """The signature of a file or a folder; of a link that leads nowhere its own."""
    try:
        st = os.stat(path)
    except (OSError, ValueError):
        try:
            st = os.lstat(path)
        except (OSError, ValueError):
            return ABSENT
    return build_signature(st)


def _find_nearest(folder: str, known: dict[str, str]) -> str:
    """The folder, or the nearest one above that is there. `known` are those found before, and is added to."""
    found = known.get(folder)
    if found is None:
        above = os.path.dirname(folder)
        is_there = above == folder or os.path.exists(folder)
        found = known[folder] = folder if is_there else _find_nearest(above, known)
    return found


def _nearest_stamp(folder: str) -> str:
    """The signature of the folder, or of the nearest one above if it was removed meanwhile: it changes when something
    below is removed."""
    return _stamp(_find_nearest(folder, {}))


def _path(root: str) -> str:
    return os.path.join(root, FOLDER, "all-fresh")
