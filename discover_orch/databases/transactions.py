"""The transaction that a tool runs in, and the log of the tables that it uses.

The transaction belongs to orch on connections of `sqlite3`, which are adopted, of psycopg and of DuckDB. On any other
connection from `get_connection()` orch does what the driver allows: `commit()` and `rollback()`, and nothing in
autocommit mode, where every statement is its own transaction.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from importlib.util import find_spec

from discover_orch.databases.driver_transaction import (
    AUTOCOMMIT_NOTE,
    CLOSED_NOTE,
    LEFT_OPEN_NOTE,
    DriverTransaction,
    is_autocommit,
    read_attribute,
)
from discover_orch.databases.driver_transaction import ENDED_NOTE as ENDED_NOTE
from discover_orch.databases.driver_transaction import LOST_BY_CLOSING as LOST_BY_CLOSING
from discover_orch.databases.driver_transaction import NOT_COMMITTED as NOT_COMMITTED
from discover_orch.databases.driver_transaction import Transaction as Transaction
from discover_orch.databases.driver_transaction import WritesLost as WritesLost
from discover_orch.databases.driver_transaction import find_kind as find_kind
from discover_orch.databases.sqlite_base import LEGACY, ask_rows
from discover_orch.databases.sqlite_connection import BUSY_TIMEOUT, Connection, adopt
from discover_orch.databases.sqlite_tables import SqliteTableLog
from discover_orch.databases.sqlite_tables import find_file as find_file
from discover_orch.model.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from discover_orch.databases.duckdb_tables import Files
    from discover_orch.databases.table_log import TableLog


#: PostgreSQL's codes for what cannot be done in a transaction: a VACUUM, a COMMIT in a procedure.
NEEDS_NO_TRANSACTION = ("25001", "2D000")
LOCK_TIMEOUT, QUERY_CANCELED = "55P03", "57014"
NEEDS_NO_DUCKDB_TRANSACTION = ("CHECKPOINT:", "single attached database", "within a transaction")


_read_cause, _read_context = (
    BaseException.__dict__[name].__get__ for name in ("__cause__", "__context__")
)


def find_hint(error: BaseException, holds_lock: bool = False, tables: Collection[str] = ()) -> str:
    """How to fix an error that a database driver raised, or "". `holds_lock`: orch has not committed yet what the tool
    has. `tables` are those that exist."""
    is_duckdb = type(error).__module__.lstrip("_").partition(".")[0] == "duckdb"
    if is_duckdb and any(one in str(error) for one in NEEDS_NO_DUCKDB_TRANSACTION):
        return (
            "orch has begun a transaction for the tool and ends it: leave out BEGIN and COMMIT, write to one database "
            'only, CHECKPOINT before the first write, or set ORCH = {"transaction": "none"}'
        )
    if is_duckdb and "transaction is aborted" in str(error):
        return (
            "after a failed statement DuckDB discards what the tool has written: avoid the failure, for example with "
            'IF EXISTS or TRY_CAST, or set ORCH = {"transaction": "none"}'
        )
    inner = read_attribute(error, "orig", error)
    code = read_attribute(inner, "sqlstate", None)
    is_psycopg = type(inner).__module__.partition(".")[0] == "psycopg"
    if code == LOCK_TIMEOUT:
        return (
            "another transaction has the lock; what a tool writes on conn is locked until the tool ends, "
            "also for a second connection of its own"
        )
    is_begun = is_psycopg and "in transaction status INTRANS" in str(inner)
    if code in NEEDS_NO_TRANSACTION or is_begun:
        return (
            "orch keeps one transaction open from the tool's first write to its end: do this "
            'before, with conn.autocommit = True, or set ORCH = {"transaction": "none"}'
        )
    if not issubclass(type(error), sqlite3.OperationalError):
        return ""
    text = str(error)
    if text.startswith("no such table"):
        close = nearest(text.rpartition(":")[2].rpartition(".")[2].strip().lower(), tables)
        otherwise = f"did you mean {close}? Otherwise " if close else ""
        return f"{otherwise}run the tool that creates this table first, and name it in AFTER"
    if "locked" in text and holds_lock:
        return (
            "conn has locked the database until the tool ends, also where the tool has committed: use conn for this "
            'too, or write ORCH = {"transaction": "none"} in the tool'
        )
    if "locked" in text:
        return (
            f"another connection has locked the database; orch waited {BUSY_TIMEOUT:.0f} s. "
            "Is another program using it, or is a query unfinished?"
        )
    if "readonly" in text or "read-only" in text:
        return "make the database file and its folder writable"
    if "full" in text:
        return "free some disk space"
    return ""


class SqliteTransaction(Transaction):
    """On a `sqlite3` connection of orch or of the user, also inside a `Connection` of SQLAlchemy.

    `driver` is the `sqlite3` connection. What the tool commits is final only when orch commits.
    """

    def __init__(self, conn: Any, driver: Connection, *, managed: bool) -> None:
        super().__init__(conn)
        self._driver = driver
        self._wants_control = managed
        self._has_found_open = False  # a tool that commits by itself has left a transaction open
        self._attached: frozenset[str] = frozenset()  # the databases before the tool

    def attach(self) -> None:
        """What `get_connection()` has written stays, whatever becomes of the tools."""
        if self._wants_control and self._driver.in_transaction:
            self._driver.commit()

    def begin(self) -> None:
        driver = find_driver_connection(self.conn)
        if driver is not self._driver and isinstance(driver, sqlite3.Connection):
            self._driver = adopt(driver) or self._driver  # SQLAlchemy has opened it anew
        is_managed = self._wants_control and not is_autocommit(self._driver)
        self._has_found_open = is_managed and _is_left_open(self._driver)
        with suppress(sqlite3.Error):  # the connection is closed
            self._attached = self._driver.database_names()
        self._driver.begin_step(is_managed, begins_immediately=self.begins_immediately)

    def end(self, keep: bool) -> list[str]:
        driver = self._driver
        if not driver.managed:
            is_autocommit = self._wants_control and not driver.is_closed
            return [AUTOCOMMIT_NOTE] if is_autocommit else []
        try:
            self._end_outer(keep)
            if keep:
                self._refuse_lost_writes()
        except BaseException:
            driver.end_step(keep=False)
            raise
        else:
            driver.end_step(keep, self.add_record)
        finally:
            if driver.is_closed:
                driver.close_at_last()
        notes = [LEFT_OPEN_NOTE] if self._has_found_open else []
        if self.is_closed():
            notes.append(CLOSED_NOTE)
        return notes

    def restore_connection(self) -> None:
        """orch has dropped them. The next tool finds no database that this one has attached either."""
        is_used = self._driver.databases is None  # by a statement of the tool
        if self._attached and is_used and not self._driver.is_closed:
            self._driver.detach_new(self._attached)
            with suppress(sqlite3.Error):
                if len({*self._attached} - {"temp"}) > 1:
                    self._empty_logs()

    def _empty_logs(self) -> None:
        """The files that stay attached are then as the tool has left them. Another reader is not waited for."""
        [(timeout,)] = ask_rows(self._driver, "PRAGMA busy_timeout")
        ask_rows(self._driver, "PRAGMA busy_timeout = 0")
        try:
            ask_rows(self._driver, "PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            ask_rows(self._driver, f"PRAGMA busy_timeout = {timeout}")

    def can_keep_open(self) -> bool:
        return self._driver.managed

    def keep_open(self) -> None:
        self._end_outer(keep=True)
        self._refuse_lost_writes()
        self._driver.keep_open()

    def _end_outer(self, keep: bool) -> None:
        """SQLAlchemy's connection must know that its transaction has ended."""
        if self.conn is not self._driver and not self.is_closed():
            finish = getattr(self.conn, "commit" if keep else "rollback", None)
            if finish is not None:
                finish()

    def _refuse_lost_writes(self) -> None:
        reason = self._driver.note_lost()
        if reason:
            raise WritesLost(
                "SQLite ended the transaction before the tool had ended, so what the tool had written until then "
                f"is lost; the reason was: {reason}"
            )
        if self._driver.has_lost_writes:
            raise WritesLost(NOT_COMMITTED)

    def has_deferred_commits(self) -> bool:
        return self._driver.managed and self._driver.has_committed

    def has_uncommitted_writes(self) -> bool | None:
        return self._driver.has_uncommitted_writes()

    def may_have_kept_writes(self) -> bool:
        return not self._driver.managed

    def is_closed(self) -> bool:
        if self._driver.is_closed:
            return True
        return self.conn is not self._driver and super().is_closed()

    def close(self) -> None:
        with suppress(sqlite3.Error):
            # As long as another program has the database open, closing does not write the log into the file. Then
            # that program does it later, and it would look like a write of its own.
            self._driver.execute("PRAGMA wal_checkpoint")
        super().close()


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


