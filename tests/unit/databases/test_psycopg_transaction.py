"""On psycopg, a tool finds an ordinary connection, and what it wrote becomes final when orch says so: a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from typing import Any

import psycopg
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from discover_orch.databases.driver_transaction import WritesLost
from discover_orch.databases.drivers import find_database
from discover_orch.databases.postgres_database import PsycopgTransaction


class Session:
    """A connection as a tool uses it, with the blocks `with conn.transaction()` that are open."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        self.blocks: list[AbstractContextManager[object]] = []

    def do(self, operation: Operation) -> tuple[object, ...]:
        """What the tool sees of this operation, and of the connection afterwards."""
        conn = self.conn
        try:
            seen: object = operation(self)
        except (psycopg.Error, AssertionError) as error:
            seen = type(error).__name__, getattr(error, "sqlstate", "")
        return seen, conn.autocommit, conn.closed

    def close(self) -> None:
        self.conn.close()

    def enter_block(self, force_rollback: bool = False) -> None:
        block = self.conn.transaction(force_rollback=force_rollback)
        block.__enter__()
        self.blocks.append(block)

    def leave_block(self, error: Exception | None = None) -> object:
        if not self.blocks:
            return None
        block = self.blocks.pop()
        with suppress(ZeroDivisionError):
            return block.__exit__(type(error) if error else None, error, None)
        return "raised"


Operation = Callable[[Session], object]


def text(query: str, **options: Any) -> Operation:
    def run(session: Session) -> object:
        cursor = session.conn.execute(query.encode(), **options)
        return cursor.fetchall() if cursor.description else None

    return run


def insert_many(session: Session) -> object:
    cursor = session.conn.cursor()
    cursor.executemany("INSERT INTO t VALUES (%s)", [(3,), (4,), (3,)])
    return cursor.rowcount


def copy_rows(session: Session) -> None:
    with session.conn.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write_row((5,))


def stream_rows(session: Session) -> object:
    found = [*session.conn.cursor().stream("SELECT a FROM t ORDER BY 1")]
    session.conn.execute("SELECT 1")  # psycopg's next pipeline would still get single rows
    return found


def fetch_from_server(session: Session) -> object:
    if session.conn.autocommit and not session.blocks:
        return None  # PostgreSQL refuses it outside of a transaction, and under orch there is one
    with session.conn.cursor(name="rows") as cursor:
        cursor.execute("SELECT a FROM t ORDER BY 1")
        return cursor.fetchall()


def use_pipeline(session: Session) -> object:
    with session.conn.pipeline():
        one = session.conn.execute("INSERT INTO t VALUES (6) RETURNING a")
        two = session.conn.execute("SELECT count(*) FROM t")
    return one.fetchall(), two.fetchall()


def set_autocommit(is_on: bool) -> Operation:
    def run(session: Session) -> None:
        session.conn.autocommit = is_on

    return run


OPERATIONS: dict[str, Operation] = {
    "insert 1": text("INSERT INTO t VALUES (1)"),
    "insert 2": text("INSERT INTO t VALUES (2)", prepare=True),
    "insert next": text("INSERT INTO t SELECT coalesce(max(a), 10) + 1 FROM t RETURNING a"),
    "delete": text("DELETE FROM t WHERE a < 3"),
    "select": text("SELECT a FROM t ORDER BY 1"),
    "select prepared": text("SELECT * FROM u ORDER BY 1", prepare=True),
    "create": text("CREATE TABLE u AS SELECT 1 AS b"),
    "drop": text("DROP TABLE IF EXISTS u"),
    "temporary": text("CREATE TEMP TABLE v (c int)"),
    "nonsense": text("SELEC 1"),
    "several": text("INSERT INTO t VALUES (7); INSERT INTO t SELECT 8"),
    "several, one fails": text("INSERT INTO t VALUES (9); INSERT INTO t SELECT 1 / 0"),
    "executemany": insert_many,
    "copy": copy_rows,
    "stream": stream_rows,
    "server cursor": fetch_from_server,
    "pipeline": use_pipeline,
    "commit()": lambda session: session.conn.commit(),
    "rollback()": lambda session: session.conn.rollback(),
    "autocommit on": set_autocommit(True),
    "autocommit off": set_autocommit(False),
    "block": Session.enter_block,
    "block that is undone": lambda session: session.enter_block(force_rollback=True),
    "end of block": Session.leave_block,
    "error in block": lambda session: session.leave_block(ZeroDivisionError()),
    "close": lambda session: session.conn.close(),
}
programs = st.lists(st.sampled_from(sorted(OPERATIONS)), max_size=25)
TABLES = "SELECT relname FROM pg_class WHERE relname IN ('t', 'u') AND relkind = 'r' ORDER BY 1"


def rows(admin: psycopg.Connection) -> list[Any]:
    """All that is in the database."""
    tables = [name for (name,) in admin.execute(TABLES.encode()).fetchall()]
    return [(one, *admin.execute(f"SELECT * FROM {one} ORDER BY 1".encode()).fetchall()) for one in tables]  # fmt: skip


