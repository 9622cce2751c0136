"""PostgreSQL: connections of psycopg 3, also with SQLAlchemy on top. orch ends the transaction of each tool.

What orch asks mostly goes to libpq below psycopg, so that neither transactions nor listeners are concerned.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager, suppress

import psycopg
from psycopg.pq import ExecStatus

from discover_orch.databases.database import Database
from discover_orch.databases.driver_transaction import (
    CLOSED_NOTE,
    LOST_NOTE,
    NOT_COMMITTED,
    DriverTransaction,
    WritesLost,
    ask_postgres,
    is_autocommit,
)
from discover_orch.databases.postgres_tables import PostgresLog, ask_rows, ask_use, show_name
from discover_orch.databases.psycopg_connection import (
    IDLE,
    INERROR,
    INTRANS,
    DeferringConnection,
    State,
    find_deferring_class,
    observe,
    wrap_cursors,
)
from discover_orch.databases.sqlite_calls import quote
from discover_orch.databases.table_content import SET_CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from discover_orch.databases.database import Named, Note, Test
    from discover_orch.databases.driver_transaction import Transaction
    from discover_orch.databases.table_log import TableLog

TEMPORARY_TABLES = (
    b"SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END || ' IF EXISTS ' "
    b"|| quote_ident(nspname) || '.' || quote_ident(relname) "
    b"FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace "
    b"WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'p', 'v')"
)
_TYPE = """
SELECT format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
WHERE attrelid = ?::regclass AND attname = ? AND attnum > 0 AND NOT attisdropped
"""
_HASH = "SELECT v.n, count(*), sum(pg_catalog.hashtextextended(ROW(t.*)::text, 0)::numeric) {} GROUP BY v.n"
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

    def restore_connection(self, *, may_be_set: bool = True) -> None:
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


_HOLDER = (
    "SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS'), pg_stat_activity.pid FROM pg_locks "
    "LEFT JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = ? AND objid = ?"
)
#: Roles are no settings for RESET ALL, and the role of a session goes before that of its statements.
_BUILD_RESET = (
    "SELECT 'RESET ALL; SELECT ' || string_agg(format('set_config(%L, %L, false)', name, current_setting(name)), ',') "
    "FROM (SELECT name FROM pg_catalog.pg_settings WHERE source = 'session' UNION ALL "
    "VALUES ('session_authorization'), ('role')) AS names"
)
_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}
#: The views that read a table, and the tables with a foreign key to it.
_USERS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid <> ?::regclass AND c.oid IN (
    SELECT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refobjid = ?::regclass UNION
    SELECT conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = ?::regclass)
"""
#: Of advisory locks, the first of the two numbers: this is orch.
_LOCK_CLASS = zlib.crc32(b"discover_orch") >> 1


class PostgresDatabase(Database):
    is_known = has_lock = needs_savepoint = True

    def open_transaction(self, mode: str) -> Transaction:
        if mode == "none":
            return super().open_transaction(mode)
        return PsycopgTransaction(self.outer, self.conn)

    def open_log(self, note_attach: Note, is_interrupted: Test = None) -> TableLog | None:
        return observe(self.conn)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All values are texts."""
        result = self._execute(sql, values)
        rows, columns = range(result.ntuples), range(result.nfields)
        cells = [[result.get_value(row, column) for column in columns] for row in rows]
        return [tuple(cell and cell.decode() for cell in row) for row in cells]

    def change(self, sql: str, *values: object) -> int:
        return int(self._execute(sql, values).command_tuples or 0)

    def _execute(self, sql: str, values: tuple[object, ...]) -> Any:
        for number in range(len(values)):
            sql = sql.replace("?", f"${number + 1}", 1)
        texts = [None if one is None else str(one).encode() for one in values]
        with self.conn.lock:
            result = self.conn.pgconn.exec_params(sql.encode(), texts)
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        return result

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if not self.is_idle():
            self.ask("COMMIT")  # what get_connection() has begun stays
        with super().transaction():
            yield

    def is_idle(self) -> bool:
        return bool(self.conn.info.transaction_status == IDLE)

    def find_place(self) -> tuple[str, ...]:
        """There may be no schema."""
        [(schema,)] = self.ask("SELECT current_schema()")
        return (schema,) if schema else ()

    def has_table(self, place: tuple[str, ...], name: str) -> bool:
        return self.ask("SELECT to_regclass(?)", ".".join(map(quote, (*place, name)))) != [(None,)]

    def lock(self, project: str, name: str, *, waits: bool) -> str:
        number = zlib.crc32(project.encode()) >> 1
        self.ask("SELECT set_config('application_name', ?, false)", name[:63])
        if waits:
            self.ask("SELECT pg_advisory_lock(?, ?)", _LOCK_CLASS, number)
            return ""
        if self.ask("SELECT pg_try_advisory_lock(?, ?)", _LOCK_CLASS, number) == [("t",)]:
            return ""
        return self.find_holder(project) or "another run"

    def find_holder(self, project: str) -> str:
        number = zlib.crc32(project.encode()) >> 1
        for holder, since, process in self.ask(_HOLDER, _LOCK_CLASS, number):
            return f"{holder or f'process {process} of the server'}, since {since}"
        return ""

    def read_settings(self) -> str:
        """What gives the session its settings of now back, without asking for those that it has then."""
        is_known = self.conn.info.vendor == "PostgreSQL"
        return self.ask(_BUILD_RESET)[0][0] if is_known else ""

    def restore_settings(self, known: str, *, may_be_set: bool) -> None:
        ask_postgres(self.conn, known.encode())

    def find_type(self, table: str, column: str) -> str | None:
        return next((type for (type,) in self.ask(_TYPE, table, column)), None)

    def hash_rows(self, table: str, source: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        if self.conn.info.transaction_status != INTRANS:
            return []
        self.ask("SAVEPOINT orch_versions")
        try:
            self.ask(SET_CONFIG)  # or the text of a value depends on who asks
            return self.ask(_HASH.format(source), *values)
        finally:
            self.ask("ROLLBACK TO SAVEPOINT orch_versions")
            self.ask("RELEASE SAVEPOINT orch_versions")

    def find_removable(self) -> Named:
        return {
            one.shown: (_KINDS[one.kind], f"{quote(one.schema or '')}.{quote(one.name)}")
            for one in ask_use(self.conn).tables
            if one.name and one.kind in _KINDS
        }

    def find_users(self, name: str, quoted: str) -> Iterable[str]:
        rows = self.ask(_USERS, quoted, quoted, quoted)
        return [show_name(schema, table) for schema, table in rows]

    def remove(self, sql: str) -> object:
        return ask_rows(self.conn, sql)
