"""A SQLite connection for a tool. What the tool commits is final only when orch commits.

Towards the tool it behaves as a connection of `sqlite3` does; `sqlite_database` says how. An ordinary connection
becomes one of this kind by `adopt`.
"""

from __future__ import annotations

import functools
import gc
import sqlite3

from discover_orch.databases.sqlite_calls import (
    CONNECTION_NAMES,
    LEGACY,
    ask_rows,
    autocommit_of,
    execute,
    is_really_open,
    level_of,
    new_cursor,
    set_autocommit,
    set_level,
)
from discover_orch.databases.sqlite_savepoints import (
    CLOSED,
    OUTSIDE,
    TransactionalConnection,
)
from discover_orch.databases.sqlite_statements import DDL
from discover_orch.databases.sqlite_text import (
    BEGIN,
    CHANGES,
    COMMIT,
    CONTROLS,
    READS,
    ROLLBACK,
    read_statement,
    split_script,
)
from discover_orch.model.keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal


BUSY_TIMEOUT = 5.0  # seconds
SCRIPT = "SCRIPT"  # the word of a text with several statements
_executemany, _executescript = sqlite3.Cursor.executemany, sqlite3.Cursor.executescript


class Connection(TransactionalConnection):
    """A connection for the tool: the methods that it calls."""

    has_own_cursor = False  # a class of the user's overrides `cursor`

    @property
    def in_transaction(self) -> bool:
        is_real: bool = is_really_open(self)  # raises where the connection is closed
        if not self.managed:
            return is_real
        self._sync(None)
        return self._is_open

    @property
    def isolation_level(self) -> Any:
        level = level_of(self)  # raises where the connection is closed
        return self._level if self.managed else level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if not self.managed:
            set_level(self, level)
        elif level is None:
            self._level = None
            Connection.commit(self)
        else:
            set_level(self, level)  # refuses what is no level
            self._level = level_of(self)

    if hasattr(sqlite3.Connection, "autocommit"):

        @property
        def autocommit(self) -> bool | int:
            return self._autocommit if self.managed else autocommit_of(self)

        @autocommit.setter
        def autocommit(self, mode: bool | int) -> None:
            if not self.managed:
                set_autocommit(self, mode)
                return
            if mode is not True and mode is not False and mode != LEGACY:
                set_autocommit(self, mode)  # raises
            self._sync(None)
            if mode is False and not self._is_open:
                self._open(BEGIN)
            elif mode is True and self._is_open:
                self._commit()
            self._autocommit = mode

    def cursor(self, factory: Any = None) -> Any:
        if factory is None:
            return new_cursor(self, Cursor)
        if isinstance(factory, type) and issubclass(factory, sqlite3.Cursor):
            return new_cursor(self, mix(factory, Cursor))
        cursor = new_cursor(self, factory)
        if not isinstance(cursor, Cursor):
            if self.statements is not None:
                self.statements.has_unseen_texts = True
            if self.managed and not self._is_open:
                self._open(BEGIN)  # its statements do not come through `Cursor`: begin early
                self.is_under_way = True
        return cursor

    def execute(self, sql: str, *args: Any) -> Any:
        cursor = self.cursor() if self.has_own_cursor else new_cursor(self, Cursor)
        return cursor.execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        return self.cursor().executemany(sql, *args)

    def executescript(self, script: str) -> Any:
        return self.cursor().executescript(script)

    def commit(self) -> None:
        if self.managed:
            self._end_by_method(COMMIT)
        else:
            super().commit()

    def rollback(self) -> None:
        if self.managed:
            self._end_by_method(ROLLBACK)
        else:
            super().rollback()

    def _end_by_method(self, kind: str) -> None:
        self._refuse_closed()
        new_cursor(self)  # raises in a wrong thread
        if self._autocommit is True:
            return
        with self._lock:
            self._sync(None)
            if self._autocommit is False:
                self._need_open(kind)
            if self._is_open:
                self._commit() if kind == COMMIT else self._rollback()
            if self._autocommit is False:
                self._open(BEGIN)

    def __exit__(self, *details: Any) -> Literal[False]:
        if not self.managed:
            super().__exit__(*details)
        elif self._autocommit is not True:
            if details[0] is not None:
                Connection.rollback(self)
                return False
            try:
                Connection.commit(self)
            except BaseException:
                Connection.rollback(self)
                raise
        return False

    def serialize(self, *, name: str = "main") -> Any:
        self._note_use(name, WHOLE)
        return super().serialize(name=name)

    def deserialize(self, data: Any, /, *, name: str = "main") -> None:
        """It takes the place of the database until the connection is closed: what tools do then is in no file."""
        self._note_use(name, WHOLE, is_written=True)
        super().deserialize(data, name=name)

    def _note_use(self, base: str, table: str, *, is_written: bool = False) -> None:
        if self.statements is not None:
            self.statements.note_use(base, table, is_written=is_written)

    def blobopen(self, *args: Any, readonly: bool = False, **kwargs: Any) -> Any:
        if args:  # else it raises
            self._note_use(kwargs.get("name", "main"), str(args[0]), is_written=not readonly)
        if self.managed and not readonly and not self._is_open:
            self._open(BEGIN)
        self.is_under_way |= self._is_open and not readonly
        return super().blobopen(*args, readonly=readonly, **kwargs)

    def backup(self, target: sqlite3.Connection, **kwargs: Any) -> None:
        """Python's own waits forever for the end of the transaction that its connection has open."""
        self._note_use(kwargs.get("name", "main"), WHOLE)
        if self.managed:
            self._sync(None)
            if self.has_committed or self.is_under_way:
                raise sqlite3.OperationalError(f"backup() does not work now: {OUTSIDE}")
        super().backup(target, **kwargs)

    def close(self) -> None:
        """Roll back what is not committed. What is committed stays, in the real transaction, for orch to end."""
        if not self.managed:
            self.is_closed = True
            super().close()
            return
        new_cursor(self)  # raises in a wrong thread
        self._sync(None)
        if self._is_open:
            self.has_lost_writes = self.is_under_way
            self._rollback()
        for one in gc.get_referrers(self):
            if isinstance(one, sqlite3.Cursor | sqlite3.Blob):
                one.close()
        self.is_closed = True
        kind: Any = type(self)
        self.__class__ = mix(ClosedConnection, kind)


