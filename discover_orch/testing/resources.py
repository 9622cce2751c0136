"""What the tools of one test take by name: fixtures of pytest, the connection of the test, resources of `orchconf.py`.

A fixture wins over a resource of the same name. What was opened is closed at the end of the test, in reverse order.
The database is an empty one in memory, or the configured one in a transaction that is rolled back at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from discover_orch.databases.connection_settings import ConnectionSettings
from discover_orch.databases.driver_transaction import Transaction
from discover_orch.databases.drivers import find_database
from discover_orch.databases.opening import open_url
from discover_orch.databases.sqlite_database import SqliteTransaction
from discover_orch.databases.sqlite_user_connections import install_connect
from discover_orch.model.conventions import CONF_FILE, CONF_MODULE
from discover_orch.model.database_url import CannotOpen
from discover_orch.model.errors import UsageError
from discover_orch.source.facts import ConfFacts
from discover_orch.worker.protocol import Prepare
from discover_orch.worker.resources import CONN, Resources


def load_conf(root: Path) -> ModuleType:
    """`orchconf.py`, loaded once for its path. A tool that imports it gets the same module."""
    path = str(root / CONF_FILE)
    known = sys.modules.get(CONF_MODULE)
    if known is not None and getattr(known, "__file__", None) == path:
        return known
    spec = importlib.util.spec_from_file_location(CONF_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CONF_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[CONF_MODULE]
        raise
    return module


class OpenResources(Resources):
    """Opens what a tool takes when it first takes it, as a worker does, and closes it in `close`.

    `find_override` gives (the value of the pytest fixture of this name,), or None if there is no such fixture.
    `open_database` gives the database of the test, the same one at each call.
    """

    def __init__(
        self,
        root: Path,
        conf: ConfFacts | None,
        find_override: Callable[[str], tuple[Any] | None],
        open_database: Callable[[], DatabaseOfTest],
    ) -> None:
        needs = {
            one.name: tuple(need for need, has_default in one.needs if not has_default)
            for one in (conf.resources if conf else ())
        }
        super().__init__(
            Prepare(
                root=str(root), pythonpath=(), database="", transaction="none", resources=needs
            ),
            load_conf=lambda: load_conf(root),
            call=self.call,
        )
        self._find_override = find_override
        self._open_database = open_database
        self._runner: asyncio.Runner | None = None

    def _value(self, name: str, asking: tuple[str, ...]) -> Any:
        override = self._find_override(name)
        if override is not None:
            return override[0]
        if name == CONN:
            return self._open_database().conn
        if name in asking or name not in self._needs:
            circle = " -> ".join((*asking, name))
            what = f"resources form a cycle: {circle}" if asking else f"no resource is named {name}"
            raise UsageError.of("resource", what, f"write a fixture named {name}")
        return super()._value(name, asking)

    def begin_transaction(self, names: Iterable[str], **_: Any) -> None:
        """What a resource writes belongs to the test."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[DatabaseOfTest | None]:
        """The transaction of one tool that takes `conn`. A connection from a fixture is left to the test."""
        if self._find_override(CONN) is not None:
            yield None
            return
        with self._open_database().tool() as database:
            yield database

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Calls the user's code, and awaits the result where it is awaitable: in one event loop for the test."""
        returned = function(*args, **named)
        return self._await(returned) if hasattr(returned, "__await__") else returned

    def close(self) -> list[tuple[str, BaseException]]:
        """Closes everything, also where closing one of them raises: then that is raised."""
        errors = super().close()
        if self._runner is not None:
            self._runner.close()
        for _, error in errors:
            raise error
        return []

    def _await(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(wait())


class DatabaseOfTest:
    """`conn`, and the transactions of the tools on it. `is_one_transaction`: nothing is final before the test ends."""

    def __init__(self, conn: Any, *, is_one_transaction: bool) -> None:
        self.conn = conn
        self._transaction = find_database(conn).open_transaction("tool")
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
