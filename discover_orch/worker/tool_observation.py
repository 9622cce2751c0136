"""What a tool did, as an `Observation`: to files, in databases past `conn`, with the environment.

The tool does not wait: what `audit_hook` and the others have noted is looked at when it has ended. Left out are
the project's database, folders of the system, and noise: caches, virtual environments.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from discover_orch.model.keys import WHOLE, file_key
from discover_orch.model.observation import (
    CONNECTED,
    RESOURCE,
    UNCLEAR,
    Observation,
    Use,
    changed_at,
)
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.environment_reads import EnvironmentReads
from discover_orch.worker.kept_state import KeptState
from discover_orch.worker.observed_paths import ObservedPaths, StepFiles, find_source
from discover_orch.worker.opened_databases import database_mark
from discover_orch.worker.ran_functions import RanFunctions
from discover_orch.worker.shared_uses import ModuleUses
from discover_orch.worker.traced_files import TracedFiles
from discover_orch.worker.traced_uses import Before, TracedUses, TraceReader
from discover_orch.worker.used_files import UsedFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.shared_uses import Uses


CONN_OWNER = f"{RESOURCE}conn"
#: What users of a module or resource can share: what it read, not what it wrote.
_SHARED_KINDS = frozenset(("read", "opened", "missed", "listed", "asked"))
_NOT_TRACED: Before = frozenset(), frozenset()


class Observer:
    """Observes from the moment it is made. `begin_step` before each step, `finish_step` after it."""

    def __init__(
        self, project: ProjectCode, database: str = "", traced: TracedFiles | None = None
    ) -> None:
        """`traced` is None in a test: there nothing is traced."""
        self._project = project
        self.traced = traced or TracedFiles(project.root)
        self.paths = ObservedPaths(project.root)
        self.uses = ModuleUses(project)
        self.audit = AuditHook(project, self.traced, self.uses)
        self._files = UsedFiles(self.audit, self.uses, self.paths)
        self.ran = RanFunctions(project)
        self.audit.note_hook, self.audit.note_code = self.ran.note_hook, self.ran.note_code
        self.audit.note_new_code = self.ran.note_new_code
        self._kept = KeptState(project)
        self.environment = EnvironmentReads(project, self.uses)
        project.note_use = lambda frame, name: self.uses.note(frame, "module", name)
        self.own = self.audit.own
        self.own.tables_of_caller = self.uses.tables_of_caller
        self.traced.note_begin = self._note_trace_begin
        self._before = _NOT_TRACED
        self._began = (0, 0)
        self._tables: dict[str, tuple[Use, ...]] = {}  # of resources that were opened in this step
        #: `conn` was closed in this step, so that the driver may have opened its file.
        self.has_closed_connection = False
        self._kept_attached: set[str] = set()  # to `conn`, from step to step
        #: When `conn` was being opened in this step, in ns by the monotonic clock.
        self._openings: list[tuple[int, int]] = []
        #: A program that the step has started and that could not gain the rights that it has.
        self.setuid = ""
        if database:
            self.note_database(database)

    def begin_step(self, code: Collection[str] = ()) -> None:
        """Forget what happened before the step. `code` are the files that it includes, and the resources."""
        self.audit.clear()
        self.traced.begin_step()
        self._project.begin_step(code)
        self._tables.clear()
        self._openings.clear()
        self._before, self.setuid = _NOT_TRACED, ""
        self._files.has_opened_database = self.has_closed_connection = False
        self.own.begin_step()
        self.include(code)
        self.ran.begin_step()
        self._began = _read_file_clock(), time.time_ns()

    def _note_trace_begin(self) -> None:
        self._before = frozenset(self.uses.find_opened()), frozenset(self.audit.changed.copy())

    def include(self, code: Iterable[str]) -> None:
        """The step includes this code. It uses the databases that this code has open."""
        included = {*code}
        for one in self.audit.kept:
            if one.is_open() and not included.isdisjoint(one.owners):
                self.audit.connected.setdefault(one.path, database_mark(one.path))

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

    @contextlib.contextmanager
    def opening_connection(self, *, is_by_url: bool) -> Iterator[None]:
        """While `conn` is opened: the file and the network that are used are those of the database. By a URL, no code
        of the user runs, so whatever is read is the driver's: certificates, passwords."""
        began = time.monotonic_ns()
        try:
            yield
        finally:
            self._openings.append((began, time.monotonic_ns()))
            found = self.traced.collect()  # the file may be opened once more, by the tool
            if is_by_url:
                found[:] = [one for one in found if not (one.is_own and self._is_opening(one.at))]

    def note_attach(self, name: str | None) -> None:
        """`conn` attaches this database file; None where its name is not known."""
        self.audit.note_attach(name, is_conn=True)

    def note_attached(self, paths: Iterable[str]) -> None:
        """These database files, by their real paths, are attached to `conn`, which the step uses."""
        for path in paths:
            # An earlier step may have written a known one just now.
            is_known = path in self._kept_attached
            self._kept_attached.add(path)
            mark = database_mark(path)
            is_new = not is_known and mark[0] is not None and changed_at(mark[0]) >= self._began[0]
            self.audit.connected.setdefault(path, (None, None) if is_new else mark)

    def note_outputs(self, declared: Iterable[str]) -> None:
        """Where the kernel is not asked, native code or a child process may have written these files."""
        if self.traced.find_gaps():
            for path in map(self.paths.full, declared):
                if os.path.isfile(path):
                    self.audit.changed.setdefault(os.path.normpath(path), True)

    def has_foreign_connection(self) -> bool:
        """Whether something else than `conn` has opened the project's database since `begin_step`."""
        return self.paths.database in self.audit.connected

    def note_tables(self, owner: str, uses: tuple[Use, ...]) -> None:
        """What a resource, or one that was opened before it, used in databases."""
        self._tables[owner] = tuple(Use(one.key, one.kind, one.state, (owner,)) for one in uses)

    def finish_step(
        self, tables: Iterable[Use] = (), loaded: Collection[str] = (), **others: Any
    ) -> Observation:
        """What happened since `begin_step`. `tables` and `others`, fields of the `Observation`, are known already.

        `loaded` are source files, relative to the root, that orch's loader has loaded.
        """
        self._note_foreign_imports(loaded)
        uses = [*tables, *(use for one in self._tables.values() for use in one)]
        traced = TracedUses()
        try:
            traced = self._read_trace(loaded)
            uses += self._find_files(traced)
            uses = [*self._with_owners(uses)]
        except Exception:  # the tool must not look like one that reads nothing
            uses.append(UNCLEAR)
        uses += self._find_names(traced)
        self._note_use_of_database(uses, traced, others)
        ran, ran_loading, code_gap = self.ran.finish_step()
        return Observation(
            uses=tuple(uses),
            began=self._began,
            ran=ran,
            ran_loading=ran_loading,
            code_gap=code_gap,
            kept=self._find_kept(),
            **others,
        )

    @contextlib.contextmanager
    def loading(self, owner: str) -> Iterator[None]:
        """While this module is loaded or this resource opened, whose users share what it reads."""
        with self.uses.loading(owner), self.ran.loading(owner):
            yield
        if self.ran.is_known:
            self._kept.note_loaded(owner)

    def _find_kept(self) -> tuple[str, ...]:
        return self._kept.find_changed(self._project.included) if self.ran.is_known else ()

    def forget_modules(self) -> None:
        """At the end of the worker, so that what they hold ends with them."""
        self._kept.forget()

    def _read_trace(self, loaded: Collection[str]) -> TracedUses:
        """What the kernel reported, added to what Python showed."""
        events = self.traced.collect()
        if not events:
            return TracedUses()
        known = {*self.audit.connected.copy(), *map(self.paths.full, loaded)}
        reader = TraceReader(
            self.audit, self.uses, self._project, known, self.paths.database_files, self._before
        )
        found = reader.read(events)
        self.setuid = found.setuid if self.traced.has_lost_rights else ""
        return found

    def _is_opening(self, at: int) -> bool:
        return any(began <= at <= ended for began, ended in self._openings)

    def _note_use_of_database(
        self, uses: list[Use], traced: TracedUses, seen: dict[str, Any]
    ) -> None:
        """What the tool did to the project's database in another way than through `conn`."""
        files = self.paths.database_files
        is_replaced = bool(files) and not files.isdisjoint(self.audit.changed.copy())
        if self.own.is_used:
            seen.setdefault("database", self.paths.relative(self.paths.database))
        is_read, is_written = self._find_use_of_database(traced, is_known="database" in seen)
        if "database" in seen:  # `conn` may have written, and tells what others have
            is_written = False
            # DuckDB opens and closes its file by itself, and no other process can while it is open.
            is_read &= seen.get("dialect") != "duckdb"
        if self.has_foreign_connection() or is_replaced or is_written:
            uses.append(UNCLEAR)
            seen["has_committed"] = True
        elif self._files.has_opened_database or is_read:
            uses.append(Use(f"table:{WHOLE}", "read"))

    def _find_use_of_database(self, traced: TracedUses, *, is_known: bool) -> tuple[bool, bool]:
        """Whether a child process or native code opened the project's database, and wrote it. SQLite opens it to write
        it also where it only reads, and at the first statement. `is_known`: the step used it as orch can see."""
        is_read = is_written = False
        for one in traced.databases:
            is_connection = is_known or self.has_closed_connection or self._is_opening(one.at)
            if one.kind in ("asked", "absent", "followed") or (one.is_own and is_connection):
                continue
            is_read = True
            with contextlib.suppress(OSError):
                changes = one.kind not in ("read", "missed")
                is_written |= changes and os.stat(one.path).st_ctime_ns >= self._began[0]
        return is_read, is_written

    def _note_foreign_imports(self, loaded: Collection[str]) -> None:
        """Count modules that were imported without orch's loader (by `spec_from_file_location`, for example)
        as files read."""
        for path in self.audit.imported.copy():
            source = find_source(path)
            source = source and os.path.abspath(source)
            shown = self.paths.relative(source)
            if shown and shown not in loaded:
                self.uses.opened[source] = None

    def _find_files(self, traced: TracedUses) -> Iterator[Use]:
        """What happened to files since `begin_step`."""
        seen = StepFiles()
        if not self.audit.is_empty() or traced.missed or traced.asked:
            self._files.inspect(seen, traced)
        seen.code = {self.paths.show(path): None for path in traced.code}
        databases = {self.paths.show(path) for path in self.audit.connected.copy()}
        yield from seen.uses(databases)
        yield from self._files.find_written(seen)

    def _find_names(self, traced: TracedUses) -> Iterator[Use]:
        """Variables, modules, and why there may be more. A child process gets a copy of all variables."""
        for gap in (*self.traced.find_gaps(), *traced.gaps):
            yield Use(f"gap:{gap}", "unclear")
        for one in traced.connected:
            if not (one.is_own and self._is_opening(one.at)):
                self.uses.of_time(one.at).used["gap", CONNECTED] = None
        if self.traced.has_child:
            yield Use("environ:", "read")
        for uses in self.uses.find_all():
            named = [name for kind, name in uses.used if kind == "module"]
            old = self._project.find_old_modules(named)
            known = self._project.modules if uses.owners else old
            for kind, name in uses.used.copy():
                if kind == "module":
                    if name in known:
                        yield Use(f"module:{name}", "read", "", uses.owners)
                elif kind == "gap":
                    yield Use(f"gap:{name}", "unclear", "", uses.owners)
                elif kind == "copied":
                    yield Use("environ:", "read", "", uses.owners)
                elif kind != "path":
                    yield Use(f"env:{name}", "read" if kind == "env" else "asked", "", uses.owners)

    def _with_owners(self, seen: Iterable[Use]) -> Iterator[Use]:
        """The same, with whose users share them: what code of a module or of a resource has used."""
        shared = self.uses.find_shared()
        if not shared:
            yield from seen
            return
        databases = {self.paths.show(path) for path in self.audit.connected.copy()}
        by_path: dict[str, dict[str, None]] = {}
        for uses in shared:
            owners = dict.fromkeys(uses.owners)
            for path in (*uses.opened, *(name for kind, name in uses.used if kind == "path")):
                shown = self.paths.show(path) or "."
                for one in (shown, f"{shown}-wal") if shown in databases else (shown,):
                    by_path.setdefault(one, {}).update(owners)
        for use in seen:
            kind, _, name = use.key.partition(":")
            if kind == "table":
                found = self._find_table_owners(shared, name) if use.kind == "read" else {}
            elif use.kind in _SHARED_KINDS:
                found = by_path.get(_find_place(kind, name), {})
            else:
                found = {}
            yield Use(use.key, use.kind, use.state, (*use.owners, *found)) if found else use
        for uses in shared:
            for path, state in uses.changed.items():
                if shown := self.paths.show(path):
                    yield Use(file_key(shown), "read", state, uses.owners)
            used = self.paths.database in uses.opened or ("path", self.paths.database) in uses.used
            if used and self.has_foreign_connection():
                yield Use(UNCLEAR.key, UNCLEAR.kind, "", uses.owners)

    def _find_table_owners(self, shared: Iterable[Uses], name: str) -> dict[str, None]:
        table = name.rpartition(":")[2]
        return {
            owner: None
            for uses in shared
            if WHOLE in uses.tables or table in uses.tables
            for owner in uses.owners
        }


def _find_place(kind: str, name: str) -> str:
    """The path that tells whose use it is: of a glob its folder."""
    return (name.rpartition("/")[0] or ".") if kind == "glob" else name.rstrip("/")


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
