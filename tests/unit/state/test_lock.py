"""The lock of a project, in one process and between several."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from discover_orch.state.lock import (
    INTERVAL,
    NAME,
    OWNER,
    SILENT,
    TAKEOVER,
    LockHolder,
    ProjectLock,
)
from discover_orch.state.store import FOLDER


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    holder = other.acquire()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.sentence.startswith(
        f"another run of this project is going on (process {os.getpid()}, "
    )
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
    assert LockHolder().sentence == "another run of this project is going on"
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


def test_where_nothing_can_be_locked_there_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    lock = ProjectLock(str(tmp_path))
    assert lock.acquire() is None
    lock.release()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none, as some network ones."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def owner_file(root: Path) -> Path:
    return root / FOLDER / OWNER


def write_owner(root: Path, **changes: object) -> None:
    """A record as this process would make it, but for some changes."""
    lock = ProjectLock(str(root))
    assert lock.acquire() is None
    mine = json.loads(owner_file(root).read_text())
    lock.release()
    owner_file(root).write_text(json.dumps({**mine, **changes}))


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_record_stands_for_one(tmp_path: Path) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    holder = other.acquire()
    assert holder is not None
    assert holder.pid == os.getpid()
    other.release()
    assert owner_file(tmp_path).exists()
    one.release()
    assert not owner_file(tmp_path).exists()
    assert other.acquire() is None
    other.release()


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize(
    "changes", [{"pid": 1 << 40}, {"process": 1}, {"boot": "another boot of this machine"}]
)
def test_a_record_whose_owner_is_no_more_is_taken_over(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    write_owner(tmp_path, **changes)
    lock = ProjectLock(str(tmp_path))
    assert lock.acquire() is None
    assert json.loads(owner_file(tmp_path).read_text())["pid"] == os.getpid()
    lock.release()
    assert sorted(os.listdir(tmp_path / FOLDER)) == [".gitignore", "CACHEDIR.TAG", "lock"]


@pytest.mark.usefixtures("without_locks")
def test_a_record_of_another_machine_is_held_whatever_is_here(tmp_path: Path) -> None:
    write_owner(tmp_path, host="another", pid=1 << 40, boot="another")
    assert ProjectLock(str(tmp_path)).acquire() == LockHolder(pid=1 << 40, since=since_of(tmp_path))


def since_of(root: Path) -> str:
    return str(json.loads(owner_file(root).read_text())["since"])


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"[" * 4000, b'{"pid": 1}', b"\xff" * 5000])
def test_a_record_that_says_nothing_is_held_for_a_while(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FOLDER).mkdir()
    owner_file(tmp_path).write_bytes(text)
    assert ProjectLock(str(tmp_path)).acquire() == LockHolder()
    past = os.stat(owner_file(tmp_path)).st_mtime - 2 * SILENT
    os.utime(owner_file(tmp_path), (past, past))
    lock = ProjectLock(str(tmp_path))
    if text == b'{"pid": 1}':  # it names no machine
        assert lock.acquire() == LockHolder()
    else:
        assert lock.acquire() is None
    lock.release()


@pytest.mark.usefixtures("without_locks")
def test_only_one_may_take_over_at_a_time_and_not_for_ever(tmp_path: Path) -> None:
    write_owner(tmp_path, pid=1 << 40)
    guard = tmp_path / FOLDER / TAKEOVER
    guard.write_text("")
    assert ProjectLock(str(tmp_path)).acquire() is not None
    past = os.stat(guard).st_mtime - 2 * SILENT
    os.utime(guard, (past, past))
    assert ProjectLock(str(tmp_path)).acquire() is not None
    lock = ProjectLock(str(tmp_path))
    assert lock.acquire() is None
    lock.release()
    assert not guard.exists()


@pytest.mark.usefixtures("without_locks")
def test_a_record_that_another_one_has_made_meanwhile_is_not_removed(tmp_path: Path) -> None:
    lock = ProjectLock(str(tmp_path))
    assert lock.acquire() is None
    owner_file(tmp_path).write_text(json.dumps({"pid": os.getpid(), "since": "another"}))
    lock.release()
    assert owner_file(tmp_path).exists()


@pytest.mark.usefixtures("without_locks")
def test_whoever_waits_for_a_record_gets_it_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ProjectLock(str(tmp_path)), ProjectLock(str(tmp_path))
    assert one.acquire() is None
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            one.release()

    monkeypatch.setattr(time, "sleep", wait)
    assert other.acquire(waits=True) is None
    assert waited == [INTERVAL] * 3
    other.release()


@pytest.mark.usefixtures("without_locks")
def test_of_many_processes_one_at_a_time_has_the_record_though_some_are_killed(
    tmp_path: Path,
) -> None:
    """Each counts in a file that is only right if nobody else does so meanwhile; every third dies holding it."""
    program = (
        "import errno, fcntl, os, sys\n"
        "def refuse(*_): raise OSError(errno.ENOLCK, 'none')\n"
        "fcntl.flock = refuse\n"
        "from discover_orch.state import lock\n"
        "lock.INTERVAL = 0.001\n"
        "one = lock.ProjectLock(sys.argv[1])\n"
        "assert one.acquire(waits=True) is None\n"
        "path = os.path.join(sys.argv[1], 'count')\n"
        "os.close(os.open(path + '.busy', os.O_CREAT | os.O_EXCL))\n"
        "number = int(open(path).read()) + 1\n"
        "open(path, 'w').write(str(number))\n"
        "os.unlink(path + '.busy')\n"
        "if number % 3 == 0: os.kill(os.getpid(), 9)\n"
        "one.release()\n"
    )
    (tmp_path / "count").write_text("0")
    many = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)])
        for _ in range(12)
    ]
    codes = sorted(one.wait() for one in many)
    assert codes == [-9] * 4 + [0] * 8
    assert (tmp_path / "count").read_text() == "12"
