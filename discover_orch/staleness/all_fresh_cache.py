"""That all tools are fresh, kept for the next `orch run --changed`, as `glance` keeps the listing.

In: what that rested on: files, folders, what was not there. Out: the tools, where nothing of it has
changed; else None, and whoever asked looks for himself. A verdict may be given up too easily, never kept too long:
all that could change it is compared by signature, and what may change again without a new one is not kept at all.
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
from discover_orch.discovery.tree import ABSENT, is_racy
from discover_orch.state.journal import EVENTS, RUNS, find_runs, has_ended
from discover_orch.state.store import FOLDER, flows_stamp, open_index, read_sealed, write_sealed

_KIND = "all-fresh 2"
#: What orch remembers of tools and databases: changed by nobody but a run, or who deletes it. And the index: who
#: writes that has seen another tree than the one that was compared.
_MEMORY = (f"{FOLDER}/tools", f"{FOLDER}/databases", f"{FOLDER}/index")


#: Each with the names of the tools that run for it, in order.
Stages = Sequence[tuple[str, Sequence[str]]]


class CacheKey(Struct, frozen=True, kw_only=True):
    """What a verdict rests on, beside the scanned tree and the configuration. Paths are relative to the root, or
    absolute; `present` are files and folders, `absent` are not there. `has_packages`: versions of installed
    packages count too."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    has_packages: bool = False


class _Document(Struct, frozen=True, kw_only=True):
    made_with: list[object]
    stages: list[tuple[str, list[str]]]
    stamps: dict[str, str]
    absent: list[str]


def read_all_fresh(start: str, folder: str | None, environ: Mapping[str, str]) -> Stages | None:
    """The stages with the names of their tools, where all are known to be fresh still. Raises ProjectError."""
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
    return kept.stages


def write_all_fresh(root: str, key: str, stages: Stages, cache_key: CacheKey, since: int) -> None:
    """To be called when all has been compared; `key` as of the index, for the configuration. Not kept where
    something has changed since then, or just before (`since`, in ns): nobody knows which of both was compared."""
    runs = find_runs(root)
    if runs and not has_ended(root, runs[0]):  # its tools may be stale in a moment
        return
    paths = [
        *cache_key.present,
        *(f"{FOLDER}/{RUNS}/{run}/{EVENTS}" for run in runs[:1]),
        *(one for one in _MEMORY if os.path.lexists(os.path.join(root, one))),
    ]
    if cache_key.has_packages:
        paths += [os.path.abspath(one) for one in sys.path]
    stamps = {path: _stamp(os.path.join(root, path)) for path in dict.fromkeys(paths)}
    if any(
        is_racy(_stamp_above(os.path.join(root, path)) if stamp == ABSENT else stamp, since)
        for path, stamp in stamps.items()
    ):
        return
    document = _Document(
        made_with=_circumstances(root, key),
        stages=[(name, [*tools]) for name, tools in stages],
        stamps=stamps,
        absent=list(dict.fromkeys(cache_key.absent)),
    )
    write_sealed(_path(root), _KIND, document)


def delete_all_fresh(root: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_path(root))


def _circumstances(root: str, key: str) -> list[object]:
    """The configuration, the version of orch and of Python, where it looks for packages, and the latest run."""
    runs = find_runs(root)
    return [key, __version__, [*sys.version_info[:3]], [*sys.path], runs[0] if runs else ""]


def _stamp(path: str) -> str:
    """Of a file or a folder, as the signatures of `tree`; of a link that leads nowhere its own."""
    try:
        st = os.stat(path)
    except (OSError, ValueError):
        try:
            st = os.lstat(path)
        except (OSError, ValueError):
            return ABSENT
    return f"{st.st_ino} {st.st_size} {st.st_mtime_ns} {st.st_ctime_ns}"


def _stamp_above(path: str) -> str:
    """Of the nearest folder that is there: it tells when something has gone."""
    while (path := os.path.dirname(path)) and not os.path.exists(path):
        pass
    return _stamp(path)


def _path(root: str) -> str:
    return os.path.join(root, FOLDER, "all-fresh")
