"""The kernel's events of files below the root (Linux inotify): what native code and child processes open and write.

The events say neither which process caused them nor what it did between opening and closing. They queue in the
kernel, so there is no thread: `drain` reads what has happened until now.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT_REACHED = "the limit of inotify watches is reached"
OVERFLOWED = "the kernel's event queue overflowed"

#: What happened to a file since `clear`.
READ = 1  # it was closed after reading
WRITTEN = 2  # it was closed by a process that could write to it
CREATED = 4
MOVED = 8  # it got this name
READ_BEFORE = 16  # it had been read when it was written, or was open then
_OPEN = 32  # it was opened and not closed since
_OPENED_SINCE = 64  # it was opened since it was last written
GONE = 128  # it was removed, or got another name
CHANGED = WRITTEN | CREATED | MOVED

# Numbers of <linux/inotify.h>
IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_EXCL_UNLINK = 0x4000000
IN_ISDIR = 0x40000000
LEFT = IN_MOVED_FROM | IN_DELETE
WATCHED = (
    IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE | IN_MOVED_TO | IN_CREATE | LEFT | IN_EXCL_UNLINK
)
EVENT = "iIII"  # watch, mask, cookie, length of the name
EVENT_SIZE = 16
BUFFER_SIZE = 1 << 16


class FileEvents:
    """Events from the moment it is made. Folders that are made later are followed too."""

    def __init__(self, root: str, is_skipped: Callable[[str], bool]) -> None:
        """`is_skipped` is asked for folders below the root and for links, by their absolute paths. Raises
        OSError where there are no events.
        """
        self.files: dict[str, int] = {}  # absolute path -> what happened, in this order
        self.listed: dict[str, None] = {}  # folders that were opened: most of the time to list them
        self.made: set[str] = set()  # folders
        self.links: set[str] = set()  # that lead to what is watched by another name
        self.gaps: dict[str, None] = {}
        self.is_closed = False  # the tool has closed the queue: there will be no more events
        self._root = root
        self._is_skipped = is_skipped
        self._pid = os.getpid()
        #: Watch -> folder, or file where a link leads out of the root.
        self._paths: dict[int, str] = {}
        self._libc = _load_libc()
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(_errno(), "inotify_init1")
        self._follow(root)
        self.drain()
        self.listed.clear()  # by `_follow`

    def follow_folder(self, folder: str) -> None:
        """Watch the files in one folder too, not those below. One below the root is watched already."""
        if not f"{folder}{os.sep}".startswith(self._root.rstrip(os.sep) + os.sep):
            self._watch(folder)

    def clear(self) -> None:
        """Forget what has happened until now."""
        self.drain()
        if OVERFLOWED in self.gaps:  # among what was lost may be new folders
            del self.gaps[OVERFLOWED]
            self._follow(self._root)
            self.drain()
        self.files.clear()
        self.listed.clear()
        self.made.clear()

    def drain(self) -> None:
        """Read all events that the kernel has queued."""
        if os.getpid() != self._pid:  # a forked child must not take them from its parent
            return
        try:
            is_own = os.readlink(f"/proc/self/fd/{self._fd}") == "anon_inode:inotify"
            while is_own:
                self._read(os.read(self._fd, BUFFER_SIZE))
        except BlockingIOError:
            return
        except OSError:
            is_own = False
        self.is_closed = not is_own

    def _read(self, events: bytes) -> None:
        from struct import unpack_from  # most tools do without

        start = 0
        while start < len(events):
            watch, mask, _, length = unpack_from(EVENT, events, start)
            start += EVENT_SIZE
            name = events[start : start + length].rstrip(b"\0")
            start += length
            if mask & IN_Q_OVERFLOW:
                self.gaps[OVERFLOWED] = None
            elif mask & IN_IGNORED:
                self._paths.pop(watch, None)
            elif watch in self._paths:
                path = self._paths[watch]
                if name:
                    path = f"{path}{os.sep}{os.fsdecode(name)}"
                if not mask & IN_ISDIR:
                    self._note(path, mask)
                elif mask & IN_CLOSE_NOWRITE:
                    if not name:
                        self.listed[path] = None
                elif mask & (IN_CREATE | IN_MOVED_TO) and not self._is_skipped(path):
                    self.made.add(path)
                    for file in self._follow(path):
                        self._note(file, IN_CREATE)

    def _note(self, path: str, mask: int) -> None:
        """Whether a file was read before it was written decides what its content says of the tool. Equal events that
        follow each other are one, so opens cannot be counted."""
        known = self.files.get(path, 0)
        if mask & LEFT:
            known |= GONE
        elif mask & IN_OPEN:
            known |= _OPEN | _OPENED_SINCE
        elif mask & IN_CLOSE_NOWRITE:
            was_open = known & CHANGED and not known & _OPENED_SINCE
            known = (known | READ | (READ_BEFORE if was_open else 0)) & ~_OPEN
        else:
            # Who has the file open when another one gets its name reads the earlier one.
            was_read = known & READ or (known & _OPEN and not mask & IN_CLOSE_WRITE)
            change = MOVED if mask & IN_MOVED_TO else CREATED if mask & IN_CREATE else WRITTEN
            known = (known | change | (READ_BEFORE if was_read else 0)) & ~(_OPEN | _OPENED_SINCE)
        self.files[path] = known

    def _follow(self, folder: str) -> list[str]:
        """Watch a folder and all below it. Returns the files in them."""
        found: list[str] = []
        followed = set()
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            watch = self._watch(path)
            if watch < 0 or watch in followed:
                continue
            followed.add(watch)
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.is_dir() and self._is_followed(entry):
                            waiting.append(entry.path)
                        elif not entry.is_dir():
                            found.append(entry.path)
                            if entry.is_symlink() and self._is_followed(entry):
                                self._watch(entry.path)
            except OSError:
                continue
        return found

    def _is_followed(self, entry: os.DirEntry[str]) -> bool:
        """A link that stays below the root leads to what is watched by its own name, and one to a folder above the
        root leads in a circle.
        """
        if self._is_skipped(entry.path):
            return False
        if not entry.is_symlink():
            return True
        root = os.path.realpath(self._root) + os.sep
        target = os.path.realpath(entry.path).rstrip(os.sep) + os.sep
        if target.startswith(root):
            self.links.add(entry.path)
        return not target.startswith(root) and not root.startswith(target)

    def _watch(self, path: str) -> int:
        watch: int = self._libc.inotify_add_watch(self._fd, os.fsencode(path), WATCHED)
        if watch >= 0:
            self._paths[watch] = path
        elif _errno() == errno.ENOSPC:
            self.gaps[LIMIT_REACHED] = None
        return watch


def _load_libc() -> Any:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "inotify")
    import ctypes  # `child_processes` has imported it

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        raise OSError(errno.ENOSYS, "inotify")
    return libc


def _errno() -> int:
    import ctypes

    return ctypes.get_errno()
