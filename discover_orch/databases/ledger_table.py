"""The table `orch_ledger`: each tool's transaction adds one row, so that the work and its record commit together.

A run that was killed may be asked about later (`is_committed`). Before its work is done again, each attempt without a
row gets one with the outcome `void` (`settle`). The primary key then refuses the commit of a worker that is still
alive, so an attempt is either committed or void, and never both.
"""

from __future__ import annotations

import sqlite3
import time

from discover_orch.databases.driver_transaction import ask_duckdb, find_kind, is_autocommit
from discover_orch.databases.sqlite_calls import quote
from discover_orch.model.database_url import CannotOpen
from discover_orch.model.ledger_entry import COMMITTED, VOID, AlreadyCommitted
from discover_orch.model.table_keys import OWN_TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from discover_orch.model.ledger_entry import LedgerEntry

COLUMNS = (
    "project TEXT NOT NULL, tool TEXT NOT NULL, run TEXT NOT NULL, attempt INTEGER NOT NULL, "
    "committed_at TEXT, outcome TEXT NOT NULL, run_key TEXT NOT NULL, "
    "PRIMARY KEY (run_key, tool, attempt)"
)


class Ledger:
    """The ledger on one connection. `make_table` before all others, outside of any transaction."""

    def __init__(self, conn: Any, schema: str = "") -> None:
        self._conn = conn
        self._table = f"{schema}.{OWN_TABLE}" if schema else OWN_TABLE
        self._creation = f"CREATE TABLE IF NOT EXISTS {self._table} ({COLUMNS})"

    def make_table(self) -> None:
        """Raises CannotOpen where the table is missing and cannot be made."""
        try:
            self._make_table()
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise CannotOpen(
                f"cannot create the table {OWN_TABLE}, which ledger = true needs: {reason}",
                "let orch write to the database, or remove ledger from the configuration",
            ) from None

    def is_committed(self, entry: LedgerEntry) -> bool:
        """Whether the attempt has a row. Makes no table."""
        query = f"SELECT outcome FROM {self._table} WHERE run_key = ? AND tool = ? AND attempt = ?"
        return (COMMITTED,) in self._run(query, entry.key, entry.tool, entry.attempt)

    def refuse_committed(self, entry: LedgerEntry) -> None:
        if self.is_committed(entry):
            raise AlreadyCommitted(
                f"attempt {entry.attempt} of {entry.tool} in run {entry.run} is already committed, according to the "
                f"table {OWN_TABLE}; it does not run again"
            )

    def add(self, entry: LedgerEntry) -> None:
        """Within the transaction that is about to be committed."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._insert(entry, now, COMMITTED)

    def settle(self, entry: LedgerEntry) -> bool:
        """Whether the attempt was committed; if not, it cannot be any more. Commits."""
        self._insert(entry, None, VOID, " ON CONFLICT DO NOTHING")
        self._end()
        return self.is_committed(entry)

    def _insert(self, entry: LedgerEntry, at: str | None, outcome: str, rest: str = "") -> None:
        values = (entry.project, entry.tool, entry.run, entry.attempt, at, outcome, entry.key)
        self._run(f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?){rest}", *values)

    def _make_table(self) -> None:
        self._run(self._creation)
        self._end()

    def _end(self) -> None:
        """Commit what was run outside of a tool's transaction."""

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """On the real connection, unseen by what observes the tool."""
        raise NotImplementedError


class SqliteLedger(Ledger):
    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = sqlite3.Connection.cursor(self._conn)
        cursor.row_factory = None
        rows: list[tuple[Any, ...]] = sqlite3.Cursor.execute(cursor, sql, values).fetchall()
        return rows

    def _end(self) -> None:
        sqlite3.Connection.commit(self._conn)


class DuckdbLedger(Ledger):
    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return ask_duckdb(self._conn, sql, values)


class PsycopgLedger(Ledger):
    """Uses libpq below psycopg, so that neither transactions nor listeners are concerned."""

    def _make_table(self) -> None:
        if self._is_missing():
            if self._conn.info.transaction_status != 0:
                self._run("COMMIT")  # what get_connection() has begun stays
            try:
                self._run(self._creation)
            except Exception:
                if self._is_missing():  # else another worker has made it at the same time
                    raise

    def _is_missing(self) -> bool:
        return self._run("SELECT to_regclass(?)", self._table) == [(None,)]

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        import psycopg

        for number in range(len(values)):
            sql = sql.replace("?", f"${number + 1}", 1)
        texts = [None if one is None else str(one).encode() for one in values]
        with self._conn.lock:
            result = self._conn.pgconn.exec_params(sql.encode(), texts)
        if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        rows, columns = range(result.ntuples), range(result.nfields)
        cells = [[result.get_value(row, column) for column in columns] for row in rows]
        return [tuple(cell and cell.decode() for cell in row) for row in cells]


def find_ledger(driver: Any) -> Ledger | None:
    """The ledger of a driver's connection; None where orch does not own the transactions on it."""
    kind = "" if is_autocommit(driver) else find_kind(driver)
    if kind == "sqlite3":
        return SqliteLedger(driver, "main")
    if not kind:
        return None
    ledger = PsycopgLedger if kind == "psycopg" else DuckdbLedger
    [names] = ledger(driver)._run("SELECT current_database(), current_schema()")
    # A connection to PostgreSQL knows one database, and may have no schema.
    given = names[1:] if kind == "psycopg" else names
    return ledger(driver, ".".join(quote(one) for one in given if one))
