"""psycopg 3: a connection on which a tool's commits become final when orch says so.

The tool's `commit()` sets a savepoint, and its `rollback()` returns to it. A block `with conn.transaction()` is a
savepoint by itself, as psycopg makes it in any open transaction. In autocommit mode each statement is such a block.
COMMIT and ROLLBACK as text would end orch's transaction, so they are refused.

Only public methods of psycopg are overridden, or wrapped where a cursor has no part in the class of its connection.
"""

from __future__ import annotations

import functools
import re
import secrets
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from discover_orch.databases.driver_psycopg import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

IDLE, INTRANS, INERROR = (
    TransactionStatus.IDLE,
    TransactionStatus.INTRANS,
    TransactionStatus.INERROR,
)
HAS_WRITTEN = "SELECT txid_current_if_assigned() IS NOT NULL"
#: The transaction, and each savepoint in which something was written, holds a lock on its own number.
WRITTEN_PARTS = (
    "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' "
    "AND pid = pg_backend_pid() AND mode = 'ExclusiveLock' AND granted"
)
_NOTIFIES = re.compile(r"\bnotify\b|\bpg_notify\b", re.I)
NO_TWO_PHASES = (
    "a transaction that orch ends cannot be prepared for a two-phase commit; "
    'set ORCH = {"transaction": "none"}'
)
CLOSED = "the connection is closed"
INSIDE_BLOCK = "not allowed inside `with conn.transaction()`, which ends by itself"
UNSEEN = "a statement has ended orch's transaction: send no COMMIT and ROLLBACK as text, call conn.commit()"

# Texts with a statement that ends the transaction.

_COMMENT = r"--[^\n]*|/\*.*?\*/"
_WORDS = "commit|end|rollback|abort|prepare"
_FIRST_LOOK = re.compile(rf"(?:\A|;)(?:\s+|{_COMMENT}|;)*+(?:{_WORDS})\b", re.I | re.S)
_PART = re.compile(
    rf"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1 | {_COMMENT} | (?P<end>;)""",
    re.S | re.X,
)
# A function with such a body has semicolons and an END that belong to it.
_SQL_BODY = re.compile(r"\bbegin\s+atomic\b", re.I)
_ENDS = re.compile(
    r"(?:commit|end|rollback|abort)(?:\s+(?:work|transaction))?(?:\s+and\s+(?:no\s+)?chain)?|prepare\s+transaction\b.*",
    re.I | re.S,
)
LONGEST_CACHED = 5_000  # characters
_NESTED = re.compile(r"/\*(?:(?!\*/).)*/\*", re.S)
_QUOTED = (
    r"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"
    r'"(?:[^"]|"")*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1|--[^\n]*'
)
_QUOTED_OR_COMMENT = re.compile(rf"{_QUOTED}|(?P<comment>/\*)", re.S)
_MARK = re.compile(r"/\*|\*/")


