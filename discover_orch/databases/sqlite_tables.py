"""Which tables a tool read and wrote on a SQLite connection, as SQLite's authorizer reports.

Setting the authorizer again makes SQLite prepare cached statements again, so it is set before each tool. SQLite
does not report a table of which a query uses only the columns that USING or NATURAL JOIN compares.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress

from msgspec import Struct, field

from discover_orch.databases.sqlite_base import (
    ask,
    find_names,
    list_databases,
    quote,
)
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_statements import SCHEMA_TABLES, StatementNotes
from discover_orch.databases.table_log import TableLog
from discover_orch.model.database_url import read_sqlite_name
from discover_orch.model.table_name import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from discover_orch.databases.sqlite_statements import Name

MAIN, TEMP = "main", "temp"
#: Functions that SQLite shows as tables.
TABLE_FUNCTIONS = frozenset(
    {"json_each", "json_tree", "jsonb_each", "jsonb_tree", "generate_series"}
)
#: Tables where a plain INSERT may do more than insert rows.
_RESOLVES_CONFLICTS = (
    "SELECT name FROM {} WHERE (sql LIKE '%on%conflict%' OR sql LIKE '%create%virtual%') AND "
)
#: Tables where INSERT OR REPLACE may do so.
_IS_UNIQUE = (
    "SELECT tbl_name FROM {} WHERE (sql LIKE '%primary%key%' "
    "OR type = 'index' AND (sql IS NULL OR sql LIKE '%unique%')) AND "
)

#: Names that statements on any `sqlite3` connection have looked for in vain.
_not_found: set[str] = set()
_NOT_FOUND = re.compile(r"no such (?:table|view): (.+)", re.DOTALL)


class SqliteTableLog(TableLog):
    """The log of a SQLite connection of orch's. A file that is attached counts as a file, not by its tables."""

    def __init__(
        self,
        conn: Connection,
        note_attach: Callable[[str | None], None] = lambda name: None,
    ) -> None:
        """`note_attach` is called with the name of each file that a step attaches; None where it is not known."""
        super().__init__()
        self._conn = conn
        self._in_memory: frozenset[str] = frozenset()  # databases that later steps find as they are
        with suppress(sqlite3.Error):
            self._list_databases()
        self._notes = StatementNotes()
        self._notes.on_attach = note_attach
        self._version: object = None
        self._names: frozenset[str] | None = None  # the tables of `main` when the step began
        self._after: tuple[object, frozenset[str]] | None = None  # as they were when it ended
        _listen_to_errors()

    def begin_step(self) -> None:
        conn = self._conn
        self._notes.clear()
        self._notes.tables_of_caller = None  # until the tool runs
        _not_found.clear()
        try:
            is_unobserved = self._pause()
            if is_unobserved and conn.has_run:
                self._list_databases()
            self._read_table_names(can_query=is_unobserved and not conn.in_transaction)
            conn.statements = self._notes
            conn.set_listener(self._notes.authorize)
        except Exception:  # the connection is closed or locked, or its class is the user's own
            self._is_unclear = True
        self._notes.tables_of_caller = self.tables_of_caller

    def resolve(self) -> None:
        notes = self._notes
        notes.finish()
        is_heard = self._conn.statements is notes
        self._conn.note_statements(has_any=not (is_heard and notes.is_silent))
        notes.tables_of_caller = None
        self._lists_tables |= notes.lists_tables
        try:
            found = self._resolve_names()
            self._conn.set_listener(None)
            self._conn.statements = None
        except Exception:  # the connection is closed
            found = _Found(read=notes.read, written=notes.written, changed=notes.written)
        self._is_unclear |= notes.has_bypassed or not notes.find_bases().isdisjoint(self._in_memory)
        self._read |= _display_names(found.read)
        self._written |= _display_names(found.written)
        self._changed |= _display_names(found.changed)
        self._missed |= found.missed
        self._created |= found.created
        self._dropped |= found.dropped
        self._kept |= found.kept
        self._empty = found.empty

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

    def _list_databases(self) -> None:
        others = [one for one in list_databases(self._conn) if one[0] not in (MAIN, TEMP)]
        self.attached = tuple(os.path.realpath(path) for _, path in others if path)
        self._in_memory = frozenset(name.lower() for name, path in others if not path)

    def find_copies(self) -> list[str]:
        return [*map(os.path.abspath, filter(None, map(read_sqlite_name, self._notes.copies)))]

    def _pause(self) -> bool:
        """Stop listening; whether orch can query unobserved: the tool has set no trace and no progress handler."""
        self._conn.set_listener(None, is_exclusive=True)
        return not self._conn.has_callbacks()

    def _read_table_names(self, can_query: bool) -> None:
        if not can_query:
            self._names = self._version = None
            return
        version = self._read_version_of_names()
        if self._after is not None and version == self._after[0]:
            self._version, self._names = self._after
        elif self._names is None or version != self._version:
            self._names = find_names(self._conn, "sqlite_master")
            self._version = version

    def _read_version_of_names(self) -> object:
        """Differs once another connection has changed the database, or this one its tables."""
        return [ask(self._conn, f"PRAGMA {one}") for one in ("schema_version", "data_version")]

    def _find_names_now(self) -> frozenset[str]:
        """The names of the tables at the end of the step. There may be thousands, so only those are looked up that the
        step has made or dropped, where that is known."""
        before, notes = self._names, self._notes
        if before is None or notes.may_have_renamed:
            return find_names(self._conn, "sqlite_master")
        made = {name.lower() for (base, name), _ in notes.made if base in (None, MAIN)}
        try:
            there = {
                name for name in made if ask(self._conn, f"PRAGMA main.table_info({quote(name)})")
            }
        except sqlite3.Error:  # a view of a table that is gone
            return find_names(self._conn, "sqlite_master")
        return before if there == made & before else (before - made) | there

    def _resolve_names(self) -> _Found:
        notes = self._notes
        read, written = notes.read.copy(), notes.written.copy()
        before = now = self._names
        looked_up = {*notes.looked_up, *_split_names(_not_found)}
        bare = {name for base, name in read if base is None}
        has_altered = bool(notes.made) or notes.may_have_renamed
        is_asking = has_altered or looked_up or (bare and before is None)
        can_query = bool(is_asking or notes.written) and self._pause()
        if is_asking:
            now = self._find_names_now() if can_query else None
            if now is not None:
                self._after = self._read_version_of_names(), now
        if before is not None and now is not None and has_altered:
            # SQLite does not report the new name of a table. A table that came and went does not count.
            if now is not before:
                written |= {(MAIN, name) for name in now - before}

            def is_known(table: Name) -> bool:
                name = table[1].lower()
                return table[0] != MAIN or name in before or name in now or name == WHOLE

            read, written = {*filter(is_known, read)}, {*filter(is_known, written)}
        # For `SELECT count(*) FROM name`, SQLite does not report the database of the table.
        for name in bare:
            read.discard((None, name))
            self._lists_tables |= name.lower() in SCHEMA_TABLES
            if self._is_in_main(name.lower(), now):
                read.add((MAIN, name))
        changed = notes.changed | (written - notes.written)
        inserted = written - changed
        changed |= self._find_replaceable(inserted) if can_query else inserted
        made = [
            (display_name(table[1]), is_made) for table, is_made in notes.made if _is_table(*table)
        ]
        created, dropped = _compare_names(_display_names(written), made, before, now)
        kept = {
            one
            for one in notes.kept
            if before is None or one[0] != MAIN or one[1].lower() in before
        }
        filled = {name.lower() for name in notes.filled}
        knows_texts = not (notes.has_unseen_texts or notes.has_bypassed)
        empty = {one for one in notes.empty if knows_texts and one[1].lower() not in filled}
        missed = self._find_missed(looked_up, now) - {name for name, _ in made}
        return _Found(
            read=read,
            written=written,
            changed=changed,
            missed=missed,
            created=created,
            dropped=dropped,
            kept=_display_names(kept) | (missed & filled),  # these it would have dropped
            empty=_display_names(empty & written),
        )

    def _find_missed(self, looked_up: set[Name], now: frozenset[str] | None) -> set[str]:
        """The names of these tables that are not there."""
        if looked_up and now is None:
            self._lists_tables = True  # cannot ask
            return set()
        return {
            display_name(name)
            for base, name in looked_up
            if _is_table(base, name) and not self._is_there(base, name.lower(), now)
        }

    def _is_there(self, base: str | None, name: str, main: frozenset[str] | None) -> bool:
        if base is None:
            return self._is_in_main(name, main) or name in self._find_temporary()
        return main is None or name in main

    def _find_replaceable(self, tables: set[Name]) -> set[Name]:
        """Those of these tables where the inserts of this step may have replaced rows."""
        if not tables:
            return set()
        texts = ", ".join("'" + name.replace("'", "''") + "'" for _, name in tables)
        of_these = f"tbl_name COLLATE NOCASE IN ({texts})".replace("{", "{{").replace("}", "}}")
        resolving = find_names(self._conn, "sqlite_master", _RESOLVES_CONFLICTS + of_these)
        unread = {name.lower() for base, name in self._notes.unread if _is_table(base, name)}
        if unread:
            unique = find_names(self._conn, "sqlite_master", _IS_UNIQUE + of_these)
            resolving |= unread & unique
        return {one for one in tables if one[1].lower() in resolving}

    def _is_in_main(self, name: str, main: frozenset[str] | None) -> bool:
        """Whether this name, without that of a database, means a table of the main one."""
        if not self._pause():
            return main is None or name in main
        return name not in self._find_temporary() and (main is None or name in main)

    def _find_temporary(self) -> frozenset[str]:
        return find_names(self._conn, "sqlite_temp_master")


def observe_sqlite(
    conn: Any,
    is_interrupted: Callable[[], bool] | None,
    note_attach: Callable[[str | None], None] = lambda name: None,
) -> SqliteTableLog | None:
    """The log of an adopted connection; None for any other. `note_attach` as in `SqliteTableLog`."""
    if not isinstance(conn, Connection):
        return None
    conn.is_interrupted = is_interrupted
    return SqliteTableLog(conn, note_attach)


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
    empty: set[str] = field(default_factory=set)


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
        is_new = name not in before if before is not None else first.get(name)
        is_there = name in now if now is not None else last.get(name)
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
    """Whether this is a table of the user's in the main database: not SQLite's own."""
    shown = name.lower()
    return (
        (base is None or base.lower() == MAIN)
        and not shown.startswith(("sqlite_", "pragma_"))
        and shown not in TABLE_FUNCTIONS
    )


def _display_names(tables: Iterable[Name]) -> set[str]:
    return {display_name(name) for base, name in tables if _is_table(base, name)}


def display_name(name: str) -> str:
    """The name of a table of the main database as it is shown."""
    return name.lower()
