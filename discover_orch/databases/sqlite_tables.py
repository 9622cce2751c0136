"""Which tables a tool read and wrote on a SQLite connection, as SQLite's authorizer reports.

Setting the authorizer again makes SQLite prepare cached statements again, so it is set before each tool. SQLite
does not report a table of which a query uses only the columns that USING or NATURAL JOIN compares.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress

from discover_orch.databases.sqlite_calls import (
    Catalog,
    ask,
    ask_rows,
    find_acting,
    find_names,
    list_databases,
    read_catalog,
    text_of,
)
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_statements import StatementNotes
from discover_orch.databases.table_content import read_sqlite_tables
from discover_orch.databases.table_log import FoundTables, TableContent, TableLog, find_objects
from discover_orch.model.keys import WHOLE

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
    "SELECT name FROM {} WHERE (sql LIKE '%on%conflict%' OR sql LIKE '%create%virtual%')"
)

_VIEWS = "SELECT name FROM {} WHERE type = 'view'"
_INDEXES = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"

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
        self.file = find_file(conn)
        with suppress(sqlite3.Error):
            self._list_databases()
        self._notes = StatementNotes()
        self._notes.on_attach = note_attach
        self._before: Catalog | None = None  # of `main`, when the step began
        self._is_listening = False
        listen_to_errors()

    def begin_step(self) -> None:
        conn = self._conn
        self.has_committed = self.has_written = self._is_listening = False
        self._notes.clear()
        self._notes.tables_of_caller = None  # until the tool runs
        clear_not_found()
        try:
            self._pause()
            self._list_databases()
            self._before = None if conn.in_transaction else read_catalog(conn)
            conn.statements = self._notes
            conn.set_listener(self._notes.authorize)
            self._is_listening = True
        except Exception:  # the connection is closed or locked, or its class is the user's own
            self._found.is_unclear = True
        self._notes.tables_of_caller = self.tables_of_caller

    def begin_without(self, names: Iterable[str]) -> None:
        self._notes.clear()  # in the transaction that has begun
        self._before = None if self._before is None else self._before.without(names)

    def resolve(self) -> None:
        notes = self._notes
        notes.finish()
        notes.tables_of_caller = None
        try:
            self._pause()
            found = find_tables(notes, self._before, self._conn)
            self._conn.set_listener(None)
            self._conn.statements = None
        except Exception:  # the connection is closed
            found = find_tables(notes, None, None)
        found.is_unclear |= not notes.find_bases().isdisjoint(self._in_memory)
        self._found.add(found)
        self.has_committed, self.has_written = notes.has_committed, bool(found.written)

    def read_tables(self, names: Iterable[str], most_rows: int) -> dict[str, TableContent]:
        try:
            self._pause()
            return read_sqlite_tables(self._conn, tuple(names), most_rows)
        except Exception:  # the connection is closed
            return {}

    @property
    def names(self) -> frozenset[str]:
        return self._before.names if self._before else frozenset()

    def read_version(self) -> int | None:
        try:
            self._pause()
            [version] = ask(self._conn, "PRAGMA data_version")
        except Exception:  # the connection is closed or locked
            return None
        return int(version)

    def may_have_set(self) -> bool:
        return self._notes.has_set or not self._is_listening

    def _list_databases(self) -> None:
        others = [one for one in list_databases(self._conn) if one[0] not in (MAIN, TEMP)]
        self.attached = tuple(os.path.realpath(path) for _, path in others if path)
        self._in_memory = frozenset(name.lower() for name, path in others if not path)

    def _pause(self) -> None:
        """Stop listening: orch asks."""
        self._conn.set_listener(None, is_exclusive=True)


def find_tables(
    notes: StatementNotes, catalog: Catalog | None, conn: sqlite3.Connection | None
) -> FoundTables:
    """What the statements of one connection did to the main database.

    `catalog` is what was there when the step began. `conn` answers questions. Where the database is locked or the
    connection closed there are none, and the step is unclear.
    """
    if catalog is None or conn is None:
        used = _display_names(notes.written | notes.created | notes.dropped)
        read, is_unclear = _display_names(notes.read), not notes.is_silent
        return FoundTables(read=read, written=used, changed=used, is_unclear=is_unclear)
    looked_up = {*notes.looked_up, *_split_names(_not_found)}
    is_same = not (notes.has_altered or notes.has_defined or looked_up)
    present = catalog if is_same else read_catalog(conn)
    found = _find_tables(notes, catalog.names, present.names, looked_up, conn)
    if notes.has_altered or notes.has_defined or notes.kept_objects:
        found.add(_find_objects(notes, catalog, present))
    return found


def _find_tables(
    notes: StatementNotes,
    before: frozenset[str],
    now: frozenset[str],
    looked_up: set[Name],
    conn: sqlite3.Connection,
) -> FoundTables:
    read, written = notes.read.copy(), notes.written | notes.created | notes.dropped
    read |= _find_asked(notes, before, conn)
    bare = {name for base, name in read if base is None}
    temporary: frozenset[str] = frozenset()
    if bare or looked_up:
        temporary = find_names(conn, "sqlite_temp_master")
    # CREATE has found a table that was there, or failed.
    skipped = {
        one for one in notes.created - notes.dropped if one[0] == MAIN and one[1].lower() in before
    }
    written -= skipped - notes.written
    if notes.may_have_renamed:  # SQLite does not report the new name of a table
        written |= {(MAIN, name) for name in now - before}
    if notes.has_altered:
        there = before | now | {WHOLE}
        read, written = _keep_there(read, there), _keep_there(written, there)
    # For `SELECT count(*) FROM name`, SQLite does not report the database of the table.
    for name in bare:
        read.discard((None, name))
        if name.lower() not in temporary and name.lower() in now:
            read.add((MAIN, name))
    changed = _find_changed(notes, written, skipped, conn)
    kept = {one for one in notes.kept if one[1].lower() in before}
    filled = {name.lower() for name in notes.filled}
    droppable = {name.lower() for name in (*notes.droppable, *_not_found)}
    made = _display_names(notes.created)
    shown = _display_names(written)
    missed = _find_missed(looked_up, now, temporary)
    return FoundTables(
        read=_display_names(read),
        written=shown,
        changed=_display_names(changed),
        missed=missed - made,
        found=_display_names(looked_up) - missed,
        created=shown & now - before,
        dropped=shown & before - now,
        # It would have dropped those that it missed and filled.
        kept=_display_names(kept | skipped) | (missed & filled),
        empty=set()
        if notes.has_unseen_texts or notes.lists_tables
        else shown & made - before - filled - droppable,
        lists_tables=notes.lists_tables,
        is_unclear=notes.has_bypassed,
    )


def _find_objects(notes: StatementNotes, before: Catalog, now: Catalog) -> FoundTables:
    """The indexes and triggers that were made, changed, or dropped with their table."""
    then, there = before.objects, now.objects
    made = {one for one in there if one in notes.objects or then.get(one) != there[one]}
    kept = notes.kept_objects & there.keys()
    tables = {there[one][0] for one in made | kept}
    gone = then.keys() - there.keys()
    return find_objects(made, gone, kept, tables, find_acting(then), find_acting(there))


def _find_missed(looked_up: set[Name], now: frozenset[str], temporary: frozenset[str]) -> set[str]:
    """The tables that were looked for in vain."""
    return {
        name.lower()
        for base, name in looked_up
        if _is_table(base, name) and name.lower() not in (now if base else now | temporary)
    }


def _keep_there(tables: set[Name], there: frozenset[str]) -> set[Name]:
    """Without tables of the main database that came and went."""
    return {one for one in tables if one[0] != MAIN or one[1].lower() in there}


def _find_asked(
    notes: StatementNotes, before: frozenset[str], conn: sqlite3.Connection
) -> set[Name]:
    """The tables that were asked about. One that was not there was asked for in vain, or is the tool's own."""
    asked = {*notes.asked, *_find_indexed(conn, notes.asked_indexes)}
    found = {one for one in asked if one[1] == WHOLE or one[1].lower() in before}
    # SQLite does not say from which tables a view has its columns.
    if asked and not find_names(conn, "sqlite_master", _VIEWS).isdisjoint(
        name.lower() for _, name in asked
    ):
        found.add((MAIN, WHOLE))
    return found


def _find_changed(
    notes: StatementNotes, written: set[Name], skipped: set[Name], conn: sqlite3.Connection
) -> set[Name]:
    """The tables of which rows that were there may have changed."""
    changed = notes.changed | (written - notes.written) | (notes.created - skipped) | notes.dropped
    if written - changed:
        resolving = find_names(conn, "sqlite_master", _RESOLVES_CONFLICTS)
        changed |= {one for one in written if one[1].lower() in resolving}
    return changed


def _find_indexed(conn: sqlite3.Connection, indexes: set[str]) -> Iterator[Name]:
    """The tables of these indexes; all tables where one is not there any more."""
    if indexes:
        known = {text_of(name).lower(): text_of(table) for name, table in ask_rows(conn, _INDEXES)}
        yield from ((MAIN, known.get(name.lower(), WHOLE)) for name in indexes)


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


def listen_to_errors() -> None:
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


def clear_not_found() -> None:
    _not_found.clear()


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
    """Those of the main database, as they are shown."""
    return {name.lower() for base, name in tables if _is_table(base, name)}
