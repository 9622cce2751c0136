"""What git's own files say, read without starting git (gitrepository-layout(5)): the commit that is checked out, and
whether git is busy. For the files that it tracks, git is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

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


# What git says of an earlier commit. It is asked by its program.


class GitProblem(Exception):
    """git cannot tell; the message is a sentence for the user, and `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def read_old_files(root: str, ref: str) -> dict[str, bytes | None]:
    """The files in the repository around `root` that differ between the commit that `ref` names and the working tree,
    by their paths relative to `root`: their bytes at the commit, None for those that are new. Raises GitProblem."""
    top = find_repository(os.path.realpath(root))
    if top is None:
        raise GitProblem(
            f"{root} is in no git repository", "--changed-since compares with a commit of git"
        )
    try:
        commit = _ask_git(
            root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
        )
    except GitProblem:
        is_shallow = _ask_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
        hint = "git log --oneline shows the commits that are there"
        if is_shallow:
            hint = "this is a shallow clone: git fetch --unshallow brings all commits; on GitHub, fetch-depth: 0"
        raise GitProblem(f"git has no commit {ref}", hint) from None
    words = ("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff")
    changed = _ask_git(top, *words, commit.decode().strip(), "--")
    new = _ask_git(top, "ls-files", "--others", "--exclude-standard", "-z")
    paths = dict.fromkeys(filter(None, os.fsdecode(changed + new).split("\0")))
    for module in [one for one in paths if os.path.isdir(os.path.join(top, one))]:
        # A submodule: git says only that it differs.
        paths |= dict.fromkeys(_list_files(top, module))
    here = os.path.realpath(root)
    return {
        os.path.relpath(os.path.join(top, path), here).replace(os.sep, "/"): text
        for path, text in _read_at(top, commit.decode().strip(), [*paths])
    }


def _list_files(top: str, folder: str) -> Iterator[str]:
    for place, _, names in os.walk(os.path.join(top, folder)):
        yield from (os.path.relpath(os.path.join(place, name), top) for name in names)


def _read_at(top: str, commit: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """The bytes of each file at the commit. git reads names line by line: one with a line break counts as new."""
    asked = "".join("\n" if "\n" in path else f"{commit}:{path}\n" for path in paths)
    answer = _ask_git(top, "cat-file", "--batch", sends=os.fsencode(asked))
    start = 0
    for path in paths:
        end = answer.index(b"\n", start)
        said = answer[start:end].split(
            b" "
        )  # its hash, its type and its size, or the name and `missing`
        start, text = end + 1, None
        if len(said) == 3 and b":" not in said[0] and said[0]:
            end = start + int(said[2])
            start, text = end + 1, answer[start:end]
        yield path, text


def _ask_git(folder: str, *words: str, sends: bytes = b"") -> bytes:
    """What git answers. Raises GitProblem."""
    import subprocess  # few commands ask

    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ("git", "-C", folder, *words), input=sends, capture_output=True, check=True, env=environ
        )
    except OSError as error:
        raise GitProblem(f"git cannot be started: {error.strerror}", "install git") from None
    except subprocess.CalledProcessError as error:
        said = os.fsdecode(error.stderr).strip().splitlines()
        raise GitProblem(
            f"git failed: {said[-1] if said else words[0]}", "try git status"
        ) from None
    return done.stdout