class State:
    """Where the tool is within orch's transaction."""

    def __init__(self) -> None:
        # The name cannot be guessed, so no savepoint of the tool can hide this one.
        self.savepoint = f"orch_{secrets.token_hex(8)}"
        self.has_savepoint = False  # it is set, behind all that the tool has committed
        self.is_open = False  # the tool has begun a transaction
        self.autocommit = False  # as the tool has set it
        self.blocks = 0  # that the tool is in
        self.is_own = False  # orch itself executes a statement
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
        if state.has_savepoint:
            self.orch_execute(f"ROLLBACK TO SAVEPOINT {state.savepoint}")
        else:
            super().rollback()
        state.is_open = False

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
        if self.info.transaction_status == IDLE:  # else psycopg would begin one here, and commit it
            self.orch_execute(f"SAVEPOINT {state.savepoint}")
            state.has_savepoint = True
        state.blocks += 1
        own: BaseException | None = None
        try:
            with super().transaction(savepoint_name, force_rollback) as block:
                try:
                    yield block
                except BaseException as error:
                    own = error
                    raise
        except psycopg.Error as error:
            # A block of a connection that the tool has closed ends silently: its savepoint went with the rest. So does
            # the tool's outermost one after a statement that failed, and nothing of it is kept, as PostgreSQL has it.
            is_undone = is_outermost and isinstance(error, psycopg.errors.InFailedSqlTransaction)
            if error is own or not (state.is_closed or is_undone):
                raise
        finally:
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
        if state.has_savepoint:
            self.orch_execute(f"ROLLBACK TO SAVEPOINT {state.savepoint}")
        elif not state.blocks:
            super().rollback()
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
        """A statement of orch's own. The log of statements has it too: a rollback may change what names mean."""
        state = self.orch_state
        was_own, state.is_own = state.is_own, True
        try:
            cursor = psycopg.Cursor(self, row_factory=psycopg.rows.tuple_row)
            return cursor.execute(sql.encode(), prepare=False)
        finally:
            state.is_own = was_own

    def orch_ask(self, sql: str) -> Any:
        row = self.orch_execute(sql).fetchone()
        return row and row[0]

    @contextmanager
    def orch_statement(self, text: str = "") -> Iterator[None]:
        """The tool executes something: in autocommit mode, in a transaction of its own."""
        state = self.orch_state
        self.orch_refuse_closed()
        if end := find_end(text):
            raise psycopg.ProgrammingError(
                f"{end} cannot be sent as text, because orch ends the transaction: "
                'call conn.commit() or conn.rollback(), or set ORCH = {"transaction": "none"}'
            )
        state.has_notified |= bool(_NOTIFIES.search(text))
        is_alone = state.autocommit and not state.blocks
        state.is_open |= not is_alone
        try:
            yield
        except BaseException:
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

    def orch_call(self, call: Callable[[], Any], text: str) -> Any:
        """Execute a statement of the tool. One that works in no transaction is executed outside of it, as long as
        nothing was written."""
        state = self.orch_state
        try:
            with self.orch_statement(text):
                return call()
        except psycopg.errors.ActiveSqlTransaction:
            if (
                not state.autocommit
                or state.blocks
                or state.has_notified
                or self.orch_ask(HAS_WRITTEN)
            ):
                raise
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


def _find_conn(cursor: Any) -> DeferringConnection | None:
    """The connection of a cursor that the tool uses, if its commits are deferred."""
    conn = cursor.connection
    is_of_tool = isinstance(conn, DeferringConnection) and not conn.orch_state.is_own
    return conn if is_of_tool else None


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
    def wrapper(cursor: Any, query: Any, *args: Any, **named: Any) -> Any:
        call = functools.partial(original, cursor, query, *args, **named)
        conn = _find_conn(cursor)
        return call() if conn is None else conn.orch_call(call, read_text(cursor, query))

    return wrapper


def _statement(cursor: Any, query: Any) -> AbstractContextManager[None]:
    conn = _find_conn(cursor)
    return nullcontext() if conn is None else conn.orch_statement(read_text(cursor, query))


def find_end(text: str) -> str:
    """The first statement that ends the transaction; "" where none does."""
    return _find_cached(text) if len(text) <= LONGEST_CACHED else _find(text)


def _find(text: str) -> str:
    if _NESTED.search(text):
        text = _without_comments(text)
    if not _FIRST_LOOK.search(text) or _SQL_BODY.search(text):
        return ""
    bare = (re.sub(_COMMENT, " ", one, flags=re.S).strip() for one in _split(text))
    return next((one for one in bare if _ENDS.fullmatch(one)), "")


def _without_comments(text: str) -> str:
    """Comments nest in PostgreSQL and DuckDB, and no pattern can follow that."""
    kept, start = [], 0
    while found := _QUOTED_OR_COMMENT.search(text, start):
        if not found["comment"]:
            kept.append(text[start : found.end()])
            start = found.end()
            continue
        kept.append(text[start : found.start()])
        depth, start = 1, found.end()
        while depth and (mark := _MARK.search(text, start)):
            depth += 1 if mark[0] == "/*" else -1
            start = mark.end()
        if depth:  # it has no end, so the server refuses the text
            return ""
        kept.append(" ")
    return "".join((*kept, text[start:]))


_find_cached = functools.lru_cache(maxsize=512)(_find)


def _split(text: str) -> list[str]:
    ends = [found.start() for found in _PART.finditer(text) if found["end"]]
    starts = [0, *(end + 1 for end in ends)]
    return [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
