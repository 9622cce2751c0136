"""Which tables a tool read and wrote on a SQLite connection, as SQLite's authorizer reports.

Setting the authorizer again makes SQLite prepare cached statements again, so it is set before each tool. SQLite
does not report a table of which a query uses only the columns that USING or NATURAL JOIN compares. On a connection
that cannot be adopted, the text of statements is not known, so these are not seen: a DROP ... IF EXISTS that finds
nothing, a CREATE INDEX IF NOT EXISTS that finds one, and for which name the list of tables is asked. An insert into
a table with unique columns counts there as one that may replace rows.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress

from msgspec import Struct, field

from discover_orch.databases.attached_files import (
    MAIN,
    AttachedFiles,
    display_name,
)
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_queries import (
    ask,
    find_callbacks,
    find_names,
    list_databases,
    quote,
)
from discover_orch.databases.sqlite_statements import SCHEMA_TABLES, StatementNotes
from discover_orch.databases.table_log import TableLog
from discover_orch.model.database_url import read_sqlite_name
from discover_orch.model.table_name import WHOLE, attached_name, file_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from discover_orch.databases.sqlite_statements import Name

#: `temp` belongs to the connection; VACUUM copies into `vacuum_db`.
TEMPORARY_SCHEMAS = frozenset({"temp", "vacuum_db"})
#: Functions that SQLite shows as tables.
TABLE_FUNCTIONS = frozenset(
    {"json_each", "json_tree", "jsonb_each", "jsonb_tree", "generate_series"}
)
#: Tables where a plain INSERT may do more than insert rows.
_RESOLVES_CONFLICTS = (
    "SELECT name FROM {} WHERE sql LIKE '%on%conflict%' OR sql LIKE '%create%virtual%'"
)
#: Tables where INSERT OR REPLACE may do so.
_IS_UNIQUE = (
    "SELECT tbl_name FROM {} WHERE sql LIKE '%primary%key%' "
    "OR type = 'index' AND (sql IS NULL OR sql LIKE '%unique%')"
)

#: Names that statements on any `sqlite3` connection have looked for in vain.
_not_found: set[str] = set()
_NOT_FOUND = re.compile(r"no such (?:table|view): (.+)", re.DOTALL)


class SqliteTableLog(TableLog):
    """The log of a SQLite connection, orch's own or the user's."""

    def __init__(
        self, conn: sqlite3.Connection, show_path: Callable[[str], str] = os.path.abspath
    ) -> None:
        """`show_path` gives the absolute path of an attached file as it is shown."""
        super().__init__()
        self._conn = conn
        self._attached = AttachedFiles(conn, show_path)
        self._notes = StatementNotes()
        self._notes.bases = self._attached.bases
        self._notes.on_attached = self._note_attached
        self._authorizer = self._notes.authorize
        self._version: object = None
        self._names: frozenset[str] | None = None  # the tables of `main` when the step began
        _listen_to_errors()

    def begin_step(self) -> None:
        conn = self._conn
        self._notes.clear()
        self._notes.tables_of_caller = None  # until the tool runs
        _not_found.clear()
        try:
            is_unobserved = self._pause()
            has_run = not isinstance(conn, Connection) or conn.has_run
            if is_unobserved and has_run:
                self._attached.refresh(is_first=True)
            self._read_table_names(can_query=is_unobserved and not conn.in_transaction)
            self._notes.clear()  # a plain connection still listens
            if isinstance(conn, Connection):
                conn.statements, self._notes.has_texts = self._notes, True
                conn.set_listener(self._authorizer)
            elif is_unobserved:
                sqlite3.Connection.set_authorizer(conn, self._authorizer)
            else:
                self._is_unclear = True  # it may have an authorizer of the user's own
        except Exception:  # the connection is closed or locked, or its class is the user's own
            self._is_unclear = True
        self._notes.tables_of_caller = self.tables_of_caller

    def resolve(self) -> None:
        notes = self._notes
        notes.finish()
        if isinstance(self._conn, Connection):
            is_heard = self._conn.statements is notes
            self._conn.note_statements(has_any=not (is_heard and notes.is_silent))
        notes.tables_of_caller = None
        self._lists_tables |= notes.lists_tables
        if notes.files or notes.has_unplaced():
            self._note_attached()
        try:
            if not isinstance(self._conn, Connection):
                is_ours = self._authorizer in find_callbacks(self._conn)
                self._is_unclear = self._is_unclear or not is_ours
            found = self._resolve_names()
            if isinstance(self._conn, Connection):
                self._conn.set_listener(None)
                self._conn.statements = None
        except Exception:  # the connection is closed
            found = _Found(read=notes.read, written=notes.written, changed=notes.written)
        self._note_unknown_databases(found)
        self._read |= _display_names(found.read)
        self._written |= _display_names(found.written)
        self._changed |= _display_names(found.changed)
        self._missed |= found.missed
        self._created |= found.created
        self._dropped |= found.dropped
        self._kept |= found.kept

    @property
    def names(self) -> frozenset[str]:
        return self._names or frozenset()

    def read_version(self) -> int | None:
        try:
            if not self._pause():
                return None
            [version] = ask(self._conn, "PRAGMA data_version")
        except Exception:  # the connection is closed or locked
            return None
        return int(version)

    @property
    def has_committed(self) -> bool:
        return self._notes.has_committed

    @property
    def has_written(self) -> bool:
        return bool(self._written)

    def list_attached(self) -> list[str]:
        with suppress(sqlite3.Error):
            self._attached.refresh()
        return [*self._attached.used]

    def find_attached(self) -> list[str]:
        return [*self._attached.used]

    def find_copies(self) -> list[str]:
        return [*map(os.path.abspath, filter(None, map(read_sqlite_name, self._notes.copies)))]

    def find_missing_files(self) -> list[str]:
        """The absolute paths of files that ATTACH was given and that are not there."""
        names = {
            os.path.abspath(name)
            for one in self._notes.files
            if (name := read_sqlite_name(one or ""))
        }
        return [name for name in names if not os.path.exists(name)]

    def _note_attached(self) -> None:
        """Other databases may be attached than before."""
        callbacks = find_callbacks(self._conn)
        if any(one is not self._authorizer for one in callbacks):
            return  # a trace of the tool's would see the question
        with suppress(sqlite3.Error):  # the connection is closed
            self._attached.refresh()
            self._notes.place_tables()

    def _note_unknown_databases(self, found: _Found) -> None:
        """Where it is not known in which file a table is, it may be in any that was attached."""
        notes = self._notes
        self._is_unclear |= notes.has_lost_bases or notes.has_unplaced() or notes.has_bypassed
        if self._is_unclear:
            whole = {attached_name(path, WHOLE) for path in self._attached.used}
            self._read |= whole
            self._written |= whole
            self._changed |= whole

    def _pause(self) -> bool:
        """Stop listening; whether orch can query unobserved: the tool has set no trace and no authorizer."""
        if isinstance(self._conn, Connection):
            self._conn.set_listener(None, is_exclusive=True)
            return not find_callbacks(self._conn)
        return not [one for one in find_callbacks(self._conn) if one is not self._authorizer]

    def _read_table_names(self, can_query: bool) -> None:
        if not can_query:
            self._names = self._version = None
            return
        [version] = ask(self._conn, "PRAGMA schema_version")
        if self._names is None or version != self._version:
            self._names = find_names(self._conn, "sqlite_master")
            self._version = version

    def _resolve_names(self) -> _Found:
        notes = self._notes
        read, written = notes.read.copy(), notes.written.copy()
        before = now = self._names
        looked_up = {*notes.looked_up, *map(notes.placed, _split_names(_not_found))}
        bare = {name for base, name in read if base is None}
        has_altered = bool(notes.made) or notes.may_have_renamed
        is_asking = has_altered or looked_up or (bare and before is None)
        can_query = bool(is_asking or notes.written) and self._pause()
        if is_asking:
            now = find_names(self._conn, "sqlite_master") if can_query else None
        if before is not None and now is not None and has_altered:
            # SQLite does not report the new name of a table. A table that came and went does not count.
            written |= {(MAIN, name) for name in now - before}
            known = before | now | {WHOLE}
            read = {one for one in read if one[0] != MAIN or one[1].lower() in known}
            written = {one for one in written if one[0] != MAIN or one[1].lower() in known}
        # For `SELECT count(*) FROM name`, SQLite does not report the database of the table.
        for name in bare:
            read.discard((None, name))
            self._lists_tables |= name.lower() in SCHEMA_TABLES
            base = self._find_base(name.lower(), now)
            if base:
                read.add((base, name))
        changed = notes.changed | (written - notes.written)
        inserted = written - changed
        changed |= self._find_replaceable(inserted) if can_query else inserted
        made = [
            (display_name(*table), is_made) for table, is_made in notes.made if _is_table(*table)
        ]
        created, dropped = _compare_names(_display_names(written), made, before, now)
        kept = {
            one
            for one in notes.kept
            if before is None or one[0] != MAIN or one[1].lower() in before
        }
        return _Found(
            read=read,
            written=written,
            changed=changed,
            missed=self._find_missed(looked_up, now) - {name for name, _ in made},
            created=created,
            dropped=dropped,
            kept=_display_names(kept),
        )

    def _find_missed(self, looked_up: set[Name], now: frozenset[str] | None) -> set[str]:
        """The names of these tables that are not there."""
        if looked_up and now is None:
            self._lists_tables = True  # cannot ask
            return set()
        missed = set()
        temporary = find_names(self._conn, "sqlite_temp_master") if looked_up else ()
        for base, name in looked_up:
            if not _is_table(base, name) or (base is None and name.lower() in temporary):
                continue
            is_there = self._find_base(name.lower(), now) if base is None else self._has(base, name)
            if not is_there:
                missed.add(display_name(base, name))
        return missed

    def _has(self, base: str, name: str) -> bool:
        place = self._attached.names.get(base, base)
        try:
            return name.lower() in find_names(self._conn, f"{quote(place)}.sqlite_master")
        except sqlite3.Error:  # there is no such database
            return False

    def _find_replaceable(self, tables: set[Name]) -> set[Name]:
        """Those of these tables where the inserts of this step may have replaced rows."""
        found = set()
        for base in {base for base, _ in tables}:
            place = self._attached.names.get(base or MAIN)
            if place is None:  # it is detached by now
                found |= {one for one in tables if one[0] == base}
                continue
            list_of_tables = f"{quote(place)}.sqlite_master"
            resolving = find_names(self._conn, list_of_tables, _RESOLVES_CONFLICTS)
            unread = {name for one, name in self._notes.unread if one == base}
            if unread:
                unique = find_names(self._conn, list_of_tables, _IS_UNIQUE)
                resolving |= unique & {name.lower() for name in unread}
            found |= {
                (one, name) for one, name in tables if one == base and name.lower() in resolving
            }
        return found

    def _find_base(self, name: str, main: frozenset[str] | None) -> str | None:
        """The database that has this table, in SQLite's order; None for a temporary table or a CTE."""
        if not self._pause():
            return MAIN if main is None or name in main else None
        if name in find_names(self._conn, "sqlite_temp_master"):
            return None
        if main is None or name in main:
            return MAIN
        for place, _ in list_databases(self._conn):
            if place not in (MAIN, "temp"):
                base = self._attached.bases.get(place.lower(), place)
                if self._has(base, name):
                    return base
        return None