@pytest.fixture(scope="module")
def databases(new_postgres: Callable[[], str]) -> Iterator[list[tuple[str, psycopg.Connection]]]:
    """Two databases, each with a connection to look at it."""
    with ExitStack() as stack:
        urls = [new_postgres(), new_postgres()]
        admins = [
            psycopg.connect(url, autocommit=True, options="-clock_timeout=10s") for url in urls
        ]
        yield [(url, stack.enter_context(admin)) for url, admin in zip(urls, admins, strict=True)]


def check_program(
    databases: list[tuple[str, psycopg.Connection]], program: list[str], keep: bool
) -> None:
    """The program does the same to both connections, and orch's database keeps all of it or nothing."""
    (ours, our_admin), (plain, plain_admin) = databases
    for _, admin in databases:
        admin.execute("DROP TABLE IF EXISTS t, u; CREATE TABLE t (a int PRIMARY KEY)")
    before = rows(our_admin)
    with (
        closing(Session(psycopg.connect(ours))) as us,
        closing(Session(psycopg.connect(plain))) as them,
    ):
        our_conn, plain_conn = us.conn, them.conn
        transaction = find_database(our_conn).open_transaction("tool")
        assert isinstance(transaction, PsycopgTransaction)
        transaction.begin()
        try:
            for name in program:
                operation = OPERATIONS[name]
                assert us.do(operation) == them.do(operation), name
                assert rows(our_admin) == before
            # Leaving its block, psycopg commits after an error too, and PostgreSQL discards all of it.
            is_lost_in_block = plain_conn.info.transaction_status.name == "INERROR"
            while us.blocks:
                us.do(Session.leave_block)
                them.do(Session.leave_block)
            if plain_conn._num_transactions:
                reject()  # psycopg has lost count of its blocks: a text ended the transaction inside them
            has_failed = plain_conn.info.transaction_status.name == "INERROR"
            if not plain_conn.closed:
                plain_conn.commit()
            is_lost = our_conn.orch_state.has_lost_writes  # type: ignore[attr-defined]
        except BaseException:
            transaction.end(keep=False)
            raise
        try:
            transaction.end(keep)
        except WritesLost:
            assert has_failed or is_lost_in_block or is_lost
        else:
            assert not (has_failed or is_lost) or not keep
            if not is_lost:
                assert rows(our_admin) == (rows(plain_admin) if keep else before)
        if has_failed or is_lost or not keep:
            assert rows(our_admin) == before
        assert type(our_conn) is psycopg.Connection
        assert our_conn.closed == plain_conn.closed
        assert our_conn.closed or our_conn.info.transaction_status.name == "IDLE"


@pytest.mark.slow
@settings(max_examples=2 * settings().max_examples)
@given(program=programs, keep=st.booleans())
def test_a_tool_sees_the_same_as_without_orch_and_all_of_it_stays_or_nothing(
    databases: list[tuple[str, psycopg.Connection]], program: list[str], keep: bool
) -> None:
    check_program(databases, program, keep)


@pytest.mark.full
@pytest.mark.timeout(3600)
@settings(max_examples=5000)
@given(program=programs, keep=st.booleans())
def test_so_it_is_in_many_more_programs(
    databases: list[tuple[str, psycopg.Connection]], program: list[str], keep: bool
) -> None:
    check_program(databases, program, keep)


class OwnConnection(psycopg.Connection[Any]):
    """A class of the user's, with methods that orch must not hide."""

    __slots__ = ("commits",)

    def run(self, query: str) -> list[Any]:
        return self.execute(query.encode()).fetchall()

    def commit(self) -> None:
        self.commits = 1
        super().commit()


def test_a_connection_of_a_class_of_the_user_s_keeps_its_class_and_methods(
    databases: list[tuple[str, psycopg.Connection]],
) -> None:
    url, admin = databases[0]
    admin.execute("DROP TABLE IF EXISTS t, u; CREATE TABLE t (a int PRIMARY KEY)")
    with closing(OwnConnection.connect(url)) as conn:
        transaction = find_database(conn).open_transaction("tool")
        transaction.begin()
        assert isinstance(conn, OwnConnection)
        assert "OwnConnection [IDLE]" in repr(conn)
        assert conn.run("INSERT INTO t VALUES (1) RETURNING a") == [(1,)]
        conn.commit()
        assert (conn.commits, rows(admin)) == (1, [("t",)])
        transaction.end(keep=True)
        assert rows(admin) == [("t", (1,))]
        assert type(conn) is OwnConnection


def test_a_tool_that_commits_without_psycopg_has_failed_and_may_have_left_something(
    databases: list[tuple[str, psycopg.Connection]],
) -> None:
    url, admin = databases[0]
    admin.execute("DROP TABLE IF EXISTS t, u; CREATE TABLE t (a int PRIMARY KEY)")
    with closing(psycopg.connect(url)) as conn:
        transaction = find_database(conn).open_transaction("tool")
        transaction.begin()
        conn.execute("INSERT INTO t VALUES (1)")
        conn.commit()
        conn.pgconn.exec_(b"COMMIT")
        with pytest.raises(WritesLost, match="ended orch's transaction"):
            transaction.end(keep=True)
        assert rows(admin) == [("t", (1,))]
