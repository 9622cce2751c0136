"""What `conn.cursor()` and `conn.duplicate()` of DuckDB give a tool: the same connection, with a result of its own.

DuckDB's own gives another connection. It would not see what the tool has written, and what it writes would stay though
the tool fails. A connection has one result at a time. Before another statement takes its place, the rows that are left
are kept here, for the cursor, or for the connection, that has not fetched them yet.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections import deque
from typing import Any

import duckdb

from discover_orch.databases.driver import call_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Connection: Any = duckdb.DuckDBPyConnection
#: Methods that take rows of the present result as tuples, and others that need it as it is.
ROW_READERS = ("fetchone", "fetchmany", "fetchall")
OTHER_READERS = (
    *("df", "fetchdf", "fetch_df", "fetch_df_chunk", "fetchnumpy", "pl", "arrow", "fetch_arrow_table"),
    *("fetch_record_batch", "fetch_arrow_reader", "to_arrow_table", "to_arrow_reader", "torch", "tf"),
)  # fmt: skip
#: Methods of a relation that run it.
RELATION_READERS = (
    *("fetchone", "fetchmany", "fetchall", "df", "to_df", "fetchdf", "fetchnumpy", "pl", "arrow"),
    *("to_arrow_table", "fetch_arrow_table", "fetch_arrow_reader", "fetch_record_batch", "to_csv"),
    *("write_csv", "to_parquet", "write_parquet", "show", "execute", "materialize", "__len__"),
    *("__repr__", "torch", "tf", "to_arrow_reader"),
)
GONE = (
    "another statement ran on this connection before this result was read, so only its rows are left: "
    "read it with fetchall(), or convert it before the next statement"
)


class _Kept:
    """The rows that were left of a result, and what it had besides."""

    def __init__(self, conn: Any) -> None:
        self.description, self.rowcount = conn.description, getattr(conn, "rowcount", -1)
        try:
            self.rows = deque(_read(conn, "fetchall"))
        except duckdb.Error:  # there is no result, or its transaction has failed
            self.rows = deque()

    def read(self, name: str, *args: Any, **named: Any) -> Any:
        rows = self.rows
        if name == "fetchone":
            return rows.popleft() if rows else None
        most = len(rows)
        if name == "fetchmany":
            most = min(most, (*args, *named.values(), 1)[0])
        return [rows.popleft() for _ in range(most)]


class SharedConnection:
    """Who has the present result of a connection: one of its cursors, or itself."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.lock = threading.RLock()
        self._owner: weakref.ref[Cursor] | None = None
        self._kept: _Kept | None = None  # of the connection itself
        self._next: Cursor | None = None  # who executes the statement that follows

    def give_way(self) -> None:
        """A statement is about to run. Keep what is left of the present result."""
        with self.lock:
            following = self._next
            owner = self._owner() if self._owner is not None else None
            if owner is not None:
                if owner is not following and owner.kept is None:
                    owner.kept = _Kept(self.conn)
            elif self._owner is None and following is not None and self._kept is None:
                self._kept = _Kept(self.conn)
            if following is None:
                self._owner = self._kept = None
            else:
                following.kept, self._owner = None, weakref.ref(following)

    def pause(self) -> None:
        """Something runs on the connection that leaves no result there."""
        with self.lock:
            owner = self._owner() if self._owner is not None else None
            if owner is not None and owner.kept is None:
                owner.kept = _Kept(self.conn)

    def run(self, cursor: Cursor, call: Callable[[], Any]) -> None:
        with self.lock:
            self._next = cursor
            try:
                call()
            finally:
                self._next = None

    def read_own(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """A method of the connection itself reads its result."""
        if self._owner is None:
            return call(*args, **named)
        if name not in ROW_READERS:
            raise duckdb.InvalidInputException(GONE)
        if self._kept is None:
            raise duckdb.InvalidInputException("No open result set")
        return self._kept.read(name, *args, **named)


class Cursor:
    """Behaves as a connection of DuckDB does, on the connection of the tool."""

    def __init__(self, shared: SharedConnection) -> None:
        self._shared = shared
        self.kept: _Kept | None = None
        self._has_result = self._is_closed = False

    def execute(self, query: Any, parameters: Any = None, **named: Any) -> Cursor:
        return self._run("execute", sys._getframe(1), query, parameters, **named)

    def executemany(self, query: Any, parameters: Any = None, **named: Any) -> Cursor:
        return self._run("executemany", sys._getframe(1), query, parameters, **named)

    def _run(self, name: str, caller: Any, query: Any, parameters: Any, **named: Any) -> Cursor:
        given = (query,) if parameters is None else (query, parameters)
        call = functools.partial(getattr(self._open(), name), *given, **named)
        self._shared.run(self, lambda: call_from(caller, call))
        self._has_result = True
        return self

    @property
    def description(self) -> Any:
        return self._result("description")

    @property
    def rowcount(self) -> Any:
        return self._result("rowcount", -1)

    def _result(self, name: str, default: Any = None) -> Any:
        if not self._has_result:
            return default
        return getattr(self._open() if self.kept is None else self.kept, name, default)

    def cursor(self) -> Cursor:
        self._open()
        return Cursor(self._shared)

    duplicate = cursor

    def close(self) -> None:
        self._is_closed = True
        self.kept = None

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchone, None)

    def __getattr__(self, name: str) -> Any:
        if name in ROW_READERS or name in OTHER_READERS:
            return functools.partial(self._read, name)
        found = getattr(self._open(), name)
        if not callable(found) or name not in ("begin", "commit", "rollback"):
            return found

        def end(*args: Any) -> Cursor:
            found(*args)
            return self

        return end

    def _read(self, name: str, *args: Any, **named: Any) -> Any:
        conn = self._open()
        with self._shared.lock:
            if not self._has_result:
                raise duckdb.InvalidInputException("No open result set")
            if self.kept is None:
                return _read(conn, name, *args, **named)
            if name not in ROW_READERS:
                raise duckdb.InvalidInputException(GONE)
            return self.kept.read(name, *args, **named)

    def _open(self) -> Any:
        if self._is_closed:
            raise duckdb.ConnectionException("Connection Error: Connection already closed!")
        return self._shared.conn


_originals = {
    name: vars(_Connection)[name]
    for name in (*ROW_READERS, *OTHER_READERS)
    if name in vars(_Connection)
}


def _read(conn: Any, name: str, *args: Any, **named: Any) -> Any:
    """What DuckDB's own method gives."""
    original = _originals.get(name)
    return (
        getattr(conn, name)(*args, **named) if original is None else original(conn, *args, **named)
    )