def observe_sqlite(
    conn: Any,
    is_interrupted: Callable[[], bool] | None,
    show_path: Callable[[str], str] = os.path.abspath,
) -> SqliteTableLog | None:
    """The log of a `sqlite3` connection; None for any other connection. `show_path` as in `SqliteTableLog`."""
    if not isinstance(conn, sqlite3.Connection):
        return None
    if isinstance(conn, Connection):
        conn.is_interrupted = is_interrupted
    return SqliteTableLog(conn, show_path)


def find_file(conn: Any) -> str:
    """The absolute path of the main file of a `sqlite3` connection; "" for any other connection."""
    try:
        if isinstance(conn, sqlite3.Connection):
            for name, path in list_databases(conn):
                if name == MAIN and path:
                    return os.path.abspath(path)
    except Exception:
        pass
    return ""


class _Found(Struct, frozen=True, kw_only=True):
    """What one step did to tables."""

    read: set[Name]
    written: set[Name]
    changed: set[Name]
    missed: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)


def _compare_names(
    written: set[str],
    made: list[tuple[str, bool]],
    before: frozenset[str] | None,
    now: frozenset[str] | None,
) -> tuple[set[str], set[str]]:
    """Which of these tables were created, and which were dropped: by the names of tables before and after the step,
    or by what the statements did where these are not known."""
    first: dict[str, bool] = {}
    last: dict[str, bool] = {}
    for name, is_created in made:
        first.setdefault(name, is_created)
        last[name] = is_created
    created, dropped = set(), set()
    for name in written & {*first, *(now or ()), *(before or ())}:
        is_main = "." not in name and not file_of(name)
        is_new = name not in before if before is not None and is_main else first.get(name)
        is_there = name in now if now is not None and is_main else last.get(name)
        if is_new and is_there:
            created.add(name)
        elif is_new is False and is_there is False:
            dropped.add(name)
    return created, dropped


