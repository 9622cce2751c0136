"""orch's SQLite connection: what belongs to orch, what is refused, and that it is an ordinary one otherwise.

What a tool sees in general is compared with a plain connection in `test_sqlite_model`.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from discover_orch.databases.sqlite_connection import (
    Connection,
    adopt,
)
from discover_orch.databases.sqlite_user_connections import connect


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    """In a step of a tool, with a table `t` of one row."""
    made = sqlite3.connect(tmp_path / "data.db", factory=Connection)
    made.execute("CREATE TABLE t (a, b)")
    made.execute("INSERT INTO t VALUES (1, zeroblob(3))")
    made.commit()
    made.begin_step(managed=True)
    yield made
    made.close_at_last()


@pytest.fixture
def other(tmp_path: Path, conn: Connection) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the same database."""
    with closing(sqlite3.connect(tmp_path / "data.db", timeout=0)) as made:
        yield made


def dump(path: Path) -> list[object]:
    """What stands in the file, as others see it."""
    with closing(sqlite3.connect(path)) as other:
        return [*other.iterdump(), other.execute("PRAGMA user_version").fetchone()]


def count(conn: sqlite3.Connection) -> int:
    found: int = conn.execute("SELECT count(*) FROM t").fetchone()[0]
    return found


# What belongs to orch.

INSERT = "INSERT INTO t VALUES (2, 2)"


def use_a_cursor_of_c(conn: Connection) -> None:
    sqlite3.Cursor(conn).execute(INSERT)


def write_a_blob(conn: Connection) -> None:
    with conn.blobopen("t", "b", 1) as blob:
        blob.write(b"abc")


@pytest.mark.parametrize(
    "act",
    [
        use_a_cursor_of_c,
        write_a_blob,
        lambda conn: conn.execute("PRAGMA user_version = 7"),
        lambda conn: conn.cursor(lambda own: sqlite3.Cursor(own)).execute(INSERT),
    ],
)
def test_what_a_tool_commits_is_final_when_orch_commits(
    conn: Connection, act: Callable[[Connection], None], tmp_path: Path
) -> None:
    before = dump(tmp_path / "data.db")
    act(conn)
    conn.commit()
    assert dump(tmp_path / "data.db") == before
    conn.end_step(keep=True)
    assert dump(tmp_path / "data.db") != before


def test_the_transaction_is_of_the_kind_that_the_tool_has_chosen(
    conn: Connection, other: sqlite3.Connection
) -> None:
    conn.isolation_level = "EXCLUSIVE"
    conn.execute("UPDATE t SET a = a WHERE 0")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        count(other)


@pytest.mark.parametrize("between", ["commit", "rollback"])
def test_rows_that_follow_the_end_of_a_transaction_in_executemany_belong_to_orch(
    conn: Connection, tmp_path: Path, between: str
) -> None:
    before = dump(tmp_path / "data.db")

    def generate() -> Iterator[tuple[int, int]]:
        yield 2, 2
        getattr(conn, between)()
        yield 3, 3

    conn.executemany("INSERT INTO t VALUES (?, ?)", generate())
    assert conn.execute("SELECT a FROM t WHERE a = 3").fetchone()
    conn.end_step(keep=False)
    assert dump(tmp_path / "data.db") == before


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit came with Python 3.12")
def test_a_row_that_is_committed_in_the_middle_of_executemany_survives_a_rollback(
    conn: Connection,
) -> None:
    conn.autocommit = False

    def generate() -> Iterator[tuple[int, int]]:
        yield 2, 2
        conn.commit()
        yield 3, 3

    conn.executemany("INSERT INTO t VALUES (?, ?)", generate())
    conn.rollback()
    assert count(conn) == 2


def test_rows_that_a_failing_statement_keeps_belong_to_orch(
    conn: Connection, tmp_path: Path
) -> None:
    conn.execute("CREATE UNIQUE INDEX i ON t (a)")
    conn.commit()
    conn.end_step(keep=True)
    before = dump(tmp_path / "data.db")
    conn.begin_step(managed=True)
    conn.isolation_level = None
    with pytest.raises(sqlite3.IntegrityError):
        conn.execute("INSERT OR FAIL INTO t VALUES (2, 2), (1, 'twice')")
    assert count(conn) == 2
    assert dump(tmp_path / "data.db") == before
    conn.end_step(keep=False)
    assert dump(tmp_path / "data.db") == before


# What cannot work inside a transaction.

OUTSIDE: list[Callable[[Connection], object]] = [
    lambda conn: conn.execute("VACUUM"),
    lambda conn: conn.executescript("VACUUM"),
    lambda conn: conn.execute("PRAGMA foreign_keys = OFF"),
    lambda conn: conn.execute("PRAGMA journal_mode = WAL"),
    lambda conn: conn.execute("PRAGMA synchronous = OFF"),
]


