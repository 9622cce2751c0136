"""Drops and empties tables that tools made, for `orch run --rebuild`: on the connection of the tool that makes them
anew, so that a failure of the tool brings them back.

What depends on a dropped table (a view on PostgreSQL, a table with a foreign key) is dropped with it if it is to be
made anew too. Otherwise that is an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

from discover_orch.databases.driver_transaction import ask_duckdb, find_kind
from discover_orch.databases.sqlite_calls import ask_rows, quote
from discover_orch.model.table_keys import shown_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Execute = Callable[[str], object]

#: By the names as they are shown: what DROP calls each table or view, and its name in SQL.
Named = Mapping[str, tuple[str, str]]

_DUCKDB = (
    "SELECT database_name, schema_name, table_name, 'TABLE' FROM duckdb_tables() WHERE NOT internal UNION ALL "
    "SELECT database_name, schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal"
)
_POSTGRES_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}
#: The views that read a table, and the tables with a foreign key to it, by their oids.
_POSTGRES_USERS = (
    "SELECT DISTINCT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid "
    "WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refobjid = {0} AND r.ev_class <> {0} UNION "
    "SELECT conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = {0} AND conrelid <> {0}"
)
_SQLITE_USERS = (
    "SELECT m.name FROM main.sqlite_master m, pragma_foreign_key_list(m.name, 'main') f "
    "WHERE m.type = 'table' AND f.\"table\" = '{0}' COLLATE NOCASE AND m.name <> '{0}' COLLATE NOCASE"
)
_DUCKDB_USERS = (
    "SELECT database_name, schema_name, table_name FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' "
    "AND referenced_table = '{0}' AND table_name <> '{0}'"
)


class CannotRemove(Exception):
    """A table cannot be dropped; the message is a sentence for the user."""


def remove_tables(
    conn: Any, drops: Iterable[str], empties: Iterable[str], may_drop: Iterable[str]
) -> tuple[str, ...]:
    """Drops these tables and views and deletes the rows of those, as far as they are there. Returns what was dropped,
    with what depended on it among `may_drop`. Raises CannotRemove, and what the database raises."""
    if isinstance(conn, sqlite3.Connection):
        return _remove(_Sqlite(conn), drops, empties, {*may_drop})
    kind = find_kind(conn)
    if kind not in ("duckdb", "psycopg"):
        raise CannotRemove("--rebuild cannot drop tables on this kind of connection")
    there = _Duckdb(conn) if kind == "duckdb" else _Postgres(conn)
    return _remove(there, drops, empties, {*may_drop})


class _Database:
    """One kind: which tables there are, which of them depend on one, and how to execute a statement."""

    named: Named

    def find_users(self, name: str) -> Iterable[str]:
        raise NotImplementedError

    def execute(self, sql: str) -> object:
        raise NotImplementedError


class _Sqlite(_Database):
    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        rows = ask_rows(conn, "SELECT name, upper(type) FROM main.sqlite_master")
        self.named = {
            name.lower(): (kind, f"main.{quote(name)}")
            for name, kind in rows
            if kind in ("TABLE", "VIEW")
        }

    def find_users(self, name: str) -> Iterable[str]:
        [(is_enforced,)] = ask_rows(self._conn, "PRAGMA foreign_keys")
        users = ask_rows(self._conn, _SQLITE_USERS.format(name.replace("'", "''")))
        return [user.lower() for (user,) in users] if is_enforced else []

    def execute(self, sql: str) -> object:
        return self._conn.execute(sql)  # as a tool does: this begins the transaction


class _Duckdb(_Database):
    def __init__(self, conn: Any) -> None:
        from discover_orch.databases.duckdb_catalog import display_name

        self._conn = conn
        [(database,)] = ask_duckdb(conn, "SELECT current_database()")

        def shown(names: Iterable[str]) -> str:
            where, schema, name = (part.lower() for part in names)
            return display_name((where, schema, name), (database.lower(), "main"))

        self._shown = shown
        rows = ask_duckdb(conn, _DUCKDB)
        self.named = {shown(parts): (kind, ".".join(map(quote, parts))) for *parts, kind in rows}

    def find_users(self, name: str) -> Iterable[str]:
        table = name.rpartition(".")[2].replace("'", "''")
        return [self._shown(row) for row in ask_duckdb(self._conn, _DUCKDB_USERS.format(table))]

    def execute(self, sql: str) -> object:
        return ask_duckdb(self._conn, sql)


class _Postgres(_Database):
    def __init__(self, conn: Any) -> None:
        from discover_orch.databases.postgres_tables import ask_rows as ask
        from discover_orch.databases.postgres_tables import ask_use

        self._ask, self._conn = ask, conn
        tables = [one for one in ask_use(conn).tables if one.kind in _POSTGRES_KINDS]
        self._oids = {one.shown: one.oid for one in tables if one.name}
        self.named = {
            one.shown: (
                _POSTGRES_KINDS[one.kind or ""],
                f"{quote(one.schema or '')}.{quote(one.name)}",
            )
            for one in tables
            if one.name
        }

    def find_users(self, name: str) -> Iterable[str]:
        users = {oid for (oid,) in self._ask(self._conn, _POSTGRES_USERS.format(self._oids[name]))}
        return [shown for shown, oid in self._oids.items() if oid in users]

    def execute(self, sql: str) -> object:
        return self._ask(self._conn, sql)


def _remove(
    there: _Database, drops: Iterable[str], empties: Iterable[str], may_drop: set[str]
) -> tuple[str, ...]:
    removed: dict[str, None] = {}

    def drop(name: str, above: str = "") -> None:
        if name in removed or name not in there.named:
            return
        if above and name not in may_drop:
            raise CannotRemove(
                f"--rebuild cannot drop {shown_table(above)}: {shown_table(name)} depends on it, and is not made anew"
            )
        removed[name] = None  # before what depends on it, or a circle would not end
        for user in there.find_users(name):
            drop(user, name)
        kind, quoted = there.named[name]
        there.execute(f"DROP {kind} IF EXISTS {quoted}")  # a partition goes with its table

    for name in drops:
        drop(name)
    for name in empties:
        if name in there.named:
            there.execute(f"DELETE FROM {there.named[name][1]}")
    return tuple(removed)
