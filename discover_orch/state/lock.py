"""The project's lock: one run at a time.

A lock of the kernel on an open descriptor, so that it goes with its owner, however that ends; the file itself
stays, since removing it would let two owners lock two files of one name. Where the file system has no such locks,
a record that only one can make stands for it, and is taken over when its owner is no more. Where nothing can be
written (a read-only project) there is no lock, and the run goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from msgspec import Struct

from discover_orch.state.process_identity import is_alive, read_boot, read_start
from discover_orch.state.store import FOLDER, make_folder, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "lock"
#: The record of the owner where nothing can be locked, and the right to remove one that was left behind.
OWNER, TAKEOVER = "owner", "owner.takeover"
LONGEST = 4096
#: Seconds between two looks while a record is waited for; and after which one that says nothing was left behind.
INTERVAL, SILENT = 0.2, 10.0


class LockHolder(Struct, frozen=True, kw_only=True):
    """Who holds the lock: process id (0 where it has not said so yet), and since when, `14:03:22`."""

    pid: int = 0
    since: str = ""

    @property
    def sentence(self) -> str:
        who = f" (process {self.pid}, since {self.since})" if self.pid else ""
        return f"another run of this project is going on{who}"


class ProjectLock:
    """Not held until `acquire` returns None."""

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, FOLDER)
        self._fd = -1
        self._record: Record | None = None

    def acquire(self, *, waits: bool = False) -> LockHolder | None:
        """None: it is ours, or there is none to be had. Else who holds it; with `waits` it is waited for."""
        try:
            make_folder(self._folder)
            path = os.path.join(self._folder, NAME)
            # What a link leads to would be emptied: it is not followed.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = _holder(_read(fd))
            os.close(fd)
            return holder
        except OSError:  # this file system has none
            os.close(fd)
            self._record = Record(self._folder)
            return self._record.take(waits=waits)
        except BaseException:
            os.close(fd)
            raise
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(_this_process()).encode(), 0)
        self._fd = fd
        return None

    def release(self) -> None:
        """Let the next one in."""
        if self._record is not None:
            self._record.release()
            self._record = None
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
                # Said, and not only closed: a process that is just being started has the descriptor for a moment.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


class Record:
    """A lock that is a file: who makes it holds it. Not as good as the kernel's: it outlives its owner."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, OWNER)
        self._takeover = os.path.join(folder, TAKEOVER)
        self._mine: dict[str, Any] | None = None

    def take(self, *, waits: bool) -> LockHolder | None:
        """As `ProjectLock.acquire` has it."""
        while True:
            try:
                if self._make():
                    return None
                owner, is_left = self._read_owner()
                if is_left and self._remove_left():
                    continue
            except OSError:  # it cannot be written here
                return None
            if not waits:
                return _holder(owner)
            time.sleep(INTERVAL)

    def release(self) -> None:
        """Removes the record if it still is ours."""
        if self._mine is not None:
            with contextlib.suppress(OSError):
                if self._read_owner()[0] == self._mine:
                    os.unlink(self._path)
            self._mine = None

    def _make(self) -> bool:
        """False where somebody has made it already."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        mine = _this_process()
        try:
            write_all(fd, json.dumps(mine).encode())
        except BaseException:
            os.unlink(self._path)
            raise
        finally:
            os.close(fd)
        self._mine = mine
        return True

    def _read_owner(self) -> tuple[dict[str, Any], bool]:
        """Who holds it, and whether that one is no more."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}, True
        try:
            owner = _read(fd)
            # Empty for the moment between making and writing; the clock may have been set.
            is_silent = not owner and abs(time.time() - os.fstat(fd).st_mtime) > SILENT
        finally:
            os.close(fd)
        return owner, is_silent or (bool(owner) and not _is_there(owner))

    def _remove_left(self) -> bool:
        """Of several that find it left behind one removes it, so that none removes the record of the next.

        The right to do so is held for a moment; it is taken away from one that was killed in it.
        """
        try:
            os.close(os.open(self._takeover, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if abs(time.time() - os.stat(self._takeover).st_mtime) > SILENT:
                    os.unlink(self._takeover)
            return False
        try:
            if self._read_owner()[1]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._takeover)


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "since": time.strftime("%H:%M:%S"),
        "process": read_start(pid),
        "boot": read_boot(),
        "host": os.uname().nodename,
    }


def _is_there(owner: dict[str, Any]) -> bool:
    """Whoever is on another machine may be; only he himself could say."""
    if owner.get("host") != os.uname().nodename:
        return True
    try:
        return is_alive(owner["pid"], owner["process"], owner["boot"])
    except (TypeError, KeyError):
        return True


def _read(fd: int) -> dict[str, Any]:
    """What the owner has written, as far as it can be read."""
    try:
        owner = json.loads(os.pread(fd, LONGEST, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _holder(owner: dict[str, Any]) -> LockHolder:
    try:
        return LockHolder(pid=int(owner["pid"]), since=str(owner["since"]))
    except (ValueError, TypeError, KeyError):
        return LockHolder()
