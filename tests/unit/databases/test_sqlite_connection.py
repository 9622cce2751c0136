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
from typing import Any

import pytest

from discover_orch.databases.sqlite_base import OrdinaryConnection
from discover_orch.databases.sqlite_connection import (
    BUSY_TIMEOUT,
    Connection,
    Cursor,
    adopt,
    apply_settings,
)
from discover_orch.databases.transactions import connect


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


def with_block(conn: Connection) -> None:
    with conn:
        conn.execute(INSERT)


def commit_in_text(conn: Connection) -> None:
    conn.execute("BEGIN")
    conn.execute(INSERT)
    conn.execute("COMMIT")


def commit_by_method(conn: Connection) -> None:
    conn.execute(INSERT)
    conn.commit()


def release_outermost(conn: Connection) -> None:
    conn.execute("SAVEPOINT s")
    conn.execute(INSERT)
    conn.execute("RELEASE s")


def run_script(conn: Connection) -> None:
    conn.executescript(
        f"BEGIN; {INSERT}; COMMIT; CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END"
    )


def leave_python_s_way(conn: Connection) -> None:
    conn.isolation_level = None
    conn.execute(INSERT)


def use_a_cursor_of_its_own(conn: Connection) -> None:
    class Own(sqlite3.Cursor):
        def execute(self, *args: Any) -> Own:
            super().execute(*args)
            return self

    conn.cursor(Own).execute(INSERT)
    conn.cursor(Own).execute("COMMIT")


def use_a_cursor_of_c(conn: Connection) -> None:
    sqlite3.Cursor(conn).execute(INSERT)


def write_a_blob(conn: Connection) -> None:
    with conn.blobopen("t", "b", 1) as blob:
        blob.write(b"abc")


WAYS: list[Callable[[Connection], None]] = [
    with_block, commit_in_text, commit_by_method, release_outermost, run_script, leave_python_s_way,
    use_a_cursor_of_its_own, use_a_cursor_of_c, write_a_blob,
    lambda conn: conn.execute("CREATE TABLE u (a)"),
    lambda conn: conn.execute("PRAGMA user_version = 7"),
    lambda conn: conn.cursor(lambda own: sqlite3.Cursor(own)).execute(INSERT),
]  # fmt: skip


@pytest.mark.parametrize("act", WAYS)
def test_what_a_tool_commits_is_final_when_orch_commits(
    conn: Connection, tmp_path: Path, act: Callable[[Connection], None]
) -> None:
    path = tmp_path / "data.db"
    before = dump(path)
    for keep in (False, True):
        act(conn)
        assert dump(path) == before
        conn.end_step(keep)
        assert (dump(path) != before) == keep
        conn.begin_step(managed=True)


def test_a_rollback_leads_back_to_the_latest_commit(conn: Connection) -> None:
    for _ in range(3):
        conn.execute(INSERT)
        conn.commit()
        conn.execute("DELETE FROM t")
        conn.rollback()
    assert count(conn) == 4
    conn.end_step(keep=True)
    assert count(conn) == 4


def test_a_connection_that_is_not_managed_is_left_alone(conn: Connection, tmp_path: Path) -> None:
    before = dump(tmp_path / "data.db")
    conn.begin_step(managed=False)
    conn.isolation_level = "IMMEDIATE"
    with conn:
        conn.execute(INSERT)
        assert conn.in_transaction
    assert dump(tmp_path / "data.db") != before
    conn.execute(INSERT)
    conn.rollback()
    assert (count(conn), conn.isolation_level) == (2, "IMMEDIATE")


def test_the_transaction_is_of_the_kind_that_the_tool_has_chosen(
    conn: Connection, other: sqlite3.Connection
) -> None:
    conn.isolation_level = "EXCLUSIVE"
    conn.execute("UPDATE t SET a = a WHERE 0")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        count(other)


