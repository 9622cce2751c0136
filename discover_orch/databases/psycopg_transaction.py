"""psycopg 3: one transaction for each tool, which orch ends. SQLAlchemy on top of psycopg is the same."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from discover_orch.databases.driver_transaction import (
    CLOSED_NOTE,
    LOST_NOTE,
    NOT_COMMITTED,
    DriverTransaction,
    WritesLost,
    ask_postgres,
    is_autocommit,
)
from discover_orch.databases.postgres_tables import PostgresLog
from discover_orch.databases.psycopg_connection import (
    IDLE,
    INERROR,
    INTRANS,
    DeferringConnection,
    State,
    find_deferring_class,
    wrap_cursors,
)

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
ENDED = "ended orch's transaction with a statement: what it had written until then may stay"


class PsycopgTransaction(DriverTransaction):
    """On a psycopg connection, or on SQLAlchemy's with one inside."""

    _inner: Any  # psycopg.Connection

    def __init__(self, conn: Any, inner: Any) -> None:
        super().__init__(conn, inner)
        wrap_cursors()
        self._class: type = type(inner)
        self._before_check = False  # whether the tool has turned autocommit on
        self._temporary: set[bytes] | None = None  # tables that existed before the tool

    def begin(self) -> None:
        conn = self._inner
        if conn.closed or is_autocommit(conn) or not _has_savepoints(conn):
            return
        self._temporary = self._find_temporary()
        self.defers_commits = True
        conn.orch_state = State()
        if not hasattr(conn, "orch_log"):
            PostgresLog(conn)
        conn.orch_state.is_open = conn.info.transaction_status != IDLE
        conn.__class__ = find_deferring_class(self._class)

    def end(self, keep: bool) -> list[str]:
        conn = self._inner
        if not self.defers_commits:
            if keep and conn.info.transaction_status == INERROR:
                self.conn.rollback()
                raise WritesLost(FAILED)
            return super().end(keep)
        state = conn.orch_state
        lost = self._find_loss() if keep else ""
        conn.__class__, self.defers_commits = self._class, False
        del conn.orch_state
        try:
            self._finish(keep and not lost)
        finally:
            if state.is_closed:
                conn.close()
        if lost:
            raise WritesLost(lost)
        if conn.closed:
            return [CLOSED_NOTE if state.is_closed else LOST_NOTE]
        return []

    def begin_check(self) -> bool:
        conn = self._inner
        if not self.defers_commits:
            return False
        if lost := self._find_loss():
            raise WritesLost(lost)
        if self.conn is not conn:
            self.conn.commit()
        state = conn.orch_state
        if conn.info.transaction_status == IDLE:
            ask_postgres(conn, b"BEGIN")
        elif state.has_savepoint:
            ask_postgres(conn, b"RELEASE " + state.savepoint.encode())
        ask_postgres(conn, b"SAVEPOINT orch_check")
        ask_postgres(conn, b"SAVEPOINT " + state.savepoint.encode())
        self._before_check = state.autocommit
        state.has_savepoint, state.is_open = True, False
        return True

    def end_check(self) -> str:
        conn, state = self._inner, self._inner.orch_state
        if state.is_closed or conn.closed:
            return "it closed the connection"
        if state.has_ended or conn.info.transaction_status == IDLE:
            return ENDED
        conn.orch_log.on_rollback()
        if self.conn is not conn:
            self.conn.rollback()
        ask_postgres(conn, b"ROLLBACK TO orch_check")
        ask_postgres(conn, b"RELEASE orch_check")
        ask_postgres(conn, b"SAVEPOINT " + state.savepoint.encode())
        state.is_open, state.autocommit = False, self._before_check
        return ""

    def can_keep_open(self) -> bool:
        return self.defers_commits

    def keep_open(self) -> None:
        conn = self._inner
        if lost := self._find_loss():
            raise WritesLost(lost)
        self._drop_temporary_tables()
        if self.conn is not conn:
            self.conn.commit()
        DeferringConnection.commit(conn)
        conn.orch_state.autocommit = False

    def may_have_kept_writes(self) -> bool:
        if not self.defers_commits:
            return super().may_have_kept_writes()
        state = self._inner.orch_state
        return bool(state.ran_outside or state.has_ended)

    def is_closed(self) -> bool:
        return super().is_closed() or bool(self._inner.closed)

    def is_lost(self) -> bool:
        with suppress(psycopg.Error):
            ask_postgres(self._inner, b"SELECT 1")
        return bool(self._inner.closed)

    def _find_loss(self) -> str:
        """Why what the tool wrote cannot be committed, or ""."""
        conn, state = self._inner, self._inner.orch_state
        if conn.broken:
            return "lost its connection to the database, and with it everything it wrote"
        if state.has_lost_writes:
            return NOT_COMMITTED
        status = conn.info.transaction_status
        if state.has_ended or (state.has_savepoint and status == IDLE):
            return ENDED
        return FAILED if status == INERROR else ""

    def _finish(self, keep: bool) -> None:
        """Commit or roll back, really."""
        conn = self._inner
        try:
            if keep and self.add_record is not None:
                if conn.info.transaction_status == IDLE:
                    ask_postgres(self._inner, b"BEGIN")
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
        if self._temporary is not None and not self._inner.closed:
            with suppress(psycopg.Error):
                self._drop_temporary_tables()
        self._temporary = None

    def _drop_temporary_tables(self) -> None:
        for table in self._find_temporary() - (self._temporary or set()):
            ask_postgres(self._inner, b"DROP " + table + b" CASCADE")

    def _find_temporary(self) -> set[bytes]:
        if self._inner.info.transaction_status not in (IDLE, INTRANS):
            return set()
        result = ask_postgres(self._inner, TEMPORARY_TABLES)
        return {result.get_value(row, 0) for row in range(result.ntuples)}


def _has_savepoints(conn: Any) -> bool:
    """Whether it is PostgreSQL itself, not another server that speaks its protocol."""
    return bool(conn.info.vendor == "PostgreSQL" and conn.info.server_version >= 10_00_00)
