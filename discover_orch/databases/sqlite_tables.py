"""Which tables a tool read and wrote on one SQLite connection, as SQLite's authorizer tells it.

In: a connection. Out: names. SQLite asks the authorizer when it prepares a statement, not when it runs one, so a
statement that is run a million times costs nothing. The connection keeps its cached statements; setting the
authorizer anew makes SQLite prepare them again, which is why it is set before each tool. Allows everything.
Not told by SQLite: a table of which a query uses only what USING or NATURAL JOIN compares.
"""

from __future__ import annotations

import _sqlite3
import gc
import os
import sqlite3
from typing import NamedTuple

from discover_orch.databases.sqlite_connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Name = tuple[str | None, str]  # of the database, and of the table
    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

READ = sqlite3.SQLITE_READ
UPDATE = sqlite3.SQLITE_UPDATE
ALTER_TABLE = sqlite3.SQLITE_ALTER_TABLE
CREATE_INDEX = sqlite3.SQLITE_CREATE_INDEX
TRANSACTION = sqlite3.SQLITE_TRANSACTION
#: What ends the hearing of a table that is being made: all other things that can be.
ENDS_CREATION = frozenset(
    {
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    }
)
ALLOWED = sqlite3.SQLITE_OK
#: Said of most statements, and of no table.
IRRELEVANT = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, 33})  # 33: SQLITE_RECURSIVE
CREATES = frozenset(
    {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_VTABLE}
)
CHANGES = frozenset({sqlite3.SQLITE_INSERT, UPDATE, sqlite3.SQLITE_DELETE})
DROPS = frozenset({sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_DROP_VTABLE})
MAIN = "main"
#: `temp` is the connection's own; the other is where VACUUM makes its copy.
TEMPORARY_SCHEMAS = frozenset({"temp", "vacuum_db"})
#: Functions that SQLite shows as tables.
TABLE_FUNCTIONS = frozenset(
    {"json_each", "json_tree", "jsonb_each", "jsonb_tree", "generate_series"}
)
_NAMES = "SELECT name FROM {} WHERE type IN ('table', 'view')"

# Python's own, past what a subclass does: these statements are no tool's.
_new_cursor = sqlite3.Connection.cursor
_execute = sqlite3.Cursor.execute


class TableUse(NamedTuple):
    """The names of tables that were used, sorted; `is_unclear`: there may have been others."""

    read: tuple[str, ...]
    written: tuple[str, ...]
    is_unclear: bool


class TableLog:
    """Which tables the steps of a worker use on one connection.

    For each step: `begin_step`, the tool, `resolve` before its transaction ends, `drain`.
    """

    def __init__(self) -> None:
        self._tables_read: set[str] = set()
        self._tables_written: set[str] = set()
        self._is_unclear = False

    def begin_step(self) -> None:
        """Called before the tool, while orch has no transaction open."""
        raise NotImplementedError

    def resolve(self) -> None:
        """Find the tables, while the tool's transaction is as it left it."""
        raise NotImplementedError

    @property
    def has_committed(self) -> bool:
        """Whether the tool itself committed in this step; asked before orch commits."""
        raise NotImplementedError

    @property
    def has_written(self) -> bool:
        """Whether the resolved part of the step wrote to any table."""
        raise NotImplementedError

    def peek(self) -> TableUse:
        """What was resolved since the last `drain`."""
        return TableUse(
            tuple(sorted(self._tables_read)), tuple(sorted(self._tables_written)), self._is_unclear
        )

    def drain(self) -> TableUse:
        """What was resolved since the last call."""
        use = self.peek()
        self._tables_read.clear()
        self._tables_written.clear()
        self._is_unclear = False
        return use


