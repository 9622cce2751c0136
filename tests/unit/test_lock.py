"""The lock of a project, in one process and between several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from discover_orch.lock import NAME, Holder, Lock
from discover_orch.store import FOLDER


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path) -> None:
    one, other = Lock(str(tmp_path)), Lock(str(tmp_path))
    assert one.take() is None
    holder = other.take()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.sentence.startswith(
        f"another run of this project is going on (process {os.getpid()}, "
    )
    one.release()
    assert other.take() is None
    other.release()


def test_releasing_what_is_not_held_does_nothing(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path))
    lock.release()
    assert lock.take() is None
    lock.release()
    lock.release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x", "since": 1}', b"\xff" * 5000])
def test_a_holder_that_cannot_be_read_still_holds(tmp_path: Path, text: bytes) -> None:
    one, other = Lock(str(tmp_path)), Lock(str(tmp_path))
    assert one.take() is None
    (tmp_path / FOLDER / NAME).write_bytes(text)
    assert other.take() == Holder()
    assert Holder().sentence == "another run of this project is going on"
    one.release()


def test_a_file_that_is_left_behind_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / NAME).write_text('{"pid": 1, "since": "00:00:00"}')
    lock = Lock(str(tmp_path))
    assert lock.take() is None
    lock.release()


def test_a_child_process_does_not_inherit_it(tmp_path: Path) -> None:
    one, other = Lock(str(tmp_path)), Lock(str(tmp_path))
    assert one.take() is None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
    ) as child:
        one.release()
        assert other.take() is None
        assert child.stdin is not None
        child.stdin.write(b"\n")
    other.release()


def test_where_nothing_can_be_locked_there_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    lock = Lock(str(tmp_path))
    assert lock.take() is None
    lock.release()
