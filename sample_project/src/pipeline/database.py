"""What SQLite, PostgreSQL and DuckDB have in common, so that a `DATABASE_URL` is enough to change from one to another.

Not a tool: it has no STAGE.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Connection(Protocol):
    """The part of `sqlite3`, psycopg and DuckDB that the tools use."""

    def execute(self, query: str, params: Sequence[object] = (), /) -> Any: ...


def run_sql(conn: Connection, sql: str, *values: object) -> Any:
    """Run a statement that has a `?` for each value."""
    return conn.execute(mark_values(conn, sql), values)


def insert_rows(conn: Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Add rows, which all have the same length, to a table."""
    rows = list(rows)
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        # psycopg has executemany() on its cursors alone, and a cursor of DuckDB is another connection.
        target: Any = conn if hasattr(conn, "executemany") else conn.cursor()  # type: ignore[attr-defined]
        target.executemany(mark_values(conn, f"INSERT INTO {table} VALUES ({marks})"), rows)


def mark_values(conn: Connection, sql: str) -> str:
    """psycopg writes `%s` where the others write `?`."""
    return sql.replace("?", "%s") if type(conn).__module__.startswith("psycopg") else sql
