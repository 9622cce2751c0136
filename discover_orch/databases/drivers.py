"""Which log the connection of a driver has: the drivers whose tables orch can observe."""

from __future__ import annotations

from importlib.util import find_spec

from discover_orch.databases.driver_transaction import find_kind
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_tables import SqliteTableLog
from discover_orch.databases.sqlite_tables import find_file as find_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.duckdb_tables import Files
    from discover_orch.databases.table_log import TableLog


def choose_log(
    conn: Any,
    note_files: Files,
    note_attach: Callable[[str | None], None] = lambda name: None,
    is_interrupted: Callable[[], bool] | None = None,
) -> TableLog | None:
    """The log of a connection; None where its driver is not known, or sqlglot is not installed for DuckDB."""
    if isinstance(conn, Connection):
        conn.is_interrupted = is_interrupted
        return SqliteTableLog(conn, note_attach)
    kind = find_kind(conn)
    if kind == "psycopg":
        from discover_orch.databases.psycopg_connection import observe

        return observe(conn)
    if kind != "duckdb" or find_spec("sqlglot") is None:
        return None
    from discover_orch.databases.duckdb_tables import DuckdbLog

    return DuckdbLog(conn, note_files, note_attach)


def list_tables(conn: Any) -> tuple[str, ...] | None:
    """The tables and views of a PostgreSQL database, as they are shown; None for any other connection."""
    if find_kind(conn) != "psycopg":
        return None
    from discover_orch.databases.postgres_tables import list_tables

    return list_tables(conn)
