"""The lock of a project, one run at a time, and whether the process that writes a run still runs.

It is a lock of the system on the open file `.orch/lock`, so it ends with the process that holds it, however that ends.
The file itself stays and says who holds the lock. Where the file system has no locks, or `.orch` cannot be written,
the run continues without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from msgspec import Struct

from discover_orch.model.encoding import decode, encode
from discover_orch.model.errors import Problem
from discover_orch.state.sealed_files import FOLDER, make_folder

NAME = "lock"
_LONGEST = 4096


class LockHolder(Struct, frozen=True, kw_only=True):
    """Who holds the lock: process id, 0 where that is not known, and since when, `14:03`."""

    pid: int = 0
    since: str = ""

    @property
    def sentence(self) -> str:
        who = f" (pid {self.pid}, since {self.since})" if self.pid else ""
        return f"another run is in progress{who}"


class ProjectLock:
    """Not held until `acquire` returns None."""

    def __init__(self, root: str) -> None:
        self._problem: Problem | None = None
        self._is_warned = False
        self._folder = os.path.join(root, FOLDER)
        self._fd = -1

    def acquire(self, *, waits: bool = False) -> LockHolder | None:
        """Who holds the lock already; None where it is held now, or where there are no locks. `waits` for its turn."""
        try:
            make_folder(self._folder)
            path = os.path.join(self._folder, NAME)
            # Not through a link: the file is emptied.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = _read_holder(fd)
            os.close(fd)
            return holder
        except OSError as error:
            os.close(fd)
            self._problem = _without_locks(error)
            return None
        except BaseException:
            os.close(fd)
            raise
        holder = LockHolder(pid=os.getpid(), since=time.strftime("%H:%M"))
        with contextlib.suppress(OSError):  # on a full disk the lock is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, encode(holder), 0)
        self._fd = fd
        return None

    def new_warnings(self) -> tuple[Problem, ...]:
        """That the file system has no locks, the first time that this is asked."""
        if self._problem is None or self._is_warned:
            return ()
        self._is_warned = True
        return (self._problem,)

    def release(self) -> None:
        """Does nothing where the lock is not held."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
                # Closing alone is not enough: a process that is just being started has the descriptor for a moment.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def find_holder(root: str) -> LockHolder | None:
    """Who holds the lock of the project; None where it is free. Only reads: to ask for the lock would be in the way
    of a run that starts."""
    try:
        fd = os.open(
            os.path.join(root, FOLDER, NAME),
            os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW,
        )
    except OSError:
        return None
    try:
        holder = _read_holder(fd)
    finally:
        os.close(fd)
    # The name stays in the file where a process was killed.
    return holder if is_alive(holder.pid, None, None) else None


def _read_holder(fd: int) -> LockHolder:
    try:
        holder: LockHolder = decode(os.pread(fd, _LONGEST, 0), LockHolder)
        return holder
    except (OSError, ValueError, RecursionError):
        return LockHolder()


def _without_locks(error: OSError) -> Problem:
    return Problem(
        code="no-lock",
        message=f"the file system of {FOLDER} cannot lock files: {error.strerror}",
        hint="make sure that only one run of this project is in progress",
        severity="warning",
    )


# Processes. A process id is used again, so the start time of the process and the boot of the machine count too. Where
# the system shows neither (other than Linux), the process id has to do.


def read_boot() -> str | None:
    """The id of this boot of the machine; None where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def read_start(pid: int) -> int | None:
    """When the process started, in clock ticks since the boot; None where that is not known."""
    found = _read_stat(pid)
    return None if found is None else found[1]


def process_age() -> float:
    """Seconds since this process started; 0.0 where the system does not say."""
    ticks = read_start(os.getpid())
    if ticks is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, age)


def is_alive(pid: int, start: int | None, boot: str | None) -> bool:
    """Whether the process with this id, start and boot is running. A zombie is not."""
    if pid <= 0:
        return False
    now = read_boot()
    if boot is not None and now is not None and boot != now:
        return False
    found = _read_stat(pid)
    if found is None:
        return _exists(pid)
    state, started = found
    return state not in "ZX" and (start is None or start == started)


def _read_stat(pid: int) -> tuple[str, int] | None:
    """State and start time: the first and the 20th field behind the name (proc(5), /proc/pid/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode("ascii"), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
