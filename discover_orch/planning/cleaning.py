"""What `orch clean` and `"replaces"` may delete: files that tools made, above all those that are left over.

A file is deleted only where nothing but work of tools is lost. Looking writes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import Key, is_file_key, is_rows, is_table_key, path_of, table_name
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.input_versions import hash_file, is_database, read_mark
from discover_orch.staleness.left_over import LeftOver, with_readers
from discover_orch.staleness.tool_result import ABSENT, DATABASE, EXISTS, REMOVED, UNSURE, Write
from discover_orch.staleness.writers import Writers
from discover_orch.state.git_files import find_repository, read_tracked


class Found(Struct, frozen=True, kw_only=True):
    """A file or table that a tool made. `reason` says why it stays; "" where it can be deleted. `is_gone`: its tool no
    longer exists."""

    thing: LeftOver
    is_left_over: bool
    is_gone: bool = False
    reason: str = ""


class Deleter:
    """Deletes files that tools made, as `writers` know them. `name_of` is how a tool is shown, `unlink` how a file is
    deleted."""

    def __init__(
        self,
        root: str,
        writers: Writers,
        name_of: Callable[[str], str],
        unlink: Callable[[str], None] = os.unlink,
    ) -> None:
        self._root, self._writers, self._name_of = root, writers, name_of
        self._unlink = unlink
        self._real_root = os.path.realpath(root)
        self._real_folder = cache(os.path.realpath)
        self._find_repository = cache(find_repository)
        self._read_tracked = cache(read_tracked)

    def delete(self, key: Key) -> str:
        """Deletes the file, after a look at it. Why it has stayed; "" where it has not."""
        reason = self.find_reason(key)
        if reason:
            return reason
        try:
            self._unlink(os.path.join(self._root, path_of(key)))
        except OSError as error:
            return f"it cannot be deleted: {error.strerror}"
        return ""

    def find_reason(self, key: Key, *, keeps_edits: bool = True) -> str:
        """Why it must not be deleted; "" where it may be."""
        last = self._writers.last(key)
        if is_rows(key):
            if sharer := self._writers.find_sharer(key):
                tool = self._name_of(tool_of(sharer))
                return (
                    f"{self._name_of(sharer)} writes rows with this value too;"
                    f" orch run {tool} --rebuild makes them anew"
                )
            is_edited = last is not None and self._writers.find_edit(key) is not None
            name = self._name_of(last.module) if last else ""
            return f"they were changed after {name} made them" if is_edited else ""
        if is_table_key(key):
            return "orch deletes no tables"
        path = path_of(key)
        full = os.path.join(self._root, path)
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
        if last is None or last.write.version == DATABASE or is_database(full):
            return "it is a database" if last else "no tool is sure to have made it"
        if (reason := self._find_in_git(real, file)) != "":
            return reason
        name = self._name_of(last.module)
        if not any(row.write.is_new for row in self._writers.of(key)):
            return f"orch did not see {name} create it: it may have been there before"
        return self._find_edit(full, last.write, name) if keeps_edits else ""

    def _find_edit(self, full: str, write: Write, name: str) -> str:
        if write.mark == UNSURE:
            return f"{name} was interrupted, and what it left in it is not known"
        mark, is_changed = read_mark(full), write.is_by_hand
        if mark == write.mark and is_changed:
            return "it was accepted as it is"
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


#: Deletes rows of these names from the database; why that could not be done, or "".
DeleteRows = Callable[[tuple[str, ...]], str]


class Cleaning:
    """What the tools of a project have made, read once."""

    def __init__(self, work: RemainingWork, delete_rows: DeleteRows) -> None:
        self._work, self._delete_rows = work, delete_rows
        self._registry = work.view.registry
        #: Tools that do not run now, and keep what they have made.
        self._held = {
            *(one.module for one in self._registry.disabled),
            *(one.module for one in self._registry.broken),
        }
        self._results = {one.module: one for one in work.all_results}
        self._writers = work.build_writers()
        self._deleter = Deleter(work.view.project.root, self._writers, self.name_of)

    def find(self, is_chosen: Callable[[str], bool] | None, *, is_all: bool) -> list[Found]:
        """What is left over from the chosen steps, or with `is_all` all files that they made and that are there. None
        stands for all tools, and for those that no longer exist: what these made is listed without `is_all` too."""
        registry, results = self._registry, self._results.values()
        left = self._work.find_left_over()
        things = [*left]
        left_keys = {one.key for one in left}
        keys = {key: None for one in results for key in one.writes if is_file_key(key)}
        made = [
            (key, last.module)
            for key in keys
            if key not in left_keys
            and (last := self._writers.last(key)) is not None
            and (is_all or not self._exists(last.module))
            and last.write.mark != ABSENT
            and not (last.write.mark == EXISTS and item_text(last.module))  # a folder of all items
            and self._work.is_there(key)
        ]
        made += [
            (key, last.module)
            for key, last in self._writers.left_over.items()
            if is_rows(key) and key not in left_keys and not self._exists(last.module)
        ]
        things += with_readers(registry, results, made)
        return [
            Found(
                thing=one,
                is_left_over=one.key in left_keys,
                is_gone=not self._exists(one.module),
                reason=self._deleter.find_reason(one.key),
            )
            for one in sorted(things, key=lambda one: (one.module, one.key))
            if is_chosen is None or is_chosen(one.module)
        ]

    def _exists(self, module: str) -> bool:
        return module in self._registry.tools or tool_of(module) in self._held

    def name_of(self, module: str) -> str:
        """How the tool is shown; one that no longer exists by its module."""
        is_known = tool_of(module) in self._registry.by_tool.tools
        return self._registry.display(module) if is_known else module

    def delete(self, found: Iterable[Found]) -> list[Found]:
        """Deletes the files and rows that can be deleted, each file after another look at it. Returns these, with the
        `reason` where one has stayed after all. What was left over and is deleted is forgotten: no tool is stale
        because of it. A tool or item that no longer exists may come back, and then makes its files and rows again."""
        chosen = [one for one in found if not one.reason]
        rows = tuple(table_name(one.thing.key) for one in chosen if is_rows(one.thing.key))
        problem = self._delete_rows(rows) if rows else ""
        done = [
            replace(
                one,
                reason=problem if is_rows(one.thing.key) else self._deleter.delete(one.thing.key),
            )
            for one in chosen
        ]
        forgotten: dict[str, set[Key]] = {}
        for one in done:
            key = one.thing.key
            if is_rows(key) and not one.reason:
                # Nothing tells the rows of different tools with the same value apart.
                for writer in self._writers.of(key):
                    if writer.key == key:
                        forgotten.setdefault(writer.module, set()).add(key)
            elif one.is_left_over and not (one.is_gone or one.reason):
                forgotten.setdefault(one.thing.module, set()).add(key)
        self._work.memory.settle_moves()
        for module, keys in forgotten.items():
            result = self._results[module]
            if any(is_rows(key) for key in keys) and not self._exists(module):
                removed = replace(result.last, status=REMOVED, cause="clean")
                result = replace(result, last=removed)
            writes = {key: write for key, write in result.writes.items() if key not in keys}
            self._work.memory.write(replace(result, writes=writes))
        return done
