"""The transaction of a SQLite connection that belongs to orch, and those that the tool has inside it.

Each transaction of the tool's is a savepoint inside the real one, which lasts until orch ends it. Whether one is open,
and in which mode the connection is, is therefore noted here, not in SQLite. The real transaction begins just before
the first statement that can change something, and ends at once where nothing in it is to be kept.
"""

from __future__ import annotations

import _thread
import os
import re
import sqlite3
from contextlib import contextmanager, suppress

from discover_orch.databases.sqlite_calls import (
    LEGACY,
    OrdinaryConnection,
    ask_rows,
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
    from collections.abc import Callable, Collection, Iterator

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


class TransactionalConnection(OrdinaryConnection):
    """With `managed` False, an ordinary connection whose statements are observed."""

    managed = False
    is_closed = False  # by the tool; the real connection stays open until orch has committed
    has_lost_writes = False  # the tool closed it with uncommitted changes
    lost = ""  # why SQLite rolled back what the tool had written
    has_committed = False  # the tool, in the real transaction
    _had_committed = False  # before the check that runs
    is_under_way = False  # a transaction of the tool's that has written
    _level: str | None = ""
    _autocommit: bool | int = LEGACY
    _is_open = False  # a transaction of the tool's
    _has_savepoint = False  # orch's, around it; none where C code has begun it
    _is_begun = False  # the real transaction
    _begins_immediately = False
    _names: tuple[str, ...] = ()  # of the tool's savepoints
    _is_begun_by_savepoint = False
    _has_postponed = False  # a DETACH, to the end of the tool
    _many = 0  # calls of executemany() that have not ended
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
        self._has_postponed = False
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

    def begin_check(self) -> None:
        """Commit what the tool has open, and set a savepoint below all that a check does."""
        if self._is_open:
            self._commit()
        self._begin()
        self._had_committed, self.has_committed = self.has_committed, True
        self._run(f'SAVEPOINT {self._savepoint[:-1]} check"')
        if self._autocommit is False:
            self._open(BEGIN)

    def end_check(self) -> bool:
        """Return to that savepoint. Whether the real transaction was still open."""
        self._sync(None)
        if not self._is_begun:
            return False
        self._run(f'ROLLBACK TO {self._savepoint[:-1]} check"')
        self._run(f'RELEASE {self._savepoint[:-1]} check"')
        self._end_own()
        self.has_committed = self._had_committed
        self._end_unused()
        if self._autocommit is False:
            self._open(BEGIN)
        return True

    def has_uncommitted_writes(self) -> bool:
        """Whether `end_step` would commit anything."""
        return self.managed and (self.has_committed or self.is_under_way)

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
        with suppress(sqlite3.Error):  # a query on one of them is unfinished
            for kind, name in ask_rows(self, "SELECT type, name FROM sqlite_temp_master"):
                if kind in ("table", "view"):
                    ask_rows(self, f"DROP {kind} IF EXISTS temp.{quote(name)}")

    def close_at_last(self) -> None:
        """Close the real connection, after the tool has closed it."""
        sqlite3.Connection.close(self)

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

    def _end_unused(self) -> None:
        """End the real transaction if nothing in it is to be kept, so that what works in none works."""
        if self._is_begun and not (self._is_open or self.has_committed or self._many):
            self._run(COMMIT)
            self._is_begun = False

    def _sync(self, error: Exception | None) -> None:
        """Notice what went past orch: SQLite has ended the transaction by itself, or C code has begun one."""
        is_real = is_really_open(self)
        if self._is_begun and not is_real:
            if self.has_committed or self.is_under_way:
                self.lost = self.lost or (str(error) if error is not None else UNSEEN)
            self._forget_transaction()
        elif is_real and not self._is_begun:
            self._is_begun = self._is_open = self.is_under_way = True

    def _forget_transaction(self) -> None:
        self._is_begun = self.has_committed = False
        self._end_own()

    def _end_own(self) -> None:
        self._is_open = self.is_under_way = False
        self._has_savepoint = self._is_begun_by_savepoint = False
        self._names = ()

    # The tool's transaction.

    def _open(self, begin: str, cursor: sqlite3.Cursor | None = None) -> None:
        """Begin a transaction of the tool's; `begin` is the statement that begins it without orch."""
        self._begin(begin, cursor)
        self._run(f"SAVEPOINT {self._savepoint}", cursor)
        self._is_open = self._has_savepoint = True

    def _commit(self, cursor: sqlite3.Cursor | None = None) -> None:
        """Commit the tool's transaction, on the cursor that the tool has used for it."""
        if self._has_savepoint:
            self._run(f"RELEASE {self._savepoint}", cursor)
        self.has_committed |= self.is_under_way
        self._end_own()
        self._end_unused()

    def _rollback(self, cursor: sqlite3.Cursor | None = None) -> None:
        if self.has_committed or self._many:  # the next rows of executemany() belong to orch, too
            self._run(f"ROLLBACK TO {self._savepoint}", cursor)
            self._run(f"RELEASE {self._savepoint}")
        else:
            self._run(ROLLBACK, cursor)
            self._is_begun = False
        self._end_own()

    def before_statement(
        self, sql: str, statement: Statement, cursor: sqlite3.Cursor, *, is_script: bool = False
    ) -> None:
        """Begin what the statement needs."""
        with self._lock:
            self._sync(None)
            self._changes_before = self.total_changes
            if statement.kind == SETS:
                self._check_setting(statement)
            elif self._is_open:
                pass
            elif (
                statement.begins
                and not is_script
                and self._autocommit == LEGACY
                and self._level is not None
            ):
                # Python begins no transaction for a statement that cannot be prepared.
                sqlite3.Connection.__call__(self, sql)
                self._open(f"BEGIN {self._level}", cursor)
            else:
                self._begin()

    def after_statement(self, error: Exception | None = None) -> None:
        """A statement that may have written has ended. What it alone has begun ends with it."""
        self._sync(error)
        if self._is_open:
            self.is_under_way = True
        elif error is None or self.total_changes != self._changes_before:  # INSERT OR FAIL
            self.has_committed |= self._is_begun
        else:
            with suppress(sqlite3.Error):
                self._end_unused()

    @contextmanager
    def many_statements(self) -> Iterator[None]:
        """Around a call that may commit between two of its statements: the later ones belong to orch, too."""
        self.is_under_way = self._is_open
        self._many += 1
        try:
            yield
        finally:
            self._many -= 1

    def after_error(self, error: Exception, is_begun: bool) -> None:
        """A statement has failed; `is_begun`: `before_statement` came before it. If only orch's transaction is the
        reason, the error says so."""
        self._raise_if_interrupted(error)
        if not self.managed or self.is_closed:
            return
        is_late = self.has_committed and not self._is_open
        if is_begun:
            self.after_statement(error)
        else:
            self._sync(error)
        if (
            is_late
            and isinstance(error, sqlite3.OperationalError)
            and (
                any(one in str(error) for one in _REFUSALS)
                or (self._has_postponed and "is already in use" in str(error))
            )
        ):
            error.args = (f"{error}: {OUTSIDE}",)

    def _raise_if_interrupted(self, error: Exception) -> None:
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

    def _check_setting(self, statement: Statement) -> None:
        """Refuse what SQLite ignores inside a transaction, before it does so."""
        if not self._is_begun:
            return
        name, value = statement.name, statement.value
        now = ask_rows(self, f"PRAGMA {name}")[0][0]
        if name == "foreign_keys":
            is_on = value in ("on", "true", "yes") or (value.isdigit() and int(value) != 0)
            value, now = str(is_on), str(now == 1)
        if str(now).lower() != value.lower():
            raise sqlite3.OperationalError(f"PRAGMA {name} does not work now: {OUTSIDE}")

    def control(self, cursor: sqlite3.Cursor, sql: str, statement: Statement) -> None:
        """A statement that begins or ends a transaction, or a savepoint, of the tool's."""
        kind = statement.kind
        self._refuse_closed()
        with self._lock:
            self._sync(None)
            if kind == BEGIN:
                if self._is_open:
                    self._run(sql, cursor)  # raises
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
        is_first = not self._is_open
        if is_first:
            self._open(BEGIN)
            self._is_begun_by_savepoint = True
        try:
            self._run(sql, cursor)
        except BaseException:
            if is_first:
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
