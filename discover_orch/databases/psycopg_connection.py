"""psycopg 3: a connection on which a tool's commits become final when orch says so.

The tool's COMMIT sets a savepoint, and its ROLLBACK returns to it. Everything else looks to the tool as it would
without orch. As long as nothing is written, COMMIT and ROLLBACK are real, so that the tool can still do what does not
work in a transaction.

psycopg sends its BEGIN, COMMIT and ROLLBACK through `_exec_command`, and begins a transaction in `_start_query`.
These and the check before a setting changes are overridden; all versions since 3.1 have them.
"""

from __future__ import annotations

import functools
import secrets
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg.abc import PQGen

    from discover_orch.databases.transaction_texts import Part

IDLE, INTRANS, INERROR = (
    TransactionStatus.IDLE,
    TransactionStatus.INTRANS,
    TransactionStatus.INERROR,
)

HAS_WRITTEN = b"SELECT txid_current_if_assigned() IS NOT NULL"
#: The transaction, and each savepoint in which something was written, holds a lock on its own number.
HAS_WRITTEN_SINCE_SAVEPOINT = (
    b"SELECT count(*) > 1 FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' "
    b"AND pid = pg_backend_pid() AND mode = 'ExclusiveLock' AND granted"
)
ALL_CURSORS = b"SELECT name FROM pg_catalog.pg_cursors"
OPEN_CURSORS = ALL_CURSORS + b" WHERE NOT is_holdable"
NO_TWO_PHASES = (
    "a transaction that orch ends cannot be prepared for a two-phase commit; "
    'set ORCH = {"transaction": "none"}'
)
#: How PostgreSQL reports statements that begin or end a transaction.
TRANSACTION_TAGS = (b"BEGIN", b"START TRANSACTION", b"COMMIT", b"ROLLBACK", b"PREPARE TRANSACTION")
UNSEEN = (
    "this text begins or ends a transaction in a way that orch does not recognise; send BEGIN, COMMIT and ROLLBACK as "
    "statements of their own"
)
ENDED = "the database has ended the tool's transaction, with what the tool had committed"


class State:
    """Where the tool is within orch's transaction."""

    def __init__(self) -> None:
        # The name cannot be guessed, so no savepoint of the tool can hide this one.
        self.savepoint = b"orch_" + secrets.token_hex(8).encode()
        self.is_open = False  # the tool has begun a transaction
        self.has_savepoint = False  # orch's is set
        self.has_commits = False  # the tool has committed, and the savepoint stands behind that
        self.has_cursors = False  # of the server, which a commit has to close
        self.is_used = False
        self.is_closed = False  # the tool has closed the connection
        self.has_lost_writes = False  # it did so before it committed
        self.ran_outside = False  # a statement ran that works in no transaction
        #: A statement that orch did not recognise has ended or begun a transaction.
        self.has_ended = False


