"""Whose users share what was read: the modules of the project that were being loaded, and those that may keep it.

The hook that finds this runs for each file that is opened, so two stacks differ where
the modules and lines of their code do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from discover_orch.model.observation import file_mark
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.keeping_code import KeepingCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from discover_orch.worker.project_code import ProjectCode

MOST_STACKS = 10_000  # of one step that are recognised again
CALL = Interrupts.call.__code__  # it calls the user's code
CALLS = Interrupts.call.__globals__

#: What was used: "path" (of a folder, a database, a module past the loader), "env" (a variable), "asked" (one that a
#: library has looked up), "copied" (all variables), "module" (one got by name), "gap", and the path or name.
Thing = tuple[str, str]


class Uses:
    """What code of the same `owners` used: files that it opened, tables that it read through `conn`, and the rest.
    Files that have `changed` later come with their state before. The owners are files of modules and resources, each
    with users of its own."""

    __slots__ = ("changed", "opened", "owners", "tables", "used")

    def __init__(self, owners: tuple[str, ...]) -> None:
        self.owners = owners
        self.opened: dict[str, None] = {}
        self.changed: dict[str, str] = {}
        self.tables: set[str] = set()
        self.used: dict[Thing, None] = {}


class ModuleUses:
    """The uses of one step."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._keeping = KeepingCode(project)
        self._by_stack: dict[int, Uses] = {}
        self._by_owners: dict[tuple[str, ...], Uses] = {}
        self._loading: tuple[str, ...] = ()  # what is being loaded or opened, the innermost last
        #: When what was loaded began and ended, in ns, with what was being loaded then.
        self._loads: list[tuple[int, int, tuple[str, ...]]] = []

    def clear(self) -> None:
        for one in (self._by_stack, self._by_owners, self._loads):
            one.clear()

    def note_change(self, path: str) -> None:
        """A file is about to change. What was read of it was as it is now."""
        for uses in self._by_owners.copy().values():
            if uses.owners and path in uses.opened:
                with contextlib.suppress(OSError):
                    uses.changed[path] = file_mark(os.stat(path))

    @contextlib.contextmanager
    def loading(self, owner: str) -> Iterator[None]:
        """While this module is loaded, or this resource opened."""
        before, self._loading = self._loading, (*self._loading, owner)
        began = time.monotonic_ns()
        try:
            yield
        finally:
            self._loads.append((began, time.monotonic_ns(), self._loading))
            self._loading = before

    def of_time(self, at: int) -> Uses:
        """Of what was being loaded at this time, by the monotonic clock in ns."""
        owners = next((one for began, ended, one in self._loads if began <= at <= ended), ())
        return self._of_owners(owners)

    def tables_of_caller(self) -> set[str]:
        """What the user's code that called the caller of this has read, to add to; see `TableLog`."""
        return self.find(sys._getframe(2)).tables

    def note(self, frame: FrameType | None, kind: str, name: str) -> None:
        self.find(frame).used[kind, name] = None

    def find(self, frame: FrameType | None) -> Uses:
        """Of the stack from this frame up to where the user's code begins."""
        start = frame
        key = hash(self._loading)
        # `frame.f_code` and `id()` are audit events, each of which runs the hook.
        while frame is not None and (names := frame.f_globals) is not CALLS:
            key = hash((key, names.get("__name__"), frame.f_lineno))
            frame = frame.f_back
        return self._by_stack.get(key) or self._add(start, key)

    def _add(self, frame: FrameType | None, key: int) -> Uses:
        frames = []
        while frame is not None and frame.f_code is not CALL:
            frames.append(frame)
            frame = frame.f_back
        uses = self._of_owners((*(dict.fromkeys(self._loading) | self._keeping.find(frames)),))
        if len(self._by_stack) < MOST_STACKS:
            self._by_stack[key] = uses
        return uses

    def _of_owners(self, owners: tuple[str, ...]) -> Uses:
        return self._by_owners.get(owners) or self._by_owners.setdefault(owners, Uses(owners))

    def is_called_by_project(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not CALL:
            if self._project.find_code_file(frame.f_code):
                return True
            frame = frame.f_back
        return False

    def find_all(self) -> list[Uses]:
        return [*self._by_owners.copy().values()]

    def is_empty(self) -> bool:
        return not any(one.opened for one in self._by_owners.copy().values())

    def find_opened(self) -> dict[str, None]:
        """The files that were opened."""
        return {path: None for one in self._by_owners.copy().values() for path in one.opened.copy()}

    @property
    def opened(self) -> dict[str, None]:
        """The files that only the step itself uses."""
        return self._of_owners(()).opened

    def forget_opened(self, paths: Iterable[str]) -> None:
        """The step has made what is in these files itself."""
        for uses in self._by_owners.copy().values():
            for path in paths:
                uses.opened.pop(path, None)

    def find_shared(self) -> list[Uses]:
        """Those that others share."""
        return [uses for uses in self.find_all() if uses.owners]
