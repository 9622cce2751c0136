"""What orch does with `sqlite3` below the classes of tools: the methods of `sqlite3.Connection` itself, the subclass
that takes the place of a plain connection, and questions of its own, whatever row factory the tool has set."""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import NamedTuple

from discover_orch.databases.sqlite_text import fold_definition
from discover_orch.model.keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

#: The mode of `autocommit` in which Python begins transactions, the only one before Python 3.12.
LEGACY = -1

# Bound once: a tool may execute millions of statements.
new_cursor = sqlite3.Connection.cursor
execute = sqlite3.Cursor.execute
authorize = sqlite3.Connection.set_authorizer
is_really_open = sqlite3.Connection.in_transaction.__get__
level_of = sqlite3.Connection.isolation_level.__get__  # type: ignore[union-attr]
set_level = sqlite3.Connection.isolation_level.__set__  # type: ignore[union-attr]
CONNECTION_NAMES = frozenset(vars(sqlite3.Connection))

_NAMES = "SELECT name FROM {} WHERE type IN ('table', 'view')"
#: The indexes of SQLite's own have no definition.
_CATALOG = "SELECT type, name, tbl_name, CASE WHEN type IN ('index', 'trigger') THEN sql END FROM main.sqlite_master"


class OrdinaryConnection(sqlite3.Connection):
    """An ordinary connection that can become a `Connection`. A plain one of C cannot."""

    _listener: Authorizer | None = None  # notes what is read and written, allows everything
    orch_authorizer: Authorizer | None = None  # the user's

    def set_listener(self, listener: Authorizer | None, *, is_exclusive: bool = False) -> None:
        """Call `listener` too for each statement prepared from now on, cached ones included.

        With `is_exclusive` the tool's own authorizer is not called: for queries of orch itself.
        """
        self._listener = listener
        user_authorizer = None if is_exclusive else self.orch_authorizer
        authorize(self, combine(listener, user_authorizer))

    def set_authorizer(self, authorizer_callback: Authorizer | None) -> None:
        self.orch_authorizer = authorizer_callback
        self.set_listener(self._listener)

    if sys.version_info >= (3, 12):

        def setconfig(self, op: int, enable: bool = True, /) -> None:
            statements = getattr(self, "statements", None)
            if statements is not None:
                statements.has_set = True
            super().setconfig(op, enable)

    def backup(self, target: sqlite3.Connection, **kwargs: Any) -> None:
        statements = getattr(target, "statements", None)
        if isinstance(target, OrdinaryConnection) and statements is not None:
            statements.note_use(kwargs.get("name", "main"), WHOLE, is_written=True)
            statements.has_committed = True
        super().backup(target, **kwargs)


def combine(one: Authorizer | None, other: Authorizer | None) -> Authorizer | None:
    """An authorizer that asks both."""
    if one is None or other is None:
        return one or other
    return lambda *asked: one(*asked) or other(*asked)


def autocommit_of(conn: sqlite3.Connection) -> bool | int:
    autocommit = getattr(sqlite3.Connection, "autocommit", None)
    mode: bool | int = LEGACY if autocommit is None else autocommit.__get__(conn)
    return mode


def set_autocommit(conn: sqlite3.Connection, mode: bool | int) -> None:
    sqlite3.Connection.autocommit.__set__(conn, mode)  # type: ignore[attr-defined]


def ask(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """The first column of all rows."""
    return [row[0] if isinstance(row[0], int) else text_of(row[0]) for row in ask_rows(conn, sql)]


def ask_rows(
    conn: sqlite3.Connection, sql: str, values: tuple[Any, ...] = ()
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = run(conn, sql, values).fetchall()
    return rows


def run(conn: sqlite3.Connection, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
    """With the methods of the base class: this must not count as a statement of the tool's."""
    cursor = new_cursor(conn)
    cursor.row_factory = None
    return execute(cursor, sql, values)


def find_names(
    conn: sqlite3.Connection, list_of_tables: str, query: str = _NAMES
) -> frozenset[str]:
    """The names of tables and views, in small letters."""
    return frozenset(name.lower() for name in ask(conn, query.format(list_of_tables)))


class Catalog(NamedTuple):
    """What the main database contains: the names of tables and views, and for each index and trigger, as
    `index by_day`, its table and definition. Names are in small letters."""

    names: frozenset[str] = frozenset()
    objects: Mapping[str, tuple[str, str]] = {}

    def without(self, tables: Iterable[str]) -> Catalog:
        """After these were dropped, and with them what belongs to them."""
        gone = {*tables}
        kept = {name: one for name, one in self.objects.items() if one[0] not in gone}
        return Catalog(self.names - gone, kept)


def read_catalog(conn: sqlite3.Connection) -> Catalog:
    names, objects = set[str](), dict[str, tuple[str, str]]()
    for kind, name, table, definition in ask_rows(conn, _CATALOG):
        shown = text_of(name).lower()
        if kind in ("table", "view"):
            names.add(shown)
        elif definition is not None:
            objects[f"{kind} {shown}"] = text_of(table).lower(), text_of(definition)
    return Catalog(frozenset(names), objects)


def find_acting(objects: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """For each table the definitions of its triggers and unique indexes."""
    found: dict[str, list[str]] = {}
    for name in sorted(objects):
        table, definition = objects[name]
        text = fold_definition(definition)
        if not text.startswith("create index"):
            found.setdefault(table, []).append(text)
    return {table: "\n".join(texts) for table, texts in found.items()}


def list_databases(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """The name and the absolute path of each database of a connection; "" for one without a file."""
    rows = ask_rows(conn, "PRAGMA database_list")
    return [(text_of(name), text_of(path or "")) for _, name, path in rows]


def quote_path(path: str) -> str:
    """For SQLite's URI."""
    for one in "%?#":
        path = path.replace(one, f"%{ord(one):02x}")
    return path


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_of(given: object) -> str:
    return os.fsdecode(given) if isinstance(given, bytes) else str(given)
