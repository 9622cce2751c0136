"""Database URLs, and the transaction that a tool runs in.

orch has full control of its own SQLite connection, and of psycopg's. On others from `get_connection()` it does what
the driver allows: an explicit BEGIN on `sqlite3`, `commit()` and `rollback()` on all others, and nothing in
autocommit mode, where every statement is its own transaction.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress

from discover_orch.databases.driver_transaction import (
    AUTOCOMMIT_NOTE,
    DriverTransaction,
    is_autocommit,
)
from discover_orch.databases.driver_transaction import Transaction as Transaction
from discover_orch.databases.driver_transaction import WritesLost as WritesLost
from discover_orch.databases.sqlite_connection import BUSY_TIMEOUT, Connection, apply_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXTRAS: Mapping[str, str] = {"postgresql": "postgres", "postgres": "postgres", "duckdb": "duckdb"}
KNOWN_SCHEMES = ("sqlite", "postgresql", "duckdb")
IN_MEMORY = ":memory:"
#: PostgreSQL's codes for what cannot be done in a transaction: a VACUUM, a COMMIT in a procedure.
NEEDS_NO_TRANSACTION = ("25001", "2D000")
LOCK_TIMEOUT = "55P03"
NEEDS_NO_DUCKDB_TRANSACTION = ("CHECKPOINT:", "single attached database", "transaction is aborted")


class CannotOpen(Exception):
    """The database cannot be used; `hint` says how to fix that."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def read_url(url: str, root: str) -> str:
    """The path of a URL's SQLite file, or `:memory:`; raises CannotOpen for any other URL."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise CannotOpen(
            f"{url!r} is not a database URL", "write sqlite:///data.db for the file data.db"
        )
    if scheme in EXTRAS:
        extra = EXTRAS[scheme]
        raise CannotOpen(
            f"orch does not open {scheme}:// databases itself",
            "open it in get_connection() of orchconf.py; to install a driver: "
            f'pip install "discover-orch[{extra}]"',
        )
    if scheme != "sqlite":
        from discover_orch.model.errors import nearest

        near = nearest(scheme, KNOWN_SCHEMES)
        question = f"did you mean {near}://? " if near else ""
        known = ", ".join(f"{name}://" for name in KNOWN_SCHEMES)
        raise CannotOpen(
            f"unknown kind of database: {scheme}://",
            f"{question}known: {known}; open any other database in get_connection() of orchconf.py",
        )
    if rest in ("", "/", "/" + IN_MEMORY):
        return IN_MEMORY
    if not rest.startswith("/"):
        raise CannotOpen(
            f"sqlite://{rest} names a server, but SQLite has no server", f"write sqlite:///{rest}"
        )
    return os.path.join(root, rest[1:])


def find_path(url: str, root: str) -> str:
    """The path of a URL's SQLite file; "" for a database in memory and for any other URL."""
    try:
        path = read_url(url, root)
    except CannotOpen:
        return ""
    return "" if path == IN_MEMORY else path


def open_sqlite(path: str) -> Connection:
    """A connection that has read the file; raises CannotOpen."""
    try:
        conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT, factory=Connection)
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from None
    try:
        apply_settings(conn)
        conn.execute("PRAGMA schema_version").fetchone()  # reads the header: is it a database?
    except sqlite3.Error as error:
        conn.close()
        raise _cannot_open(path, error) from None
    return conn


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
    if "not a database" in str(error):
        hint = "name another file in the database URL, or move this file away"
        return CannotOpen(f"{what}: it is not a SQLite database", hint)
    return CannotOpen(f"{what}: {error}", find_hint(error))