class ClosedConnection(Connection):
    """A connection that the tool has closed: it raises what a closed one raises."""

    def __getattribute__(self, name: str) -> Any:
        if name[0] != "_" and name in CONNECTION_NAMES and name != "close":
            raise sqlite3.ProgrammingError(CLOSED)
        return super().__getattribute__(name)

    def close(self) -> None:
        """A second time."""


class Cursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    _is_script = False  # it executes the statements of a script, before which Python begins nothing

    def execute(self, sql: str, *args: Any) -> Cursor:
        conn: Connection = self.connection  # type: ignore[assignment]
        statement = read_statement(sql)
        kind = statement.kind
        is_begun = False
        try:
            if conn.managed and kind is not READS:
                if kind in CONTROLS:
                    conn.control(self, sql, statement)
                    return self
                # Most statements follow others in the same transaction.
                if not (kind is CHANGES and conn.is_under_way and is_really_open(conn)):
                    conn.before_statement(sql, statement, self, is_script=self._is_script)
                    is_begun = kind is CHANGES
            execute(self, sql, *args)
        except Exception as error:
            if conn.postpones(error, statement.word):
                return self
            conn.after_error(error, is_begun)
            raise
        finally:
            notes = conn.statements  # as in `_call`, without another call
            if notes is not None and (
                notes.is_waiting or statement.word in DDL or sql in notes.lookups
            ):
                notes.read_text(conn, sql, statement.word, args)
        if is_begun:
            conn.after_statement()
        return self

    def executemany(self, sql: str, *args: Any) -> Cursor:
        conn: Connection = self.connection  # type: ignore[assignment]
        statement = read_statement(sql)
        if not conn.managed or not statement.begins:  # Python refuses all others
            return self._call(_executemany, sql, statement.word, *args)
        conn.before_statement(sql, statement, self)
        with conn.many_statements():
            self._call(_executemany, sql, statement.word, *args, is_begun=True)
        return self

    def executescript(self, script: str) -> Cursor:
        """Like Python's: commits the open transaction, then runs statements without beginning any."""
        conn: Connection = self.connection  # type: ignore[assignment]
        if not conn.managed or not isinstance(script, str):
            return self._call(_executescript, script, SCRIPT)
        if conn._autocommit == LEGACY:
            Connection.commit(conn)
        cursor = new_cursor(conn, Cursor)
        cursor.row_factory, cursor._is_script = None, True
        for one in split_script(script):
            for _ in cursor.execute(one):
                pass
        return self

    def _call(
        self, call: Callable[..., Any], text: str, word: str, *args: Any, is_begun: bool = False
    ) -> Cursor:
        """Call a method of Python's own, which executes several statements."""
        conn: Connection = self.connection  # type: ignore[assignment]
        try:
            call(self, text, *args)
        except Exception as error:
            conn.after_error(error, is_begun)
            raise
        finally:
            notes = conn.statements
            if notes is not None and notes.needs_text(text, word):
                notes.read_text(conn, text, word, args)
        if is_begun:
            conn.after_statement()
        return self


def adopt(conn: Any) -> Connection | None:
    """This very connection, as a `Connection`; None where that cannot be."""
    kind: Any = type(conn)
    try:
        conn.__class__ = mix(kind, Connection)
    except TypeError:
        return None
    adopted: Connection = conn
    return adopted


@functools.cache
def mix(kind: Any, base: Any) -> Any:
    """A class of the user's, with the methods of one of orch's below its own."""
    if issubclass(kind, base):
        return kind
    if issubclass(base, kind):
        return base
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "has_own_cursor": getattr(kind, "cursor", None) is not sqlite3.Connection.cursor,
    }
    return type(kind.__name__, (kind, base), names)


def apply_settings(conn: sqlite3.Connection) -> None:
    """The settings of every connection of orch: check foreign keys, wait for locks."""
    ask_rows(conn, "PRAGMA foreign_keys = ON")
    ask_rows(conn, f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
