"""psycopg 3: one transaction for each tool, which orch ends. SQLAlchemy on top of psycopg is the same."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from discover_orch.databases.driver_transaction import (
    CLOSED_NOTE,
    LOST_NOTE,
    DriverTransaction,
    WritesLost,
    is_autocommit,
)
from discover_orch.databases.psycopg_connection import (
    IDLE,
    INERROR,
    INTRANS,
    State,
    find_deferring_class,
)
from discover_orch.databases.psycopg_cursors import wrap_methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TEMPORARY_TABLES = (
    b"SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END || ' IF EXISTS ' "
    b"|| quote_ident(nspname) || '.' || quote_ident(relname) "
    b"FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace "
    b"WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'p', 'v')"
)
FAILED = (
    "continued after a failed statement, so PostgreSQL discards all its writes; "
    "put statements that may fail in a block `with conn.transaction():`"
)

UNSEEN_END = "ended orch's transaction in a way that orch does not recognise: what it had written until then stays"


class PsycopgTransaction(DriverTransaction):
    """On a psycopg connection, or on SQLAlchemy's with one inside."""

    _inner: Any  # psycopg.Connection

    def __init__(self, conn: Any, inner: Any) -> None:
        super().__init__(conn, inner)
        wrap_methods()
        self._class: type = type(inner)
        self._is_used = False
        self._temporary: set[bytes] = set()  # tables that existed before the tool

    def begin(self) -> None:
        conn, self._is_used = self._inner, False
        if conn.closed or is_autocommit(conn) or not _has_savepoints(conn):
            return
        self._temporary = self._find_temporary()
        self.defers_commits = True
        conn.orch_state = State()
        conn.orch_state.is_open = conn.pgconn.transaction_status in (INTRANS, INERROR)
        conn.__class__ = find_deferring_class(self._class)

    def end(self, keep: bool) -> list[str]:
        if not self.defers_commits:
            return super().end(keep)
        conn, state = self._inner, self._inner.orch_state
        lost = self._find_loss() if keep else ""
        if keep and not lost and conn.pgconn.transaction_status == INERROR:
            conn.orch_run(conn._orch_begin(b"BEGIN"))  # returns to the savepoint
        conn.__class__, self.defers_commits = self._class, False
        del conn.orch_state
        self._is_used = state.is_used
        if state.is_closed:
            conn._num_transactions = 0  # blocks that the tool entered afterwards failed
        try:
            self._finish(keep and not lost)
        finally:
            if state.is_closed:
                conn.close()
            elif not conn.closed:
                with suppress(psycopg.Error):
                    conn.autocommit = False
        if lost:
            raise WritesLost(lost)
        if conn.closed:
            return [CLOSED_NOTE if state.is_closed else LOST_NOTE]
        return []

    def can_keep_open(self) -> bool:
        return self.defers_commits

    def keep_open(self) -> None:
        conn, state = self._inner, self._inner.orch_state
        if lost := self._find_loss():
            raise WritesLost(lost)
        if conn.pgconn.transaction_status == INERROR:
            conn.orch_run(conn._orch_begin(b"BEGIN"))  # returns to the savepoint
        gone = self._find_temporary() - self._temporary if state.is_used else ()
        for table in gone:
            self._execute(b"DROP " + table + b" CASCADE")
        # The savepoint is to stand behind this.
        state.is_open |= bool(gone) and conn.pgconn.transaction_status == INTRANS
        if self.conn is not conn:
            self.conn.commit()
        conn.commit()
        conn.autocommit = False

    def may_have_kept_writes(self) -> bool:
        if not self.defers_commits:
            return super().may_have_kept_writes()
        state = self._inner.orch_state
        return bool(state.ran_outside or self._has_ended(state))

    def has_lost_writes_by_closing(self) -> bool:
        if not self.defers_commits:
            return super().has_lost_writes_by_closing()
        return bool(self._inner.orch_state.has_lost_writes)

    def is_closed(self) -> bool:
        return super().is_closed() or bool(self._inner.closed)

    def is_lost(self) -> bool:
        with suppress(psycopg.Error):
            self._execute(b"SELECT 1")
        return bool(self._inner.closed)

    def _find_loss(self) -> str:
        """Why what the tool wrote cannot be committed, or ""."""
        conn, state = self._inner, self._inner.orch_state
        status = conn.pgconn.transaction_status
        if conn.broken:
            return "lost its connection to the database, and with it everything it wrote"
        if status == INERROR and state.is_open:
            return FAILED
        if self._has_ended(state):
            return UNSEEN_END
        return ""

    def _has_ended(self, state: State) -> bool:
        is_gone = state.has_commits and self._inner.pgconn.transaction_status == IDLE
        return state.has_ended or is_gone

    def _finish(self, keep: bool) -> None:
        """Commit or roll back, really."""
        conn = self._inner
        try:
            if keep and self.add_record is not None:
                if conn.pgconn.transaction_status == IDLE:
                    self._execute(b"BEGIN")
                self.add_record()
            if self.conn is not conn and not self.conn.closed:
                self.conn.commit() if keep else self.conn.rollback()
            conn.commit() if keep else conn.rollback()
        except BaseException:
            if keep:
                self._finish(False)
                raise
            conn.close()  # then the server rolls back

    def restore_connection(self) -> None:
        is_used, self._is_used = self._is_used, False
        if not is_used or self._inner.closed:
            return
        with suppress(psycopg.Error):
            for table in self._find_temporary() - self._temporary:
                self._execute(b"DROP " + table + b" CASCADE")

    def _find_temporary(self) -> set[bytes]:
        if self._inner.pgconn.transaction_status not in (IDLE, INTRANS):
            return set()
        result = self._execute(TEMPORARY_TABLES)
        return {result.get_value(row, 0) for row in range(result.ntuples)}

    def _execute(self, command: bytes) -> Any:
        with self._inner.lock:
            return self._inner.wait(self._inner._exec_command(command))


def _has_savepoints(conn: Any) -> bool:
    """Whether it is PostgreSQL itself, not another server that speaks its protocol."""
    return bool(conn.info.vendor == "PostgreSQL" and conn.info.server_version >= 10_00_00)
