"""psycopg 3: what cursors and transaction blocks do on a connection that defers commits.

They have no part in the connection's class, so their methods are wrapped, once for all connections.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import Any

import psycopg

from discover_orch.databases.psycopg_connection import (
    DeferringConnection,
    PgconnView,
    needs_transaction,
    read_text,
)
from discover_orch.databases.transaction_texts import find_transaction_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@functools.cache
def wrap_methods() -> None:
    execute, executemany = psycopg.Cursor.execute, psycopg.Cursor.executemany
    declare = psycopg.ServerCursor.execute
    stream, copy = psycopg.Cursor.stream, psycopg.Cursor.copy
    enter = psycopg.Transaction.__enter__

    @functools.wraps(execute)
    def new_execute(cursor: Any, query: Any, params: Any = None, *args: Any, **named: Any) -> Any:
        conn = cursor.connection
        if not isinstance(conn, DeferringConnection):
            return execute(cursor, query, params, *args, **named)
        parts = find_transaction_parts(read_text(cursor, query))
        if parts:
            conn.orch_execute_parts(
                cursor, parts, lambda one: execute(cursor, one, params, *args, **named)
            )
        else:
            conn.orch_execute(lambda: execute(cursor, query, params, *args, **named), cursor)
        return cursor

    @functools.wraps(declare)
    def new_declare(cursor: Any, *args: Any, **named: Any) -> Any:
        conn = cursor.connection
        if isinstance(conn, DeferringConnection) and not cursor.withhold:
            if conn.orch_is_alone():
                raise needs_transaction("DECLARE CURSOR")
            conn.orch_state.has_cursors = True
        with _statement(cursor):
            return declare(cursor, *args, **named)

    @functools.wraps(executemany)
    def new_executemany(cursor: Any, query: Any, *args: Any, **named: Any) -> None:
        with _statement(cursor, query):
            executemany(cursor, query, *args, **named)

    @functools.wraps(stream)
    def new_stream(cursor: Any, query: Any, *args: Any, **named: Any) -> Any:
        with _statement(cursor, query):
            yield from stream(cursor, query, *args, **named)

    @contextmanager
    @functools.wraps(copy)
    def new_copy(cursor: Any, *args: Any, **named: Any) -> Iterator[Any]:
        with _statement(cursor), copy(cursor, *args, **named) as rows:
            yield rows

    @functools.wraps(enter)
    def new_enter(transaction: Any) -> Any:
        if isinstance(transaction.connection, DeferringConnection):
            # Its status decides whether the block is a transaction or a savepoint.
            transaction.pgconn = PgconnView(transaction.connection)
        return enter(transaction)

    cursor_class: Any = psycopg.Cursor
    cursor_class.execute, cursor_class.executemany = new_execute, new_executemany
    cursor_class.stream, cursor_class.copy = new_stream, new_copy
    server_cursor_class: Any = psycopg.ServerCursor
    server_cursor_class.execute = new_declare
    transaction_class: Any = psycopg.Transaction
    transaction_class.__enter__ = new_enter


@contextmanager
def _statement(cursor: Any, query: Any = "") -> Iterator[None]:
    conn = cursor.connection
    if not isinstance(conn, DeferringConnection):
        yield
        return
    if query and find_transaction_parts(read_text(cursor, query)):
        raise psycopg.ProgrammingError("orch takes BEGIN, COMMIT and the like in execute() only")
    with conn.orch_statement():
        yield
