"""Processes that tools leave behind: who they are, and how they are ended.

Linux reparents an orphan to the nearest ancestor that asked for it (a "child sub-reaper"); orch and its
workers both ask, so that a grandchild which left its process group (setsid, double fork) is still found
below them. Elsewhere there are only process groups. `ctypes` (3 ms) is imported where it is first needed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # numbers of <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
IS_LINUX = sys.platform == "linux"


def become_subreaper() -> bool:
    """Have orphans below this process become its children; False where the system cannot."""
    if not IS_LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def end_with_parent(parent: int) -> None:
    """Ask the kernel to end this process a second after its parent, whatever it does by then.

    The thread that waits for the parent's pipe to close needs the interpreter; a tool may sit in C code
    that keeps it. So the kernel's signal (SIGHUP, number 1) is handled by libc's own `alarm`, which takes
    the signal's number for its seconds: a second for that thread to sweep up, then SIGALRM.
    """
    if not IS_LINUX:
        return
    import ctypes

    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(signal.SIGHUP, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGHUP), 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be asked for
        os.kill(os.getpid(), signal.SIGKILL)


def find_children(pid: int) -> set[int]:
    """The children of a process, dead ones that nobody waited for included; empty where unknown."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    found.update(map(int, file.read().split()))
            except FileNotFoundError:
                if os.path.exists(f"/proc/{pid}/task/{thread}"):
                    return _find_children_slowly(pid)  # a kernel without CONFIG_PROC_CHILDREN
            except ProcessLookupError:  # the thread has just ended
                pass
    except OSError:
        pass
    return found


def find_descendants(pid: int) -> set[int]:
    """All processes below this one, itself not included."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = find_children(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(group: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to every member of a process group that is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def sweep(keep: set[int], deadline: float) -> None:
    """Kill and reap every process below this one, except those in `keep` and what is below them.

    Repeated until none is left, since a process can fork while it is looked for, and the orphans of a
    killed one come to us; `deadline` is a time of `time.monotonic()`.
    """
    me = os.getpid()
    while True:
        below = set[int]()
        mine = find_children(me) - keep
        for pid in mine:
            below |= {pid} | find_descendants(pid)
        if not below:
            return
        kill_all(below)
        for pid in mine:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _find_children_slowly(pid: int) -> set[int]:
    """By the parent that each process names: the fourth field of its stat line."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(name))
    return found
