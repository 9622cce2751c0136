"""Finds and ends the processes that tools leave behind.

Linux gives an orphan to the nearest ancestor that is a "child subreaper". orch and its workers are subreapers,
so they still find a grandchild that has left its process group (setsid, double fork). Other systems have
process groups only. `ctypes` takes 3 ms to import, so it is imported where it is first needed.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

PR_SET_PDEATHSIG = 1  # numbers of <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
SWEEP_TIME = 0.5  # seconds
TIME_FOR_LIBRARIES = 1.0  # seconds for their threads to end by themselves
BUFFERED_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
IS_LINUX = sys.platform == "linux"
#: An open file that lists the children of the main thread, -1 where there is none.
_kept = -1


def become_subreaper() -> bool:
    """Make orphans below this process its children; False where the system cannot."""
    if not IS_LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def end_with_parent(parent: int) -> None:
    """Ask the kernel to end this process a second after its parent, whatever it is doing.

    The thread that waits for the parent's pipe to close cannot run while C code of a tool holds the GIL. So
    libc's own `alarm` handles the kernel's signal: called with the number of the signal (SIGHUP, 1), it
    gives that thread one second to clean up and then sends SIGALRM.
    """
    if not IS_LINUX:
        return
    import ctypes

    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(signal.SIGHUP, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGHUP), 0, 0, 0)
    if os.getppid() != parent:  # it died before the call to prctl
        os.kill(os.getpid(), signal.SIGKILL)


def end_after_parent(life: int, me: int) -> None:
    """Wait until the parent is gone, then kill this process and everything below it.

    Runs in a thread of its own, because the main thread runs tools. The database rolls back the tool's
    transaction.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # for the main thread only
    try:
        while os.read(life, 1):
            pass
    except OSError:  # the tool closed it
        return
    sweep(set(), time.monotonic() + SWEEP_TIME)
    if os.getpgrp() == me:
        os.killpg(me, signal.SIGKILL)
    os.kill(me, signal.SIGKILL)


def end_late() -> None:
    """End this process if threads of libraries keep it: its work is done, and no user could do anything about it.

    Runs in a thread of its own.
    """
    time.sleep(TIME_FOR_LIBRARIES)
    sweep(set(), 0)
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            file.flush()
    os._exit(0)


def end_process(kept: dict[str, ModuleType]) -> None:
    """Leave no process behind, and skip what the interpreter would do in vain: the last search for garbage cycles,
    which takes a quarter of a run of many modules, and taking down the `kept` modules, which takes 10 ms.

    All files are flushed first, because a file in a garbage cycle would lose its buffer.
    """
    sweep(set(), 0)
    for one in gc.get_objects():
        # `isinstance` would ask attributes of the user's objects.
        if issubclass(type(one), BUFFERED_FILES):
            with contextlib.suppress(Exception):
                one.flush()
    for name in kept.keys() - {"sys", "builtins", "__main__"}:
        sys.modules.pop(name, None)
    cycle: list[object] = [kept]  # without the search it lives as long as the process
    cycle.append(cycle)
    gc.freeze()


def keep_children() -> None:
    """Once the parent is gone that answers the kernel, each call fails that it would be asked about, so no file can be
    opened then. Orphans become children of the main thread."""
    global _kept
    with contextlib.suppress(OSError):
        _kept = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)


def find_children(pid: int) -> set[int]:
    """The children of a process, zombies included; empty where the system cannot tell: other than Linux, and a kernel
    without CONFIG_PROC_CHILDREN."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            # The thread may have just ended.
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/children", "rb") as file,
            ):
                found.update(map(int, file.read().split()))
    except OSError:
        if pid == os.getpid() and _kept >= 0:
            found.update(map(int, os.pread(_kept, 1 << 16, 0).split()))
    return found


def find_descendants(pid: int) -> set[int]:
    """All processes below this one, without itself."""
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
    """Send a signal to a process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def sweep(keep: set[int], deadline: float) -> None:
    """Kill and reap every process below this one, except those in `keep` and their descendants.

    Repeats until none is left or until `deadline`, a time of `time.monotonic()`: processes can fork
    meanwhile, and orphans of killed ones become children of this process.
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
