"""What the system offers for watching files: which file systems send events, and how many watches there are.

In: paths, and the files of /proc. Out: names, numbers and sets; unknown is "" or None, and nothing raises.
Elsewhere than on Linux all is unknown. It decides nothing and subscribes to nothing: that is `watcher`.
"""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Iterator

from msgspec import Struct

#: File systems whose changes are made on another machine, or by a host that does not tell its guest.
# fmt: off
SILENT = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fakeowner", "fuse", "glusterfs", "gpfs", "grpcfuse",
    "lifs", "lustre", "ncpfs", "nfs", "nfs4", "osxfs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
    "vmhgfs",
})
# fmt: on
_MOUNTS = "/proc/self/mountinfo"
_LIMITS = "/proc/sys/fs/inotify"
_NAMESPACE_LIMITS = "/proc/sys/user"  # those of a container; the others are of the whole machine
_DESCRIPTORS = "/proc/self/fd"


class Limits(Struct, frozen=True, kw_only=True):
    """Of inotify, for one user: watches, instances, and events that may wait in the queue of one instance."""

    watches: int | None = None
    instances: int | None = None
    queue: int | None = None


def filesystem_of(path: str) -> str:
    """The type of the file system that `path` (or its nearest existing parent) is on; "" is unknown."""
    real = os.path.realpath(path)
    found, length = "", -1
    for line in _lines(_MOUNTS):
        # 36 35 98:0 /inside /mount/point options [optional ...] - type source options
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) < 5 or not after:
            continue
        point = _plain(words[4])
        is_above = point == "/" or real == point or real.startswith(point + "/")
        if is_above and len(point) >= length:  # of two on one point the later one lies on top
            found, length = after.split(" ", 1)[0], len(point)
    return found


def sends_events(fstype: str) -> bool:
    """Whether a change there is told; an unknown type counts as one that does: looks find out otherwise."""
    # Of FUSE only what passes through this very mount is told; `fuseblk` is a local disk.
    return fstype not in SILENT and not fstype.startswith("fuse.")


def read_limits() -> Limits:
    """How much inotify grants this user."""
    return Limits(
        watches=_lower(f"{_LIMITS}/max_user_watches", f"{_NAMESPACE_LIMITS}/max_inotify_watches"),
        instances=_lower(
            f"{_LIMITS}/max_user_instances", f"{_NAMESPACE_LIMITS}/max_inotify_instances"
        ),
        queue=_lower(f"{_LIMITS}/max_queued_events"),
    )


def folders_below(path: str) -> dict[int, str]:
    """The folder and all folders below it, by inode: those that can be listed, links not followed."""
    found: dict[int, str] = {}
    try:
        stack = [(os.stat(path).st_ino, path)]
    except OSError:
        return found
    while stack:
        inode, folder = stack.pop()
        try:
            with os.scandir(folder) as entries:
                below = [
                    (entry.inode(), entry.path)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                ]
        except OSError:  # gone, or not ours to read: it cannot be watched either
            continue
        found[inode] = folder
        stack += below
    return found


def count_folders(path: str) -> int:
    """How many watches a recursive subscription of `path` needs."""
    return len(folders_below(path))


def inotify_descriptors() -> list[int]:
    """The descriptors of this process that are inotify instances."""
    found: list[int] = []
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:
        return found
    for name in names:
        try:
            if os.readlink(f"{_DESCRIPTORS}/{name}") == "anon_inode:inotify":
                found.append(int(name))
        except (OSError, ValueError):  # closed since
            continue
    return found


def is_readable(descriptors: Collection[int]) -> bool:
    """Whether one of these has something to be read."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def watched_inodes(descriptors: list[int] | None = None) -> list[int]:
    """The inode of each watch that this process has (or these inotify descriptors have)."""
    # inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 …
    return [
        int(line.split(" ino:", 1)[1].split(" ", 1)[0], 16)
        for number in (inotify_descriptors() if descriptors is None else descriptors)
        for line in _lines(f"/proc/self/fdinfo/{number}")
        if line.startswith("inotify wd:")
    ]


def count_watches() -> int:
    """How many inotify watches this process has."""
    return len(watched_inodes())


def _lower(*paths: str) -> int | None:
    """The lowest number that stands in one of the files."""
    numbers = [int(line) for path in paths for line in _lines(path) if line.strip().isdigit()]
    return min(numbers, default=None)


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            yield from file
    except OSError:
        return


def _plain(word: str) -> str:
    r"""A path of mountinfo as it is: blanks, tabs, newlines and backslashes stand there as `\040` and so on."""
    if "\\" not in word:
        return word
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, sign)
    return word
