"""The database of one test: an empty SQLite database in memory, or the configured one in a transaction that is rolled
back at the end."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from discover_orch.databases.connection_settings import ConnectionSettings
from discover_orch.databases.driver_transaction import Transaction
from discover_orch.databases.drivers import choose_transaction
from discover_orch.databases.opening import open_url
from discover_orch.databases.sqlite_transaction import SqliteTransaction
from discover_orch.databases.sqlite_user_connections import install_connect
from discover_orch.model.database_url import CannotOpen
from discover_orch.model.errors import UsageError


class DatabaseOfTest:
    """`conn`, and the transactions of the tools on it. `is_one_transaction`: nothing is final before the test ends."""

    def __init__(self, conn: Any, *, is_one_transaction: bool) -> None:
        self.conn = conn
        self._transaction = choose_transaction(conn, "tool")
        self._transaction.attach()
        self._is_one_transaction = is_one_transaction
        if is_one_transaction:
            self._transaction.begin()

    @contextlib.contextmanager
    def tool(self) -> Iterator[DatabaseOfTest]:
        """The transaction of one tool: committed at its end, or rolled back where it raises."""
        if self._is_one_transaction:
            yield self
            return
        if self.conn.in_transaction:
            self.conn.commit()  # what the test has written
        settings = ConnectionSettings(self.conn)
        self._transaction.begin()
        is_done = False
        try:
            yield self
            is_done = True
        finally:
            self._transaction.end(keep=is_done)
            settings.restore(may_be_set=True)

    def begin_check(self) -> None:
        self._transaction.begin_check()

    def end_check(self) -> str:
        return self._transaction.end_check()

    def holds_all_commits(self) -> bool:
        """Whether what is committed can still be rolled back."""
        transaction: Transaction = self._transaction
        is_able = isinstance(transaction, SqliteTransaction) or transaction.defers_commits
        return is_able and not transaction.may_have_kept_writes()

    def close(self) -> None:
        if self._is_one_transaction:
            self._transaction.end(keep=False)
        self._transaction.close()


@contextlib.contextmanager
def open_in_memory(root: str) -> Iterator[DatabaseOfTest]:
    """An empty database, as orch opens SQLite."""
    database = DatabaseOfTest(open_url("sqlite://", root), is_one_transaction=False)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def open_configured(
    url: str, root: str, get_connection: Callable[[], Any] | None
) -> Iterator[DatabaseOfTest]:
    """The database of the project. Nothing of what is written stays, also where it was committed.

    Raises UsageError for a database that cannot be opened, and for a connection on which commits are final.
    """
    connect, connection = sqlite3.connect, sqlite3.Connection
    install_connect()  # so that a connection that the project opens by itself can be held back too
    try:
        try:
            conn = open_url(url, root) if get_connection is None else get_connection()
        except CannotOpen as error:
            raise UsageError.of("database", str(error), error.hint) from None
        database = DatabaseOfTest(conn, is_one_transaction=True)
        try:
            if not database.holds_all_commits():
                kind = f"{type(conn).__module__}.{type(conn).__name__}"
                raise UsageError.of(
                    "not-rolled-back",
                    f"orch_database = configured: what is committed on this {kind} cannot be rolled back",
                    "connect to SQLite or PostgreSQL (psycopg), not in autocommit mode, or give the test its "
                    "connection with a fixture named conn",
                )
            yield database
        finally:
            database.close()
    finally:
        sqlite3.connect = sqlite3.dbapi2.connect = connect
        sqlite3.Connection = sqlite3.dbapi2.Connection = connection  # type: ignore[misc]
