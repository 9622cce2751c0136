"""The project's lock: one run at a time.

A lock of the kernel on an open descriptor, so that it goes with its owner, however that ends; the file itself
stays, since removing it would let two owners lock two files of one name. Where nothing can be locked (a read-only
project, a file system without locks) there is no lock, and the run goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from discover_orch.store import FOLDER, make_folder
from discover_orch.value import value

NAME = "lock"
LONGEST = 4096


@value
class Holder:
    """Who holds the lock: process id (0 where it has not said so yet), and since when, `14:03:22`."""

    pid: int = 0
    since: str = ""

    @property
    def sentence(self) -> str:
        who = f" (process {self.pid}, since {self.since})" if self.pid else ""
        return f"another run of this project is going on{who}"


class Lock:
    """Not held until `take` gives None."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._fd = -1

    def take(self, *, waits: bool = False) -> Holder | None:
        """None: it is ours, or there is none to be had. Else who holds it; with `waits` it is waited for."""
        try:
            make_folder(os.path.join(self._root, FOLDER))
            path = os.path.join(self._root, FOLDER, NAME)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = _read_holder(fd)
            os.close(fd)
            return holder
        except OSError:  # this file system has none
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        owner = {"pid": os.getpid(), "since": time.strftime("%H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(owner).encode(), 0)
        self._fd = fd
        return None

    def release(self) -> None:
        """Let the next one in."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
                # Said, and not only closed: a process that is just being started has the descriptor for a moment.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def _read_holder(fd: int) -> Holder:
    """What the owner has written, as far as it can be read."""
    try:
        owner = json.loads(os.pread(fd, LONGEST, 0))
        return Holder(pid=int(owner["pid"]), since=str(owner["since"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Holder()
