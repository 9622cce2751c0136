"""What a tool did, as an `Observation`: to files, in databases past `conn`, with the environment.

The tool does not wait: what `audit_hook` and the others have noted is looked at when it has ended. Left out are
the project's database, folders of the system, and noise: caches, virtual environments, temporary files.
"""

from __future__ import annotations

import os
import sys
import time

from discover_orch.model.observation import RESOURCE, UNCLEAR, Observation, SharedUse, Use
from discover_orch.model.table_keys import WHOLE
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.environment_reads import EnvironmentReads
from discover_orch.worker.native_files import NativeFiles
from discover_orch.worker.observed_paths import ObservedPaths, StepFiles, find_source
from discover_orch.worker.opened_databases import database_signature
from discover_orch.worker.shared_uses import ModuleUses, Uses
from discover_orch.worker.used_files import UsedFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode


CONN_OWNER = f"{RESOURCE}conn"
#: What users of a module or resource can share: what it read, not what it wrote.
_SHARED_KINDS = frozenset(("read", "opened", "missed", "came", "listed", "asked"))


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
        self._tables: dict[str, tuple[Use, ...]] = {}  # of resources that were opened in this step
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

    def note_tables(self, owner: str, uses: tuple[Use, ...]) -> None:
        """What a resource, or one that was opened before it, used in databases."""
        self._tables[owner] = uses

    def finish_step(
        self, tables: Iterable[Use] = (), loaded: Collection[str] = (), **others: Any
    ) -> Observation:
        """What happened since `begin_step`. `tables` and `others`, fields of the `Observation`, are known already.

        `loaded` are source files, relative to the root, that orch's loader has loaded.
        """
        self._note_foreign_imports(loaded)
        uses = [*tables]
        shared: tuple[SharedUse, ...] = ()
        files = StepFiles()
        try:
            uses += self._find_files(files, loaded)
            shared = tuple(self._find_shared(uses, files))
        except Exception:  # the tool must not look like one that reads nothing
            uses.append(UNCLEAR)
        used = self.uses.find_used()
        named = used.pop("module", ())
        uses += self._find_names(used, named)
        self._note_use_of_database(uses, others)
        code = tuple(self.native.commands.code) if self.native.has_child else ()
        return Observation(
            uses=tuple(uses),
            shared=shared,
            child_code=code,
            may_be_native=self.native.may_be_unnamed(named),
            began=self._began,
            **others,
        )

    def _note_use_of_database(self, uses: list[Use], seen: dict[str, Any]) -> None:
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
        if (is_seen := self.has_foreign_connection() or is_replaced) or is_written:
            uses.append(UNCLEAR if is_seen else Use(UNCLEAR.key, UNCLEAR.kind, "kernel"))
            seen["has_committed"] = True
        elif (is_seen := self._files.has_opened_database) or is_read:
            uses.append(Use(f"table:{WHOLE}", "read", "seen" if is_seen else "kernel"))

    def _note_foreign_imports(self, loaded: Collection[str]) -> None:
        """Count modules that were imported without orch's loader (by `spec_from_file_location`, for example)
        as files read."""
        for path in self.audit.imported.copy():
            source = find_source(path)
            source = source and os.path.abspath(source)
            shown = self.paths.relative(source)
            if shown and shown not in loaded:
                self.audit.opened[source] = None

    def _find_files(self, seen: StepFiles, loaded: Collection[str]) -> Iterator[Use]:
        """What happened to files since `begin_step`."""
        if not self.audit.is_empty():
            self.audit.resolve_paths()
            self._files.inspect(seen)
        databases = {self.paths.show(path) for path in self.audit.connected.copy()}
        self.native.complete(seen, known=databases.union(loaded), began=self._began[0])
        yield from seen.uses(databases)
        yield from self._files.find_written(seen)
        yield from self._files.find_came(seen, self.native.folders_made, self._began[0])

    def _find_names(self, used: dict[str, list[str]], named: Collection[str]) -> Iterator[Use]:
        """Variables, modules, and why there may be more. A child process gets a copy of all variables."""
        if self.native.has_child:
            used["copied"] = [""]
        modules = self._project.find_old_modules(named)
        yield from (Use(f"gap:{one}", "unclear", "kernel") for one in self.native.find_gaps())
        yield from (Use(f"gap:{one}", "unclear") for one in used.pop("gap", ()))
        yield from (Use(f"module:{one}", "read") for one in modules)
        yield from _name_variables(used)

    def _find_shared(self, seen: Collection[Use], files: StepFiles) -> Iterator[SharedUse]:
        """What was `seen` and counts for all users of a module or resource."""
        databases = {self.paths.show(path) for path in self.audit.connected.copy()}
        shared = self.uses.find_shared()
        for owner in self._tables:
            shared.setdefault(owner, Uses((owner,)))
        for owner, used in shared.items():
            shown = {self.paths.show(path) or "." for path in used.opened}
            shown |= {f"{one}-wal" for one in shown & databases}
            native = shown.union(map(self.paths.show, self.uses.natively_read.get(owner, ())))
            native.update(path.rpartition("/")[0] or "." for path in [*native - shown])
            found = [*self._tables.get(owner, ())]
            for use in seen:
                if use.kind not in _SHARED_KINDS or use.via in ("aside", "command"):
                    continue
                if use.key.startswith("table:"):
                    name = use.name
                    is_used = WHOLE in used.tables or name.rpartition(":")[2] in used.tables
                    found += [use] if is_used and use.kind == "read" else ()
                    continue
                places = native if use.via == "kernel" else shown
                name = use.name.rstrip("/")
                folder = name.rpartition("/")[0] or "."
                if use.kind == "came":
                    is_used = folder in native
                else:
                    is_used = (folder if use.key.startswith("glob:") else name) in places
                if is_used:
                    # What it read before the tool had native code or a child write it is not known.
                    is_changed = use.kind == "read" and name in files.native_written
                    found.append(Use(use.key, use.kind, use.via) if is_changed else use)
            for path, state in used.changed.items():
                if shown_path := self.paths.show(path):
                    found.append(Use(f"file:{shown_path}", "read", "seen", state))
            names: dict[str, list[str]] = {}
            for kind, name in used.used:
                names.setdefault(kind, []).append(name)
            found += _name_variables(names)
            known = self._project.modules
            found += (
                Use(f"module:{one}", "read") for one in names.get("module", ()) if one in known
            )
            found += (Use(f"gap:{one}", "unclear") for one in names.get("gap", ()))
            if self.paths.database in used.opened and self.has_foreign_connection():
                found.append(UNCLEAR)
            if found:
                yield SharedUse(owner, tuple(found))


def _name_variables(used: Mapping[str, Iterable[str]]) -> Iterator[Use]:
    yield from (Use(f"env:{one}", "read") for one in used.get("env", ()))
    yield from (Use(f"env:{one}", "asked") for one in used.get("asked", ()))
    if used.get("copied"):
        yield Use("environ:", "read")


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