def back_up(conn: Connection) -> None:
    with closing(sqlite3.connect(":memory:")) as target:
        conn.backup(target)
        assert count(target) == count(conn)


@pytest.mark.parametrize("act", [*OUTSIDE, back_up])
def test_it_works_before_the_first_write_and_says_what_to_do_after_it(
    conn: Connection, act: Callable[[Connection], object]
) -> None:
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("SELECT * FROM t").fetchall()
    with suppress(sqlite3.OperationalError):
        conn.execute("CREATE TABLE t (a)")
    conn.execute("BEGIN")
    conn.execute("COMMIT")
    act(conn)
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("PRAGMA journal_mode = DELETE")
    conn.execute(INSERT)
    conn.commit()
    with pytest.raises(sqlite3.OperationalError, match='"transaction": "none"'):
        act(conn)
    assert count(conn) == 2


def test_a_setting_that_changes_nothing_is_not_refused(conn: Connection) -> None:
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute(INSERT)
    conn.execute("PRAGMA foreign_keys = yes")
    conn.execute("PRAGMA foreign_keys(1)")
    assert conn.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
    with pytest.raises(sqlite3.OperationalError, match='"transaction": "none"'):
        conn.execute("PRAGMA foreign_keys = 0")


# Who is asked for each statement.


@pytest.mark.parametrize("is_exclusive", [False, True])
def test_the_tool_s_own_authorizer_is_asked_too_unless_orch_is_to_be_alone(
    conn: Connection, is_exclusive: bool
) -> None:
    heard: list[int] = []

    def hear(action: int, *rest: str | None) -> int:
        heard.append(action)
        return sqlite3.SQLITE_OK

    conn.set_authorizer(lambda *asked: sqlite3.SQLITE_DENY)
    conn.set_listener(hear, is_exclusive=is_exclusive)
    if is_exclusive:
        conn.execute("SELECT 1")
    else:
        with pytest.raises(sqlite3.DatabaseError):
            conn.execute("SELECT 1")
    assert heard == [sqlite3.SQLITE_SELECT]
    conn.set_listener(None)
    with pytest.raises(sqlite3.DatabaseError):  # the tool's own is there still
        conn.execute("SELECT 2")
    assert heard == [sqlite3.SQLITE_SELECT]


def test_an_authorizer_that_the_tool_sets_later_is_asked_and_takes_nothing_from_orch(
    conn: Connection,
) -> None:
    heard: list[int] = []

    def hear(action: int, *rest: str | None) -> int:
        heard.append(action)
        return sqlite3.SQLITE_OK

    conn.set_listener(hear)
    conn.set_authorizer(lambda *asked: sqlite3.SQLITE_DENY)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        conn.execute("SELECT 1")
    conn.set_authorizer(None)
    conn.execute("SELECT 2")
    assert heard == [sqlite3.SQLITE_SELECT] * 2


# Closed by the tool.


def test_a_closed_connection_is_closed(conn: Connection) -> None:
    cursor = conn.execute(INSERT)
    conn.commit()
    reading = conn.execute("SELECT * FROM t")
    conn.close()
    for use in (
        lambda: conn.execute("SELECT 1"),
        lambda: conn.cursor(),
        lambda: conn.commit(),
        lambda: conn.in_transaction,
        lambda: conn.__exit__(None, None, None),
        lambda: cursor.execute(INSERT),
        lambda: cursor.execute("COMMIT"),
        reading.fetchone,
    ):
        with pytest.raises(sqlite3.ProgrammingError):
            use()


def test_another_thread_may_use_it_where_python_lets_it(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "data.db", check_same_thread=False)) as made:
        conn = adopt(made)
        assert conn is not None
        conn.execute("CREATE TABLE t (a)")
        conn.begin_step(managed=True)

        lock = threading.Lock()  # a plain connection needs one too

        def insert() -> None:
            for number in range(100):
                with lock:
                    conn.execute("INSERT INTO t VALUES (?)", (number,))
                with lock:
                    conn.commit()

        threads = [threading.Thread(target=insert) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert count(conn) == 300
        conn.end_step(keep=False)
        assert count(conn) == 0


def test_another_thread_is_refused_as_python_does(conn: Connection) -> None:
    conn.execute(INSERT)
    refused: list[BaseException] = []

    def use() -> None:
        for act in (conn.commit, conn.rollback, conn.close, lambda: conn.execute("SELECT 1")):
            try:
                act()
            except sqlite3.ProgrammingError as error:
                refused.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(refused) == 4
    assert conn.in_transaction