class SqliteTableLog(TableLog):
    """Listens to one connection: `begin_step` before each tool, `resolve` before its transaction ends, then `drain`."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__()
        self._conn = conn
        self._read: set[Name] = set()
        self._written: set[Name] = set()
        self._altered: set[bool] = set()  # holds True when the names of tables may have changed
        self._committed: set[bool] = set()  # holds True when a COMMIT was asked for
        self._creating: list[Name] = []
        self._authorizer = _make_authorizer(
            self._read, self._written, self._altered, self._committed, self._creating
        )
        self._version: object = None
        self._names: frozenset[str] | None = None  # of `main`, as they were when the step began

    def begin_step(self) -> None:
        """Called with no transaction of orch's open: what is looked up here must hold no lock."""
        conn = self._conn
        self._read.clear()
        self._written.clear()
        self._altered.clear()
        self._committed.clear()
        self._creating.clear()
        try:
            is_quiet = self._pause()
            self._read_table_names(can_ask=is_quiet and not conn.in_transaction)
            if isinstance(conn, Connection):
                conn.copied = set()
                conn.set_listener(self._authorizer)
            elif is_quiet:
                sqlite3.Connection.set_authorizer(conn, self._authorizer)
            else:
                self._is_unclear = True  # it may have an authorizer of the user's own
        except Exception:  # it is closed, locked, or a class of the user's that does as it likes
            self._is_unclear = True

    def resolve(self) -> None:
        """Make names of what was heard, while the tool's transaction is as it left it."""
        try:
            if not isinstance(self._conn, Connection):
                is_ours = self._authorizer in _find_callbacks(self._conn)
                self._is_unclear = self._is_unclear or not is_ours
            read, written = self._resolve_names()
            if isinstance(self._conn, Connection):
                self._conn.set_listener(None)
        except Exception:  # it is closed
            read, written = self._read, self._written
        self._tables_read.update(_show(*name) for name in read if _is_table(*name))
        self._tables_written.update(_show(*name) for name in written if _is_table(*name))

    @property
    def has_committed(self) -> bool:
        """Whether the tool asked for a COMMIT by itself; asked before orch does."""
        return bool(self._committed)

    @property
    def has_written(self) -> bool:
        """Whether it wrote to any table, as far as is settled."""
        return bool(self._tables_written)

    def _pause(self) -> bool:
        """Whether nobody hears what is asked now: a trace or an authorizer of the tool's own."""
        if isinstance(self._conn, Connection):
            self._conn.set_listener(None, is_exclusive=True)
            return not _find_callbacks(self._conn)
        return not [one for one in _find_callbacks(self._conn) if one is not self._authorizer]

    def _read_table_names(self, can_ask: bool) -> None:
        if not can_ask:
            self._names = self._version = None
            return
        [version] = _ask(self._conn, "PRAGMA schema_version")
        if self._names is None or version != self._version:
            self._names = _find_names(self._conn, "sqlite_master")
            self._version = version

    def _resolve_names(self) -> tuple[set[Name], set[Name]]:
        read, written = self._read.copy(), self._written.copy()
        if isinstance(self._conn, Connection) and written and self._conn.copied:
            read |= self._conn.copied
        before = names = self._names
        bare = {name for base, name in read if base is None}
        if (self._altered or (bare and before is None)) and self._pause():
            names = _find_names(self._conn, "sqlite_master")
            if before is not None and self._altered:
                # A rename does not tell the new name; and what is made and gone is nothing.
                written |= {(MAIN, name) for name in names - before}
                there = before | names
                read = {one for one in read if one[0] != MAIN or one[1].lower() in there}
                written = {one for one in written if one[0] != MAIN or one[1].lower() in there}
        # Of `SELECT count(*) FROM name` SQLite does not say in which database it is.
        for name in bare:
            read.discard((None, name))
            base = self._find_base(name.lower(), names)
            if base:
                read.add((base, name))
        return read, written

    def _find_base(self, name: str, main: frozenset[str] | None) -> str | None:
        """The database that has it, in SQLite's order; None for a temporary table or a part of a query."""
        if not self._pause():
            return MAIN if main is None or name in main else None
        if name in _find_names(self._conn, "sqlite_temp_master"):
            return None
        if main is None or name in main:
            return MAIN
        for base in map(str, _ask(self._conn, "SELECT name FROM pragma_database_list")):
            quoted = '"' + base.replace('"', '""') + '"'
            if base not in (MAIN, "temp") and name in _find_names(
                self._conn, f"{quoted}.sqlite_master"
            ):
                return base
        return None


