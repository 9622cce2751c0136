"""Which process writes a run, and whether it still runs.

A process id is used again, so the start time of the process and the boot of the machine count too. Where the system
shows neither (other than Linux), the process id has to do.
"""

from __future__ import annotations

import os


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
