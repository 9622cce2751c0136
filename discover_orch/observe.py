"""What a tool did to files while it ran, as Python's audit events tell it.

In: a root. Out: paths below it that were opened for writing, moved or removed. Changes nothing of what the
tool does, and cannot be taken away again: an audit hook stays until the process ends. What native code and
child processes write is not seen.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Folders of Python's and orch's own.
NOISE = frozenset({"__pycache__", ".orch"})
#: Events whose arguments that are paths name files which are not afterwards what they were.
_CHANGING = frozenset({"os.rename", "os.remove", "os.truncate", "os.link", "os.symlink"})


class Observer:
    """Listens from the moment it is made."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._written: dict[str, None] = {}
        sys.addaudithook(self._hear)

    def take_written(self) -> tuple[str, ...]:
        """Relative to the root, with `/`, in order of the first write; forgets them."""
        taken, self._written = self._written, {}
        start = self._root.rstrip(os.sep) + os.sep
        real = os.path.realpath(self._root).rstrip(os.sep) + os.sep
        found: dict[str, None] = {}
        for path in taken:
            for home in (start, real):
                if path.startswith(home):
                    found[path[len(home) :].replace(os.sep, "/")] = None
                    break
        return tuple(path for path in found if not NOISE.intersection(path.split("/")))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called for every event of the interpreter, in any thread: fast, and it cannot raise."""
        try:
            if event == "open":
                path, _, flags = arguments
                if flags.__class__ is int and flags & _WRITING:
                    self._note(path)
            elif event in _CHANGING:
                for path in arguments[:2]:
                    self._note(path)
        except Exception:  # an event of the user's own, a path that is none, a folder that is gone
            return

    def _note(self, path: object) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            self._written[os.path.abspath(os.fsdecode(path))] = None
