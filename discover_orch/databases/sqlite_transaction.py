"""The transaction of a SQLite connection that belongs to orch, and those that the tool has inside it.

The tool's first transaction is the real one. Once the tool has committed something, each further transaction of its
own is a savepoint inside the real one, which lasts until orch ends it. Whether a transaction of the tool's is open,
and in which mode the connection is, is therefore noted here, not in SQLite. The real transaction begins just before
the first statement that can change something.
"""

from __future__ import annotations

import _thread
import os
import re
import sqlite3
from contextlib import suppress

from discover_orch.databases.sqlite_base import (
    LEGACY,
    OrdinaryConnection,
    authorize,
    autocommit_of,
    execute,
    is_really_open,
    level_of,
    list_databases,
    new_cursor,
    quote,
    set_autocommit,
)
from discover_orch.databases.sqlite_text import (
    BEGIN,
    COMMIT,
    ROLLBACK,
    ROLLBACK_TO,
    SAVEPOINT,
    SETS,
    Statement,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from discover_orch.databases.sqlite_statements import StatementNotes

OUTSIDE = (
    "orch keeps all that a tool writes in one transaction until the tool has ended; do this before the first write, "
    'or write ORCH = {"transaction": "none"} in the tool'
)
#: How SQLite refuses what does not work inside a transaction.
_REFUSALS = ("within a transaction", "inside a transaction", "is locked", "unable to close due to")
UNSEEN = "a statement that orch did not see"
CLOSED = "Cannot operate on a closed database."
_DEFERRED = re.compile(r"\s*begin(\s+deferred)?(\s+transaction)?\s*;?\s*", re.I)
#: What a statement has begun, to undo it if the statement fails.
NOTHING, STATEMENT, TRANSACTION = 0, 1, 2


class TransactionalConnection(OrdinaryConnection):
    """With `managed` False, an ordinary connection whose statements are observed."""

    managed = False
    is_closed = False  # by the tool; the real connection stays open until orch has committed
    has_lost_writes = False  # the tool closed it with uncommitted changes
    lost = ""  # why SQLite rolled back what the tool had written
    has_committed = False  # the tool's latest transaction, or one before it
    _level: str | None = ""
    _autocommit: bool | int = LEGACY
    is_under_way = False  # a transaction of the tool's that has written
    _is_open = False  # a transaction of the tool's
    _is_begun = False  # the real transaction
    _begins_immediately = False
    _has_written = False  # in the real transaction
    _is_first = False  # nothing was written before the tool's transaction
    _has_savepoint = False  # orch's own, around what the tool does in its transaction
    _names: tuple[str, ...] = ()  # of the tool's savepoints
    _is_begun_by_savepoint = False
    _has_postponed = False  # a DETACH, to the end of the tool
    _many = 0  # calls of executemany() that have not ended
    _changes_when_opened = 0
    _changes_before = 0  # a statement outside of the tool's transactions
    _real_autocommit: bool | int = LEGACY
    is_interrupted: Callable[[], bool] | None = None  # whether an interrupt was raised in the tool
    statements: StatementNotes | None = None  # receives the text of statements

    def begin_step(self, managed: bool, *, begins_immediately: bool = False) -> None:
        """A tool starts. The real transaction begins only with its first change, or `begins_immediately` with the lock
        for writing."""
        self._begins_immediately = begins_immediately
        if not managed:
            self.managed = False
            return
        self._forget_transaction()
        self._has_written = self.has_committed = self._has_postponed = False
        self.lost = ""
        self._lock = _thread.RLock()
        # SQLite allows quotes in names, and no tool can guess this one.
        self._savepoint = f'"orch {os.urandom(8).hex()}"'
        self._level, self._autocommit = level_of(self), autocommit_of(self)
        self._real_autocommit = self._autocommit
        if self._autocommit != LEGACY:
            set_autocommit(self, LEGACY)
        if is_really_open(self):
            self._run(ROLLBACK)
        self.managed = True
        if self._autocommit is False:
            self._open(BEGIN)

    def end_step(self, keep: bool, add_record: Callable[[], None] | None = None) -> None:
        """Commit or roll back; raises sqlite3.Error where a commit is refused, and then rolls back. `add_record` is
        called within the transaction, just before a commit."""
        authorize(self, None)
        OrdinaryConnection.set_progress_handler(self, None, 0)
        try:
            if keep and add_record is not None:
                if not is_really_open(self):
                    execute(new_cursor(self), "BEGIN IMMEDIATE")
                add_record()
            if is_really_open(self):
                execute(new_cursor(self), COMMIT if keep else ROLLBACK)
        finally:
            with suppress(sqlite3.Error):
                if is_really_open(self):
                    execute(new_cursor(self), ROLLBACK)
            self.managed = False
            self._forget_transaction()
            self._drop_temporary_tables()
            if self._real_autocommit != LEGACY:
                set_autocommit(self, self._real_autocommit)

    def keep_open(self) -> None:
        """The tool has ended, and the real transaction continues with the next one."""
        if self._is_open:
            self._commit()
        authorize(self, None)
        self._drop_temporary_tables()
        self.set_listener(self._listener)
        if self._autocommit is False:
            self._open(BEGIN)

    def has_uncommitted_writes(self) -> bool:
        """Whether `end_step` would commit anything."""
        return self.managed and self._has_written

    def note_lost(self) -> str:
        """Why SQLite rolled back what the tool had written, or ""."""
        self._sync(None)
        return self.lost

    def database_names(self) -> frozenset[str]:
        """The names of the databases before a step. Raises what SQLite raises."""
        names = frozenset(name for name, _ in list_databases(self))
        if self.statements is not None:
            self.statements.is_silent = True  # the tool has not begun
        return names

    def _drop_temporary_tables(self) -> None:
        cursor = new_cursor(self)
        cursor.row_factory = None
        with suppress(sqlite3.Error):  # a query on one of them is unfinished
            found = execute(cursor, "SELECT type, name FROM sqlite_temp_master").fetchall()
            for kind, name in found:
                if kind in ("table", "view"):
                    execute(cursor, f"DROP {kind} IF EXISTS temp.{quote(name)}")

    def close_at_last(self) -> None:
        """Close the real connection, after the tool has closed it."""
        sqlite3.Connection.close(self)

    # What a listener hears.

    def note_text(self, sql: str, word: str, args: tuple[Any, ...]) -> None:
        """A statement, which has this keyword, has been run."""
        statements = self.statements
        if statements is not None and statements.needs_text(sql, word):
            statements.read_text(sql, word, args)

    def raise_if_interrupted(self, error: Exception) -> None:
        """SQLite swallows an interrupt inside `listener` and refuses the statement: raise it here."""
        is_interrupted = self.is_interrupted
        is_refused = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH
        if (
            self._listener is not None
            and is_refused
            and is_interrupted is not None
            and is_interrupted()
        ):
            raise KeyboardInterrupt from None

    # The real transaction.

    def _run(self, sql: str, cursor: sqlite3.Cursor | None = None) -> None:
        """Execute a statement that orch adds, or has put in place of another. It is no commit of the tool's."""
        self._refuse_closed()
        notes = self.statements
        had_committed = notes is not None and notes.has_committed
        try:
            execute(new_cursor(self) if cursor is None else cursor, sql)
        finally:
            if notes is not None:
                notes.has_committed = had_committed

    def _refuse_closed(self) -> None:
        if self.is_closed:
            raise sqlite3.ProgrammingError(CLOSED)

    def _begin(self, begin: str = BEGIN, cursor: sqlite3.Cursor | None = None) -> None:
        if not self._is_begun:
            if self._begins_immediately and _DEFERRED.fullmatch(begin):
                begin = "BEGIN IMMEDIATE"
            self._run(begin, cursor)
            self._is_begun = True

    def _drop_unused(self) -> None:
        """End the real transaction if nothing happened in it, so that what needs none works."""
        if self._is_begun and not self._is_open and not self._has_written and not self._many:
            self._run(COMMIT)
            self._is_begun = False

    def _sync(self, error: Exception | None) -> None:
        """Notice what went past orch: SQLite has ended the transaction by itself, or C code has begun one."""
        is_real = is_really_open(self)
        if self._is_begun and not is_real:
            if self._has_written:
                self.lost = self.lost or (str(error) if error is not None else UNSEEN)
            self._forget_transaction()
            self._has_written = False
            if self._many:
                self._begin()
                self._has_written = True
        elif is_real and not self._is_begun:
            self._is_begun = self._is_open = self._is_first = self._has_written = True

    def _forget_transaction(self) -> None:
        self._is_begun = False
        self._end_own()

    def _end_own(self) -> None:
        self._is_open = self.is_under_way = False
        self._has_savepoint = self._is_begun_by_savepoint = False
        self._names = ()

    # The tool's transaction.

    def _open(self, begin: str, cursor: sqlite3.Cursor | None = None) -> None:
        """Begin a transaction of the tool's; `begin` is the statement that begins it without orch."""
        self._drop_unused()
        self._is_first = not self._is_begun
        if self._is_first:
            self._begin(begin, cursor)
        else:
            self._open_savepoint(cursor)
        self._is_open = True
        self._changes_when_opened = self.total_changes

    def _open_savepoint(self, cursor: sqlite3.Cursor | None = None) -> None:
        if not self._has_savepoint:
            self._run(f"SAVEPOINT {self._savepoint}", cursor)
            self._has_savepoint = True

    def _commit(self, cursor: sqlite3.Cursor | None = None) -> None:
        """Commit the tool's transaction, on the cursor that the tool has used for it."""
        if self._has_savepoint:
            self._run(f"RELEASE {self._savepoint}", cursor)
        elif self._has_written or self._many:
            self._run("PRAGMA orch_commit", cursor)  # does nothing, but checks thread and cursor
        else:
            self._run(COMMIT, cursor)
            self._is_begun = False
        self.has_committed |= self._has_written
        self._end_own()

    def _rollback(self, cursor: sqlite3.Cursor | None = None) -> None:
        if self._is_first:
            self._run(ROLLBACK, cursor)
            self._is_begun = self._has_written = False
            if self._many:  # the next rows of executemany() must not be written for good
                self._begin()
                self._has_written = True
        else:
            self._run(f"ROLLBACK TO {self._savepoint}", cursor)
            self._run(f"RELEASE {self._savepoint}")
        self._end_own()

    def before_statement(self, statement: Statement, *, is_script: bool = False) -> int:
        """Begin what the statement needs; what was begun, for `after_error`."""
        if statement.kind == SETS:
            self._check_setting(statement)
            return NOTHING
        if self._is_open and is_really_open(self):
            self._has_written = self.is_under_way = True
            return NOTHING
        with self._lock:
            self._sync(None)
            if self._is_open:
                self._has_written = True
                return NOTHING
            if (
                statement.begins
                and not is_script
                and self._autocommit == LEGACY
                and self._level is not None
            ):
                self._open(f"BEGIN {self._level}")
                self._has_written = True
                return TRANSACTION
            self._begin()
            self._changes_before = self.total_changes
            return STATEMENT

    def before_many(self, statement: Statement) -> int:
        """Like `before_statement`, for a call that may commit between two of its statements."""
        begun = self.before_statement(statement)
        self._has_written = True
        self._many += 1
        return begun

    def after_many(self) -> None:
        self._many -= 1
        self.has_committed |= not self._is_open

    def after_statement(self, begun: int) -> None:
        if begun == STATEMENT:
            self._has_written = self.has_committed = True

    def after_error(self, error: Exception, sql: str, begun: int) -> None:
        """A statement has failed: what it alone has begun is ended."""
        self.raise_if_interrupted(error)
        if not self.managed or self.is_closed:
            return
        was_closed = self._is_begun and not self._is_open
        if begun == TRANSACTION and self._is_first and not is_really_open(self):
            self._has_written = False  # nothing but this statement is rolled back
        self._sync(error)
        if begun == TRANSACTION and self._is_open:
            if not self._can_prepare(sql, error):
                self._has_written = not self._is_first
                with suppress(sqlite3.Error):
                    self._commit()
        elif begun == STATEMENT and self._is_begun:
            if self.total_changes != self._changes_before:  # INSERT OR FAIL keeps what came before
                self.after_statement(begun)
            with suppress(sqlite3.Error):
                self._drop_unused()
        if (
            was_closed
            and self._has_written
            and isinstance(error, sqlite3.OperationalError)
            and (
                any(one in str(error) for one in _REFUSALS)
                or (self._has_postponed and "is already in use" in str(error))
            )
        ):
            error.args = (f"{error}: {OUTSIDE}",)

    def postpones(self, error: Exception, word: str) -> bool:
        """Whether a statement with this keyword is a DETACH that failed only because orch has not committed yet:
        `detach_new` does it later."""
        is_late = self.managed and self._is_begun and not self._is_open
        is_postponed = word == "DETACH" and is_late and "is locked" in str(error)
        self._has_postponed |= is_postponed
        return is_postponed

    def detach_new(self, known: Collection[str]) -> None:
        """Detach what the tool has attached: databases whose names are not in `known`."""
        with suppress(sqlite3.Error):
            for name, _ in list_databases(self):
                if name not in known and name != "temp":
                    try:
                        execute(new_cursor(self), f"DETACH {quote(name)}")
                    except sqlite3.Error:  # the transaction continues
                        self._has_postponed = True

    def _can_prepare(self, sql: str, error: Exception) -> bool:
        """Whether the statement failed when it ran. Python begins no transaction for one that cannot be prepared."""
        if isinstance(error, sqlite3.ProgrammingError) and "cursor" in str(error):
            return False
        try:
            sqlite3.Connection.__call__(self, sql)
        except Exception:
            return False
        return True

    def _check_setting(self, statement: Statement) -> None:
        """Refuse what SQLite ignores inside a transaction, before it does so."""
        self._sync(None)
        with suppress(sqlite3.Error):
            self._drop_unused()
        name, value = statement.name, statement.value
        if not self._is_begun or (name == "VACUUM" and self._is_open):
            return
        if name != "VACUUM":
            cursor = new_cursor(self)
            cursor.row_factory = None
            (now,) = execute(cursor, f"PRAGMA {name}").fetchone()
            if name == "foreign_keys":
                is_on = value in ("on", "true", "yes") or (value.isdigit() and int(value) != 0)
                value, now = str(is_on), str(now == 1)
            if str(now).lower() == value.lower():
                return
        shown = name if name == "VACUUM" else f"PRAGMA {name}"
        raise sqlite3.OperationalError(f"{shown} does not work now: {OUTSIDE}")

    def control(self, cursor: sqlite3.Cursor, sql: str, statement: Statement) -> None:
        """A statement that begins or ends a transaction, or a savepoint, of the tool's."""
        kind = statement.kind
        self._refuse_closed()
        with self._lock:
            self._sync(None)
            if kind == BEGIN:
                if self._is_open:
                    self._run(sql, cursor)  # raises
                    return
                self._open(sql, cursor)
            elif kind in (COMMIT, ROLLBACK):
                self._need_open(kind)
                (self._commit if kind == COMMIT else self._rollback)(cursor)
            elif kind == SAVEPOINT:
                self._add_savepoint(cursor, sql, statement.name)
            else:
                self._run(sql, cursor)
                self._leave_savepoint(kind, statement.name)

    def _need_open(self, kind: str) -> None:
        if not self._is_open:
            what = kind.lower()
            error = sqlite3.OperationalError(f"cannot {what} - no transaction is active")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_ERROR, "SQLITE_ERROR"
            raise error

    def _add_savepoint(self, cursor: sqlite3.Cursor, sql: str, name: str) -> None:
        was_open = self._is_open
        if not was_open:
            self._open(BEGIN)
            self._is_begun_by_savepoint = True
        try:
            self._open_savepoint()  # below the tool's, which end with it
            self._run(sql, cursor)
        except BaseException:
            if not was_open:
                self._commit()
            raise
        self._names = (*self._names, name)

    def _leave_savepoint(self, kind: str, name: str) -> None:
        if name not in self._names:
            return
        place = len(self._names) - 1 - self._names[::-1].index(name)
        if kind == ROLLBACK_TO:
            self._names = self._names[: place + 1]
            return
        self._names = self._names[:place]
        if place == 0 and self._is_begun_by_savepoint:
            self._commit()
