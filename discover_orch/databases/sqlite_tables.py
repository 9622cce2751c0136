"""Which tables a tool read and wrote on a SQLite connection, as SQLite's authorizer reports.

SQLite calls the authorizer when it prepares a statement, not when it runs one, so a statement that runs a
million times costs nothing. Setting the authorizer again makes SQLite prepare cached statements again, so it is
set before each tool. It allows everything. SQLite does not report a table of which a query uses only the
columns that USING or NATURAL JOIN compares.
"""

from __future__ import annotations

import _sqlite3  # see `_find_callbacks`
import gc
import os
import sqlite3
from typing import NamedTuple

from discover_orch.databases.sqlite_connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Name = tuple[str | None, str]  # (database, table)
    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

READ = sqlite3.SQLITE_READ
UPDATE = sqlite3.SQLITE_UPDATE
ALTER_TABLE = sqlite3.SQLITE_ALTER_TABLE
CREATE_INDEX = sqlite3.SQLITE_CREATE_INDEX
TRANSACTION = sqlite3.SQLITE_TRANSACTION
#: These create something else than a table: the creation of a table has ended.
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
#: Reported for most statements, and about no table.
IRRELEVANT = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, 33})  # 33: SQLITE_RECURSIVE
CREATES = frozenset(
    {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_VTABLE}
)
CHANGES = frozenset({sqlite3.SQLITE_INSERT, UPDATE, sqlite3.SQLITE_DELETE})
DROPS = frozenset({sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_DROP_VTABLE})
MAIN = "main"
#: `temp` belongs to the connection; VACUUM copies into `vacuum_db`.
TEMPORARY_SCHEMAS = frozenset({"temp", "vacuum_db"})
#: Functions that SQLite shows as tables.
TABLE_FUNCTIONS = frozenset(
    {"json_each", "json_tree", "jsonb_each", "jsonb_tree", "generate_series"}
)
_NAMES = "SELECT name FROM {} WHERE type IN ('table', 'view')"

# The methods of the base class: orch's own statements must not count as the tool's.
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
    """The log of a SQLite connection, orch's own or the user's."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__()
        self._conn = conn
        self._read: set[Name] = set()
        self._written: set[Name] = set()
        self._altered: set[bool] = set()  # holds True once the names of tables may have changed
        self._committed: set[bool] = set()  # holds True once a COMMIT was prepared
        self._creating: list[Name] = []
        self._authorizer = _make_authorizer(
            self._read, self._written, self._altered, self._committed, self._creating
        )
        self._version: object = None
        self._names: frozenset[str] | None = None  # the tables of `main` when the step began

    def begin_step(self) -> None:
        conn = self._conn
        self._read.clear()
        self._written.clear()
        self._altered.clear()
        self._committed.clear()
        self._creating.clear()
        try:
            is_unobserved = self._pause()
            self._read_table_names(can_query=is_unobserved and not conn.in_transaction)
            if isinstance(conn, Connection):
                conn.copied = set()
                conn.set_listener(self._authorizer)
            elif is_unobserved:
                sqlite3.Connection.set_authorizer(conn, self._authorizer)
            else:
                self._is_unclear = True  # it may have an authorizer of the user's own
        except Exception:  # the connection is closed or locked, or its class is the user's own
            self._is_unclear = True

    def resolve(self) -> None:
        try:
            if not isinstance(self._conn, Connection):
                is_ours = self._authorizer in _find_callbacks(self._conn)
                self._is_unclear = self._is_unclear or not is_ours
            read, written = self._resolve_names()
            if isinstance(self._conn, Connection):
                self._conn.set_listener(None)
        except Exception:  # the connection is closed
            read, written = self._read, self._written
        self._tables_read.update(_display_name(*name) for name in read if _is_table(*name))
        self._tables_written.update(_display_name(*name) for name in written if _is_table(*name))

    @property
    def has_committed(self) -> bool:
        return bool(self._committed)

    @property
    def has_written(self) -> bool:
        return bool(self._tables_written)

    def _pause(self) -> bool:
        """Stop listening; whether orch can query unobserved: the tool has set no trace and no authorizer."""
        if isinstance(self._conn, Connection):
            self._conn.set_listener(None, is_exclusive=True)
            return not _find_callbacks(self._conn)
        return not [one for one in _find_callbacks(self._conn) if one is not self._authorizer]

    def _read_table_names(self, can_query: bool) -> None:
        if not can_query:
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
                # SQLite does not report the new name of a table. A table that came and went does not count.
                written |= {(MAIN, name) for name in names - before}
                known = before | names
                read = {one for one in read if one[0] != MAIN or one[1].lower() in known}
                written = {one for one in written if one[0] != MAIN or one[1].lower() in known}
        # For `SELECT count(*) FROM name`, SQLite does not report the database of the table.
        for name in bare:
            read.discard((None, name))
            base = self._find_base(name.lower(), names)
            if base:
                read.add((base, name))
        return read, written

    def _find_base(self, name: str, main: frozenset[str] | None) -> str | None:
        """The database that has this table, in SQLite's order; None for a temporary table or a CTE."""
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
    """The log of a `sqlite3` connection; None for any other connection."""
    if not isinstance(conn, sqlite3.Connection):
        return None
    if isinstance(conn, Connection):
        conn.is_interrupted = is_interrupted
    return SqliteTableLog(conn)


def find_file(conn: Any) -> str:
    """The absolute path of the main file of a `sqlite3` connection; "" for any other connection."""
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
    """The authorizer, called several times for each prepared statement; it must not raise.

    `creating` is the table that the statement creates, if there is none of that name yet.
    """
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
                # Reported only if the table does not exist yet: IF NOT EXISTS reports nothing more. DROP writes
                # to the schema table too, but updates another column.
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
            indexing = two  # reads of the indexed columns do not count
            if one[:7] != "sqlite_":  # an index of SQLite's own belongs to the table being created
                creating.clear()
        elif action == TRANSACTION and one == "COMMIT":
            committed.add(True)
        return ALLOWED

    return authorize


def _is_table(base: str | None, name: str) -> bool:
    """Whether this is a lasting table of the user's: not temporary, and not SQLite's own."""
    shown = name.lower()
    return (
        (base is None or base.lower() not in TEMPORARY_SCHEMAS)
        and not shown.startswith(("sqlite_", "pragma_"))
        and shown not in TABLE_FUNCTIONS
    )


def _display_name(base: str | None, name: str) -> str:
    shown = name.lower()
    return shown if base is None or base.lower() == MAIN else f"{base.lower()}.{shown}"


def _find_names(conn: sqlite3.Connection, schema: str) -> frozenset[str]:
    return frozenset(name.lower() for name in _ask(conn, _NAMES.format(schema)))


def _ask(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """The first column of all rows, whatever row and text factories the tool has set."""
    cursor = _new_cursor(conn)
    cursor.row_factory = None
    rows = _execute(cursor, sql).fetchall()
    return [one if isinstance(one, int) else _text(one) for (one,) in rows]


def _text(given: object) -> str:
    return os.fsdecode(given) if isinstance(given, bytes) else str(given)


def _find_callbacks(conn: sqlite3.Connection) -> list[object]:
    """The trace, authorizer and similar callbacks of a connection.

    Python has no method that returns them. The connection refers to each one just before it refers to the
    module `_sqlite3`, which calls it.
    """
    referred: Iterable[object] = gc.get_referents(conn)
    found = []
    previous: object = None
    for one in referred:
        if one is _sqlite3:
            found.append(previous)
        previous = one
    return found
