"""SQLite: what orch does with a `sqlite3` connection around each tool, and what it asks of it.

The connection is orch's or the user's, also inside a `Connection` of SQLAlchemy.
"""

from __future__ import annotations

import marshal
import sqlite3
from contextlib import suppress

from discover_orch.databases.database import Database
from discover_orch.databases.driver_transaction import (
    AUTOCOMMIT_NOTE,
    CLOSED_NOTE,
    LEFT_OPEN_NOTE,
    NOT_COMMITTED,
    Transaction,
    WritesLost,
    find_driver_connection,
    is_autocommit,
)
from discover_orch.databases.sqlite_calls import LEGACY, ask_rows, is_really_open, quote, run
from discover_orch.databases.sqlite_connection import Connection, adopt
from discover_orch.databases.sqlite_tables import SqliteTableLog, find_file
from discover_orch.model.encoding import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from discover_orch.databases.database import Named, Note, Test
    from discover_orch.databases.driver_transaction import Transaction
    from discover_orch.databases.table_log import TableLog


class SqliteTransaction(Transaction):
    """On a `sqlite3` connection of orch or of the user, also inside a `Connection` of SQLAlchemy.

    `driver` is the `sqlite3` connection. What the tool commits is final only when orch commits.
    """

    def __init__(self, conn: Any, driver: Connection, *, managed: bool) -> None:
        super().__init__(conn)
        self._driver = driver
        self._wants_control = managed
        self._has_found_open = False  # a tool that commits by itself has left a transaction open
        self._changes = 0  # before a check
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

    def restore_connection(self, *, may_be_set: bool = True) -> None:
        """orch has dropped them. The next tool finds no database that this one has attached either."""
        if self._attached and not self._driver.is_closed:
            if may_be_set:
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

    def begin_check(self) -> bool:
        if not self._driver.managed:
            self._changes = self._driver.total_changes
            return False
        self._end_outer(keep=True)
        self._refuse_lost_writes()
        self._driver.begin_check()
        return True

    def end_check(self) -> str:
        if self.is_closed():
            return "it closed the connection"
        if not self._driver.managed:
            is_same = self._changes == self._driver.total_changes
            return "" if is_same else "it wrote to the database, and orch cannot undo that here"
        if self.conn is not self._driver:
            self.conn.rollback()
        return "" if self._driver.end_check() else "SQLite ended the transaction of the tool"

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


def _is_left_open(conn: Connection) -> bool:
    """Whether a transaction is open. One with `autocommit` off has always one open, which may be empty."""
    return conn.in_transaction and getattr(conn, "autocommit", LEGACY) == LEGACY


#: Settings that say what statements of this connection do, and that can be asked without the file.
_PRAGMAS = (
    *("foreign_keys", "busy_timeout", "recursive_triggers", "ignore_check_constraints"),
    *("query_only", "locking_mode", "read_uncommitted", "legacy_alter_table"),
    *("reverse_unordered_selects", "trusted_schema"),
)
_USERS = (
    "SELECT m.name FROM main.sqlite_master m, pragma_foreign_key_list(m.name, 'main') f WHERE m.type = 'table' "
    'AND f."table" = ? COLLATE NOCASE AND m.name <> ? COLLATE NOCASE'
)


class SqliteDatabase(Database):
    is_known, begin = True, "BEGIN IMMEDIATE"

    def open_transaction(self, mode: str) -> Transaction:
        driver = adopt(self.conn)
        if driver is None:
            return super().open_transaction(mode)
        return SqliteTransaction(self.outer, driver, managed=mode != "none")

    def open_log(self, note_attach: Note, is_interrupted: Test = None) -> TableLog | None:
        if not isinstance(self.conn, Connection):
            return None
        self.conn.is_interrupted = is_interrupted
        return SqliteTableLog(self.conn, note_attach)

    @property
    def file(self) -> str:
        return find_file(self.conn)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return ask_rows(self.conn, sql, values)

    def change(self, sql: str, *values: object) -> int:
        return run(self.conn, sql, values).rowcount

    def is_idle(self) -> bool:
        return not is_really_open(self.conn)

    def find_place(self) -> tuple[str, ...]:
        return ("main",)

    def has_table(self, place: tuple[str, ...], name: str) -> bool:
        return bool(self.ask("SELECT 1 FROM main.sqlite_master WHERE name = ?", name))

    def read_settings(self) -> dict[str, Any]:
        return {name: self.ask(f"PRAGMA {name}")[0][0] for name in _PRAGMAS}

    def set(self, name: str, value: Any) -> None:
        self.ask(f"PRAGMA {name} = {value}")

    def find_type(self, table: str, column: str) -> str | None:
        """SQLite converts what it compares with a column by itself."""
        name = table.removeprefix("main.")[1:-1].replace('""', '"')
        query = "SELECT 1 FROM pragma_table_xinfo(?, 'main') WHERE name = ? COLLATE NOCASE"
        return "" if self.ask(query, name, column) else None

    def hash_rows(self, table: str, source: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        found: dict[int, tuple[int, int]] = {}
        for number, *row in self.ask(f"SELECT v.n, t.* {source}", *values):
            count, total = found.get(number, (0, 0))
            digest = blake2b(marshal.dumps(tuple(row), 2), digest_size=16).digest()
            found[number] = count + 1, total + int.from_bytes(digest, "big")
        return [(number, *version) for number, version in found.items()]

    def find_removable(self) -> Named:
        rows = self.ask("SELECT name, upper(type) FROM main.sqlite_master")
        return {
            name.lower(): (kind, f"main.{quote(name)}")
            for name, kind in rows
            if kind in ("TABLE", "VIEW")
        }

    def find_users(self, name: str, quoted: str) -> Iterable[str]:
        [(is_enforced,)] = self.ask("PRAGMA foreign_keys")
        users = self.ask(_USERS, name, name)
        return [user.lower() for (user,) in users] if is_enforced else []

    def remove(self, sql: str) -> object:
        conn: sqlite3.Connection = self.conn
        return conn.execute(sql)  # as a tool does
