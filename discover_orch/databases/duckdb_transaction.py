"""DuckDB: one transaction for each tool, which orch ends.

Without orch, DuckDB commits each statement by itself until the tool calls `begin()`. While a tool runs, orch begins
a transaction before the first statement that writes, and only keeps in mind where the tool begins and ends its own.
DuckDB has no savepoints: to undo what came after a commit is impossible, and fails the tool.

The methods of DuckDB's classes are wrapped, once. They do what they always do for all other connections.
"""

from __future__ import annotations

import functools
import re
import sys
from contextlib import suppress
from typing import Any

import duckdb

from discover_orch.databases.driver import call_from
from discover_orch.databases.driver_transaction import CLOSED_NOTE, DriverTransaction, WritesLost
from discover_orch.databases.duckdb_cursor import (
    OTHER_READERS,
    RELATION_READERS,
    ROW_READERS,
    Cursor,
    SharedConnection,
)
from discover_orch.databases.transaction_texts import find_transaction_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from discover_orch.databases.transaction_texts import Part

#: Statements that work the same before a transaction as in it. All others begin one.
READS = frozenset(["SELECT", "PRAGMA", "SET", "VARIABLE_SET", "ATTACH", "DETACH", "LOAD", "VACUUM"])
_CHECKPOINT = re.compile(r"\s*(force\s+)?checkpoint\b", re.I)
STATEMENTS = ("execute", "executemany", "sql", "query", "from_query")
WRITERS = ("append", "appender", "query_appender", "create_function", "remove_function")
RELATION_WRITERS = (
    *("create", "to_table", "create_view", "to_view", "insert_into", "insert", "update", "query"),
)
DATABASES = "SELECT database_name FROM duckdb_databases() WHERE NOT internal"
TEMPORARY = (
    "SELECT 'TABLE', schema_name, table_name FROM duckdb_tables() WHERE temporary AND NOT internal "
    "UNION ALL "
    "SELECT 'VIEW', schema_name, view_name FROM duckdb_views() WHERE temporary AND NOT internal"
)
NO_SAVEPOINTS = (
    "DuckDB has no savepoints, so orch cannot undo what follows the tool's last commit without that commit; "
    'set ORCH = {"transaction": "none"}'
)
FAILED = (
    "continued after a failed statement, so DuckDB discards all its writes; "
    "avoid the failure, for example with INSERT OR IGNORE or IF NOT EXISTS"
)
FAILED_AFTER_COMMIT = (
    "had a failed statement after it had committed; DuckDB has no savepoints, so all its writes are lost; "
    'avoid the failure, or set ORCH = {"transaction": "none"}'
)

_Connection: Any = duckdb.DuckDBPyConnection
_begin, _commit, _rollback, _close = (
    getattr(_Connection, name) for name in ("begin", "commit", "rollback", "close")
)
_execute, _find_statements = _Connection.execute, _Connection.extract_statements


