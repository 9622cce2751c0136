"""Which log the connection of a driver has: the drivers whose statements orch can observe."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from discover_orch.databases.driver_duckdb import DuckdbLog
from discover_orch.databases.driver_psycopg import PsycopgLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.statement_log import Files, StatementLog


def observe_statements(
    conn: Any, note_files: Files, note_attach: Callable[[str | None], None] = lambda name: None
) -> StatementLog | None:
    """The log of a connection; None where its driver is not known or sqlglot is not installed."""
    kind = _find_kind(conn)
    if kind is None or find_spec("sqlglot") is None:
        return None
    return kind(conn, note_files, note_attach)


def list_tables(conn: Any) -> tuple[str, ...] | None:
    """The tables and views of a PostgreSQL database, as they are shown; None for any other connection."""
    if _find_kind(conn) is not PsycopgLog:
        return None
    catalog = PsycopgLog.read_catalog(conn)
    return tuple(map(catalog.display_name, catalog.tables - catalog.temporary))


def _find_kind(conn: Any) -> type[StatementLog] | None:
    psycopg, duckdb = sys.modules.get("psycopg"), sys.modules.get("duckdb")
    if psycopg is not None and isinstance(conn, psycopg.Connection):
        return PsycopgLog
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        return DuckdbLog
    return None
