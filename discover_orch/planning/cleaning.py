"""What `orch clean` may delete: files that tools made, above all those that are left over.

A file is deleted only where nothing but work of tools is lost. Looking writes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.input_versions import hash_file, is_database, read_mark
from discover_orch.staleness.left_over import LeftOver, with_readers
from discover_orch.staleness.tool_result import ABSENT, DATABASE, UNSURE, Key, Write
from discover_orch.state.git_files import find_repository, read_tracked


class Found(Struct, frozen=True, kw_only=True):
    """A file or table that a tool made. `reason` says why it stays; "" where it can be deleted. `is_gone`: its tool no
    longer exists."""

    thing: LeftOver
    is_left_over: bool
    is_gone: bool = False
    reason: str = ""


class Cleaning:
    """What the tools of a project have made, read once."""

    def __init__(self, view: ProjectView) -> None:
        self._root, self._registry = view.project.root, view.registry
        self._existing = {
            *self._registry.tools,
            *(one.module for one in self._registry.disabled),
            *(one.module for one in self._registry.broken),
        }
        self._work = RemainingWork(view, GivenParams())
        self._results = {one.module: one for one in self._work.all_results}
        self._last: dict[Key, tuple[str, Write]] = {}  # the tool that wrote a file last, and how
        self._new: set[Key] = set()  # files that were not there before a tool wrote them
        for module, result in self._results.items():
            for key, write in result.writes.items():
                if not key.startswith("file:") or not write.is_sure:
                    continue
                if key not in self._last or write.seq > self._last[key][1].seq:
                    self._last[key] = module, write
                if write.is_new:
                    self._new.add(key)
        self._real_root = os.path.realpath(self._root)
        self._real_folder = cache(os.path.realpath)
        self._find_repository = cache(find_repository)
        self._read_tracked = cache(read_tracked)

    def find(self, chosen: Collection[str] | None, *, is_all: bool) -> list[Found]:
        """What is left over from the chosen tools, or with `is_all` all files that they made and that are there. None
        stands for all tools, and for those that no longer exist: what these made is listed without `is_all` too."""
        registry, results = self._registry, self._results.values()
        left = self._work.find_left_over()
        things = [*left]
        left_keys = {one.key for one in left}
        made = [
            (key, module)
            for key, (module, write) in self._last.items()
            if (is_all or module not in self._existing)
            and write.mark != ABSENT
            and key not in left_keys
            and self._work.is_there(key)
        ]
        things += with_readers(registry, results, made)
        return [
            Found(
                thing=one,
                is_left_over=one.key in left_keys,
                is_gone=one.module not in self._existing,
                reason=self._find_reason(one.key),
            )
            for one in sorted(things, key=lambda one: (one.module, one.key))
            if chosen is None or one.module in chosen
        ]

    def name_of(self, module: str) -> str:
        """How the tool is shown; one that no longer exists by its module."""
        return self._registry.display(module) if module in self._registry.tools else module

    def delete(self, found: Iterable[Found]) -> list[Found]:
        """Deletes the files that can be deleted, each after another look at it. Returns these, with the `reason` where
        one has stayed after all. What was left over and is deleted is forgotten: no tool is stale because of it."""
        done = [replace(one, reason=self._delete(one.thing.key)) for one in found if not one.reason]
        forgotten: dict[str, set[Key]] = {}
        for one in done:
            if one.is_left_over and not one.reason:
                forgotten.setdefault(one.thing.module, set()).add(one.thing.key)
        self._work.memory.settle_moves()
        for module, keys in forgotten.items():
            result = self._results[module]
            writes = {key: write for key, write in result.writes.items() if key not in keys}
            self._work.memory.write(replace(result, writes=writes))
        return done

    def _delete(self, key: Key) -> str:
        reason = self._find_reason(key)
        if reason:
            return reason
        try:
            os.unlink(os.path.join(self._root, key[5:]))
        except OSError as error:
            return f"it cannot be deleted: {error.strerror}"
        return ""

    def _find_reason(self, key: Key) -> str:
        """Why it must not be deleted; "" where it may be."""
        if key.startswith("table:"):
            return "orch deletes no tables"
        path = key[5:]
        full = os.path.join(self._root, path)
        module, write = self._last[key]
        name = self.name_of(module)
        if os.path.isabs(path):
            return "it is outside of the project"
        try:
            state = os.lstat(full)
        except OSError as error:
            return f"it cannot be looked at: {error.strerror}"
        if stat.S_ISLNK(state.st_mode):
            return "it is a link"
        if stat.S_ISDIR(state.st_mode):
            return "it is a folder"
        if not stat.S_ISREG(state.st_mode):
            return "it is not a regular file"
        folder, _, file = full.rpartition("/")
        real = self._real_folder(folder)
        if real != os.path.normpath(os.path.join(self._real_root, os.path.dirname(path))):
            return "a link leads to its folder"
        if write.version == DATABASE or is_database(full):
            return "it is a database"
        if (reason := self._find_in_git(real, file)) != "":
            return reason
        if key not in self._new:
            return f"orch did not see {name} create it: it may have been there before"
        return self._find_edit(full, write, name)

    def _find_edit(self, full: str, write: Write, name: str) -> str:
        if write.mark == UNSURE:
            return f"{name} was interrupted, and what it left in it is not known"
        mark, is_changed = read_mark(full), write.is_by_hand
        if mark != write.mark:
            version = write.version and hash_file(full, os.lstat(full))[0]
            is_changed |= version is None or version != write.version
        return f"it was changed after {name} made it" if is_changed else ""

    def _find_in_git(self, folder: str, file: str) -> str:
        repository = self._find_repository(folder)
        if repository is None:
            return ""
        tracked = self._read_tracked(repository)
        if tracked is None:
            return "it is not known whether git tracks it"
        path = os.path.relpath(os.path.join(folder, file), repository)
        return "git tracks it" if path in tracked else ""
