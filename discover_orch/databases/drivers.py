"""Which log the connection of a driver has: the drivers whose statements orch can observe."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from discover_orch.databases.driver_duckdb import DuckdbLog
from discover_orch.databases.driver_psycopg import PsycopgLog
from discover_orch.databases.driver_transaction import find_kind
from discover_orch.databases.statement_log import StatementLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.statement_log import Files


_LOGS: Mapping[str, type[StatementLog]] = {"duckdb": DuckdbLog, "psycopg": PsycopgLog}


def observe_statements(
    conn: Any, note_files: Files, note_attach: Callable[[str | None], None] = lambda name: None
) -> StatementLog | None:
    """The log of a connection; None where its driver is not known or sqlglot is not installed."""
    kind = _LOGS.get(find_kind(conn))
    if kind is None or find_spec("sqlglot") is None:
        return None
    return kind(conn, note_files, note_attach)


def list_tables(conn: Any) -> tuple[str, ...] | None:
    """The tables and views of a PostgreSQL database, as they are shown; None for any other connection."""
    if find_kind(conn) != "psycopg":
        return None
    catalog = PsycopgLog.read_catalog(conn)
    return tuple(map(catalog.display_name, catalog.tables - catalog.temporary))
