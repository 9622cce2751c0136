"""Whose users share what was read: the modules of the project that were being loaded, and those that may keep it.

The hook that finds this runs for each file that is opened, so two stacks differ where
the modules and lines of their code do.
"""

from __future__ import annotations

import contextlib
import os
import sys

from discover_orch.model.observation import file_state
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.keeping_code import KeepingCode
from discover_orch.worker.observed_paths import resolve_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from discover_orch.worker.native_files import NativeFiles
    from discover_orch.worker.project_code import ProjectCode

MOST_STACKS = 10_000  # of one step that are recognised again
CALL = Interrupts.call.__code__  # it calls the user's code
CALLS = Interrupts.call.__globals__

#: What was used: "path" (of a folder, a database, a module past the loader), "env" (a variable), "asked" (one that a
#: library has looked up), "copied" (all variables), "module" (one got by name), "gap", and the path or name.
Use = tuple[str, str]


class Uses:
    """What code of the same `owners` used: files that it opened, tables that it read through `conn`, and the rest.
    Paths are as the tool wrote them. Files that have `changed` later are absolute, with their state before. The owners
    are files of modules and resources, each with users of its own."""

    __slots__ = ("changed", "opened", "owners", "tables", "used")

    def __init__(self, owners: tuple[str, ...]) -> None:
        self.owners = owners
        self.opened: dict[str, None] = {}
        self.changed: dict[str, str] = {}
        self.tables: set[str] = set()
        self.used: dict[Use, None] = {}

    def resolve_paths(self) -> None:
        opened = resolve_paths(self.opened.copy())
        self.opened.clear()
        self.opened.update(opened)
        for kind, name in [one for one in self.used.copy() if one[0] == "path"]:
            del self.used[kind, name]
            self.used.update(((kind, path), None) for path in resolve_paths([name]))


class ModuleUses:
    """The uses of one step."""

    def __init__(self, project: ProjectCode, native: NativeFiles) -> None:
        self._project, self._native = project, native
        self._keeping = KeepingCode(project)
        self._by_stack: dict[int, Uses] = {}
        self._by_owners: dict[tuple[str, ...], Uses] = {}
        self._loading: tuple[str, ...] = ()  # what is being loaded or opened, the innermost last
        #: By owner: what only the kernel saw being read while it was loaded, as absolute paths.
        self.natively_read: dict[str, set[str]] = {}

    def clear(self) -> None:
        for one in (self._by_stack, self._by_owners, self.natively_read):
            one.clear()

    def note_change(self, path: str, folder: str) -> None:
        """A file is about to change. What was read of it was as it is now. `folder` is the current one."""
        for uses in self._by_owners.copy().values():
            if uses.owners and (path in uses.opened or path.removeprefix(folder) in uses.opened):
                with contextlib.suppress(OSError):
                    uses.changed[path] = file_state(os.stat(path))

    @contextlib.contextmanager
    def loading(self, owner: str) -> Iterator[None]:
        """While this module is loaded, or this resource opened."""
        self._note_native_reads()
        before, self._loading = self._loading, (*self._loading, owner)
        try:
            yield
        finally:
            self._note_native_reads()
            self._loading = before

    def _note_native_reads(self) -> None:
        for path in self._native.find_new_reads():
            for owner in self._loading:
                self.natively_read.setdefault(owner, set()).add(path)

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
        found = (*(dict.fromkeys(self._loading) | self._keeping.find(frames)),)
        uses = self._by_owners.get(found) or self._by_owners.setdefault(found, Uses(found))
        if len(self._by_stack) < MOST_STACKS:
            self._by_stack[key] = uses
        return uses

    def is_called_by_project(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not CALL:
            if self._project.find_file(frame.f_code):
                return True
            frame = frame.f_back
        return False

    def find_used(self) -> dict[str, list[str]]:
        """The names that the step has used, by their kind."""
        found: dict[str, dict[str, None]] = {}
        for one in self._by_owners.copy().values():
            for kind, name in one.used.copy():
                found.setdefault(kind, {})[name] = None
        return {kind: [*names] for kind, names in found.items()}

    def is_empty(self) -> bool:
        return not any(one.opened for one in self._by_owners.copy().values())

    def find_opened(self) -> dict[str, None]:
        """The absolute paths of files that were opened."""
        found: dict[str, None] = {}
        for one in self._by_owners.copy().values():
            found.update(resolve_paths(one.opened.copy()))
        return found

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        for one in self._by_owners.copy().values():
            one.resolve_paths()

    def find_shared(self) -> dict[str, Uses]:
        """What the users of each owner share, by owner; all paths as files."""
        found: dict[str, Uses] = {}
        for uses in [one for one in self._by_owners.values() if one.owners]:
            uses.resolve_paths()
            for owner in uses.owners:
                of_owner = found.setdefault(owner, Uses((owner,)))
                paths = (name for kind, name in uses.used if kind == "path")
                of_owner.opened.update(uses.opened)
                of_owner.changed.update(uses.changed)
                of_owner.opened.update(dict.fromkeys(paths))
                of_owner.used.update(uses.used)
                of_owner.tables.update(uses.tables)
        for owner in self.natively_read:
            found.setdefault(owner, Uses((owner,)))
        return found
