"""Database URLs, and the transaction that a tool runs in.

A `sqlite3` connection is adopted: its transaction belongs to orch. On any other connection from `get_connection()`
orch does what the driver allows: `commit()` and `rollback()`, and nothing in autocommit mode, where every statement
is its own transaction.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
from contextlib import suppress

from discover_orch.databases.sqlite_connection import (
    BUSY_TIMEOUT,
    Connection,
    adopt,
    apply_settings,
)
from discover_orch.databases.sqlite_transaction import LEGACY, OrdinaryConnection
from discover_orch.model.database_url import IN_MEMORY, CannotOpen, find_file, read_database_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WritesLost(Exception):
    """The tool returned without an error, but its writes are lost."""


#: libpq's PQTRANS_INERROR: a COMMIT is then a ROLLBACK, without an error.
TRANSACTION_FAILED = 3


def find_path(url: str, root: str) -> str:
    """The path of a URL's SQLite file; "" for a database in memory and for any other URL."""
    file = find_file(url)
    return os.path.join(root, file) if file else ""


_connect = sqlite3.connect
_FACTORY = 5  # its place among the arguments of `sqlite3.connect`


@functools.wraps(_connect)
def connect(*args: Any, **named: Any) -> sqlite3.Connection:
    """`sqlite3.connect`, for connections that orch can adopt. They are ordinary until then."""
    if len(args) <= _FACTORY and named.get("factory", sqlite3.Connection) is sqlite3.Connection:
        named["factory"] = OrdinaryConnection
    made: sqlite3.Connection = _connect(*args, **named)
    return made


CONNECT_CODE = connect.__code__  # type: ignore[attr-defined]


def install_connect() -> None:
    """Put `connect` in the place of `sqlite3.connect`."""
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


def open_url(url: str, root: str) -> Connection:
    """A connection to the database of this URL; raises CannotOpen."""
    parts = read_database_url(url)
    return open_sqlite(os.path.join(root, parts.path) if parts.path else IN_MEMORY, parts.query)


def open_sqlite(path: str, query: str = "") -> Connection:
    """A connection that has read the file; raises CannotOpen."""
    try:
        name = f"file:{_quote_path(path)}?{query}" if query else path
        conn = _connect(name, timeout=BUSY_TIMEOUT, factory=Connection, uri=bool(query))
        conn.is_opened_by_orch = True
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from None
    try:
        apply_settings(conn)
        conn.execute("PRAGMA schema_version").fetchone()  # reads the header: is it a database?
    except sqlite3.Error as error:
        conn.close()
        raise _cannot_open(path, error) from None
    return conn


def _quote_path(path: str) -> str:
    """For SQLite's URI."""
    for one in "%?#":
        path = path.replace(one, f"%{ord(one):02x}")
    return path


def _cannot_open(path: str, error: sqlite3.Error) -> CannotOpen:
    folder = os.path.dirname(path)
    what = f"cannot open the database {path}"
    if os.path.isdir(path):
        return CannotOpen(f"{what}: it is a folder", "name a file in that folder")
    if not os.path.isdir(folder):
        return CannotOpen(f"{what}: the folder {folder} does not exist", f"mkdir -p {folder}")
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return CannotOpen(f"{what}: no permission to read it", f"chmod u+rw {path}")
    if not os.path.exists(path) and not os.access(folder, os.W_OK):
        return CannotOpen(f"{what}: no permission to write in {folder}", f"chmod u+w {folder}")
    if not os.path.exists(path) and path != IN_MEMORY:
        return CannotOpen(
            f"{what}: it does not exist", "run the tool that makes it, or remove mode="
        )
    if "not a database" in str(error):
        hint = "name another file in the database URL, or move this file away"
        return CannotOpen(f"{what}: it is not a SQLite database", hint)
    return CannotOpen(f"{what}: {error}", find_hint(error))


def find_hint(error: BaseException, holds_lock: bool = False) -> str:
    """How to fix an error that a database driver raised, or "". `holds_lock`: orch has not committed yet what the tool
    has."""
    is_duckdb = type(error).__module__.lstrip("_").partition(".")[0] == "duckdb"
    if is_duckdb and "transaction within a transaction" in str(error):
        return (
            "orch has already begun a transaction for this tool: remove BEGIN, "
            'or set transaction = "none"'
        )
    if not issubclass(type(error), sqlite3.OperationalError):
        return ""
    text = str(error)
    if text.startswith("no such table"):
        return (
            "run the tool that creates this table first: name it in AFTER, "
            "or run everything upstream with orch run +TOOL"
        )
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


