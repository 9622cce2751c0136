"""The commit that is checked out, as git itself says it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from discover_orch.state.git_commit import read_commit


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