def find_hint(error: BaseException) -> str:
    """How to fix an error that a database driver raised, or ""."""
    is_duckdb = type(error).__module__.lstrip("_").partition(".")[0] == "duckdb"
    if is_duckdb and any(one in str(error) for one in NEEDS_NO_DUCKDB_TRANSACTION):
        return (
            "orch keeps one transaction open from the tool's first write to its end: do this "
            'before, or set ORCH = {"transaction": "none"}'
        )
    code = getattr(getattr(error, "orig", error), "sqlstate", None)
    if code == LOCK_TIMEOUT:
        return (
            "another transaction has the lock; what a tool writes on conn is locked until the tool ends, "
            "also for a second connection of its own"
        )
    if code in NEEDS_NO_TRANSACTION:
        return (
            "orch keeps one transaction open from the tool's first write to its end: do this "
            'before, with conn.autocommit = True, or set ORCH = {"transaction": "none"}'
        )
    if not issubclass(type(error), sqlite3.OperationalError):
        return ""
    text = str(error)
    if text.startswith("no such table"):
        return (
            "run the tool that creates this table first: name it in AFTER, "
            "or run everything upstream with orch run +TOOL"
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


class OrchSqliteTransaction(Transaction):
    """On orch's own connection."""

    conn: Connection

    def __init__(self, conn: Connection, managed: bool) -> None:
        super().__init__(conn)
        self.managed = managed

    def begin(self) -> None:
        self.conn.begin_step(self.managed)

    def end(self, keep: bool) -> list[str]:
        conn = self.conn
        if not self.managed:
            return []
        notes = [f"committed by itself ({how})" for how in sorted(conn.own_commits)]
        if conn.is_closed:
            conn.managed = False
            if keep and conn.has_lost_writes:
                raise WritesLost("closed its connection before its writes were committed")
            return [*notes, "closed its connection; a new one is opened for the next tool"]
        if conn.isolation_level is None:
            notes.append("set isolation_level = None, so orch cannot roll back its statements")
        try:
            conn.end_step(keep)
        except sqlite3.Error:
            conn.rollback()
            raise
        finally:
            if not conn.in_transaction:
                conn.reset()
        return notes

    def may_have_kept_writes(self) -> bool:
        conn = self.conn
        if conn.is_closed:
            return bool(conn.own_commits) or not conn.has_lost_writes
        return (
            not self.managed
            or bool(conn.own_commits)
            or conn.isolation_level is None
            or getattr(conn, "autocommit", -1) != -1
        )

    def is_closed(self) -> bool:
        return self.conn.is_closed

    def close(self) -> None:
        with suppress(sqlite3.Error):
            # As long as another program has the database open, closing does not write the log into the file. Then
            # that program does it later, and it would look like a write of its own.
            self.conn.execute("PRAGMA wal_checkpoint")
        super().close()


class UserSqliteTransaction(Transaction):
    """On a `sqlite3` connection from `get_connection()`: begun before the tool, whatever it does."""

    conn: sqlite3.Connection
    _begun = False

    def begin(self) -> None:
        self._begun = False
        if not is_autocommit(self.conn) and not self.conn.in_transaction:
            self.conn.execute(f"BEGIN {self.conn.isolation_level or ''}")
            self._begun = True

    def end(self, keep: bool) -> list[str]:
        if self.is_closed():
            return ["closed its connection; uncommitted writes are lost"]
        if is_autocommit(self.conn):
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
        return not self.is_closed() and is_autocommit(self.conn)

    def has_lost_writes_by_closing(self) -> bool:
        return self._begun and self.is_closed()

    def is_closed(self) -> bool:
        try:
            _ = self.conn.in_transaction
        except sqlite3.ProgrammingError as error:
            return "closed" in str(error)
        return False


def choose_transaction(conn: Any, mode: str) -> Transaction:
    """The transactions of this connection; `mode` is "tool" or "none"."""
    if isinstance(conn, Connection):
        return OrchSqliteTransaction(conn, managed=mode != "none")
    if conn is None or mode == "none":
        return Transaction(conn)
    if isinstance(conn, sqlite3.Connection):
        return UserSqliteTransaction(conn)
    duckdb = sys.modules.get("duckdb")
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        from discover_orch.databases.duckdb_transaction import DuckdbTransaction

        return DuckdbTransaction(conn)
    inner, psycopg = find_driver_connection(conn), sys.modules.get("psycopg")
    if psycopg is not None and isinstance(inner, psycopg.Connection):
        from discover_orch.databases.psycopg_transaction import PsycopgTransaction

        return PsycopgTransaction(conn, inner)
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