def test_a_deferred_constraint_is_checked_at_the_end(conn: Connection, tmp_path: Path) -> None:
    before = dump(tmp_path / "data.db")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("CREATE TABLE p (a PRIMARY KEY)")
    conn.execute("CREATE TABLE c (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    conn.execute("INSERT INTO c VALUES (1)")
    conn.commit()
    with pytest.raises(sqlite3.IntegrityError):
        conn.end_step(keep=True)
    assert dump(tmp_path / "data.db") == before


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


def test_temporary_tables_end_with_the_tool(conn: Connection) -> None:
    for keep in (True, False):
        conn.execute("CREATE TEMP TABLE scratch (a)")
        conn.execute("CREATE TEMP VIEW seen AS SELECT * FROM scratch")
        conn.end_step(keep)
        conn.begin_step(managed=True)
        assert conn.execute("SELECT * FROM sqlite_temp_master").fetchall() == []


# SQLite itself ends the transaction.

ROLLING_BACK = "INSERT OR ROLLBACK INTO u VALUES (1)"


def test_what_sqlite_rolls_back_is_noted_though_the_tool_catches_the_error(
    conn: Connection,
) -> None:
    conn.execute("CREATE TABLE u (a UNIQUE)")
    conn.execute("INSERT INTO u VALUES (1)")
    conn.commit()
    with suppress(sqlite3.IntegrityError):
        conn.execute(ROLLING_BACK)
    assert conn.note_lost() == "UNIQUE constraint failed: u.a"
    assert not conn.in_transaction


def test_without_writes_nothing_is_lost(conn: Connection) -> None:
    conn.isolation_level = None
    conn.execute("CREATE TABLE u (a UNIQUE)")
    conn.execute("INSERT INTO u VALUES (1)")
    conn.end_step(keep=True)
    conn.begin_step(managed=True)
    with suppress(sqlite3.IntegrityError):
        conn.execute(ROLLING_BACK)
    assert conn.note_lost() == ""


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
    conn.execute("BEGIN")
    conn.execute("COMMIT")
    with suppress(sqlite3.OperationalError):
        conn.execute("CREATE TABLE t (a)")
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


def test_an_error_of_the_tool_s_own_transaction_is_sqlite_s(conn: Connection) -> None:
    conn.execute("BEGIN")
    with pytest.raises(
        sqlite3.OperationalError, match=r"^cannot VACUUM from within a transaction$"
    ):
        conn.execute("VACUUM")


def test_attached_databases_work(conn: Connection) -> None:
    conn.execute("ATTACH ':memory:' AS side")
    conn.execute("CREATE TABLE side.x (a)")
    conn.execute("ATTACH ':memory:' AS more")
    conn.execute("DETACH more")
    conn.end_step(keep=False)
    assert conn.execute("SELECT name FROM side.sqlite_master").fetchall() == []


# What is put back.


def test_settings_of_a_tool_are_undone(conn: Connection) -> None:
    conn.isolation_level = None
    conn.row_factory = sqlite3.Row
    conn.text_factory = bytes
    conn.execute("PRAGMA foreign_keys = OFF")
    conn.set_authorizer(lambda *asked: sqlite3.SQLITE_DENY)
    conn.end_step(keep=True)
    conn.reset()
    left: object = conn.isolation_level, conn.row_factory, conn.text_factory
    assert left == ("", None, str)
    assert conn.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert conn.execute("SELECT 'x'").fetchone() == ("x",)


def test_a_connection_of_orch_checks_foreign_keys_and_waits_for_locks(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db", timeout=0)) as made:
        apply_settings(made)
        assert made.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert made.execute("PRAGMA busy_timeout").fetchone() == (BUSY_TIMEOUT * 1000,)


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


def test_a_refusal_that_no_interrupt_caused_is_one(conn: Connection) -> None:
    for is_interrupted in (None, lambda: False):
        conn.is_interrupted = is_interrupted
        conn.set_listener(lambda *asked: sqlite3.SQLITE_DENY)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            conn.execute("SELECT 1")
    conn.set_listener(lambda *asked: sqlite3.SQLITE_OK)
    conn.is_interrupted = lambda: True
    with pytest.raises(sqlite3.OperationalError):  # a mistake of the tool's
        conn.execute("SELEC 1")


# Closed by the tool.


@pytest.mark.parametrize(
    ("statements", "is_lost"),
    [
        ([INSERT], True),
        (["BEGIN", "CREATE TABLE u (a)"], True),
        (["CREATE TABLE u (a)"], False),  # Python begins no transaction for it
        (["UPDATE t SET a = 2 WHERE 0"], False),
        (["SELECT 1"], False),
        ([INSERT, "COMMIT", "DELETE FROM t WHERE 0"], False),
        ([INSERT, "COMMIT", "DELETE FROM t"], True),
    ],
)
def test_closing_loses_what_is_not_committed_and_keeps_the_rest_for_orch(
    conn: Connection, other: sqlite3.Connection, statements: list[str], is_lost: bool
) -> None:
    for sql in statements:
        conn.execute(sql)
    conn.close()
    conn.close()
    assert (conn.is_closed, conn.has_lost_writes) == (True, is_lost)
    assert count(other) == 1
    other.rollback()
    conn.end_step(keep=True)
    assert count(other) == 1 + ("COMMIT" in statements)


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


# Which connections can belong to orch.


def test_an_ordinary_connection_becomes_orch_s_and_stays_the_same_object(tmp_path: Path) -> None:
    class Own(sqlite3.Connection):
        def shout(self) -> str:
            return "!"

    class Slots(sqlite3.Connection):
        __slots__ = ("more",)

    path = tmp_path / "data.db"
    with closing(connect(path)) as made:
        assert type(made) is OrdinaryConnection
        assert type(made.execute("SELECT 1")) is sqlite3.Cursor
        assert adopt(made) is made
        assert type(made.execute("SELECT 1")) is Cursor
    with closing(connect(path, factory=Own)) as own:
        assert type(own) is Own
        adopted: object = adopt(own)
        assert adopted is own
        assert (own.shout(), isinstance(own, Connection)) == ("!", True)
    if sys.version_info < (3, 12):  # deprecated since
        with closing(connect(path, 1.0, 0, "", True, Own)) as placed:
            assert type(placed) is Own
    for kind in (sqlite3.Connection, Slots):
        with closing(kind(path)) as foreign:
            assert adopt(foreign) is None


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
