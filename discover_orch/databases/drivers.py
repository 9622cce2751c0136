"""How orch works with each kind of connection: a `Database` of the kind.

The transaction belongs to orch on connections of `sqlite3`, which are adopted, of psycopg and of DuckDB. On any other
connection from `get_connection()` orch does what the driver allows: `commit()` and `rollback()`, and nothing in
autocommit mode, where every statement is its own transaction.
"""

from __future__ import annotations

from discover_orch.databases.database import Database
from discover_orch.databases.driver_transaction import find_driver_connection, find_kind
from discover_orch.databases.sqlite_database import SqliteDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def find_database(conn: Any) -> Database:
    """What orch knows of a connection, also of one of SQLAlchemy."""
    driver = find_driver_connection(conn)
    match find_kind(driver):
        case "sqlite3":
            return SqliteDatabase(driver, conn)
        case "psycopg":
            from discover_orch.databases.postgres_database import PostgresDatabase

            return PostgresDatabase(driver, conn)
        case "duckdb":
            from discover_orch.databases.duckdb_database import DuckdbDatabase

            return DuckdbDatabase(driver, conn)
    return Database(driver, conn)
