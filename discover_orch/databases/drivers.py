"""The drivers whose statements can be heard as a tool sends them: psycopg 3 and DuckDB."""

from __future__ import annotations

import sys

from discover_orch.databases.driver import Driver
from discover_orch.databases.driver_duckdb import Duckdb
from discover_orch.databases.driver_psycopg import Psycopg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PSYCOPG, _DUCKDB = Psycopg(), Duckdb()


def find_driver(conn: Any) -> Driver | None:
    """The driver of this very kind of connection."""
    psycopg, duckdb = sys.modules.get("psycopg"), sys.modules.get("duckdb")
    if psycopg is not None and isinstance(conn, psycopg.Connection):
        return _PSYCOPG
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        return _DUCKDB
    return None
