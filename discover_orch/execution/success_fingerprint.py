"""What the success of a tool rested on: its code as it ran, the files that it read as they were, packages, database.

Built from what the worker observed and what the plan knew of the code. What changed while the tool ran is marked as
unsure, so that the tool is stale again. Reads and hashes files, writes none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping

from discover_orch.discovery.scanner import PythonPath
from discover_orch.execution.events import ToolFinished
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import FileStat, Observation, file_stat
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Step, step_texts
from discover_orch.staleness.code_hashes import CodeState
from discover_orch.staleness.current import CurrentState, all_resources, takes_connection
from discover_orch.staleness.file_hashes import (
    FileHashes,
    hash_file,
    read_file_stat,
    stat_file,
)
from discover_orch.staleness.fingerprint import GONE, UNSURE, DatabaseIdentity, Fingerprint
from discover_orch.staleness.memory import (
    Moment,
    Success,
    ToolResult,
    UncertainWrites,
)

#: In place of a hash: the file changed after the tool had ended and before it was hashed.
CHANGED_SINCE = "!"
UNKNOWN = frozenset((UNSURE, CHANGED_SINCE))


class SuccessBuilder:
    """For the tools of one run. In the order in which they end, call `add_event` for each, then `build_success` or
    `build_uncertain_writes`, then `mark_written`."""

    def __init__(
        self,
        present: CurrentState,
        code: Mapping[str, CodeState],
        remembered: Callable[[str], ToolResult | None],
    ) -> None:
        """`remembered` returns what is known of a tool from earlier runs."""
        self._current, self._code, self._root = present, code, present.project.root
        self._remembered = remembered
        self._loaded: dict[str, str] = {}  # project files that the workers loaded → hash
        self._hashed: dict[str, tuple[FileStat, str]] = {}
        self._written: set[str] = set()  # files written by the tools that have ended
        self._brought: dict[
            str, frozenset[str]
        ] = {}  # installed module → those loaded together with it
        self._owners: dict[str, tuple[str, ...]] = {}
        # What was observed while a file was loaded or a resource opened: once in each worker, for all its tools.
        self._setup_of_files: dict[str, list[Observation]] = {}
        self._setup_of_resources: dict[str, list[Observation]] = {}

    def add_event(self, event: ToolFinished) -> None:
        self._loaded.update(event.loaded)
        if event.setup is not None:
            for path in event.loaded:
                self._setup_of_files.setdefault(path, []).append(event.setup)
            for name in event.opened:
                self._setup_of_resources.setdefault(name, []).append(event.setup)

    def mark_written(self, seen: Observation) -> None:
        self._written.update(seen.written)

    def build_success(
        self, event: ToolFinished, step: Step, epoch: int
    ) -> tuple[Success, list[str]]:
        """What this success rested on, and the files of its code that differ from what the plan knew. `epoch` is the
        number of the database."""
        tool, seen = step.tool, event.seen or Observation()
        code, modules, changed = self._code_as_run(tool, event.loaded)
        setup = self.find_setup_observations(tool, code, event.setup)
        files, file_stats, patterns = self._files(tool, seen, setup)
        folders = self._folders(tool, seen, setup)
        missed = self._missed(tool, seen, setup)
        written = self._current.outputs(tool, seen.written)
        fingerprint = Fingerprint(
            code=code,
            python=self._current.python,
            distributions=self._distributions(tool, seen),
            params=step_texts(step, self._root),
            files=files,
            folders=folders,
            patterns=patterns,
            missed=missed,
            written=written,
            database=self._database(tool, epoch),
        )
        flow = Dataflow(
            reads=_paths(seen, setup, own={*seen.written}),
            writes=seen.written,
            tables_read=_tables(seen, setup),
            tables_written=seen.tables_written,
            folders=tuple(folders),
            missed=missed,
            is_unclear=seen.is_unclear or any(one.is_unclear for one in setup),
        )
        success = Success(
            run=0,
            duration=event.duration,
            fingerprint=fingerprint,
            file_stats=file_stats,
            modules=modules,
            flow=flow,
        )
        return success, changed

    def build_uncertain_writes(
        self, tool: Tool, seen: Observation, moment: Moment, epoch: int, old: UncertainWrites | None
    ) -> UncertainWrites | None:
        """What this attempt, which failed, and those before it have left in the database."""
        if not seen.has_committed:
            return old
        database = self._database(tool, epoch)
        has_old = old is not None and old.database == database
        return UncertainWrites(
            moment=moment,
            tables=tuple(
                dict.fromkeys((*(old.tables if old and has_old else ()), *seen.tables_written))
            ),
            is_unclear=seen.is_unclear or (old is not None and has_old and old.is_unclear),
            database=database,
        )

    def _database(self, tool: Tool, epoch: int) -> DatabaseIdentity | None:
        if not takes_connection(tool, self._current.registry):
            return None
        return DatabaseIdentity(name=self._current.database_name, epoch=epoch)

    def find_setup_observations(
        self, tool: Tool, code: Iterable[str], own: Observation | None
    ) -> list[Observation]:
        """What was observed when other tools loaded a file of this code or opened a resource of this tool; without
        `own`, which is the tool's own."""
        found: dict[int, Observation] = {}
        if self._setup_of_files:
            for path in code:
                for one in self._setup_of_files.get(path, ()):
                    found[id(one)] = one
        if self._setup_of_resources and tool.resources:
            for name in all_resources(tool, self._current.registry):
                for one in self._setup_of_resources.get(name, ()):
                    found[id(one)] = one
        found.pop(id(own), None)
        return [*found.values()]

    def _folders(
        self, tool: Tool, seen: Observation, setup: Iterable[Observation]
    ) -> dict[str, str]:
        """The names in the folders that it listed. Folders listed during setup are read again, without what this tool
        wrote itself. If their names have changed, it is unknown which names the tool used."""
        found = dict(seen.listed)
        for one in setup:
            file_hashes = FileHashes(self._root, seen.database or one.database)
            own = file_hashes.own(seen.written, tool.outputs)
            for folder, names in one.listed:
                current = file_hashes.folder(folder, own)
                both = (
                    file_hashes.folder(folder, one.written),
                    file_hashes.folder(folder, {*one.written, *own}),
                )
                known = found.get(folder, current)
                found[folder] = known if names in both else UNSURE
        return found

    def _missed(
        self, tool: Tool, seen: Observation, setup: Iterable[Observation]
    ) -> tuple[str, ...]:
        missed = dict.fromkeys(seen.missed)
        for one in setup:
            own = {*seen.written, *seen.removed, *self._current.outputs(tool, ())}
            missed.update(dict.fromkeys(path for path in one.missed if path not in own))
        return tuple(missed)

    def _code_as_run(
        self, tool: Tool, loaded: Mapping[str, str]
    ) -> tuple[dict[str, str], tuple[str, ...], list[str]]:
        """The hashes of its code, modules that it loaded without an import statement, and files that were loaded with
        another text than the plan knew."""
        code = self._current.code_of(tool, self._code)
        hashes = self._current.hashes_of(tool, self._code)
        modules: tuple[str, ...] = ()
        extra = [path for path in loaded if path not in code]
        if extra:
            space = PythonPath(self._current.project)
            modules = tuple(name for path in extra if (name := space.name(path)))
            for one in self._current.code.read(modules).values():
                code |= one.meanings
                hashes |= one.hashes
        changed = [
            path for path, content in hashes.items() if self._loaded.get(path, content) != content
        ]
        for path in changed:
            code[path] = UNSURE
        return code, modules, changed

    def _files(
        self, tool: Tool, seen: Observation, setup: Iterable[Observation]
    ) -> tuple[dict[str, str], dict[str, FileStat], dict[str, str]]:
        """Hashes and stats of the files that it read or declares to read, and what its globs match."""
        if not (tool.inputs or seen.read or setup):
            return {}, {}, {}
        file_hashes = FileHashes(
            self._root, seen.database
        )  # as it is now: earlier tools have written
        own = file_hashes.own(seen.written, tool.outputs)
        paths, patterns = file_hashes.declared(tool.inputs, own)
        rows: dict[str, FileStat | None] = dict.fromkeys(paths)
        rows |= {path: (size, changed, inode) for path, size, changed, inode in seen.read}
        before = self._remembered(tool.module)
        last = before.success if before else None
        files, file_stats = {}, {}
        for path, stat in rows.items():
            if path in own:
                continue
            files[path], kept = self._hash(path, stat, seen, last)
            if kept is not None:
                file_stats[path] = kept
        for one in setup:
            for path, size, changed, inode in one.read:
                if path in own or files.get(path) in UNKNOWN:
                    continue
                files[path], kept = self._hash(path, (size, changed, inode), one, last)
                file_stats.pop(path, None)
                if kept is not None:
                    file_stats[path] = kept
        return files, file_stats, patterns

    def _hash(
        self, path: str, stat: FileStat | None, seen: Observation, last: Success | None
    ) -> tuple[str, FileStat | None]:
        """The hash of the file as the tool read it, and its stat if that stands for the hash. `last` is the success
        before."""
        full = os.path.join(self._root, path)
        found = stat_file(full)
        current = None if found is None else file_stat(found)
        if stat is not None and current != stat:
            return CHANGED_SINCE, None
        if found is None or current is None:
            return GONE, None
        if self._changed_meanwhile(path, found.st_ctime_ns, seen):
            content, kept = hash_file(full, current)
            # The same content as at the last success: a link was made to it, or a process of the tool wrote the same
            # again.
            is_same = last is not None and content == last.fingerprint.files.get(path)
            return (content, kept) if is_same else (UNSURE, None)
        known = self._hashed.get(path)
        if known is not None and known[0] == current:
            return known[1], current
        if last is not None and last.file_stats.get(path) == current:
            return last.fingerprint.files[path], current
        content, kept = hash_file(full, current)
        if kept is None:
            has_changed = stat is not None and read_file_stat(full) != stat
            return (CHANGED_SINCE if has_changed else content), None
        self._hashed[path] = kept, content
        return content, kept

    def _changed_meanwhile(self, path: str, changed: int, seen: Observation) -> bool:
        """Whether it changed after the tool had started; `changed` is its ctime. Times of files come from a clock with
        steps of some milliseconds, so files that an earlier tool wrote just before are compared with a finer one."""
        coarse, fine = seen.began
        if not coarse:  # unknown
            return False
        return changed > (fine if path in self._written else coarse)

    def _distributions(self, tool: Tool, seen: Observation) -> dict[str, str]:
        """The packages of installed modules that it loaded, or that it imports and another tool loaded before."""
        together = frozenset(seen.third_party)
        self._brought.update(dict.fromkeys(seen.third_party, together))
        names = set(together)
        for name in self._current.third_party_of(tool, self._code):
            names |= self._brought.get(name, frozenset((name,)))
        if not names:
            return {}
        from discover_orch.staleness.installed_packages import find_owners  # few tools load any

        unknown = [name for name in names if name not in self._owners]
        if unknown:
            self._owners |= dict.fromkeys(unknown, ())
            self._owners |= find_owners(unknown, sys.path)
        owners = sorted({owner for name in names for owner in self._owners[name]})
        return self._current.installed(owners)


def _paths(
    seen: Observation, setup: Iterable[Observation], own: Collection[str]
) -> tuple[str, ...]:
    """The files that were read by the tool or during setup, except `own`."""
    paths = dict.fromkeys(path for path, *_ in seen.read)
    for one in setup:
        paths.update(dict.fromkeys(path for path, *_ in one.read if path not in own))
    return tuple(paths)


def _tables(seen: Observation, setup: Iterable[Observation]) -> tuple[str, ...]:
    """Tables that were written during setup count as read: the later tools depend on them."""
    tables = {*seen.tables_read}
    for one in setup:
        tables.update(one.tables_read, one.tables_written)
    return tuple(sorted(tables))