class _Deferral:
    """Where a tool is within orch's transaction on `conn`."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.is_begun = False  # really
        self.is_open = False  # the tool has begun a transaction
        self.has_writes = False  # since its last commit
        self.has_commits = False  # of something that it wrote
        self.is_closed = False  # the tool has closed the connection
        self.has_lost_writes = False  # it did so before it committed
        self.loss = ""  # why nothing of the tool can be committed

    def check_open(self) -> None:
        if self.is_closed:
            raise duckdb.ConnectionException("Connection Error: Connection already closed!")

    def note_write(self) -> None:
        if not self.is_begun:
            _begin(self.conn)
            self.is_begun = True
        self.has_writes = True

    def attempt(self, call: Callable[[], Any], text: str | None = None) -> Any:
        """Call what may write; if the first that does fails, nothing was written. `text` is a statement."""
        was_begun = self.is_begun
        if not self.has_writes and (text is None or self._may_write(text)):
            self.note_write()
        try:
            return call()
        except BaseException:
            if self.is_begun and not was_begun and is_aborted(self.conn):
                _rollback(self.conn)
                self.is_begun = self.has_writes = False
            raise

    def _may_write(self, text: str) -> bool:
        if _CHECKPOINT.match(text):
            return False
        try:
            kinds = [str(one.type).rpartition(".")[2] for one in _find_statements(self.conn, text)]
        except ValueError:  # a kind that Python's side of DuckDB does not know
            return True
        except duckdb.Error:  # it fails again when it is executed
            return False
        return not READS.issuperset(kinds)

    def begin(self) -> None:
        if self.is_open:
            _begin(self.conn)  # raises
        if not self.is_begun:
            _begin(self.conn)
            self.is_begun = True
        self.has_commits |= self.has_writes
        self.has_writes, self.is_open = False, True

    def commit(self) -> None:
        if not self.is_begun:
            _commit(self.conn)  # does what it does where there is no transaction
        elif is_aborted(self.conn):
            self.rollback()  # as DuckDB does
        else:
            self.has_commits |= self.has_writes
            self.has_writes = self.is_open = False
            self._end_without_writes(_commit)

    def rollback(self) -> None:
        if not self.is_begun:
            _rollback(self.conn)  # raises: there is no transaction
            return
        if self.has_writes or is_aborted(self.conn):
            if self.has_commits:
                self.loss = f"rolled back after it had committed: {NO_SAVEPOINTS}"
                raise duckdb.NotSupportedError(NO_SAVEPOINTS)
            self.has_writes = False
        self.is_open = False
        self._end_without_writes(_rollback)

    def _end_without_writes(self, end: Callable[[Any], object]) -> None:
        if not self.has_commits:
            end(self.conn)
            self.is_begun = False

    def close(self) -> None:
        if self.is_closed:
            return
        if self.is_begun and (is_aborted(self.conn) or (self.is_open and self.has_writes)):
            self.has_lost_writes = True
        self.is_closed = True

    def carry_out(self, part: Part) -> None:
        if part.kind == "begin":
            self.begin()
        elif part.kind == "commit":
            self.commit()
        else:
            self.rollback()


_deferral: _Deferral | None = None  # of the tool that runs
_shared: SharedConnection | None = None  # once the tool has asked for a cursor


def _find_deferral(conn: object) -> _Deferral | None:
    return _deferral if _deferral is not None and _deferral.conn is conn else None


def is_aborted(conn: Any) -> bool:
    """Whether an error has ended the transaction: COMMIT would be a ROLLBACK without saying so."""
    try:
        conn.get_table_names("SELECT 1")  # uses the transaction, keeps the current result
    except duckdb.Error as error:
        return "aborted" in str(error)
    return False


@functools.cache
def wrap_methods() -> None:
    for name in STATEMENTS:
        _wrap(_Connection, name, functools.partial(_run_statement, name))
    for name in WRITERS:
        _wrap(_Connection, name, _run_write)
    for name in ("begin", "commit", "rollback"):
        _wrap(_Connection, name, functools.partial(_run_end, name))
    for name in ("close", "__exit__"):
        _wrap(_Connection, name, _run_close)
    for name in RELATION_WRITERS:
        _wrap(duckdb.DuckDBPyRelation, name, _run_relation_write)
    for name in ("cursor", "duplicate"):
        _wrap(_Connection, name, _make_cursor)


@functools.cache
def _wrap_readers() -> None:
    """Only where a tool uses cursors: these are called often."""
    for name in (*ROW_READERS, *OTHER_READERS):
        _wrap(_Connection, name, functools.partial(_read_result, name))
    for name in set(RELATION_READERS).difference(RELATION_WRITERS):
        _wrap(duckdb.DuckDBPyRelation, name, _read_relation)


def _make_cursor(deferral: _Deferral, call: object) -> Cursor:
    """DuckDB's own is another connection, which orch cannot roll back."""
    global _shared
    deferral.check_open()
    _wrap_readers()
    if _shared is None or _shared.conn is not deferral.conn:
        _shared = SharedConnection(deferral.conn)
    return Cursor(_shared)


def _read_result(
    name: str, deferral: _Deferral, call: Callable[..., Any], *args: Any, **named: Any
) -> Any:
    return call(*args, **named) if _shared is None else _shared.read_own(name, call, *args, **named)


