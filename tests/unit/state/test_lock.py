"""The lock of a project, in one process and between several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from discover_orch.state.lock import (
    NAME,
    LockHolder,
    ProjectLock,
)
from discover_orch.state.sealed_files import FOLDER


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    holder = other.acquire()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.sentence.startswith(f"another run is in progress (pid {os.getpid()}, since ")
    one.release()
    assert other.acquire() is None
    other.release()


def test_releasing_what_is_not_held_does_nothing(tmp_path: Path) -> None:
    lock = ProjectLock(str(tmp_path))
    lock.release()
    assert lock.acquire() is None
    lock.release()
    lock.release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x", "since": 1}', b"\xff" * 5000])
def test_a_holder_that_cannot_be_read_still_holds(tmp_path: Path, text: bytes) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    (tmp_path / FOLDER / NAME).write_bytes(text)
    assert other.acquire() == LockHolder()
    assert LockHolder().sentence == "another run is in progress"
    one.release()


def test_a_file_that_is_left_behind_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / NAME).write_text('{"pid": 1, "since": "00:00:00"}')
    lock = ProjectLock(str(tmp_path))
    assert lock.acquire() is None
    lock.release()


def test_a_child_process_does_not_inherit_it(tmp_path: Path) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
    ) as child:
        one.release()
        assert other.acquire() is None
        assert child.stdin is not None
        child.stdin.write(b"\n")
    other.release()
