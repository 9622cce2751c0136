"""How orch works with each kind of connection: the transaction that a tool runs in, and the log of its tables.

The transaction belongs to orch on connections of `sqlite3`, which are adopted, of psycopg and of DuckDB. On any other
connection from `get_connection()` orch does what the driver allows: `commit()` and `rollback()`, and nothing in
autocommit mode, where every statement is its own transaction.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from discover_orch.databases.driver_transaction import (
    DriverTransaction,
    Transaction,
    find_driver_connection,
    find_kind,
    read_attribute,
)
from discover_orch.databases.sqlite_connection import Connection, adopt
from discover_orch.databases.sqlite_tables import SqliteTableLog
from discover_orch.databases.sqlite_tables import find_file as find_file
from discover_orch.databases.sqlite_transaction import SqliteTransaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.table_log import TableLog


def choose_transaction(conn: Any, mode: str) -> Transaction:
    """The transactions of this connection; `mode` is "tool", "run" or "none"."""
    inner = find_driver_connection(conn)
    driver = adopt(inner) if isinstance(inner, sqlite3.Connection) else None
    if driver is not None:
        return SqliteTransaction(conn, driver, managed=mode != "none")
    if conn is None or mode == "none":
        return Transaction(conn)
    if find_kind(conn) == "duckdb":
        from discover_orch.databases.duckdb_transaction import DuckdbTransaction

        return DuckdbTransaction(conn)
    if find_kind(inner) == "psycopg":
        from discover_orch.databases.psycopg_transaction import PsycopgTransaction

        return PsycopgTransaction(conn, inner)
    return DriverTransaction(conn, inner)


def choose_log(
    conn: Any,
    note_attach: Callable[[str | None], None] = lambda name: None,
    is_interrupted: Callable[[], bool] | None = None,
) -> TableLog | None:
    """The log of a connection; None where its driver is not known."""
    if isinstance(conn, Connection):
        conn.is_interrupted = is_interrupted
        return SqliteTableLog(conn, note_attach)
    kind = find_kind(conn)
    if kind == "psycopg":
        from discover_orch.databases.psycopg_connection import observe

        return observe(conn)
    if kind != "duckdb":
        return None
    from discover_orch.databases.duckdb_tables import DuckdbLog

    return DuckdbLog(conn, note_attach)


def locks_out_others(conn: Any) -> bool:
    """Whether no other process can open the database as long as this connection is open."""
    if find_kind(conn) != "duckdb":
        return False
    from discover_orch.databases.duckdb_transaction import has_file

    return has_file(conn)


def cancel_statement(conn: Any) -> None:
    """End the statement that the driver's connection `conn` runs in another thread, where the driver can."""
    # sqlite3 and DuckDB, psycopg 3.2, psycopg before
    for name in ("interrupt", "cancel_safe", "cancel"):
        cancel: Any = read_attribute(conn, name, None)
        if cancel is not None:
            with suppress(Exception):  # it runs none, or is closed
                cancel()
            return