def locks_out_others(conn: Any) -> bool:
    """Whether no other process can open the database as long as this connection is open."""
    if find_kind(conn) != "duckdb":
        return False
    from discover_orch.databases.duckdb_transaction import has_file

    return has_file(conn)


def find_driver_connection(conn: Any) -> Any:
    """The driver's connection inside one of SQLAlchemy; any other connection itself."""
    if not type(conn).__module__.startswith("sqlalchemy."):
        return conn
    try:
        pooled = getattr(conn, "connection", conn)
        return getattr(pooled, "driver_connection", None) or conn
    except Exception:  # the connection is closed
        return conn


def cancel_statement(conn: Any) -> None:
    """End the statement that the driver's connection `conn` runs in another thread, where the driver can."""
    # sqlite3 and DuckDB, psycopg 3.2, psycopg before
    for name in ("interrupt", "cancel_safe", "cancel"):
        cancel: Any = read_attribute(conn, name, None)
        if cancel is not None:
            with suppress(Exception):  # it runs none, or is closed
                cancel()
            return


def is_cancelled(error: BaseException) -> bool:
    """Whether this is how a driver reports a statement that was cancelled, or follows from it."""
    return any(
        read_attribute(one, "sqlstate", None) == QUERY_CANCELED
        or type(one).__name__ == "InterruptException"
        or read_attribute(one, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
        for one in _find_causes(error)
    )


def _find_causes(error: BaseException) -> Iterator[Any]:
    """The error and those behind it, as the driver raised them."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield read_attribute(found, "orig", None) or found
        # The class of the error may be the user's, so its own attributes are not asked.
        found = _read_cause(found) or _read_context(found)


def _is_left_open(conn: Connection) -> bool:
    """Whether a transaction is open. One with `autocommit` off has always one open, which may be empty."""
    return conn.in_transaction and getattr(conn, "autocommit", LEGACY) == LEGACY
