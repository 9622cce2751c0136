"""psycopg 3: a connection on which a tool's commits become final when orch says so.

The tool's `commit()` sets a savepoint, and its `rollback()` returns to it. A block `with conn.transaction()` is a
savepoint by itself, as psycopg makes it in any open transaction. In autocommit mode each statement is such a block.
COMMIT and ROLLBACK as text would end orch's transaction, so they are refused.

Only public methods of psycopg are overridden, or wrapped where a cursor has no part in the class of its connection.
"""

from __future__ import annotations

import functools
import secrets
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from discover_orch.databases.postgres_tables import PostgresLog
from discover_orch.databases.postgres_text import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

IDLE, INTRANS, INERROR = (
    TransactionStatus.IDLE,
    TransactionStatus.INTRANS,
    TransactionStatus.INERROR,
)
#: The transaction, and each savepoint in which something was written, holds a lock on its own number.
WRITTEN_PARTS = (
    "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' "
    "AND pid = pg_backend_pid() AND mode = 'ExclusiveLock' AND granted"
)
NO_TWO_PHASES = (
    "a transaction that orch ends cannot be prepared for a two-phase commit; "
    'set ORCH = {"transaction": "none"}'
)
CLOSED = "the connection is closed"
INSIDE_BLOCK = "not allowed inside `with conn.transaction()`, which ends by itself"
UNSEEN = "a statement has ended orch's transaction: do not send COMMIT or ROLLBACK as text: call conn.commit()"


class State:
    """Where the tool is within orch's transaction."""

    def __init__(self) -> None:
        # The name cannot be guessed, so no savepoint of the tool can hide this one.
        self.savepoint = f"orch_{secrets.token_hex(8)}"
        self.has_savepoint = False  # it is set, behind all that the tool has committed
        self.is_open = False  # the tool has begun a transaction
        self.autocommit = False  # as the tool has set it
        self.blocks = 0  # that the tool is in
        self.has_notified = False
        self.is_closed = False  # the tool has closed the connection
        self.has_lost_writes = False  # it did so before it committed
        self.ran_outside = False  # a statement ran that works in no transaction
        self.has_ended = False  # a statement has ended the transaction


