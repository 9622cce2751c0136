"""What git's own files say, read without starting git (gitrepository-layout(5)): the commit that is checked out, and
whether git is busy. For the files that it tracks, git is asked."""

from __future__ import annotations

import os
import time

from discover_orch.state.sealed_files import open_nonblocking

#: Seconds after it has written its index in which git counts as busy.
AFTER_INDEX = 0.02
_GIT_FILE = "gitdir: "


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
    """The paths that git tracks, relative to the folder of the repository; None where git cannot be asked."""
    import subprocess  # only `orch clean` asks

    words = ("git", "-C", repository, "ls-files", "-z")
    try:
        done = subprocess.run(words, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return frozenset(os.fsdecode(done.stdout).split("\0"))
