"""On DuckDB, a tool finds an ordinary connection, and orch keeps all of what it wrote or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.databases.driver_transaction import WritesLost
from discover_orch.databases.duckdb_transaction import DuckdbTransaction, is_aborted
from discover_orch.databases.transactions import choose_transaction

numbers = itertools.count()  # of databases in memory

Operation = Callable[[Any], object]


def text(query: str) -> Operation:
    return lambda conn: conn.execute(query).fetchall()


def insert_relation(conn: Any) -> None:
    conn.sql("SELECT coalesce(max(a), 40) + 1 AS a FROM t").insert_into("t")


OPERATIONS: dict[str, Operation] = {
    "insert 1": text("INSERT INTO t VALUES (1)"),
    "insert next": lambda conn: conn.execute("INSERT INTO t SELECT coalesce(max(a), 10) + 1 FROM t"),
    "executemany": lambda conn: conn.executemany("INSERT INTO t VALUES (?)", [[30], [31]]),
    "relation": insert_relation,
    "delete": lambda conn: conn.sql("DELETE FROM t WHERE a < 20"),
    "select": lambda conn: conn.sql("SELECT a FROM t ORDER BY 1").fetchall(),
    "create": lambda conn: conn.execute("CREATE TABLE u AS SELECT 1 AS b"),
    "drop": lambda conn: conn.execute("DROP TABLE IF EXISTS u"),
    "temporary": lambda conn: conn.execute("CREATE TEMP TABLE v (c int)"),
    "nonsense": text("SELEC 1"),
    "absent": text("FROM absent"),
    "begin()": lambda conn: conn.begin(),
    "commit()": lambda conn: conn.commit(),
    "rollback()": lambda conn: conn.rollback(),
    "BEGIN": lambda conn: conn.execute("BEGIN TRANSACTION"),
    "COMMIT": lambda conn: conn.execute("COMMIT"),
    "ROLLBACK": lambda conn: conn.sql("ROLLBACK"),
    "BEGIN INSERT COMMIT": lambda conn: conn.execute("BEGIN; INSERT INTO t VALUES (20); COMMIT"),
    "checkpoint": text("CHECKPOINT"),
    "close": lambda conn: conn.close(),
}  # fmt: skip
WRITES = (
    *(
        "insert 1",
        "insert next",
        "executemany",
        "relation",
        "delete",
        "create",
        "drop",
        "temporary",
    ),
    "BEGIN INSERT COMMIT",
)
ROLLBACKS = ("rollback()", "ROLLBACK")
programs = st.lists(st.sampled_from(sorted(OPERATIONS)), max_size=20)


def do(conn: Any, name: str) -> object:
    """What the tool sees of this operation."""
    try:
        seen = OPERATIONS[name](conn)
    except duckdb.Error as error:
        return type(error).__name__
    return seen if isinstance(seen, list) else "done"


def rows(conn: Any) -> list[Any]:
    """All that other connections see."""
    query = "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1"
    names = [name for (name,) in conn.execute(query).fetchall()]
    return [(name, conn.execute(f"FROM {name} ORDER BY 1").fetchall()) for name in names]


def check_program(program: list[str], keep: bool) -> None:
    """The program does the same to both connections, until it needs a savepoint: then the tool fails."""
    with ExitStack() as stack:
        names = [f":memory:{next(numbers)}", f":memory:{next(numbers)}"]
        our_admin, plain_admin, ours, plain = (
            stack.enter_context(closing(duckdb.connect(name))) for name in (*names, *names)
        )
        for conn in (ours, plain):
            conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
        before = rows(our_admin)
        transaction = choose_transaction(ours, "tool")
        assert isinstance(transaction, DuckdbTransaction)
        transaction.begin()
        has_written = is_open = is_lost = is_closed = False
        for name in program:
            if name in ("COMMIT", *ROLLBACKS) and not is_open and not is_closed:
                continue  # without orch an error; with orch the end of its transaction, as tested below
            if name == "checkpoint" and has_written:
                continue  # refused, as tested through the command line
            has_written |= name in WRITES
            seen, expected = do(ours, name), do(plain, name)
            if name in ("begin()", "BEGIN"):
                is_open = True
            elif name in ("commit()", "COMMIT", "BEGIN INSERT COMMIT", *ROLLBACKS):
                is_open = is_open and name == "BEGIN INSERT COMMIT"
            is_closed |= name == "close"
            is_lost = seen == "NotSupportedError" or (
                not is_closed and not is_open and is_aborted(ours)
            )
            if is_lost:
                break
            assert seen == expected, name
            assert rows(our_admin) == before
        has_failed = is_lost or is_aborted(ours) or transaction.has_lost_writes_by_closing()
        try:
            transaction.end(keep and not transaction.has_lost_writes_by_closing())
        except WritesLost:
            assert has_failed
        else:
            assert not keep or not has_failed or is_closed
        if keep and not has_failed:
            if not is_closed:
                do(plain, "commit()")
            assert rows(our_admin) == rows(plain_admin)
        else:
            assert rows(our_admin) == before


@settings(max_examples=20)
@given(program=programs, keep=st.booleans())
def test_a_tool_sees_the_same_as_without_orch_and_all_of_it_stays_or_nothing(
    program: list[str], keep: bool
) -> None:
    check_program(program, keep)


@pytest.mark.slow
@settings(max_examples=200)
@given(program=programs, keep=st.booleans())
def test_so_it_is_in_more_programs(program: list[str], keep: bool) -> None:
    check_program(program, keep)


@pytest.mark.full
@pytest.mark.timeout(3600)
@settings(max_examples=5000)
@given(program=programs, keep=st.booleans())
def test_so_it_is_in_many_more_programs(program: list[str], keep: bool) -> None:
    check_program(program, keep)


def test_a_rollback_where_the_tool_began_nothing_undoes_all_that_it_wrote() -> None:
    with closing(duckdb.connect()) as conn:
        conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
        transaction = choose_transaction(conn, "tool")
        transaction.begin()
        conn.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(duckdb.ConstraintException):
            conn.execute("INSERT INTO t VALUES (1)")
        conn.rollback()
        conn.execute("INSERT INTO t VALUES (2)")
        assert transaction.end(keep=True) == []
        assert conn.execute("FROM t").fetchall() == [(2,)]
