"""The open `conn` of a worker: its transaction, the tables that are used through it, its record in the
database, and what other programs write to its database."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from discover_orch.databases.connection_settings import ConnectionSettings
from discover_orch.databases.driver_transaction import (
    ENDED_NOTE,
    LOST_BY_CLOSING,
    NOT_COMMITTED,
    Transaction,
    WritesLost,
)
from discover_orch.databases.drivers import find_database
from discover_orch.model.errors import Problem
from discover_orch.model.keys import read_rows
from discover_orch.model.observation import MADE, UNCLEAR
from discover_orch.worker.child_processes import find_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from discover_orch.databases.database import Database
    from discover_orch.databases.memory_table import MemoryTable
    from discover_orch.databases.table_log import TableContent, TableLog
    from discover_orch.model.success_record import Attempt
    from discover_orch.worker.protocol import RunStep
    from discover_orch.worker.tool_observation import Observer


#: Modules that open SQLite databases by themselves.
OTHER_DRIVERS = ("adbc_driver_sqlite", "apsw", "duckdb")
SECOND_CONNECTION = (
    "used a second connection to the database: what that one commits stays, and it sees nothing of what the tool "
    "writes on conn"
)
#: In place of the version of a table that has too many rows.
TOO_LARGE = "?"
DUCKDB_CURSOR = "conn.cursor() of DuckDB is a second connection: use conn itself"


class ResourceProblem(Exception):
    """A resource cannot be opened; the message is a sentence for the user."""


class ToolConnection:
    """The open `conn`: its transaction, and the log of tables that are used through it.

    `tables` is None where the statements of its driver cannot be observed. `file` is the absolute path of
    its database, or "". `may_have_kept_writes`: writes of the step may stay though it fails.
    """

    def __init__(
        self,
        mode: str,
        observer: Observer | None,
        is_interrupted: Callable[[], bool] | None,
        warn: Callable[[Problem], None],
        version_rows: int = 0,
        *,
        is_remote: bool = False,
    ) -> None:
        """Tables with at most `version_rows` rows have a version; with 0, no rows are read. `is_remote`: the order for
        a step may come twice."""
        self._is_remote = is_remote
        self._mode, self._version_rows = mode, version_rows
        #: What the tables contain that the latest step has written.
        self.contents: dict[str, TableContent] = {}
        self.read_at = 0.0  # when that was read
        self._of_item = "", ""  # the column and the value that the rows of the step have
        #: The rows of the item that it has written, by name, with their versions.
        self.rows: dict[str, str] = {}
        self._database: Database | None = None
        self._warn = warn
        self._warnings: set[str] = set()  # that were given
        self._by_mode: dict[str, Transaction] = {}
        self._observer = observer
        self._is_interrupted = is_interrupted
        if observer is not None:
            observer.own.is_interrupted = is_interrupted
        self.transaction: Transaction | None = None
        self._settings: ConnectionSettings | None = None
        self._is_used = False  # since its settings were restored
        self.tables: TableLog | None = None
        self.file = ""
        self.may_have_kept_writes = False
        self._is_sqlite = False
        self._is_begun = self._commits_by_itself = False
        self._is_checking = self._has_savepoint = False  # around the check that runs
        self.memory: MemoryTable | None = None  # None where no successes are recorded
        self._attempt: Attempt | None = None  # of the step, until its transaction ends
        self.record = ""  # the name of the success of the latest step in the database
        self._is_held = False  # the transaction of the whole run is open
        self._is_run_over = False
        self._attempts: list[Attempt] = []  # that are recorded at the end of the run
        self._left: list[Attempt] = []  # that are recorded after the commit
        self._owed: list[Attempt] = []  # that could not be recorded yet

    def attach(self, conn: Any, *, has_memory: bool) -> None:
        """A new connection has been opened."""
        database = self._database = find_database(conn)
        self._by_mode = {mode: database.open_transaction(mode) for mode in {self._mode, "none"}}
        self.transaction = self._by_mode[self._mode]
        self.transaction.attach()
        self._settings = ConnectionSettings(conn) if conn is not None else None
        if not self.transaction.can_roll_back():
            self._warn_once(
                f"conn is {_article(type(conn).__name__)}, which has no commit() and rollback(): what a tool writes "
                "stays even if the tool fails",
                "return a connection from get_connection(), such as engine.connect()",
            )
        if self._observer is not None:
            self._observe(database, self._observer)
        if has_memory and database.is_known:
            from discover_orch.databases.memory_table import MemoryTable

            self.memory = MemoryTable(database)

    def _observe(self, database: Database, observer: Observer) -> None:
        observer.own.forget(database.conn)
        self.tables = database.open_log(observer.note_attach, self._is_interrupted)
        self.file = database.file if self.tables is None else self.tables.file
        self._is_sqlite = self.tables is not None and self.tables.dialect == "sqlite"
        if self.file:
            observer.note_database(self.file)
        if self.tables is not None:
            self.tables.after_error = self._by_mode[self._mode].after_error
            observer.note_attached(self.tables.attached)
            self.tables.tables_of_caller = observer.uses.tables_of_caller

    def warn_in_memory(self) -> None:
        """Other workers have connections of their own. A URL of such a database is refused before a run."""
        dialect = "sqlite" if self._is_sqlite else getattr(self.tables, "dialect", "")
        if dialect in ("sqlite", "duckdb") and not self.file:
            self._warn_once(
                "each worker has its own database in memory: only later tools of that worker see what a tool writes",
                "run with --jobs 1, or return a connection to a file or a server from get_connection()",
            )

    def _warn_once(self, message: str, hint: str) -> None:
        if message not in self._warnings:
            self._warnings.add(message)
            self._warn(Problem(code="conn", message=message, hint=hint, severity="warning"))

    def is_gone(self) -> bool:
        """Whether there was a connection, and a tool has closed it or the database has ended it."""
        transaction = self.transaction
        if transaction is None or transaction.is_closed() or not transaction.is_lost():
            return transaction is not None and transaction.is_closed()
        if self._is_held:
            raise WritesLost(
                "the database ended the connection, and with it the transaction of the whole run"
            )
        self._warn_once(
            "the database ended the connection between two tools; orch has opened a new one",
            "check the log of the database server",
        )
        return True

    def is_unobserved(self) -> bool:
        transaction = self.transaction
        return self.tables is None and transaction is not None and transaction.conn is not None

    def begin(
        self,
        *,
        commits_by_itself: bool,
        writes_alone: bool = False,
        attempt: Attempt | None = None,
        of_item: tuple[str, str] = ("", ""),
    ) -> None:
        """`attempt` is recorded in the database when the transaction is committed. `of_item`: a column, and the value
        that the rows of the step have there."""
        self._of_item = of_item
        if self.transaction is not None:
            mode = "none" if commits_by_itself else self._mode
            self.transaction = self._by_mode[mode]
            self.transaction.begins_immediately = writes_alone
            self.transaction.add_record, self._attempt, self.record = None, None, ""
            if self.memory is not None and attempt is not None:
                self.memory.check(attempt, may_come_twice=self._is_remote)
                self._attempt = attempt
            if self.tables is not None:
                self.tables.begin_step()
                if self._observer is not None:
                    self._observer.note_attached(self.tables.attached)
            self._commits_by_itself = mode == "none"
            if self._mode == "run" and not self._is_run_over:
                self._begin_in_run(is_part=mode == "run")
            else:
                self.transaction.begin()
            self._is_begun = self._is_used = True

    def _begin_in_run(self, *, is_part: bool) -> None:
        """The transaction of the whole run begins with the first tool that takes conn."""
        transaction = self.transaction
        assert transaction is not None
        if not is_part:
            raise ResourceProblem(
                'a tool with the transaction "none" cannot be part of a run that is one transaction'
            )
        if not self._is_held:
            transaction.begin()
            if transaction.conn is not None and not transaction.can_keep_open():
                transaction.end(keep=False)
                raise ResourceProblem(
                    'transaction = "run" needs a connection to SQLite, PostgreSQL or DuckDB that is not in autocommit '
                    f"mode, and conn is {_article(type(transaction.conn).__name__)}"
                )
            self._is_held = transaction.conn is not None

    def _finish(self, keep: bool) -> list[str]:
        transaction = self.transaction
        assert transaction is not None
        if not self._is_held:
            return self._end_transaction(transaction, keep)
        if not keep:
            return self.end_run(keep=False)
        try:
            if transaction.is_closed():
                raise WritesLost(
                    "closed the connection, on which the transaction of the whole run is open"
                )
            transaction.keep_open()
        except BaseException:
            self.end_run(keep=False)
            raise
        return []

    def end_run(self, *, keep: bool) -> list[str]:
        """Commit or roll back what all tools of the run did, if it is one transaction. Raises what a commit raises."""
        transaction = self.transaction
        is_held, self._is_held, self._is_run_over = self._is_held, False, True
        if not is_held or transaction is None:
            return []
        attempts, self._attempts = self._attempts, []
        transaction.add_record = partial(self._record, *attempts) if attempts else None
        return self._end_transaction(transaction, keep)

    def _end_transaction(self, transaction: Transaction, keep: bool) -> list[str]:
        self._left = []
        notes = transaction.end(keep)
        for attempt in self._left:
            self._record_afterwards(attempt)
        return notes

    def _record(self, *attempts: Attempt) -> None:
        """Within the transaction that is about to be committed, if it can write to the memory too."""
        if self.memory is not None and not self.memory.database.can_join():
            self._left = [*attempts]
            return
        for attempt in attempts:
            self._add(attempt)

    def _add(self, attempt: Attempt) -> None:
        from discover_orch.databases.memory_table import CannotKeep

        if self.memory is None:
            return
        try:
            self.memory.add(attempt)
            self.record = attempt.name
        except CannotKeep as error:
            self.memory, self.record = None, ""
            self._warn_once(
                f"what orch remembers of the tools cannot be kept in the database, only in .orch: {error}",
                'let orch make and write the table orch_memory, or set memory = "local"',
            )

    def end(self, keep: bool, before_commit: Callable[[], None] | None = None) -> list[str]:
        """Commit or roll back what was begun; notes for the user. What it raises fails the tool."""
        if self.transaction is None or not self._is_begun:
            return []
        self._is_begun = False
        tables = self.tables
        if tables is not None:
            tables.resolve()
            self.contents, self.rows = {}, {}
            if keep and self._version_rows and tables.has_written:
                uses = tables.peek()
                dropped = {one.name for one in uses if one.kind == "dropped"}
                written = (one.name for one in uses if one.kind in MADE)
                left = [one for one in written if one not in dropped]
                self.contents = tables.read_tables(left, self._version_rows)
                self.read_at = tables.read_at or time.monotonic()
                self._find_rows_of_item(left)
            is_open = not self.transaction.is_closed()
            if self._observer is not None and not is_open:
                self._observer.has_closed_connection = True
            self.may_have_kept_writes |= tables.has_committed or (
                is_open and tables.may_have_committed
            )
        self.may_have_kept_writes |= self.transaction.may_have_kept_writes() or tables is None
        is_uncommitted = tables is not None and tables.has_written and not tables.has_committed
        has_committed = tables is not None and not self._is_sqlite and tables.has_committed
        self._warn_of_second_connection()
        is_final = keep and not self._is_held
        has_writes = keep and self._has_uncommitted_writes()
        if is_final and before_commit and has_writes:
            before_commit()
        is_owner = self.transaction.can_keep_open()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt = replace(attempt, tables=_find_written(tables))
        if attempt is not None and has_writes and is_owner:
            if self._is_held:
                self._attempts.append(attempt)
                self.record = attempt.name
            else:
                self.transaction.add_record = partial(self._record, attempt)
        notes = self._finish(keep)
        if keep and is_uncommitted and LOST_BY_CLOSING in notes:
            raise WritesLost(NOT_COMMITTED)
        if not is_owner:
            has_writes = tables is None or tables.has_written or tables.may_have_committed
        if attempt is not None and keep and has_writes and not self.record:
            self._record_afterwards(attempt)
        if tables is not None and tables.uses_other_connection and is_owner:
            hints = [DUCKDB_CURSOR] if tables.dialect == "duckdb" else []
            return [SECOND_CONNECTION, *hints, *notes]
        if has_committed and notes in ([], [ENDED_NOTE]) and not self._commits_by_itself:
            return ["committed by itself"]
        return notes

    def _find_rows_of_item(self, tables: Collection[str]) -> None:
        column, value = self._of_item
        if column and self._database is not None:
            from discover_orch.databases.item_rows import find_written_rows  # few tools say it

            with suppress(Exception):  # the transaction has failed
                self.rows = find_written_rows(
                    self._database, tables, column, value, self._version_rows
                )

    def _record_afterwards(self, attempt: Attempt) -> None:
        """In a transaction of its own. If the tool has closed the connection or left a transaction open, later: until
        then the database has no record of this success, and a run that is killed leaves the tool stale."""
        if self.memory is not None:
            self.record = attempt.name
            self._owed.append(attempt)
            self.record_owed()

    def owes_on_closed(self) -> bool:
        """Whether a new connection is needed for what could not be recorded."""
        return bool(self._owed) and self._is_closed()

    def record_owed(self) -> None:
        """What could not be recorded, if that is possible now."""
        if self._owed and self.is_idle() and self.memory is not None:
            owed, self._owed = self._owed, []
            with self.memory.database.transaction():
                for attempt in owed:
                    self._add(attempt)

    def is_idle(self) -> bool:
        """Whether the connection is open, and no transaction is."""
        memory = self.memory
        return memory is not None and not self._is_closed() and memory.database.is_idle()

    def _is_closed(self) -> bool:
        return self.transaction is None or self.transaction.is_closed()

    def look_at_tables(
        self, names: Collection[str]
    ) -> tuple[tuple[str, ...] | None, dict[str, str]]:
        """Outside of any step: which tables there are, as of `TableLog.look`, and the versions of these."""
        if self.tables is None:
            return None, {}
        self.begin(commits_by_itself=False)
        try:
            there = self.tables.look()
            found = self.tables.read_tables(names, self._version_rows)
            rows = self._read_rows([*filter(read_rows, names)])
        finally:
            self.end(keep=False)
        return there, {name: one.version or TOO_LARGE for name, one in found.items()} | rows

    def _read_rows(self, names: Collection[str]) -> dict[str, str]:
        if not names or self._database is None:
            return {}
        from discover_orch.databases.item_rows import read_versions

        return read_versions(self._database, names, self._version_rows)

    def remove_tables(self, order: RunStep) -> tuple[str, ...]:
        """As `removal.remove_tables`, once the transaction of the step has begun; what was dropped."""
        transaction = self.transaction
        if transaction is None or transaction.conn is None:
            return ()
        from discover_orch.databases.removal import CannotRemove, remove_tables  # few runs need it

        database = find_database(transaction.conn)
        try:
            removed = remove_tables(database, order.drops, order.empties, order.may_drop)
        except CannotRemove as error:
            raise ResourceProblem(str(error)) from None
        if self.tables is not None:
            self.tables.begin_without(removed)
        return removed

    def begin_check(self) -> None:
        """A check of the step is about to run. Raises WritesLost where nothing can be committed any more."""
        transaction, self._is_checking = self.transaction, False
        if transaction is not None and self._is_begun and not transaction.is_closed():
            self._has_savepoint, self._is_checking = transaction.begin_check(), True
            if not self._has_savepoint and self.tables is not None:
                self.tables.begin_check()

    def end_check(self) -> str:
        """Undo what the check has written; why the step cannot be committed any more, or ""."""
        if self.transaction is None or not self._is_checking:
            return ""
        lost = self.transaction.end_check()
        has_log = not self._has_savepoint and self.tables is not None
        if has_log and self.tables is not None and self.tables.end_check() and not lost:
            return "it wrote to the database, and without savepoints that cannot be undone"
        return lost

    def _warn_of_second_connection(self) -> None:
        transaction, observer = self.transaction, self._observer
        if transaction is None or observer is None or not transaction.has_deferred_commits():
            return
        if observer.has_foreign_connection() or observer.own.has_connections:
            self._warn_once(
                "a tool opened a second connection to the database that it writes to with conn: until the tool has "
                "ended, the second one does not see what conn has committed, and cannot write",
                'use conn for both, or write ORCH = {"transaction": "none"} in the tool',
            )

    def _has_uncommitted_writes(self) -> bool:
        """Whether the commit that follows makes anything final, as far as that is known."""
        has_writes = self.transaction is not None and self.transaction.has_uncommitted_writes()
        if has_writes is not None:
            return has_writes
        return self.tables is None or self.tables.has_written or self.tables.may_have_committed

    def restore_connection(self) -> None:
        """What the tool has set or left on the connection is gone for the next one."""
        may_be_set = self.tables is None or self.tables.may_have_set()
        if self._settings is not None and self._is_used:
            self._is_used = False
            self._settings.restore(may_be_set=may_be_set)
        if self.transaction is not None:
            self.transaction.restore_connection(may_be_set=may_be_set)

    def note_setup(self) -> None:
        """What a resource that has just been opened has written and set stays, whatever becomes of the step."""
        if self._settings is not None:
            self._settings.note()
        self.may_have_kept_writes |= self.tables is not None and any(
            one.kind in MADE for one in self.tables.peek()
        )


class ForeignWrites:
    """Whether another program has written to the SQLite database while the worker uses it.

    SQLite says of each connection whether any other has changed the database. Another one may belong to a tool, to a
    process that it has started, or to a driver that Python does not see. Then nothing is known, and nothing is
    reported. Ask `have_happened` before each step, after it, and before the connection is closed. `is_by_step` says
    whether the step that has ended last may have written to the database, past its connection."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._log: TableLog | None = None
        self._version: int | None = None  # of the database, at the last call
        self._had_children = False  # at the last call
        self.is_by_step = False
        self._has_others = False  # a tool has opened a connection, which it may have kept

    def have_happened(self, log: TableLog, *, during_step: bool) -> bool:
        """Whether another program has written since the last call; `during_step`: a step has run since. `log` is that
        of the open connection."""
        before = self._version if log is self._log else None
        now = log.read_version()
        if now is None:  # the database is locked, or not asked: the next call compares
            return False
        if self._observer.own.has_written:  # that is known, and hides what others have written
            before = now
        may_be_own = self._has_other_writers(during_step=during_step)
        self._log, self._version = log, now
        self.is_by_step = before not in (None, now) and may_be_own
        return before not in (None, now) and not may_be_own

    def _has_other_writers(self, *, during_step: bool) -> bool:
        observer = self._observer
        self._has_others |= observer.has_foreign_connection()
        had_children = self._had_children or (during_step and observer.traced.has_child)
        # Without `subprocess` or `multiprocessing` there are none.
        self._had_children = observer.traced.may_have_children() and bool(
            find_children(os.getpid())
        )
        is_loaded = not sys.modules.keys().isdisjoint(OTHER_DRIVERS)
        return self._has_others or had_children or self._had_children or is_loaded


def _article(name: str) -> str:
    return f"an {name}" if name[:1] in "AEIOU" else f"a {name}"


def _find_written(tables: TableLog | None) -> tuple[str, ...] | None:
    """The tables that the step has written; None where that is not known, or not simple: it has dropped one."""
    uses = () if tables is None else tables.peek()
    if tables is None or tables.uses_other_connection:
        return None
    if any(one == UNCLEAR or one.kind == "dropped" for one in uses):
        return None
    return tuple(sorted({one.name for one in uses if one.kind in MADE}))
