"""Which log the connection of a driver has: the drivers whose statements orch can observe."""

from __future__ import annotations

from importlib.util import find_spec

from discover_orch.databases.driver_transaction import find_kind
from discover_orch.databases.postgres_tables import list_tables as list_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.duckdb_tables import Files
    from discover_orch.databases.table_log import TableLog


def observe_statements(
    conn: Any, note_files: Files, note_attach: Callable[[str | None], None] = lambda name: None
) -> TableLog | None:
    """The log of a connection; None where its driver is not known, or sqlglot is not installed for DuckDB."""
    kind = find_kind(conn)
    if kind == "psycopg":
        from discover_orch.databases.psycopg_connection import observe

        return observe(conn)
    if kind != "duckdb" or find_spec("sqlglot") is None:
        return None
    from discover_orch.databases.duckdb_tables import DuckdbLog

    return DuckdbLog(conn, note_files, note_attach)
