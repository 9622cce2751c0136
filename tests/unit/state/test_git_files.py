"""What git's own files say: the commit that is checked out is what git itself says."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from discover_orch.state.git_files import is_git_busy, read_commit


def git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    return done.stdout.strip()


def test_it_is_found_from_a_folder_below_in_a_worktree_and_packed(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    inner = root / "inner"
    inner.mkdir(parents=True)
    git(root, "init", "-q", "-b", "work/main")
    assert read_commit(str(root)) == ""
    git(root, "commit", "-q", "--allow-empty", "-m", "one")
    first = git(root, "rev-parse", "HEAD")
    assert read_commit(str(inner)) == first
    git(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git(root, "commit", "-q", "--allow-empty", "-m", "two")
    assert read_commit(str(root)) == git(root, "rev-parse", "HEAD") != first
    assert read_commit(str(tmp_path / "other")) == first
    git(root, "pack-refs", "--all")
    assert read_commit(str(tmp_path / "other")) == first
    git(root, "checkout", "-q", "--detach")
    assert read_commit(str(root)) == git(root, "rev-parse", "HEAD")


def test_what_is_no_repository_has_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert read_commit(str(tmp_path)) == ""
    (tmp_path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/\xff\x00")
    assert read_commit(str(tmp_path)) == ""


@pytest.mark.parametrize("name", ["index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD"])
def test_git_is_busy_while_it_holds_its_lock_or_merges_or_rebases(
    tmp_path: Path, name: str
) -> None:
    assert not is_git_busy(str(tmp_path))
    (tmp_path / ".git").mkdir()
    assert not is_git_busy(str(tmp_path))
    (tmp_path / ".git" / name).touch()
    assert is_git_busy(str(tmp_path))


def test_git_is_busy_just_after_it_has_written_its_index(tmp_path: Path) -> None:
    """A checkout moves HEAD after that."""
    index = tmp_path / ".git/index"
    index.parent.mkdir()
    index.touch()
    later = time.time() + 60
    os.utime(index, (later, later))
    assert not is_git_busy(str(tmp_path))

    def is_busy_after_a_write() -> bool:
        os.utime(index)
        return is_git_busy(str(tmp_path))

    assert any(is_busy_after_a_write() for _ in range(1000))


def test_the_state_of_git_is_found_from_a_folder_inside_and_from_a_linked_worktree(
    tmp_path: Path,
) -> None:
    state = tmp_path / "main/.git/worktrees/linked"
    (state / "rebase-merge").mkdir(parents=True)
    (tmp_path / "main/a/b").mkdir(parents=True)
    (tmp_path / "linked").mkdir()
    for named in (str(state), "../main/.git/worktrees/linked"):
        (tmp_path / "linked/.git").write_text(f"gitdir: {named}\n")
        assert is_git_busy(str(tmp_path / "linked"))
    assert not is_git_busy(str(tmp_path / "main/a/b"))
    (tmp_path / "linked/.git").write_text("no git")
    assert not is_git_busy(str(tmp_path / "linked"))