class DeferringConnection(psycopg.Connection[Any]):
    """The class that an open connection gets while a tool runs.

    All that it adds has `orch` in its name, because the connection's own class may be one of the user's.
    """

    orch_state: State
    orch_log: PostgresLog

    def commit(self) -> None:
        state = self._orch_begin_end()
        status = self.info.transaction_status
        if status == INERROR:  # as PostgreSQL does
            DeferringConnection.rollback(self)
        elif status != IDLE:
            if state.has_savepoint:
                self.orch_execute(f"RELEASE SAVEPOINT {state.savepoint}")
            self.orch_execute(f"SAVEPOINT {state.savepoint}")
            state.has_savepoint = True
        state.is_open = False

    def rollback(self) -> None:
        state = self._orch_begin_end()
        self._orch_undo()
        state.is_open = False

    def _orch_undo(self) -> None:
        """Return to what the tool has committed."""
        self.orch_log.on_rollback()
        if self.orch_state.has_savepoint:
            self.orch_execute(f"ROLLBACK TO SAVEPOINT {self.orch_state.savepoint}")
        else:
            super().rollback()
            self.orch_log.on_end()

    def _orch_begin_end(self) -> State:
        self.orch_refuse_closed()
        if self.orch_state.blocks:
            raise psycopg.ProgrammingError(INSIDE_BLOCK)
        return self.orch_state

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """A block in orch's transaction; where it is the tool's outermost one, its end is a commit of the tool."""
        state = self.orch_state
        self.orch_refuse_closed()
        is_outermost = not state.is_open and not state.blocks
        log = self.orch_log
        log.on_begin()
        if self.info.transaction_status == IDLE:  # else psycopg would begin one here, and commit it
            self.orch_execute(f"SAVEPOINT {state.savepoint}")
            state.has_savepoint = True
        state.blocks += 1
        own: BaseException | None = None
        was_unasked = log.enter_block()
        try:
            with super().transaction(savepoint_name, force_rollback) as block:
                try:
                    yield block
                except BaseException as error:
                    own = error
                    raise
                finally:
                    if own is not None or force_rollback:
                        log.on_rollback()
        except psycopg.Error as error:
            # A block of a connection that the tool has closed ends silently: its savepoint went with the rest. So does
            # the tool's outermost one after a statement that failed, and nothing of it is kept, as PostgreSQL has it.
            is_undone = is_outermost and isinstance(error, psycopg.errors.InFailedSqlTransaction)
            if error is own or not (state.is_closed or is_undone):
                raise
        finally:
            log.leave_block(was_unasked)
            state.blocks -= 1
            state.is_open &= not is_outermost
        if is_outermost and not state.is_closed:
            DeferringConnection.commit(self)

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        with self.orch_statement(), super().pipeline() as pipeline:
            self.orch_state.blocks += self.orch_state.autocommit
            try:
                yield pipeline
            finally:
                self.orch_state.blocks -= self.orch_state.autocommit

    def cursor(self, *args: Any, **named: Any) -> Any:
        self.orch_refuse_closed()
        return super().cursor(*args, **named)

    def close(self) -> None:
        """Undo what was not committed. The real connection stays open until orch has ended the transaction."""
        state = self.orch_state
        if self.closed:
            return
        status = self.info.transaction_status
        if status not in (IDLE, INTRANS, INERROR):
            state.has_lost_writes = True
            super().close()
            return
        if status == INTRANS:  # after an error it cannot be asked
            state.has_lost_writes = self.orch_ask(WRITTEN_PARTS) > state.has_savepoint
        state.has_lost_writes |= status == INERROR
        if state.has_savepoint or not state.blocks:
            self._orch_undo()
        state.is_closed = True

    @property
    def closed(self) -> bool:
        return self.orch_state.is_closed or super().closed

    @property
    def autocommit(self) -> bool:
        return self.orch_state.autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.set_autocommit(value)

    def set_autocommit(self, value: bool) -> None:
        state = self.orch_state
        self.orch_refuse_closed()
        if state.is_open or state.blocks:
            raise psycopg.ProgrammingError(
                "can't change 'autocommit' now: connection in transaction status INTRANS"
            )
        state.autocommit = bool(value)

    def tpc_begin(self, xid: Any) -> None:
        raise psycopg.NotSupportedError(NO_TWO_PHASES)

    # What orch does.

    def orch_refuse_closed(self) -> None:
        if self.orch_state.is_closed:
            raise psycopg.OperationalError(CLOSED)

    def orch_execute(self, sql: str) -> psycopg.Cursor[Any]:
        """A statement of orch's own, past what observes those of the tool."""
        cursor = psycopg.Cursor(self, row_factory=psycopg.rows.tuple_row)
        execute = getattr(psycopg.Cursor.execute, "__wrapped__", psycopg.Cursor.execute)
        execute(cursor, sql.encode(), prepare=False)
        return cursor

    def orch_ask(self, sql: str) -> Any:
        row = self.orch_execute(sql).fetchone()
        return row and row[0]

    @contextmanager
    def orch_statement(self, text: str = "", params: Any = None) -> Iterator[None]:
        """The tool executes something: in autocommit mode, in a transaction of its own."""
        state, log, notes = self.orch_state, self.orch_log, read_text(text)
        self.orch_refuse_closed()
        if notes.end:
            raise psycopg.ProgrammingError(
                f"{notes.end} cannot be sent as text, because orch ends the transaction: "
                'call conn.commit() or conn.rollback(), or set ORCH = {"transaction": "none"}'
            )
        state.has_notified |= notes.notifies
        is_alone = state.autocommit and not state.blocks
        state.is_open |= not is_alone
        log.on_statement(text, notes, params)
        try:
            yield
        except BaseException as error:
            if isinstance(error, psycopg.Error):
                log.on_error(error)
            if is_alone and not self.closed:
                with suppress(psycopg.Error):  # it must not take the place of the tool's own error
                    DeferringConnection.rollback(self)
            raise
        if (
            self.pgconn.pipeline_status == PipelineStatus.OFF
            and self.info.transaction_status == IDLE
        ):
            state.has_ended = True
            raise psycopg.ProgrammingError(UNSEEN)
        if is_alone:
            DeferringConnection.commit(self)

    def orch_call(self, call: Callable[[], Any], text: str, params: Any) -> Any:
        """Execute a statement of the tool. One that works in no transaction is executed outside of it, as long as
        nothing was written."""
        state = self.orch_state
        try:
            with self.orch_statement(text, params):
                return call()
        except psycopg.errors.ActiveSqlTransaction:
            if (
                not state.autocommit
                or state.blocks
                or state.has_notified
                or self.orch_ask(WRITTEN_PARTS)
            ):
                raise
        self.orch_log.on_unseen()
        conn: Any = self
        kind, conn.__class__ = type(self), self.orch_plain_class
        try:
            conn.commit()  # nothing
            state.has_savepoint, state.ran_outside = False, True
            conn.autocommit = True
            return call()
        finally:
            with suppress(psycopg.Error):  # the connection is closed
                conn.autocommit = False
            conn.__class__ = kind

    orch_plain_class: type


