"""orch's own connection: what begins a transaction, how it ends, and that it is an ordinary one otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.databases.sqlite_connection import (
    BUSY_TIMEOUT,
    Connection,
    Cursor,
    apply_settings,
    find_keyword,
)


def connect(path: Path) -> Connection:
    return sqlite3.connect(path, factory=Connection)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    """In a step of a tool, with a table `t` of one row."""
    with closing(connect(tmp_path / "data.db")) as made:
        made.execute("CREATE TABLE t (a, b)")
        made.execute("INSERT INTO t VALUES (1, zeroblob(3))")
        made.commit()
        made.begin_step(managed=True)
        yield made


def dump(path: Path) -> list[object]:
    """What stands in the file, as others see it."""
    with closing(sqlite3.connect(path)) as other:
        return [*other.iterdump(), other.execute("PRAGMA user_version").fetchone()]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "SELECT"),
        ("  \n\tInsert into t", "INSERT"),
        ("-- a comment\nUPDATE t", "UPDATE"),
        ("/* a\n * comment */ /**/ DELETE FROM t", "DELETE"),
        (";;COMMIT", "COMMIT"),
        ("", ""),
        ("-- nothing", ""),
        ("/* not closed", ""),
        ("(SELECT 1)", ""),
        ("PRAGMA user_version", "PRAGMA"),
        ("PRAGMA user_version = 3", "STORE"),
        ("pragma main.application_id(7)", "STORE"),
        ("PRAGMA foreign_keys = OFF", "PRAGMA"),
    ],
)
def test_the_first_word_of_a_statement(sql: str, word: str) -> None:
    assert find_keyword(sql) == word


def test_a_blob_is_opened_inside_the_transaction() -> None:
    with closing(sqlite3.connect(":memory:", factory=Connection)) as conn:
        conn.execute("CREATE TABLE t (b)")
        conn.execute("INSERT INTO t VALUES (zeroblob(3))")
        conn.commit()
        conn.begin_step(managed=True)
        with conn.blobopen("t", "b", 1, readonly=True):
            assert not conn.in_transaction
        with conn.blobopen("t", "b", 1) as blob:
            blob.write(b"abc")
        conn.end_step(keep=False)
        assert conn.execute("SELECT b FROM t").fetchone() == (b"\0\0\0",)


def test_closing_twice_is_closing_once() -> None:
    conn = sqlite3.connect(":memory:", factory=Connection)
    conn.begin_step(managed=True)
    conn.execute("CREATE TABLE t (a)")
    conn.close()
    conn.close()
    assert conn.is_closed
    assert conn.has_lost_writes
    with pytest.raises(sqlite3.ProgrammingError):
        conn.execute("SELECT 1")


# What begins a transaction.

CHANGES = [
    "INSERT INTO t VALUES (2, 2)",
    "UPDATE t SET a = 2",
    "DELETE FROM t",
    "REPLACE INTO t VALUES (3, 3)",
    "CREATE TABLE u (a)",
    "DROP TABLE t",
    "ALTER TABLE t ADD COLUMN c",
    "CREATE INDEX i ON t (a)",
    "CREATE VIEW v AS SELECT 1 AS one",
    "WITH x AS (SELECT 7 AS a) INSERT INTO t SELECT a, a FROM x",
    "PRAGMA user_version = 9",
    "SAVEPOINT s",
    "-- a comment\nCREATE TABLE u (a)",
]
WAYS: dict[str, Callable[[Connection, str], object]] = {
    "conn.execute": lambda conn, sql: conn.execute(sql),
    "cursor.execute": lambda conn, sql: conn.cursor().execute(sql),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql", CHANGES)
def test_the_first_statement_that_can_change_something_begins_and_its_end_decides(
    conn: Connection, tmp_path: Path, sql: str, way: str
) -> None:
    before = dump(tmp_path / "data.db")
    WAYS[way](conn, sql)
    assert conn.in_transaction
    conn.end_step(keep=False)
    assert dump(tmp_path / "data.db") == before
    conn.begin_step(managed=True)
    WAYS[way](conn, sql)
    conn.end_step(keep=True)
    assert not conn.in_transaction
    assert (dump(tmp_path / "data.db") != before) == (sql != "SAVEPOINT s")
    assert conn.own_commits == set()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t",
        "VALUES (1)",
        "EXPLAIN DELETE FROM t",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA user_version",
        "SELECT 'PRAGMA user_version = 3'",
        "DETACH side",
        "VACUUM",
        "ATTACH ':memory:' AS side",
        "",
    ],
)
def test_what_changes_nothing_begins_nothing(conn: Connection, sql: str) -> None:
    if sql == "DETACH side":
        conn.execute("ATTACH ':memory:' AS side")
    conn.execute(sql)
    assert not conn.in_transaction


def test_many_rows_begin_too(conn: Connection, tmp_path: Path) -> None:
    before = dump(tmp_path / "data.db")
    for one in (conn, conn.cursor()):
        done = one.executemany("INSERT INTO t VALUES (?, ?)", [(2, 2), (3, 3)])
        assert (isinstance(done, Cursor), done.rowcount) == (True, 2)
        assert conn.in_transaction
        assert conn.execute("SELECT a FROM t").fetchall() == [(1,), (2,), (3,)]
        conn.end_step(keep=False)
        assert dump(tmp_path / "data.db") == before
        conn.begin_step(managed=True)


def test_a_cursor_of_a_class_that_goes_past_orch_has_its_transaction_before(
    conn: Connection,
) -> None:
    class Own(Cursor):
        pass

    class Foreign(sqlite3.Cursor):
        pass

    assert isinstance(conn.cursor(Own), Own)
    assert not conn.in_transaction
    assert isinstance(conn.cursor(Foreign), Foreign)
    assert conn.in_transaction


def test_a_tool_begins_by_itself_where_it_wants_to(conn: Connection) -> None:
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("CREATE TABLE u (a)")
    conn.execute("ROLLBACK")
    conn.execute("CREATE TABLE u (a)")
    assert conn.in_transaction
    assert conn.own_commits == set()


def test_the_transaction_is_of_the_kind_that_the_tool_has_chosen(
    conn: Connection, tmp_path: Path
) -> None:
    conn.isolation_level = "EXCLUSIVE"
    conn.execute("UPDATE t SET a = a WHERE 0")
    with closing(sqlite3.connect(tmp_path / "data.db", timeout=0)) as other:  # noqa: SIM117
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM t").fetchall()


@pytest.mark.parametrize("way", ["isolation_level", "unmanaged"])
def test_a_tool_that_manages_its_transactions_is_left_alone(
    conn: Connection, tmp_path: Path, way: str
) -> None:
    before = dump(tmp_path / "data.db")
    if way == "isolation_level":
        conn.isolation_level = None
    else:
        conn.begin_step(managed=False)
    conn.execute("CREATE TABLE u (a)")
    conn.cursor(sqlite3.Cursor)
    assert not conn.in_transaction
    assert dump(tmp_path / "data.db") != before


def test_a_step_without_changes_ends_without_notes(conn: Connection, tmp_path: Path) -> None:
    conn.end_step(keep=True)
    conn.execute("CREATE TABLE u (a)")
    assert not conn.in_transaction
    assert conn.own_commits == set()


def test_a_refused_commit_raises(conn: Connection) -> None:
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("CREATE TABLE p (a PRIMARY KEY)")
    conn.execute("CREATE TABLE c (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    conn.execute("INSERT INTO c VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError):
        conn.end_step(keep=True)
    assert conn.in_transaction
    conn.end_step(keep=False)
    assert not conn.in_transaction


# Commits of the tool's own.


def with_block(conn: Connection) -> None:
    with conn:
        conn.execute("CREATE TABLE u (a)")


def failing_block(conn: Connection) -> None:
    with suppress(KeyError), conn:
        conn.execute("CREATE TABLE u (a)")
        raise KeyError


def with_nothing_open(conn: Connection) -> None:
    conn.commit()
    with conn:
        conn.execute("SELECT 1")


def ending_with(sql: str) -> Callable[[Connection], None]:
    def act(conn: Connection) -> None:
        conn.execute("CREATE TABLE u (a)")
        conn.execute(sql)

    return act


def committing(conn: Connection) -> None:
    conn.execute("CREATE TABLE u (a)")
    conn.commit()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (committing, {"commit()"}),
        (with_block, {"with conn:"}),
        (lambda conn: conn.executescript("CREATE TABLE u (a);"), {"executescript()"}),
        (lambda conn: conn.cursor().executescript("CREATE TABLE u (a);"), {"executescript()"}),
        (ending_with("COMMIT"), {"COMMIT"}),
        (ending_with("-- so\n end transaction"), {"COMMIT"}),
        (failing_block, set()),
        (with_nothing_open, set()),
        (ending_with("ROLLBACK"), set()),
        (lambda conn: conn.rollback(), set()),
    ],
)
def test_commits_of_the_tool_stay_and_are_noted(
    conn: Connection, tmp_path: Path, act: Callable[[Connection], object], said: set[str]
) -> None:
    before = dump(tmp_path / "data.db")
    act(conn)
    assert conn.own_commits == said
    conn.execute("CREATE TABLE later (a)")  # begun again
    conn.end_step(keep=False)
    after = dump(tmp_path / "data.db")
    assert (after != before) == bool(said)
    assert not any("later" in str(one) for one in after)
    conn.begin_step(managed=True)
    assert conn.own_commits == set()


def test_a_script_gives_the_cursor_that_it_ran_on(conn: Connection) -> None:
    cursor = conn.cursor()
    assert cursor.executescript("SELECT 1;") is cursor
    assert isinstance(conn.executescript("SELECT 1;"), Cursor)


def test_a_failed_commit_does_not_count(conn: Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        conn.execute("COMMIT")  # nothing is open
    conn.execute("CREATE TABLE p (a PRIMARY KEY)")
    conn.execute("CREATE TABLE c (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    conn.execute("PRAGMA foreign_keys")
    conn.end_step(keep=True)
    conn.execute("PRAGMA foreign_keys = ON")
    conn.begin_step(managed=True)
    conn.execute("INSERT INTO c VALUES (1)")
    for commit in (conn.commit, lambda: conn.execute("COMMIT")):
        with pytest.raises(sqlite3.IntegrityError):
            commit()
    assert conn.own_commits == set()


DOINGS = st.lists(
    st.sampled_from(
        [
            "INSERT INTO t VALUES (1)", "CREATE TABLE IF NOT EXISTS u (a)", "DELETE FROM t",
            "PRAGMA user_version = 7", "SELECT * FROM t", "BEGIN", "COMMIT", "ROLLBACK", "commit()", "rollback()",
            "with", "script",
        ]
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(doings=DOINGS)
def test_after_a_failed_step_there_is_what_the_tool_committed_by_itself_and_no_more(
    doings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "data.db"
    with closing(connect(path)) as conn:
        conn.execute("CREATE TABLE t (a)")
        conn.begin_step(managed=True)
        stays = dump(path)
        for doing in doings:
            conn.own_commits.clear()
            try:
                if doing == "with":
                    with conn:
                        conn.execute("INSERT INTO t VALUES (2)")
                elif doing == "script":
                    conn.executescript("INSERT INTO t VALUES (3); SELECT 1;")
                elif doing.endswith("()"):
                    getattr(conn, doing[:-2])()
                else:
                    conn.execute(doing).fetchall()
            except sqlite3.OperationalError:  # BEGIN in a transaction, COMMIT outside of one
                assert doing in ("BEGIN", "COMMIT", "ROLLBACK")
            now = dump(path)
            assert now == stays or conn.own_commits
            stays = now
        conn.end_step(keep=False)
        assert dump(path) == stays


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
    ("managed", "statements", "is_lost"),
    [
        (True, ["INSERT INTO t VALUES (2, 2)"], True),
        (True, ["CREATE TABLE u (a)"], True),
        (True, ["UPDATE t SET a = 2 WHERE 0"], False),
        (True, ["SELECT 1"], False),
        (True, ["INSERT INTO t VALUES (2, 2)", "COMMIT", "DELETE FROM t WHERE 0"], False),
        (False, ["INSERT INTO t VALUES (2, 2)"], False),
    ],
)
def test_closing_with_uncommitted_changes_loses_them(
    conn: Connection, managed: bool, statements: list[str], is_lost: bool
) -> None:
    conn.begin_step(managed)
    for sql in statements:
        conn.execute(sql)
    conn.close()
    assert (conn.is_closed, conn.has_lost_writes) == (True, is_lost)
