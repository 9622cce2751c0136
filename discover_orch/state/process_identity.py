"""Which process is which: a number is used again, so its start time and the boot of the machine tell who it was.

In: process ids, and what was noted about them. Out: marks to keep, and whether such a process is still there.
Where the system shows neither (other than Linux), the number alone has to do. Signals nobody.
"""

from __future__ import annotations

import os


def read_boot() -> str | None:
    """What the kernel calls this start of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def read_start(pid: int) -> int | None:
    """When the process started, in clock ticks since the boot; None where nobody can say."""
    found = _read_stat(pid)
    return None if found is None else found[1]


def is_alive(pid: int, start: int | None, boot: str | None) -> bool:
    """Whether the process that was noted so is still there; one that only waits to be reaped is not."""
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
    """State and start time: the first field behind the name, which may hold anything, and the 20th (proc(5))."""
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
