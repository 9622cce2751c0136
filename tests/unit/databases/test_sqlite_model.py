"""Whatever a tool does on orch's connection, it sees what it would see on a plain one; and orch decides what stays.

The model is a plain `sqlite3` connection to a copy of the database. Both get the same calls.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discover_orch.databases.sqlite_connection import Connection


class Do:
    """A call that a tool makes."""

    def __init__(self, text: str, call: Callable[[sqlite3.Connection], object]) -> None:
        self.text, self.call = text, call

    def __repr__(self) -> str:
        return self.text


STATEMENTS = [
    "INSERT INTO t (a, b) VALUES ({n}, 'a')",
    "INSERT INTO t (a, b) VALUES ({n}, 'b'), (1, 'twice')",
    "INSERT OR IGNORE INTO t (a, b) VALUES (1, 'c')",
    "INSERT OR REPLACE INTO t (a, b) VALUES ({n}, 'd')",
    "INSERT OR FAIL INTO t (a, b) VALUES ({n}, 'e'), (1, 'twice')",
    "INSERT OR ROLLBACK INTO t (a, b) VALUES ({n}, 'f'), (1, 'twice')",
    "INSERT INTO t (a, b) VALUES ({n}, 'g') RETURNING a",
    "UPDATE t SET b = b || {n}",
    "DELETE FROM t WHERE a > {n}",
    "; DELETE FROM t WHERE a = {n}",
    "WITH x AS (SELECT {n} AS a) INSERT OR IGNORE INTO t (a, b) SELECT a, 'w' FROM x",
    "WITH x AS (SELECT {n} AS a) SELECT * FROM x",
    "SELECT count(*) FROM t",
    "CREATE TABLE t{n} (a)",
    "CREATE TABLE IF NOT EXISTS u (a)",
    "DROP TABLE IF EXISTS t{n}",
    "ALTER TABLE t ADD COLUMN c{n}",
    "CREATE INDEX i{n} ON t (b)",
    "PRAGMA user_version = {n}",
    "PRAGMA user_version",
    "PRAGMA table_info(t)",
    "INSERT INTO nowhere VALUES (1)",
    "INSERT INTO t (a, b) VALUES (",
    "SELEC 1",
    "",
    "-- nothing",
]
CONTROLS = [
    *("BEGIN", "BEGIN IMMEDIATE", "begin /* so */ exclusive transaction", "\ufeffBEGIN"),
    *("COMMIT", "END TRANSACTION", "-- so\ncommit", ";COMMIT", "ROLLBACK", "rollback transaction"),
    *("SAVEPOINT a", 'SAVEPOINT "A b"', "savepoint /* c */ [c]", "SAVEPOINT 'a'", "SAVEPOINT COMMIT"),
    *("RELEASE a", "RELEASE SAVEPOINT A", 'release "a B"', "RELEASE c", "RELEASE commit"),
    *("ROLLBACK TO a", "rollback transaction to savepoint 'A B'", "ROLLBACK TO c"),
]  # fmt: skip
numbers = st.integers(2, 5)
statements = st.builds(lambda sql, n: sql.format(n=n), st.sampled_from(STATEMENTS), numbers)
COMMON = ["INSERT OR REPLACE INTO t (a, b) VALUES (7, 'x')", "BEGIN", "COMMIT", "ROLLBACK"]
COMMON += ["SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "UPDATE t SET b = b || 'y'"]
texts = st.one_of(st.sampled_from(COMMON), statements, st.sampled_from(CONTROLS))


def execute(sql: str) -> Do:
    return Do(f"execute {sql!r}", lambda conn: conn.execute(sql).fetchall())


def execute_on_cursor(sql: str) -> Do:
    def do(conn: sqlite3.Connection) -> object:
        cursor = conn.cursor()
        cursor.execute(sql)
        return cursor.fetchall(), cursor.rowcount, cursor.lastrowid, cursor.description

    return Do(f"on a cursor {sql!r}", do)


def run_script(parts: list[str]) -> Do:
    return Do(f"script {parts}", lambda conn: conn.executescript(";\n".join(parts)).fetchall())


def call(name: str) -> Do:
    return Do(f"{name}()", lambda conn: getattr(conn, name)())


def set_attribute(name: str, value: object) -> Do:
    return Do(f"{name} = {value!r}", lambda conn: setattr(conn, name, value))


def insert_many(rows: list[int], between: str) -> Do:
    """Does something to the connection while it inserts."""

    def do(conn: sqlite3.Connection) -> object:
        def generate() -> Iterator[tuple[int, str]]:
            for place, row in enumerate(rows):
                if place == 1 and between:
                    getattr(conn, between)()
                yield row, "many"

        return conn.executemany("INSERT INTO t (a, b) VALUES (?, ?)", generate()).rowcount

    return Do(f"many {rows} {between}", do)


class Stop(Exception):
    pass


def with_block(inner: list[Do], fails: bool) -> Do:
    def do(conn: sqlite3.Connection) -> object:
        with suppress(Stop), conn:
            for one in inner:
                with suppress(sqlite3.Error):
                    one.call(conn)
            if fails:
                raise Stop
        return None

    return Do(f"with {inner} {fails}", do)


single_calls = st.one_of(
    *[texts.map(execute) for _ in range(6)],
    texts.map(execute_on_cursor),
    st.lists(texts, max_size=4).map(run_script),
    st.sampled_from(["commit", "rollback"]).map(call),
    st.sampled_from(["", "IMMEDIATE", None]).map(lambda one: set_attribute("isolation_level", one)),
    st.builds(insert_many, st.lists(st.integers(2, 9), max_size=4), st.sampled_from(["", "commit", "rollback"])),
    *(
        [st.sampled_from([True, False, -1, 7]).map(lambda one: set_attribute("autocommit", one))]
        if sys.version_info >= (3, 12)
        else []
    ),
)  # fmt: skip
blocks = st.builds(with_block, st.lists(single_calls, min_size=1, max_size=3), st.booleans())
nested = st.builds(with_block, st.lists(st.one_of(single_calls, blocks), max_size=4), st.booleans())
calls = st.one_of(*[single_calls] * 6, blocks, nested)


def observe(conn: sqlite3.Connection, do: Do) -> object:
    """What the tool gets and sees."""
    got: object
    try:
        got = do.call(conn)
    except Exception as error:
        got = type(error), str(error), getattr(error, "sqlite_errorname", None)
    seen = conn.in_transaction, conn.isolation_level, getattr(conn, "autocommit", None)
    return got, seen, read_content(conn)


def read_content(conn: sqlite3.Connection) -> list[object]:
    content: list[object] = [
        conn.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    ]
    content.append(conn.execute("SELECT * FROM t ORDER BY 1").fetchall())
    content.append(conn.execute("PRAGMA user_version").fetchall())
    return content


def read_file(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as other:
        return read_content(other)


def copy_as_after_kill(path: Path, folder: Path) -> Path:
    """The files as they stand now: what a killed process leaves."""
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal"):
        (folder / name).unlink(missing_ok=True)
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder / name)
    return folder / path.name


def check(folder: Path, journal: str, doings: list[Do], ends: str) -> None:
    for name in ("own", "plain", "killed"):
        (folder / name).mkdir()
    ours, plain = folder / "own" / "data.db", folder / "plain" / "data.db"
    with closing(sqlite3.connect(ours)) as made:
        made.execute(f"PRAGMA journal_mode = {journal}")
        made.execute("CREATE TABLE t (a PRIMARY KEY, b)")
        made.execute("INSERT INTO t (a, b) VALUES (1, 'first')")
        made.commit()
    shutil.copy(ours, plain)
    before = read_file(ours)
    with (
        closing(sqlite3.connect(ours, factory=Connection)) as conn,
        closing(sqlite3.connect(plain)) as model,
    ):
        conn.begin_step(managed=True)
        for do in doings:
            seen = observe(conn, do)
            expected = observe(model, do)
            if conn.note_lost():
                break
            assert seen == expected
        assert read_file(copy_as_after_kill(ours, folder / "killed")) == before
        last = read_content(conn)
        is_kept = ends == "success" and not conn.lost
        conn.end_step(keep=is_kept)
        assert read_file(ours) == (last if is_kept else before)
        assert not conn.in_transaction


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_tool_sees_a_plain_connection_and_orch_decides_what_stays(
    journal: str, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    doings = data.draw(st.lists(calls, min_size=1, max_size=25))
    ends = data.draw(st.sampled_from(["success", "failure"]))
    check(tmp_path_factory.mktemp("model"), journal, doings, ends)


@pytest.mark.full
@pytest.mark.timeout(7200)
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_so_it_is_five_thousand_times(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    doings = data.draw(st.lists(calls, min_size=5, max_size=50))
    journal = data.draw(st.sampled_from(["DELETE", "WAL"]))
    ends = data.draw(st.sampled_from(["success", "failure"]))
    check(tmp_path_factory.mktemp("model"), journal, doings, ends)