def observe_sqlite(conn: Any, is_interrupted: Callable[[], bool] | None) -> SqliteTableLog | None:
    """None for a connection of another kind, whose statements nobody tells."""
    if not isinstance(conn, sqlite3.Connection):
        return None
    if isinstance(conn, Connection):
        conn.is_interrupted = is_interrupted
    return SqliteTableLog(conn)


def find_file(conn: Any) -> str:
    """The absolute path of the file that a connection of `sqlite3` has as `main`; "" for all others."""
    try:
        if isinstance(conn, sqlite3.Connection):
            cursor = _new_cursor(conn)
            cursor.row_factory = None
            for _, name, path in _execute(cursor, "PRAGMA database_list").fetchall():
                if _text(name) == MAIN and path:
                    return os.path.abspath(_text(path))
    except Exception:
        pass
    return ""


def _make_authorizer(
    read: set[Name],
    written: set[Name],
    altered: set[bool],
    committed: set[bool],
    creating: list[Name],
) -> Authorizer:
    """The authorizer; called several times for each statement that is prepared, and it cannot raise. `creating` is
    what the statement makes, if there is none of that name yet."""
    note_read = read.add
    indexing: str | None = None

    def authorize(action: int, one: Any, two: Any, base: Any, inner: Any) -> int:
        nonlocal indexing
        if action == READ:
            if indexing != one:
                note_read((base, one))
            return ALLOWED
        indexing = None
        if action in IRRELEVANT:
            return ALLOWED
        if action in CHANGES:
            if one[:7] != "sqlite_":
                written.add((base, one))
            elif creating and action == UPDATE and two == "type" and base == creating[0][0]:
                # Only where there is none yet: of IF NOT EXISTS nothing more is heard. DROP, which writes there
                # too, updates another column.
                written.add(creating.pop())
                altered.add(True)
        elif action in CREATES:
            creating[:] = ((base, one),)
        elif action in ENDS_CREATION:
            creating.clear()
        elif action in DROPS:
            written.add((base, one))
            altered.add(True)
        elif action == ALTER_TABLE:
            written.add((one, two))
            altered.add(True)
        elif action == CREATE_INDEX:
            indexing = two  # the columns that an index is made of are read, but by no one
            if one[:7] != "sqlite_":  # that one belongs to the table that is being made
                creating.clear()
        elif action == TRANSACTION and one == "COMMIT":
            committed.add(True)
        return ALLOWED

    return authorize


def _is_table(base: str | None, name: str) -> bool:
    """Whether it is one that stays: nothing of the connection's own, and nothing of SQLite's."""
    shown = name.lower()
    return (
        (base is None or base.lower() not in TEMPORARY_SCHEMAS)
        and not shown.startswith(("sqlite_", "pragma_"))
        and shown not in TABLE_FUNCTIONS
    )


def _show(base: str | None, name: str) -> str:
    shown = name.lower()
    return shown if base is None or base.lower() == MAIN else f"{base.lower()}.{shown}"


def _find_names(conn: sqlite3.Connection, schema: str) -> frozenset[str]:
    return frozenset(name.lower() for name in _ask(conn, _NAMES.format(schema)))


def _ask(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """The first column of all rows, whatever the tool made of rows and texts."""
    cursor = _new_cursor(conn)
    cursor.row_factory = None
    rows = _execute(cursor, sql).fetchall()
    return [one if isinstance(one, int) else _text(one) for (one,) in rows]


def _text(given: object) -> str:
    return os.fsdecode(given) if isinstance(given, bytes) else str(given)


def _find_callbacks(conn: sqlite3.Connection) -> list[object]:
    """What is called for statements of this connection: each stands before the module that calls it."""
    referred: Iterable[object] = gc.get_referents(conn)
    found = []
    before: object = None
    for one in referred:
        if one is _sqlite3:
            found.append(before)
        before = one
    return found