class DeferringConnection(psycopg.Connection[Any]):
    """The class that an open connection gets while a tool runs.

    All that it adds has `orch` in its name, because the connection's own class may be one of the user's.
    """

    orch_state: State

    @property
    def orch_tool_status(self) -> TransactionStatus:
        """The status of the transaction as the tool knows it."""
        if self.orch_state.is_closed:
            return TransactionStatus.UNKNOWN
        status = TransactionStatus(self.pgconn.transaction_status)
        return IDLE if status in (INTRANS, INERROR) and not self.orch_state.is_open else status

    # What the tool sees.

    @property
    def closed(self) -> bool:
        return self.orch_state.is_closed or super().closed

    @property
    def info(self) -> psycopg.ConnectionInfo:
        view: Any = PgconnView(self)
        return psycopg.ConnectionInfo(view)

    def close(self) -> None:
        """Undo what was not committed. The real connection stays open until orch has ended the transaction."""
        state = self.orch_state
        if self.closed:
            return
        if self.pgconn.transaction_status not in (IDLE, INTRANS, INERROR):
            state.has_lost_writes = True
            super().close()
            return
        if state.is_open:
            state.has_lost_writes = self.orch_run(self._orch_has_open_writes())
            self.orch_run(self._orch_roll_back())
        state.is_closed = True

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        with self.orch_statement(), super().pipeline() as pipeline:
            yield pipeline

    def tpc_begin(self, xid: Any) -> None:
        raise psycopg.NotSupportedError(NO_TWO_PHASES)

    # What psycopg does before a statement and at the ends of a transaction.

    def _check_connection_ok(self) -> None:
        if self.orch_state.is_closed:
            raise psycopg.OperationalError("the connection is closed")
        super()._check_connection_ok()

    def _check_intrans_gen(self, attribute: str) -> PQGen[None]:
        self._check_connection_ok()
        if self.orch_tool_status != IDLE:
            yield from super()._check_intrans_gen(attribute)

    def _start_query(self) -> PQGen[None]:
        self._check_connection_ok()
        self.orch_state.is_used = True
        if not self._autocommit and self.orch_tool_status == IDLE:
            yield from self._orch_begin(self._get_tx_start_command())
            if self._pipeline:
                yield from self._pipeline._sync_gen()

    def _commit_gen(self) -> PQGen[None]:
        self._check_connection_ok()
        yield from super()._commit_gen()

    def _rollback_gen(self) -> PQGen[None]:
        self._check_connection_ok()
        yield from super()._rollback_gen()

    def _exec_command(self, command: Any, *args: Any, **named: Any) -> PQGen[Any]:
        self._check_connection_ok()
        if isinstance(command, bytes) and command.startswith(b"BEGIN"):
            yield from self._orch_begin(command)
        elif command == b"COMMIT":
            yield from self._orch_commit()
        elif command == b"ROLLBACK":
            yield from self._orch_roll_back()
        else:
            text = read_text(self, command)
            if text.startswith("CLOSE ") and not self.orch_state.is_open:
                # psycopg sends this for a cursor that a commit has closed, because it sees orch's transaction.
                names = yield from self._orch_find_cursors(ALL_CURSORS)
                if text.removeprefix("CLOSE ") not in names:
                    return None
            if text.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK TO")):
                if not self.orch_state.is_open:
                    raise needs_transaction(text)
                yield from self._orch_set_savepoint()
            return (yield from super()._exec_command(command, *args, **named))
        return None

    def _orch_set_savepoint(self) -> PQGen[None]:
        """Below those of the tool, which have to end with its transaction."""
        state = self.orch_state
        if state.is_open and not state.has_savepoint and self.pgconn.transaction_status != INERROR:
            yield from super()._exec_command(b"SAVEPOINT " + state.savepoint)
            state.has_savepoint = True

    def _orch_begin(self, command: bytes) -> PQGen[None]:
        state = self.orch_state
        if self.pgconn.transaction_status == INERROR and not state.is_open:
            state.is_open = True  # a statement in autocommit mode has failed
            yield from self._orch_roll_back()
        if self.pgconn.transaction_status == IDLE:
            if state.has_commits:
                raise psycopg.OperationalError(ENDED)
            yield from super()._exec_command(command)
        elif modes := command.removeprefix(b"BEGIN").partition(b"NOT DEFERRABLE")[0].strip(b" ,"):
            # PostgreSQL accepts those that orch's transaction already has, and refuses others.
            yield from super()._exec_command(b"SET TRANSACTION " + modes)
        state.is_open = True

    def _orch_commit(self) -> PQGen[None]:
        state = self.orch_state
        if not state.is_open:
            return
        if self._pipeline:
            yield from self._pipeline._sync_gen()
        status = self.pgconn.transaction_status
        if status == INERROR:
            yield from self._orch_roll_back()
        elif status == INTRANS:
            is_deferred = (
                state.has_commits or self._pipeline or (yield from self._orch_ask(HAS_WRITTEN))
            )
            if not is_deferred:
                yield from super()._exec_command(b"COMMIT")
                state.is_open = state.has_savepoint = False
                return
            if state.has_cursors and not self._pipeline:
                yield from self._orch_close_cursors()
            if state.has_savepoint:
                yield from super()._exec_command(b"RELEASE SAVEPOINT " + state.savepoint)
            yield from super()._exec_command(b"SAVEPOINT " + state.savepoint)
            state.has_savepoint = state.has_commits = True
        state.is_open = False

    def _orch_roll_back(self) -> PQGen[None]:
        state = self.orch_state
        if not state.is_open:
            return
        if state.has_commits:
            yield from super()._exec_command(b"ROLLBACK TO SAVEPOINT " + state.savepoint)
        else:
            if self.pgconn.transaction_status != IDLE:
                yield from super()._exec_command(b"ROLLBACK")
            state.has_savepoint = False
        state.is_open = False

    def _orch_close_cursors(self) -> PQGen[None]:
        for name in (yield from self._orch_find_cursors(OPEN_CURSORS)):
            yield from super()._exec_command(b"CLOSE " + name.encode())
        self.orch_state.has_cursors = False

    def _orch_find_cursors(self, query: bytes) -> PQGen[list[str]]:
        """Their names, quoted."""
        result: Any = yield from super()._exec_command(query)
        return [quote(result.get_value(row, 0).decode(), self) for row in range(result.ntuples)]

    def _orch_ask(self, query: bytes) -> PQGen[bool]:
        result = yield from super()._exec_command(query)
        return result is not None and result.get_value(0, 0) == b"t"

    def _orch_has_open_writes(self) -> PQGen[bool]:
        if self.pgconn.transaction_status != INTRANS:
            return True  # after an error it cannot be asked
        has_commits = self.orch_state.has_commits
        return (
            yield from self._orch_ask(HAS_WRITTEN_SINCE_SAVEPOINT if has_commits else HAS_WRITTEN)
        )

    # What orch does.

    def orch_run(self, steps: PQGen[Any]) -> Any:
        with self.lock:
            return self.wait(steps)

    @contextmanager
    def orch_statement(self) -> Iterator[None]:
        """A block that is a transaction of its own in autocommit mode."""
        if not self.orch_is_alone():
            yield
            return
        self.orch_run(self._orch_begin(b"BEGIN"))
        try:
            yield
        finally:
            if self.pgconn.status == ConnStatus.OK:
                self.orch_run(self._orch_commit())

    def orch_is_alone(self) -> bool:
        """Whether the next statement is a transaction of its own."""
        return self._autocommit and not (self.orch_state.is_open or self._pipeline or self.closed)

    def orch_execute(self, call: Callable[[], object], cursor: Any = None) -> None:
        """Call what executes statements that do not concern the transaction. If one of them does, the tool fails: what
        it has written by then is final, or lost."""
        self._orch_execute(call)
        results = [] if cursor is None else cursor._results
        if any(one.command_status in TRANSACTION_TAGS for one in results):
            self.orch_state.has_ended = True
            raise psycopg.ProgrammingError(UNSEEN)

    def _orch_execute(self, call: Callable[[], object]) -> None:
        is_alone = self.orch_is_alone()
        try:
            with self.orch_statement():
                call()
        except psycopg.errors.ActiveSqlTransaction:
            if not is_alone or self.orch_state.has_commits:
                raise
            self.orch_state.ran_outside = True
            call()  # it works in no transaction, and nothing was written in this one

    def orch_execute_parts(
        self, cursor: Any, parts: Iterable[Part], execute: Callable[[str], object]
    ) -> None:
        """Carry out a text with a BEGIN, a COMMIT or the like, as the server does: after a COMMIT it begins none."""
        results: list[Any] = []
        self.orch_run(cursor._start_query())
        was_autocommit, self._autocommit = self._autocommit, True
        try:
            for part in parts:
                call = functools.partial(execute, part.text)
                if not part.kind:
                    self.orch_execute(call)
                elif not self._orch_end_or_begin(part):
                    call()
                else:
                    cursor._reset()
                    cursor._results[:] = [self.pgconn.make_empty_result(ExecStatus.COMMAND_OK)]
                results += cursor._results
        finally:
            self._autocommit = was_autocommit
        cursor._results[:] = results
        if results:
            cursor._select_current_result(0)

    def _orch_end_or_begin(self, part: Part) -> bool:
        """Whether it was done; else the statement means the same to the server."""
        if part.kind == "prepare":
            raise psycopg.NotSupportedError(NO_TWO_PHASES)
        is_alone = self.orch_is_alone()
        if is_alone and (part.kind == "savepoint" or part.is_chained):
            raise needs_transaction(part.text.strip())
        if part.kind == "savepoint":
            self.orch_run(self._orch_set_savepoint())
        if part.kind == "savepoint" or (part.kind == "begin" and not is_alone):
            return False
        self.orch_run(self._orch_change_transaction(part))
        return True

    def _orch_change_transaction(self, part: Part) -> PQGen[None]:
        if part.kind == "begin":
            yield from self._orch_begin(b"BEGIN " + part.rest.encode())
            return
        if part.kind == "commit":
            yield from self._orch_commit()
        else:
            if self._prepared._names and not self._num_transactions:
                yield from super()._rollback_gen()  # it also forgets prepared statements
            yield from self._orch_roll_back()
        if part.is_chained:
            yield from self._orch_begin(b"BEGIN")


class PgconnView:
    """libpq's connection, with the status of the tool's transaction."""

    def __init__(self, conn: DeferringConnection) -> None:
        self._conn = conn

    @property
    def status(self) -> int:
        return ConnStatus.BAD if self._conn.closed else self._conn.pgconn.status

    @property
    def transaction_status(self) -> int:
        return self._conn.orch_tool_status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn.pgconn, name)


@functools.cache
def find_deferring_class(kind: type) -> type:
    """Deferring connections of this class. They have its name, since the tool does not care."""
    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (DeferringConnection, kind), own)


def needs_transaction(what: str) -> psycopg.Error:
    return psycopg.errors.NoActiveSqlTransaction(f"{what} can only be used in transaction blocks")


def quote(name: str, conn: psycopg.Connection[Any]) -> str:
    return psycopg.sql.Identifier(name).as_string(conn)


def read_text(cursor: Any, query: Any) -> str:
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    as_string = getattr(query, "as_string", None)
    return as_string(cursor) if as_string is not None else ""
