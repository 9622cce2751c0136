"""The commit that is checked out, read from git's own files without starting git (gitrepository-layout(5))."""

from __future__ import annotations

import os

from discover_orch.state.store import open_nonblocking


def read_commit(root: str) -> str:
    """The hash of the commit that the project at `root` is in; "" where none is found."""
    folder = root
    while True:
        found = os.path.join(folder, ".git")
        if os.path.exists(found):
            return _read_head(found)
        above = os.path.dirname(folder)
        if above == folder:
            return ""
        folder = above


def _read_head(git: str) -> str:
    if os.path.isfile(git):  # a worktree or a submodule: "gitdir: PATH"
        path = _read(git).removeprefix("gitdir: ")
        git = os.path.join(os.path.dirname(git), path)
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
        with open(path, encoding="utf-8", errors="replace", opener=open_nonblocking) as file:
            return file.read().strip()
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return ""


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")