class Transaction:
    """What orch does with a connection around each tool. This base class does nothing."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    def attach(self) -> None:
        """Called once, when the connection has been opened."""

    def begin(self) -> None:
        """Called before each tool."""

    def end(self, keep: bool) -> list[str]:
        """Commit (`keep`) or roll back; notes for the user. What it raises fails the tool."""
        return []

    def can_roll_back(self) -> bool:
        """Whether the kind of connection has what it takes."""
        return True

    def has_deferred_commits(self) -> bool:
        """Whether the tool has committed and orch has not. Asked before `end`."""
        return False

    def has_uncommitted_writes(self) -> bool | None:
        """Whether `end` would commit anything; None if that cannot be told. Asked before `end`."""
        return False

    def may_have_kept_writes(self) -> bool:
        """Whether writes of the tool may stay in the database if it fails. Asked before `end`.

        Commits that the log of tables has seen do not count here.
        """
        return self.conn is not None

    def is_closed(self) -> bool:
        """Whether the connection is closed, as far as the driver tells."""
        return bool(_read_attribute(self.conn, "closed", False))

    def has_lost_writes_by_closing(self) -> bool:
        """Whether the tool closed the connection on uncommitted writes. Asked before `end`."""
        return False

    def close(self) -> None:
        close = getattr(self.conn, "close", None)
        if close is not None:
            close()


class SqliteTransaction(Transaction):
    """On a `sqlite3` connection of orch or of the user, also inside a `Connection` of SQLAlchemy.

    `driver` is the `sqlite3` connection. What the tool commits is final only when orch commits.
    """

    def __init__(self, conn: Any, driver: Connection, *, managed: bool) -> None:
        super().__init__(conn)
        self._driver = driver
        self._wants_control = managed
        self._has_found_open = False  # a tool that commits by itself has left a transaction open

    def attach(self) -> None:
        """What `get_connection()` has written stays, whatever becomes of the tools."""
        if self._wants_control and self._driver.in_transaction:
            self._driver.commit()

    def begin(self) -> None:
        driver = find_driver_connection(self.conn)
        if driver is not self._driver and isinstance(driver, sqlite3.Connection):
            self._driver = adopt(driver) or self._driver  # SQLAlchemy has opened it anew
        is_managed = self._wants_control and not _is_autocommit(self._driver)
        self._has_found_open = is_managed and _is_left_open(self._driver)
        self._driver.begin_step(is_managed)

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
            driver.end_step(keep)
        finally:
            if driver.is_closed:
                driver.close_at_last()
            elif driver.is_opened_by_orch:
                driver.reset()
        notes = [LEFT_OPEN_NOTE] if self._has_found_open else []
        if self.is_closed():
            notes.append("closed its connection; a new one is opened for the next tool")
        return notes

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
            raise WritesLost("closed its connection before its writes were committed")

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


class UserSqliteTransaction(Transaction):
    """On a `sqlite3` connection that cannot be adopted: begun before the tool, whatever it does."""

    conn: sqlite3.Connection
    _begun = False

    def begin(self) -> None:
        self._begun = False
        if not _is_autocommit(self.conn) and not self.conn.in_transaction:
            self.conn.execute(f"BEGIN {self.conn.isolation_level or ''}")
            self._begun = True

    def end(self, keep: bool) -> list[str]:
        if self.is_closed():
            return ["closed its connection; uncommitted writes are lost"]
        if _is_autocommit(self.conn):
            return [AUTOCOMMIT_NOTE]
        notes = []
        if self._begun and keep and not self.conn.in_transaction:
            notes.append("ended its transaction by itself")
        try:
            self.conn.commit() if keep else self.conn.rollback()
        except sqlite3.Error:
            self.conn.rollback()
            raise
        return notes

    def may_have_kept_writes(self) -> bool:
        return not self.is_closed() and _is_autocommit(self.conn)

    def has_lost_writes_by_closing(self) -> bool:
        return self._begun and self.is_closed()

    def is_closed(self) -> bool:
        try:
            _ = self.conn.in_transaction
        except sqlite3.ProgrammingError as error:
            return "closed" in str(error)
        return False


class DriverTransaction(Transaction):
    """On a connection of any other driver (PEP 249): the driver begins the transaction, orch ends it.

    `inner` is the driver's own connection where `conn` is one of a library such as SQLAlchemy.
    """

    def __init__(self, conn: Any, inner: Any) -> None:
        super().__init__(conn)
        self._inner = inner

    def end(self, keep: bool) -> list[str]:
        if self.is_closed():
            return ["closed its connection; uncommitted writes are lost"]
        if self._is_autocommit():
            return [AUTOCOMMIT_NOTE]
        finish = getattr(self.conn, "commit" if keep else "rollback", None)
        if finish is None:
            return []
        info = _read_attribute(self._inner, "info", None)
        if keep and _read_attribute(info, "transaction_status", None) == TRANSACTION_FAILED:
            self.conn.rollback()
            raise WritesLost(
                "continued after a failed statement, so PostgreSQL discards all its writes; "
                "put statements that may fail in a block `with conn.transaction():`"
            )
        try:
            finish()
        except Exception:
            if keep:
                rollback = getattr(self.conn, "rollback", None)
                if rollback is not None:
                    rollback()
            raise
        return []

    def can_roll_back(self) -> bool:
        return hasattr(self.conn, "rollback") and hasattr(self.conn, "commit")

    def has_uncommitted_writes(self) -> bool | None:
        return None

    def may_have_kept_writes(self) -> bool:
        # Within SQLAlchemy, `sqlite3` begins no transaction for DDL.
        return self._is_autocommit() or isinstance(self._inner, sqlite3.Connection)

    def has_lost_writes_by_closing(self) -> bool:
        return self.is_closed() and not self.may_have_kept_writes()

    def _is_autocommit(self) -> bool:
        return _is_autocommit(self.conn) or _is_autocommit(self._inner)


class DuckdbTransaction(DriverTransaction):
    """DuckDB is in autocommit mode until a transaction is begun, and no attribute says so."""

    def begin(self) -> None:
        self.conn.begin()

    def end(self, keep: bool) -> list[str]:
        if keep and not self.is_closed():
            self._refuse_aborted()
        try:
            return super().end(keep)
        except Exception as error:
            if "no transaction is active" in str(error):  # the tool ended it
                return []
            raise

    def is_closed(self) -> bool:
        try:
            self.conn.extract_statements("")  # runs nothing and keeps the current result
        except Exception as error:
            return "closed" in str(error)
        return False

    def _refuse_aborted(self) -> None:
        """After an error, COMMIT would be a ROLLBACK without saying so."""
        try:
            self.conn.get_table_names("SELECT 1")  # uses the transaction, keeps the current result
        except Exception as error:
            if "aborted" not in str(error):
                return
            self.conn.rollback()
            raise WritesLost(
                "continued after a failed statement, so DuckDB discards all its writes; "
                "avoid the failure, for example with INSERT OR IGNORE or IF NOT EXISTS"
            ) from None


LEFT_OPEN_NOTE = (
    'before it, orch rolled back what a tool with the transaction "none" had not committed'
)
AUTOCOMMIT_NOTE = "its connection is in autocommit mode: orch neither commits nor rolls back"


def choose_transaction(conn: Any, mode: str) -> Transaction:
    """The transactions of this connection; `mode` is "tool" or "none"."""
    inner = find_driver_connection(conn)
    driver = adopt(inner) if isinstance(inner, sqlite3.Connection) else None
    if driver is not None:
        return SqliteTransaction(conn, driver, managed=mode != "none")
    if conn is None or mode == "none":
        return Transaction(conn)
    if isinstance(conn, sqlite3.Connection):
        return UserSqliteTransaction(conn)
    duckdb = sys.modules.get("duckdb")
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        return DuckdbTransaction(conn, conn)
    return DriverTransaction(conn, inner)


def find_driver_connection(conn: Any) -> Any:
    """The driver's connection inside one of SQLAlchemy; any other connection itself."""
    if not type(conn).__module__.startswith("sqlalchemy."):
        return conn
    try:
        pooled = getattr(conn, "connection", conn)
        return getattr(pooled, "driver_connection", None) or conn
    except Exception:  # the connection is closed
        return conn


def _is_left_open(conn: Connection) -> bool:
    """Whether a transaction is open. One with `autocommit` off has always one open, which may be empty."""
    return conn.in_transaction and getattr(conn, "autocommit", LEGACY) == LEGACY


def _is_autocommit(conn: Any) -> bool:
    if isinstance(conn, sqlite3.Connection):
        mode = getattr(conn, "autocommit", -1)  # Python 3.12: True, False, or -1 for the old way
        return mode is True or (mode == -1 and conn.isolation_level is None)
    return _read_attribute(conn, "autocommit", False) is True


def _read_attribute(conn: Any, name: str, default: object) -> object:
    """An attribute of a driver's object, which may raise anything."""
    try:
        return getattr(conn, name, default)
    except Exception:
        return default
