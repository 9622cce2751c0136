"""What orch does with a connection around each tool, on a driver of which it knows no more than PEP 249."""

from __future__ import annotations

import sqlite3
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

AUTOCOMMIT_NOTE = "its connection is in autocommit mode: orch neither commits nor rolls back"
LOST_BY_CLOSING = "closed its connection; uncommitted writes are lost"
NOT_COMMITTED = "closed its connection before its writes were committed"
CLOSED_NOTE = "closed its connection; a new one is opened for the next tool"
ENDED_NOTE = "ended its transaction by itself"
LEFT_OPEN_NOTE = (
    'before it, orch rolled back what a tool with the transaction "none" had not committed'
)
LOST_NOTE = "the database ended its connection; a new one is opened for the next tool"

_CALL = compile("__orch_call__()", __file__, "eval")


class WritesLost(Exception):
    """The tool returned without an error, but its writes are lost."""


class Transaction:
    """What orch does with a connection around each tool. This base class does nothing.

    `defers_commits`: the tool's commits become final only in `end`. Known after `begin`. `add_record` is called within
    the transaction just before orch commits it, where orch owns the transaction. `begins_immediately`: no other worker
    writes, so SQLite takes the lock at the beginning.
    """

    defers_commits = False

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.add_record: Callable[[], None] | None = None
        self.begins_immediately = False

    def attach(self) -> None:
        """Called once, when the connection has been opened."""

    def begin(self) -> None:
        """Called before each tool."""

    def after_error(self, is_read_only: bool) -> None:
        """A call of the tool has raised, and it is known whether all that it has done before only read."""

    def end(self, keep: bool) -> list[str]:
        """Commit (`keep`) or roll back; notes for the user. What it raises fails the tool."""
        return []

    def begin_check(self) -> bool:
        """The tool has returned, and a check is about to run, which must not undo what the tool has written. Whether a
        savepoint was set, so that `end_check` undoes what the check writes."""
        return False

    def end_check(self) -> str:
        """Undo what the check has written; why the tool cannot be committed any more, or ""."""
        return ""

    def can_keep_open(self) -> bool:
        """Whether one transaction can continue over several tools. Known after `begin`."""
        return False

    def keep_open(self) -> None:
        """In place of `end` when a tool has succeeded: the transaction continues with the next tool, which finds the
        connection as after a commit. What it raises fails the tool."""
        raise NotImplementedError

    def can_roll_back(self) -> bool:
        """Whether the kind of connection has what it takes."""
        return True

    def has_deferred_commits(self) -> bool:
        """Whether the tool has committed and orch has not. Asked before `end`."""
        return False

    def has_uncommitted_writes(self) -> bool | None:
        """Whether `end` would commit anything; None if unknown. Asked before `end`."""
        return False

    def restore_connection(self, *, may_be_set: bool = True) -> None:
        """Take back what the tool has left on the connection beside its writes: temporary tables, attached databases.
        Called after `end`. `may_be_set` is as of `TableLog.may_have_set`."""

    def may_have_kept_writes(self) -> bool:
        """Whether writes of the tool may stay in the database if it fails. Asked before `end`.

        Commits that the log of tables has seen do not count here.
        """
        return self.conn is not None

    def is_closed(self) -> bool:
        """Whether the connection is closed, as far as the driver tells."""
        return bool(read_attribute(self.conn, "closed", False))

    def is_lost(self) -> bool:
        """Whether the database has ended the connection since the last tool. Asked between two tools."""
        return False

    def close(self) -> None:
        close = getattr(self.conn, "close", None)
        if close is not None:
            close()


class DriverTransaction(Transaction):
    """On a connection of any other driver (PEP 249): the driver begins the transaction, orch ends it.

    `inner` is the driver's own connection where `conn` is one of a library such as SQLAlchemy.
    """

    def __init__(self, conn: Any, inner: Any) -> None:
        super().__init__(conn)
        self._inner = inner
        self._is_broken = False

    def is_lost(self) -> bool:
        return self._is_broken

    def end(self, keep: bool) -> list[str]:
        if self.is_closed():
            return [LOST_BY_CLOSING]
        if self._is_autocommit():
            return [AUTOCOMMIT_NOTE]
        finish = getattr(self.conn, "commit" if keep else "rollback", None)
        if finish is None:
            return []
        try:
            finish()
        except Exception:
            # A connection that cannot roll back is of no use to the next tool.
            self._is_broken = True
            if keep and self.can_roll_back():
                self.conn.rollback()
                self._is_broken = False
            raise
        return []

    def can_roll_back(self) -> bool:
        return hasattr(self.conn, "rollback") and hasattr(self.conn, "commit")

    def has_uncommitted_writes(self) -> bool | None:
        return None

    def may_have_kept_writes(self) -> bool:
        # Within SQLAlchemy, `sqlite3` begins no transaction for DDL.
        return self._is_autocommit() or isinstance(self._inner, sqlite3.Connection)

    def _is_autocommit(self) -> bool:
        return is_autocommit(self.conn) or is_autocommit(self._inner)


def ask_duckdb(conn: Any, sql: str, values: object = None) -> list[tuple[Any, ...]]:
    """A statement of orch's own, past what observes those of the tool; its rows."""
    rows: list[tuple[Any, ...]] = plain_method("fetchall")(
        plain_method("execute")(conn, sql, values)
    )
    return rows


def plain_method(name: str) -> Callable[..., Any]:
    """A method of DuckDB's connections as it is where nothing observes it."""
    method: Any = getattr(sys.modules["duckdb"].DuckDBPyConnection, name)
    plain: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return plain


def call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call with the caller's variables in scope, as if orch had not wrapped the method: DuckDB looks for unknown names
    among them."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})


def ask_postgres(conn: Any, command: bytes) -> Any:
    """A statement of orch's own, past psycopg, which would begin a transaction; the result of libpq."""
    with conn.lock:
        return conn.pgconn.exec_(command)


def find_kind(conn: Any) -> str:
    """The driver of its own connection: "sqlite3", "psycopg" or "duckdb", and "" for any other."""
    if isinstance(conn, sqlite3.Connection):
        return "sqlite3"
    for module, name in (("psycopg", "Connection"), ("duckdb", "DuckDBPyConnection")):
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(conn, getattr(loaded, name)):
            return module
    return ""


def is_autocommit(conn: Any) -> bool:
    if isinstance(conn, sqlite3.Connection):
        mode = getattr(conn, "autocommit", -1)  # Python 3.12: True, False, or -1 for the old way
        return mode is True or (mode == -1 and conn.isolation_level is None)
    return read_attribute(conn, "autocommit", False) is True


def read_attribute(conn: Any, name: str, default: object) -> object:
    """An attribute of a driver's object, which may raise anything."""
    try:
        return getattr(conn, name, default)
    except Exception:
        return default


def find_driver_connection(conn: Any) -> Any:
    """The driver's connection inside one of SQLAlchemy; any other connection itself."""
    if not type(conn).__module__.startswith("sqlalchemy."):
        return conn
    try:
        pooled = getattr(conn, "connection", conn)
        return getattr(pooled, "driver_connection", None) or conn
    except Exception:  # the connection is closed
        return conn
