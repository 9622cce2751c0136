"""What a tool did, as an `Observation`: to files, in databases past `conn`, with the environment.

The tool does not wait: what `audit_hook` and the others have noted is looked at when it has ended. Left out are
the project's database, folders of the system, and noise: caches, virtual environments, temporary files.
"""

from __future__ import annotations

import os
import sys
import time

from msgspec.structs import replace

from discover_orch.model.observation import CachedUse, Observation
from discover_orch.model.table_name import WHOLE
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.call_stacks import CallStacks, Stack
from discover_orch.worker.environment_reads import EnvironmentReads
from discover_orch.worker.native_files import NativeFiles
from discover_orch.worker.observed_paths import ObservedPaths, find_source
from discover_orch.worker.opened_databases import database_signature
from discover_orch.worker.used_files import UsedFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode


class Observer:
    """Observes from the moment it is made. `begin_step` before each step, `finish_step` after it."""

    def __init__(
        self, project: ProjectCode, database: str = "", native: NativeFiles | None = None
    ) -> None:
        self._project = project
        self.native = native or NativeFiles(ObservedPaths(project.root))
        self.paths = self.native.paths
        self._stacks = CallStacks(project)
        self.audit = AuditHook(project, self.native, self._stacks)
        self._files = UsedFiles(self.audit, self.paths)
        self._environment = EnvironmentReads(project, self._stacks)
        self.tables_of_caller = self._stacks.tables_of_caller
        project.note_use = lambda frame, name: self._stacks.note(frame, "module", name)
        self._began = (0, 0)
        #: What was observed of the setup of this step; None for nothing.
        self.setup: Observation | None = None
        self._setup_imports = 0  # files imported when `setup` was made
        #: `conn` was closed in this step, so that the kernel may tell of its file.
        self.has_closed_connection = False
        self._kept_attached: set[str] = set()  # to `conn`, from step to step
        self._open_databases: dict[str, None] = {}  # stay open for later steps
        if database:
            self.note_database(database)

    def begin_step(self) -> None:
        """Forget what happened before the step."""
        self.audit.clear()
        self.native.begin_step()
        self._project.clear()
        self.setup = None
        self._setup_imports = 0
        self._files.has_opened_database = self.has_closed_connection = False
        for path in self._open_databases:
            self.audit.connected[path] = database_signature(path)
        self._began = _read_file_clock(), time.time_ns()

    def note_database(self, path: str) -> None:
        """`path` is the project's database, which orch or `get_connection()` has just opened."""
        self.paths.set_database(path)
        self.audit.connected.pop(self.paths.database, None)
        self.native.follow_folder(os.path.dirname(self.paths.database))

    def note_attach(self, name: str | None) -> None:
        """`conn` attaches this database file; None where its name is not known."""
        self.audit.note_attach(name)

    def note_attached(self, paths: Iterable[str]) -> None:
        """These database files, by their real paths, are attached to `conn`, which the step uses."""
        for path in paths:
            # An earlier step may have written a known one just now.
            is_known = path in self._kept_attached
            self._kept_attached.add(path)
            signature = database_signature(path)
            is_new = not is_known and signature[0] is not None and signature[0][3] >= self._began[0]
            self.audit.connected.setdefault(path, (None, None) if is_new else signature)

    def note_files(
        self, read: Iterable[str], written: Iterable[str], listed: Iterable[str] = ()
    ) -> None:
        """Note absolute paths of files that a database read and wrote, and of folders that it listed: Python does not
        open these."""
        self.audit.opened.update(dict.fromkeys(read))
        self.audit.listed.update(dict.fromkeys(listed))
        for path in written:
            self.audit.changed.setdefault(path, False)

    def has_foreign_connection(self) -> bool:
        """Whether something else than `conn` has opened the project's database since `begin_step`."""
        return self.paths.database in self.audit.connected

    def mark_setup_done(self, **others: Any) -> None:
        """What happened since `begin_step` was setup: modules loaded and resources opened, which later steps
        of this worker share. `others` are fields of that `Observation` that are known already.
        """
        audit = self.audit
        self._setup_imports = len(audit.imported)
        if self.has_foreign_connection():
            others["is_unclear"] = True
        only_attached = self._kept_attached - audit.opened_databases
        for path in audit.connected.copy():
            if path != self.paths.database and path not in only_attached:
                self._open_databases[path] = None
        seen = self._inspect(is_setup=True)
        if not seen and not others:
            return
        others.update(seen)
        setup = Observation(began=self._began, **others)
        is_empty = setup == Observation(began=self._began)  # all was noise, such as bytecode
        self.setup = None if is_empty else setup

    def finish_step(self, loaded: Collection[str] = (), **others: Any) -> Observation:
        """What happened since `begin_step`. `others` are fields of the `Observation` that are known already.

        `loaded` are source files, relative to the root, that orch's loader has loaded.
        """
        setup = self._find_foreign_imports(loaded) if self.audit.imported else ()
        others.update(self._inspect(tables_read=others.get("tables_read", ())))
        self._note_use_of_database(others)
        seen = Observation(began=self._began, **others)
        if setup:
            before = self.setup or Observation(began=self._began)
            read = (*before.read, *(row for row in seen.read if row[0] in setup))
            self.setup = replace(before, read=read)
        return seen

    def _note_use_of_database(self, seen: dict[str, Any]) -> None:
        """What the tool did to the project's database in another way than through `conn`."""
        files = self.paths.database_files
        is_replaced = bool(files) and not files.isdisjoint(self.audit.changed.copy())
        is_read, is_written = self.native.find_use_of_database(
            self._began[0], ignores_this_process=self.has_closed_connection
        )
        if "database" in seen:  # `conn` may have written, and tells what others have
            is_written = False
            # DuckDB opens and closes its file by itself, and no other process can while it is open.
            is_read &= seen.get("dialect") != "duckdb"
        if self.has_foreign_connection() or is_replaced or is_written:
            seen["is_unclear"] = seen["has_committed"] = True
        elif is_read or self._files.has_opened_database:
            seen["tables_read"] = tuple(sorted({*seen.get("tables_read", ()), WHOLE}))

    def _find_foreign_imports(self, loaded: Collection[str]) -> set[str]:
        """Count modules that were imported without orch's loader (by `spec_from_file_location`, for example)
        as files read. Returns those imported before `mark_setup_done`.
        """
        setup = set()
        for number, path in enumerate(self.audit.imported.copy()):
            source = find_source(path)
            source = source and os.path.abspath(source)
            shown = self.paths.relative(source)
            if shown and shown not in loaded:
                self.audit.opened[source] = None
                if number < self._setup_imports:
                    setup.add(shown)
        return setup

    def _inspect(
        self, *, is_setup: bool = False, tables_read: Collection[str] = ()
    ) -> dict[str, Any]:
        """What happened since `begin_step`, except in databases."""
        audit, find_used = self.audit, self._stacks.find_used
        seen: dict[str, Any] = {}
        inodes: set[int] = set()
        try:
            if not audit.is_empty():
                audit.resolve_paths()
                seen.update(self._files.inspect(inodes, has_databases=not is_setup))
            self.native.complete(
                seen,
                inodes=inodes,
                databases={self.paths.show(path) for path in audit.connected.copy()},
                began=self._began[0],
            )
            if came := self._files.find_came(seen, self.native.folders_made, self._began[0]):
                seen["came"] = came
            if not is_setup and (cached := self._find_cached(seen, tables_read)):
                seen["cached"] = cached
        except Exception:  # the tool must not look like one that reads nothing
            seen["is_unclear"] = True
        gaps = [*self.native.find_gaps(), *audit.gaps.copy()]
        if gaps:
            seen["gaps"] = tuple(gaps)
        used = {
            "environment": tuple(find_used("env")),
            "environment_asked": tuple(find_used("asked")),
            "has_copied_environment": bool(find_used("copied")),
            "used_modules": self._project.find_old_modules(find_used("module")),
        }
        return seen | {name: one for name, one in used.items() if one}

    def _find_cached(
        self, seen: Mapping[str, Any], tables_read: Collection[str]
    ) -> tuple[CachedUse, ...]:
        """What was `seen` and is not repeated, by the file that keeps it."""
        found = []
        shared, loaded = self._stacks.find_shared(), self._project.find_found_loaded()
        if not (shared or loaded):  # most tools
            return ()
        read = (*seen.get("read", ()), *seen.get("native_read", ()))
        databases = frozenset(map(self.paths.show, self.audit.connected.copy()))
        for file in dict.fromkeys((*shared, *loaded)):
            stack = shared.get(file) or Stack(())
            shown = {self.paths.show(path) or "." for path in stack.opened}
            shown |= {one + "-wal" for one in shown & databases}
            names = {
                kind: [one for its, one in stack.used if its == kind] for kind, _ in stack.used
            }
            modules = self._project.modules.intersection(names.get("module", ()))
            nothing = CachedUse(path=file, began=self._began)
            use = replace(
                nothing,
                read=tuple(row for row in read if row[0] in shown),
                listed=tuple(row for row in seen.get("listed", ()) if row[0] in shown),
                missed=tuple(one for one in seen.get("missed", ()) if one in shown),
                asked=tuple(one for one in seen.get("asked", ()) if one.rstrip("/") in shown),
                measured=tuple(row for row in seen.get("measured", ()) if row[0] in shown),
                environment=tuple(names.get("env", ())),
                environment_asked=tuple(names.get("asked", ())),
                has_copied_environment="copied" in names,
                databases=tuple(sorted(shown & databases)),
                used_modules=tuple(sorted(modules | loaded.get(file, set()))),
                tables_read=tuple(
                    name
                    for name in tables_read
                    if WHOLE in stack.tables or name.rpartition(":")[2] in stack.tables
                ),
            )
            if use != nothing:
                found.append(use)
        return tuple(found)


def _read_file_clock() -> int:
    """The time stamp that a new file gets now, in nanoseconds: no file that was written before has a later one.

    Linux takes the stamps from a clock with steps of some milliseconds, and since 6.13 finer ones for files that were
    looked at. A later stamp of any file is never before an earlier one, so only a file can tell."""
    if sys.platform != "linux":
        return time.time_ns()
    try:
        file = os.memfd_create("clock")
    except OSError:  # no descriptor is left
        return time.clock_gettime_ns(5)  # CLOCK_REALTIME_COARSE, which `time` does not name
    stamp = os.fstat(file).st_ctime_ns
    os.close(file)
    return stamp
