"""What a tool did, as an `Observation`: to files, in databases past `conn`, with the environment.

The tool does not wait: what `audit_hook` and the others have noted is looked at when it has ended. Left out are
the project's database, folders of the system, and noise: caches, virtual environments, temporary files.
"""

from __future__ import annotations

import os
import sys
import time

from msgspec.structs import replace

from discover_orch.model.observation import RESOURCE, Observation, SharedUse
from discover_orch.model.table_name import WHOLE
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.environment_reads import EnvironmentReads
from discover_orch.worker.module_uses import ModuleUses, Uses
from discover_orch.worker.native_files import NativeFiles
from discover_orch.worker.observed_paths import ObservedPaths, find_source
from discover_orch.worker.opened_databases import database_signature
from discover_orch.worker.used_files import UsedFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode


CONN_OWNER = f"{RESOURCE}conn"


class Observer:
    """Observes from the moment it is made. `begin_step` before each step, `finish_step` after it."""

    def __init__(
        self, project: ProjectCode, database: str = "", native: NativeFiles | None = None
    ) -> None:
        self._project = project
        self.native = native or NativeFiles(ObservedPaths(project.root))
        self.paths = self.native.paths
        self.uses = ModuleUses(project, self.native)
        self.audit = AuditHook(project, self.native, self.uses)
        self._files = UsedFiles(self.audit, self.paths)
        self.environment = EnvironmentReads(project, self.uses)
        project.note_use = lambda frame, name: self.uses.note(frame, "module", name)
        project.note_code = self.native.follow_code
        self.own = self.audit.own
        self.own.tables_of_caller = self.uses.tables_of_caller
        self._began = (0, 0)
        #: Of resources that were opened in this step: the fields of an `Observation` for the tables that it used.
        self._tables: dict[str, Mapping[str, Any]] = {}
        #: `conn` was closed in this step, so that the kernel may tell of its file.
        self.has_closed_connection = False
        self._kept_attached: set[str] = set()  # to `conn`, from step to step
        if database:
            self.note_database(database)

    def begin_step(self, code: Collection[str] = ()) -> None:
        """Forget what happened before the step. `code` are the files that it includes, and the resources."""
        self.audit.clear()
        self.native.begin_step()
        self._project.begin_step(code)
        self._tables.clear()
        self._files.has_opened_database = self.has_closed_connection = False
        self.own.begin_step()
        self.include(code)
        self._began = _read_file_clock(), time.time_ns()

    def include(self, code: Iterable[str]) -> None:
        """The step includes this code. It uses the databases that this code has open."""
        included = {*code}
        for one in self.audit.kept:
            if one.is_open() and not included.isdisjoint(one.owners):
                self.audit.connected.setdefault(one.path, database_signature(one.path))

    def end_transactions(self) -> None:
        """Roll back what connections of the tools' own have left uncommitted."""
        for one in self.audit.kept:
            one.roll_back()
        self.own.roll_back()

    def note_database(self, path: str) -> None:
        """`path` is the project's database, which orch or `get_connection()` has just opened."""
        self.paths.set_database(path)
        self.own.set_database(self.paths.database)
        self.audit.connected.pop(self.paths.database, None)
        self.audit.kept = [
            one
            for one in self.audit.kept
            if one.path != self.paths.database or CONN_OWNER not in one.owners
        ]
        self.native.follow_folder(os.path.dirname(self.paths.database))

    def note_attach(self, name: str | None) -> None:
        """`conn` attaches this database file; None where its name is not known."""
        self.audit.note_attach(name, is_conn=True)

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

    def note_tables(self, owner: str, use: Mapping[str, Any]) -> None:
        """What a resource, or one that was opened before it, used in databases."""
        self._tables[owner] = use

    def finish_step(self, loaded: Collection[str] = (), **others: Any) -> Observation:
        """What happened since `begin_step`. `others` are fields of the `Observation` that are known already.

        `loaded` are source files, relative to the root, that orch's loader has loaded.
        """
        self._note_foreign_imports(loaded)
        others.update(self._inspect(tables_read=others.get("tables_read", ())))
        self._note_use_of_database(others)
        return Observation(began=self._began, **others)

    def _note_use_of_database(self, seen: dict[str, Any]) -> None:
        """What the tool did to the project's database in another way than through `conn`."""
        files = self.paths.database_files
        is_replaced = bool(files) and not files.isdisjoint(self.audit.changed.copy())
        is_read, is_written = self.native.find_use_of_database(
            self._began[0], ignores_this_process=self.has_closed_connection
        )
        if self.own.is_used:
            seen.setdefault("database", self.paths.relative(self.paths.database))
            is_read &= self.native.has_child
        if "database" in seen:  # `conn` may have written, and tells what others have
            is_written = False
            # DuckDB opens and closes its file by itself, and no other process can while it is open.
            is_read &= seen.get("dialect") != "duckdb"
        if self.has_foreign_connection() or is_replaced or is_written:
            seen["is_unclear"] = seen["has_committed"] = True
        elif is_read or self._files.has_opened_database:
            seen["tables_read"] = tuple(sorted({*seen.get("tables_read", ()), WHOLE}))

    def _note_foreign_imports(self, loaded: Collection[str]) -> None:
        """Count modules that were imported without orch's loader (by `spec_from_file_location`, for example)
        as files read."""
        for path in self.audit.imported.copy():
            source = find_source(path)
            source = source and os.path.abspath(source)
            shown = self.paths.relative(source)
            if shown and shown not in loaded:
                self.audit.opened[source] = None

    def _inspect(self, *, tables_read: Collection[str]) -> dict[str, Any]:
        """What happened since `begin_step`, except in databases."""
        audit, find_used = self.audit, self.uses.find_used
        seen: dict[str, Any] = {}
        inodes: set[int] = set()
        try:
            if not audit.is_empty():
                audit.resolve_paths()
                seen.update(self._files.inspect(inodes))
            self.native.complete(
                seen,
                inodes=inodes,
                databases={self.paths.show(path) for path in audit.connected.copy()},
                began=self._began[0],
            )
            if left := self._files.find_left(seen):
                seen["left"] = left
            if came := self._files.find_came(seen, self.native.folders_made, self._began[0]):
                seen["came"] = came
            if shared := self._find_shared(seen, tables_read):
                seen["shared"] = shared
        except Exception:  # the tool must not look like one that reads nothing
            seen["is_unclear"] = True
        used = {
            "environment": tuple(find_used("env")),
            "environment_asked": tuple(find_used("asked")),
            "has_copied_environment": bool(find_used("copied")),
            "used_modules": self._project.find_old_modules(find_used("module")),
            "gaps": tuple({**dict.fromkeys(self.native.find_gaps()), **find_used("gap")}),
        }
        return seen | {name: one for name, one in used.items() if one}

    def _find_shared(
        self, seen: Mapping[str, Any], tables_read: Collection[str]
    ) -> tuple[SharedUse, ...]:
        """What was `seen` and counts for all users of a module or resource."""
        found = []
        databases = frozenset(map(self.paths.show, self.audit.connected.copy()))
        shared = self.uses.find_shared()
        for owner in self._tables:
            shared.setdefault(owner, Uses((owner,)))
        for owner, uses in shared.items():
            shown = {self.paths.show(path) or "." for path in uses.opened}
            shown |= {one + "-wal" for one in shown & databases}
            native = {*map(self.paths.show, self.uses.natively_read.get(owner, ()))}
            folders = {path.rpartition("/")[0] or "." for path in native}
            names = {kind: [one for its, one in uses.used if its == kind] for kind, _ in uses.used}
            changed = ((self.paths.show(path), one) for path, one in uses.changed.items())
            nothing = SharedUse(path=owner, began=self._began)
            use = replace(
                nothing,
                **self._tables.get(owner, {}),
                read=(
                    *(row for row in seen.get("read", ()) if row[0] in shown),
                    *((path, *state) for path, state in changed if path),
                ),
                native_read=tuple(
                    row for row in seen.get("native_read", ()) if row[0] in shown | native
                ),
                listed=tuple(row for row in seen.get("listed", ()) if row[0] in shown),
                came=tuple(
                    row
                    for row in seen.get("came", ())
                    if (row[0].rpartition("/")[0] or ".") in shown | folders
                ),
                native_listed=tuple(
                    row for row in seen.get("native_listed", ()) if row[0] in folders
                ),
                native_globs=tuple(
                    one
                    for one in seen.get("native_globs", ())
                    if (one.rpartition("/")[0] or ".") in folders
                ),
                missed=tuple(one for one in seen.get("missed", ()) if one in shown),
                asked=tuple(one for one in seen.get("asked", ()) if one.rstrip("/") in shown),
                measured=tuple(row for row in seen.get("measured", ()) if row[0] in shown),
                environment=tuple(names.get("env", ())),
                environment_asked=tuple(names.get("asked", ())),
                has_copied_environment="copied" in names,
                databases=tuple(sorted(shown & databases)),
                used_modules=tuple(
                    one for one in names.get("module", ()) if one in self._project.modules
                ),
                gaps=tuple(names.get("gap", ())),
            )
            if self.paths.database in uses.opened and self.has_foreign_connection():
                use = replace(use, is_unclear=True)
            kept = (
                name
                for name in tables_read
                if WHOLE in uses.tables or name.rpartition(":")[2] in uses.tables
            )
            use = replace(use, tables_read=tuple(dict.fromkeys((*use.tables_read, *kept))))
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
