"""Which folders a watch subscribes to, and whether their file systems send events.

Symbolic links make this more than a list: watchdog does not follow them, and one file may have several names. Looks at
the disk; subscribes to nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import PurePath

from msgspec import Struct

#: Names that never count below a watched folder. A folder that is itself watched always counts.
NOISE = re.compile(
    r"(?:^|/)(?:\.git|\.orch|__pycache__|node_modules|\.venv)(?:/|$)"
    r"|(?:^|/)\.#[^/]*$|(?:~|\.swp|\.pyc)$"
)
#: File systems that send no events for changes made on another machine, or by the host of a virtual one.
# fmt: off
SILENT = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "fakeowner", "fuse", "glusterfs", "gpfs", "grpcfuse",
    "lustre", "nfs", "nfs4", "osxfs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})
# fmt: on
_MOUNTS = "/proc/self/mountinfo"


class WatchedPath(Struct, frozen=True, kw_only=True):
    """A requested folder: its name, its real path, and whether everything below it counts."""

    name: str
    real: str
    is_deep: bool


class SubscriptionPlan(Struct, frozen=True, kw_only=True):
    """`folders`: real path → whether to subscribe to everything below it; no folder is inside a deep one.

    `anchors`: the requested folders and all folders above them. When one of these comes or goes, the plan may
    be another one.
    """

    wanted: tuple[WatchedPath, ...] = ()
    folders: Mapping[str, bool]
    anchors: frozenset[str] = frozenset()

    def names_of(self, path: str) -> list[str]:
        """The names of a real path below the requested folders: several where links lead there too."""
        names: dict[str, None] = {}
        for wanted in self.wanted:
            if path == wanted.real:
                names[wanted.name] = None
                continue
            top = wanted.real.rstrip("/") + "/"
            rest = path[len(top) :]
            if (
                path.startswith(top)
                and (wanted.is_deep or "/" not in rest)
                and not NOISE.search(rest)
            ):
                names[f"{wanted.name}/{rest}" if wanted.name else rest] = None
        return list(names)


def build_plan(root: str, requested: Mapping[str, bool]) -> SubscriptionPlan:
    """`requested`: name relative to the root → whether everything below it counts.

    The parent of each folder is subscribed to as well: its events say that the folder was deleted and made
    again, that a link has another target, or that a missing folder has appeared. The parent of the root is
    left out, because it belongs to others.
    """
    wanted: list[WatchedPath] = []
    deep: set[str] = set()
    flat: set[str] = set()
    anchors: set[str] = set()
    for name, is_deep in requested.items():
        full = os.path.join(root, name) if name else root
        real = os.path.realpath(full)
        parent, last = os.path.split(full)
        # Where the name itself stands: for a link that is another place than its target.
        entry = real if last in ("", ".", "..") else os.path.join(os.path.realpath(parent), last)
        wanted.append(WatchedPath(name=name, real=real, is_deep=is_deep))
        exists = os.path.isdir(real)
        if exists:
            (deep if is_deep else flat).add(real)
        for place in (real, entry):
            anchors.update((place, *_parents(place)))
            if name or not exists:
                flat.add(_nearest_folder(os.path.dirname(place)))
    folders = {path: True for path in deep if not is_below(path, deep)}
    folders |= {path: False for path in flat if path not in folders and not is_below(path, deep)}
    return SubscriptionPlan(wanted=tuple(wanted), folders=folders, anchors=frozenset(anchors))


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether one of the folders is above `path`."""
    return any(parent in folders for parent in _parents(path))


def filesystem_of(path: str) -> str:
    """The type of the file system of `path` or of its nearest existing parent; "" where it is unknown."""
    real = os.path.realpath(path)
    found, length = "", -1
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        # 36 35 98:0 /inside /mount/point options [optional ...] - type source options
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        is_above = point == "/" or real == point or real.startswith(point + "/")
        if is_above and len(point) >= length:  # the later of two mounts at one point is on top
            found, length = after.split(" ", 1)[0], len(point)
    return found


def sends_events(filesystem: str) -> bool:
    """Whether this type of file system announces all changes; an unknown type counts as one that does."""
    # FUSE announces only what passes through this very mount; `fuseblk` is a local disk.
    return filesystem not in SILENT and not filesystem.startswith("fuse.")


def _parents(path: str) -> list[str]:
    return [*map(str, PurePath(path).parents)]


def _nearest_folder(path: str) -> str:
    """The folder itself, or the nearest one above it that exists."""
    return next(filter(os.path.isdir, (path, *_parents(path))), "/")
