"""Orch's own questions on a SQLite connection of a tool, whatever row and text factories the tool has set."""

from __future__ import annotations

import _sqlite3  # see `find_callbacks`
import gc
import os

from discover_orch.databases.sqlite_class import execute, new_cursor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from typing import Any

_NAMES = "SELECT name FROM {} WHERE type IN ('table', 'view')"


def ask(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """The first column of all rows."""
    return [row[0] if isinstance(row[0], int) else text_of(row[0]) for row in ask_rows(conn, sql)]


def ask_rows(conn: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    # With the methods of the base class: this must not count as a statement of the tool's.
    cursor = new_cursor(conn)
    cursor.row_factory = None
    rows: list[tuple[Any, ...]] = execute(cursor, sql).fetchall()
    return rows


def find_names(
    conn: sqlite3.Connection, list_of_tables: str, query: str = _NAMES
) -> frozenset[str]:
    """The names of tables and views, in small letters."""
    return frozenset(name.lower() for name in ask(conn, query.format(list_of_tables)))


def list_databases(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """The name and the absolute path of each database of a connection; "" for one without a file."""
    rows = ask_rows(conn, "PRAGMA database_list")
    return [(text_of(name), text_of(path or "")) for _, name, path in rows]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_of(given: object) -> str:
    return os.fsdecode(given) if isinstance(given, bytes) else str(given)


def find_callbacks(conn: sqlite3.Connection) -> list[object]:
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