@functools.cache
def find_deferring_class(kind: type) -> type:
    """Deferring connections of this class. They have its name, since the tool does not care."""
    bases = (DeferringConnection,) if kind is psycopg.Connection else (kind, DeferringConnection)
    own = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "orch_plain_class": kind,
    }
    return type(kind.__name__, bases, own)


@functools.cache
def wrap_cursors() -> None:
    """Have the statements of all cursors go through `orch_statement` where they concern a deferring connection."""
    for owner in (psycopg.Cursor, psycopg.ServerCursor):
        for name in ("execute", "executemany"):
            if name in vars(owner):
                setattr(owner, name, _wrap_call(vars(owner)[name]))
    plain: Any = psycopg.Cursor
    stream, copy = plain.stream, plain.copy

    @functools.wraps(stream)
    def new_stream(cursor: Any, query: Any, *args: Any, **named: Any) -> Any:
        with _statement(cursor, query):
            yield from stream(cursor, query, *args, **named)

    @contextmanager
    @functools.wraps(copy)
    def new_copy(cursor: Any, query: Any, *args: Any, **named: Any) -> Iterator[Any]:
        with _statement(cursor, query), copy(cursor, query, *args, **named) as rows:
            yield rows

    plain.stream, plain.copy = new_stream, new_copy


def _wrap_call(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(cursor: Any, query: Any, params: Any = None, *args: Any, **named: Any) -> Any:
        call = functools.partial(original, cursor, query, params, *args, **named)
        conn = cursor.connection
        if isinstance(conn, DeferringConnection):
            return conn.orch_call(call, _text_of(cursor, query), params)
        _note_foreign(conn)
        return call()

    return wrapper


def _statement(cursor: Any, query: Any) -> AbstractContextManager[None]:
    conn = cursor.connection
    if isinstance(conn, DeferringConnection):
        return conn.orch_statement(_text_of(cursor, query))
    _note_foreign(conn)
    return nullcontext()


def _note_foreign(conn: Any) -> None:
    if foreign_log is not None:
        foreign_log.on_foreign_statement(conn)


#: Hears of statements on all connections but deferring ones.
foreign_log: PostgresLog | None = None


def observe(conn: Any) -> PostgresLog:
    """The log of an open connection, which is the latest."""
    global foreign_log
    wrap_cursors()
    foreign_log = PostgresLog(conn)
    return foreign_log


def _text_of(cursor: Any, query: Any) -> str:
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    as_string = getattr(query, "as_string", None)
    return as_string(cursor) if as_string is not None else str(query)