def _read_relation(deferral: _Deferral, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    _pause_cursors()
    return call(*args, **named)


def _pause_cursors() -> None:
    if _shared is not None:
        _shared.pause()


def _wrap(owner: Any, name: str, run: Callable[..., Any]) -> None:
    """Have `run` called with the tool's deferral and the original method, on its connection or on any relation."""
    original = vars(owner).get(name)
    if original is None:  # in this version of DuckDB
        return

    @functools.wraps(original)
    def wrapper(one: Any, *args: Any, **named: Any) -> Any:
        deferral = _find_deferral(one) if owner is _Connection else _deferral
        caller = sys._getframe(1)

        def call(*args: Any, **named: Any) -> Any:
            return call_from(caller, functools.partial(original, one, *args, **named))

        return call(*args, **named) if deferral is None else run(deferral, call, *args, **named)

    setattr(owner, name, wrapper)


def _run_statement(
    name: str, deferral: _Deferral, call: Callable[..., Any], query: Any, *args: Any, **named: Any
) -> Any:
    deferral.check_open()
    if _shared is not None:
        _shared.give_way() if name in ("execute", "executemany") else _shared.pause()
    text = query if isinstance(query, str) else query.query
    parts = find_transaction_parts(text)
    if not parts:
        return deferral.attempt(lambda: call(query, *args, **named), text)
    result = deferral.conn if name in ("execute", "executemany") else None
    for part in parts:
        if part.kind in ("begin", "commit", "rollback"):
            deferral.carry_out(part)
        else:
            result = deferral.attempt(functools.partial(call, part.text, *args, **named), part.text)
    return result


def _run_write(deferral: _Deferral, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    deferral.check_open()
    _pause_cursors()
    return deferral.attempt(lambda: call(*args, **named))


def _run_relation_write(
    deferral: _Deferral, call: Callable[..., Any], *args: Any, **named: Any
) -> Any:
    if deferral.is_closed:
        return call(*args, **named)
    _pause_cursors()
    return deferral.attempt(lambda: call(*args, **named))  # no relation says whose it is


def _run_end(name: str, deferral: _Deferral, call: object) -> Any:
    deferral.check_open()
    _pause_cursors()
    getattr(deferral, name)()
    return deferral.conn


def _run_close(deferral: _Deferral, call: object, *details: object) -> None:
    deferral.close()


class DuckdbTransaction(DriverTransaction):
    """On DuckDB's own connection."""

    def __init__(self, conn: Any) -> None:
        super().__init__(conn, conn)
        wrap_methods()
        self._temporary: set[tuple[str, ...]] = set()  # tables that existed before the tool
        self._databases: set[tuple[str, ...]] = set()

    def begin(self) -> None:
        global _deferral
        if not self.is_closed():
            self._temporary = self._find_temporary()
            self._databases = {*_execute(self.conn, DATABASES).fetchall()}
        self.defers_commits = True
        _deferral = _Deferral(self.conn)

    def end(self, keep: bool) -> list[str]:
        global _deferral, _shared
        _pause_cursors()
        deferral, _deferral, self.defers_commits = _deferral, None, False
        _shared = None
        assert deferral is not None
        loss = self._find_loss(deferral) if keep else ""
        notes = []
        try:
            if keep and not loss and self.add_record is not None and not deferral.is_begun:
                _begin(self.conn)
                deferral.is_begun = True
            if deferral.is_begun:
                notes = self._finish(keep and not loss)
        finally:
            if deferral.is_closed:
                _close(self.conn)
        if loss:
            raise WritesLost(loss)
        return [*notes, CLOSED_NOTE] if deferral.is_closed else notes

    def can_keep_open(self) -> bool:
        return self.defers_commits

    def keep_open(self) -> None:
        assert _deferral is not None
        if loss := self._find_loss(_deferral):
            raise WritesLost(loss)
        if _deferral.is_begun:
            _deferral.commit()
        self.drop_temporary_tables()

    def _find_loss(self, deferral: _Deferral) -> str:
        if deferral.loss or not deferral.is_begun or not is_aborted(self.conn):
            return deferral.loss
        return FAILED_AFTER_COMMIT if deferral.has_commits else FAILED

    def _finish(self, keep: bool) -> list[str]:
        """Commit or roll back, really."""
        try:
            if keep and self.add_record is not None:
                self.add_record()
            _commit(self.conn) if keep else _rollback(self.conn)
        except duckdb.Error as error:
            if "no transaction is active" in str(error):
                return ["ended its transaction by itself"]
            if keep:
                with suppress(duckdb.Error):
                    _rollback(self.conn)
            raise
        return []

    def may_have_kept_writes(self) -> bool:
        return False

    def has_lost_writes_by_closing(self) -> bool:
        return _deferral is not None and _deferral.has_lost_writes

    def is_closed(self) -> bool:
        if _deferral is not None and _deferral.is_closed:
            return True
        try:
            self.conn.extract_statements("")  # runs nothing and keeps the current result
        except Exception as error:
            return "closed" in str(error)
        return False

    def drop_temporary_tables(self) -> None:
        if self.is_closed():
            return
        with suppress(duckdb.Error):
            for kind, *names in self._find_temporary() - self._temporary:
                schema, name = ('"{}"'.format(one.replace('"', '""')) for one in names)
                _execute(self.conn, f"DROP {kind} IF EXISTS temp.{schema}.{name} CASCADE")

        for (name,) in {*_execute(self.conn, DATABASES).fetchall()} - self._databases:
            with suppress(duckdb.Error):  # it is the current one, or in use
                _execute(self.conn, "DETACH {}".format('"{}"'.format(name.replace('"', '""'))))

    def _find_temporary(self) -> set[tuple[str, ...]]:
        return {*_execute(self.conn, TEMPORARY).fetchall()}