def _listen_to_errors() -> None:
    """Have the names collected that statements have looked for in vain.

    SQLite does not report these to the authorizer, and the tool may catch the error.
    """
    error = sqlite3.OperationalError
    if "__init__" in vars(error):
        return
    init = error.__init__

    def note(self: sqlite3.OperationalError, *args: object) -> None:
        init(self, *args)
        found = _NOT_FOUND.search(args[0]) if args and isinstance(args[0], str) else None
        if found:
            _not_found.add(found[1])

    error.__init__ = note  # type: ignore[method-assign, assignment]


def _split_names(names: Iterable[str]) -> Iterator[Name]:
    """SQLite names a table as `name` or `database.name`."""
    for name in names:
        base, dot, table = name.partition(".")
        yield (base, table) if dot else (None, name)


def _is_table(base: str | None, name: str) -> bool:
    """Whether this is a lasting table of the user's: not temporary, and not SQLite's own."""
    shown = name.lower()
    return (
        (base is None or base.lower() not in TEMPORARY_SCHEMAS)
        and not shown.startswith(("sqlite_", "pragma_"))
        and shown not in TABLE_FUNCTIONS
    )


def _display_names(tables: Iterable[Name]) -> set[str]:
    return {display_name(*one) for one in tables if _is_table(*one)}
