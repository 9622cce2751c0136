"""What git's own files say, read without starting git (gitrepository-layout(5)): the commit that is checked out, the
files that it tracks, and whether git is busy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from discover_orch.state.store import open_nonblocking

#: Seconds after it has written its index in which git counts as busy.
AFTER_INDEX = 0.02
_GIT_FILE = "gitdir: "
_HAS_MORE_FLAGS = 0x40  # of an entry in the index


def find_repository(root: str) -> str | None:
    """The folder at or above `root` that has a `.git`."""
    folder = root
    while not os.path.lexists(os.path.join(folder, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder


def find_git_folder(root: str) -> str:
    """Where git keeps the state of the working tree around `root`: `.git` there or in a folder above it, or the folder
    that a file `.git` names, as in a linked worktree. `.git` in `root` where there is no repository."""
    found = os.path.join(find_repository(root) or root, ".git")
    named = _read(found)
    if named.startswith(_GIT_FILE):
        return os.path.join(os.path.dirname(found), named.removeprefix(_GIT_FILE))
    return found


def read_head(root: str) -> str:
    """What git has checked out: a commit or `ref: ` and a branch; "" where there is no repository."""
    return _read(os.path.join(find_git_folder(root), "HEAD"))


def is_git_busy(root: str) -> bool:
    """Whether git holds its lock, is in the middle of a rebase or a merge, or has just written its index: a checkout
    moves HEAD after that."""
    git = find_git_folder(root)
    names = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD")
    if any(os.path.lexists(os.path.join(git, name)) for name in names):
        return True
    try:
        return abs(time.time() - os.stat(os.path.join(git, "index")).st_mtime) < AFTER_INDEX
    except OSError:
        return False


def read_commit(root: str) -> str:
    """The hash of the commit that the project at `root` is in; "" where none is found."""
    git = find_git_folder(root)
    head = _read(os.path.join(git, "HEAD"))
    if not head.startswith("ref: "):
        return head if _is_hash(head) else ""
    ref = head.removeprefix("ref: ")
    common = os.path.join(git, _read(os.path.join(git, "commondir")) or ".")
    for folder in (git, common):
        commit = _read(os.path.join(folder, ref))
        if _is_hash(commit):
            return commit
    for line in _read(os.path.join(common, "packed-refs")).splitlines():
        commit, _, name = line.partition(" ")
        if name == ref and _is_hash(commit):
            return commit
    return ""


def _read(path: str) -> str:
    try:
        with open(
            path, encoding="utf-8", errors="surrogateescape", opener=open_nonblocking
        ) as file:
            return file.read().strip()
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return ""


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")


def read_tracked(repository: str) -> frozenset[str] | None:
    """The paths that git tracks, relative to the folder of the repository, by its index (gitformat-index(5)); None
    where that is not known. A folder of a sparse index has a slash at its end."""
    git = find_git_folder(repository)
    common = os.path.join(git, _read(os.path.join(git, "commondir")) or ".")
    hash_size = 32 if "sha256" in _read(os.path.join(common, "config")).lower() else 20
    try:
        with open(os.path.join(git, "index"), "rb", opener=open_nonblocking) as file:
            data = file.read()
    except FileNotFoundError:
        return frozenset()
    except OSError:
        return None
    try:
        return frozenset(_read_index(data, hash_size))
    except (ValueError, IndexError):
        return None


def _read_index(data: bytes, hash_size: int) -> Iterator[str]:
    """Raises ValueError or IndexError where it is damaged, of another version, or only a part of a split index."""
    version, number = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(version)
    place, path = 12, b""
    for _ in range(number):
        start, place = place, place + 40 + hash_size
        place += 4 if data[place] & _HAS_MORE_FLAGS else 2
        kept = 0
        if version == 4:  # the path begins as the one before, less so many bytes
            removed, place = _read_number(data, place)
            kept = len(path) - removed
        end = data.index(b"\0", place)
        path = path[:kept] + data[place:end]
        # In the other versions the entry is filled up to a multiple of eight bytes.
        place = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        yield os.fsdecode(path)
    while place < len(data) - hash_size:
        if data[place : place + 4] == b"link":
            raise ValueError("split")
        place += 8 + int.from_bytes(data[place + 4 : place + 8], "big")


def _read_number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    found = data[place] & 127
    while data[place] & 128:
        place += 1
        found = (found + 1) << 7 | data[place] & 127
    return found, place + 1
