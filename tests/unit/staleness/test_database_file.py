"""Which database a file is, whether it was written, and which tables are in it: real files of SQLite and DuckDB."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from discover_orch.staleness.database_file import (
    DatabaseStat,
    _ask_statx,
    read_database,
    read_tables,
)


def database(path: Path, *values: int, mode: str = "delete") -> Path:
    """Each value is a change of its own."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"pragma journal_mode = {mode}")
        conn.execute("create table if not exists t (x)")
        for one in values:
            conn.execute("insert into t values (?)", (one,))
            conn.commit()
    return path


def duck(path: Path, *values: int) -> Path:
    with duckdb.connect(str(path)) as conn:
        conn.execute("create table if not exists t (x integer)")
        for one in values:
            conn.execute("insert into t values (?)", [one])
    return path


def look_at(root: Path, name: str = "data.db") -> DatabaseStat:
    stat = read_database(str(root), name)
    assert stat is not None
    return stat


Make = Callable[..., Path]


@pytest.fixture(params=["delete", "wal", "duckdb"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make a database, or write to it."""
    if request.param == "duckdb":
        return duck
    return lambda path, *values: database(path, *values, mode=request.param)


# Which database it is.


def test_a_database_that_was_written_is_the_same(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    assert look_at(tmp_path) == before
    assert before.is_same(before)
    assert not before.was_written_since(before)
    make(path, 2, 3)
    after = look_at(tmp_path)
    assert after.is_same(before)
    assert after.was_written_since(before)


def test_an_exact_copy_is_the_same_wherever_it_stands(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "data.db", 1)
    shutil.copytree(tmp_path, tmp_path / "copy", copy_function=shutil.copyfile)
    copy, before = look_at(tmp_path / "copy"), look_at(tmp_path)
    assert copy.inode != before.inode
    assert copy.is_same(before)
    assert not copy.was_written_since(before)
    make(tmp_path / "copy" / "data.db", 2)
    later = look_at(tmp_path / "copy")
    assert later.was_written_since(before)
    assert not later.is_same(before)


def test_a_file_that_was_removed_and_made_again_is_another_database(
    tmp_path: Path, make: Make
) -> None:
    path = make(tmp_path / "data.db", 1, 2)
    before = look_at(tmp_path)
    for one in tmp_path.iterdir():
        one.unlink()
    make(path, 3, 4, 5, 6)  # often with the same inode, and with no lower counter
    after = look_at(tmp_path)
    assert not after.is_same(before)
    assert after.was_written_since(before)


def test_another_file_in_its_place_is_another_database(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    os.replace(make(tmp_path / "other.db", 1, 2, 3), tmp_path / "data.db")
    assert not look_at(tmp_path).is_same(before)


def test_an_older_copy_of_it_is_another_database(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", 1)
    older = path.read_bytes()
    database(path, 2, 3)
    before = look_at(tmp_path)
    path.write_bytes(older)  # in the same file
    assert look_at(tmp_path).inode == before.inode
    assert not look_at(tmp_path).is_same(before)
    (tmp_path / "older.db").write_bytes(older)
    os.replace(tmp_path / "older.db", path)
    assert not look_at(tmp_path).is_same(before)


def test_a_commit_that_was_cut_off_and_is_rolled_back_makes_no_other_database(
    tmp_path: Path,
) -> None:
    """As where its process was killed before it could remove the journal."""
    path = database(tmp_path / "data.db", 1)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "PRAGMA cache_size = 1"
        )  # so that the journal is on the disk before the commit
        conn.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
        os.link(f"{path}-journal", tmp_path / "kept")
        conn.commit()
    os.rename(tmp_path / "kept", f"{path}-journal")
    cut_off = look_at(tmp_path)
    with closing(sqlite3.connect(path)) as conn:
        assert [*conn.execute("SELECT x FROM t")] == [(1,)], "not rolled back"
    now = look_at(tmp_path)
    assert now.is_same(cut_off)
    assert now.was_written_since(cut_off)


def test_another_copy_with_as_many_changes_has_been_written(tmp_path: Path) -> None:
    database(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    shutil.copyfile(database(tmp_path / "other.db", 2), tmp_path / "data.db")
    after = look_at(tmp_path)
    assert (after.counter, after.size, after.header) == (before.counter, before.size, before.header)
    assert after.was_written_since(before)


def test_a_large_file_of_another_content_is_no_copy(tmp_path: Path) -> None:
    for name, filling in (("data.db", b"a"), ("other.db", b"b")):
        with closing(sqlite3.connect(tmp_path / name)) as conn:
            conn.execute("create table t (x)")
            conn.execute("insert into t values (?)", (filling * (1 << 21),))
            conn.commit()
    before, other = look_at(tmp_path), look_at(tmp_path, "other.db")
    assert (other.size, other.header) == (before.size, before.header)
    assert not other.is_same(before)


def test_a_copy_of_a_large_duckdb_file_that_was_written_is_no_exact_copy(tmp_path: Path) -> None:
    """However little of the file has changed: each of its checkpoints counts in a header."""
    with duckdb.connect(str(tmp_path / "data.db")) as conn:
        for name in "abcdefgh":
            conn.execute(f"create table {name} as select range as x from range(200000)")
    before = look_at(tmp_path)
    for number in range(8):
        (tmp_path / f"copy{number}").mkdir()
        copy = shutil.copyfile(tmp_path / "data.db", tmp_path / f"copy{number}" / "data.db")
        with duckdb.connect(str(copy)) as conn:
            conn.execute(f"insert into {'abcdefgh'[number]} values (1)")
        assert look_at(tmp_path / f"copy{number}").was_written_since(before)


@pytest.mark.parametrize("how", [read_database, "statx"])
def test_a_new_file_of_the_same_inode_has_another_birth(tmp_path: Path, how: object) -> None:
    """As far as the file system tells; the time of creation has the resolution of the coarse clock."""

    def birth() -> str:
        path.touch()
        with path.open("rb") as file:
            found = _ask_statx(file.fileno()) if how == "statx" else look_at(tmp_path).birth
        path.unlink()
        return found

    path = tmp_path / "data.db"
    first = birth()
    deadline = time.monotonic() + 60
    while (found := birth()) == first and first:
        assert time.monotonic() < deadline
    assert bool(found) == bool(first)


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "name"])
def test_what_is_no_file_is_no_database(tmp_path: Path, what: str) -> None:
    if what == "folder":
        (tmp_path / "data.db").mkdir()
    elif what == "pipe":
        os.mkfifo(tmp_path / "data.db")
    name = "a\0b" if what == "name" else "data.db"
    assert read_database(str(tmp_path), name) is None
    assert read_tables(str(tmp_path), name) is None


def test_any_bytes_have_a_stat(tmp_path: Path) -> None:
    for data in (b"", b"SQLite format 3\0", b"x" * 200, b"SQLite format 3\0" + b"x" * 200_000):
        (tmp_path / "data.db").write_bytes(data)
        stat = look_at(tmp_path)
        assert stat.is_same(stat)
        assert not stat.was_written_since(stat)
        assert read_tables(str(tmp_path), "data.db") in (None, frozenset())


# Whether it was written.


def test_reading_is_no_write(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    if make is duck:
        with duckdb.connect(str(path)) as duckling:
            duckling.execute("from t").fetchall()
    else:
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("select * from t").fetchall()
            assert not look_at(tmp_path).was_written_since(before)  # with a log that is empty
            conn.execute("begin")
            conn.execute("insert into t values (1)")
            conn.rollback()
    assert not look_at(tmp_path).was_written_since(before)


@pytest.mark.parametrize(
    "sql", ["insert into t values (2)", "vacuum", "drop table t", "pragma user_version = 3"]
)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_each_kind_of_write_is_one(tmp_path: Path, mode: str, sql: str) -> None:
    path = database(tmp_path / "data.db", 1, mode=mode)
    before = look_at(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(sql)
        assert look_at(tmp_path).was_written_since(before)  # in the log, or in the file
    after = look_at(tmp_path)
    assert after.was_written_since(before)
    assert after.is_same(before)


def test_a_write_whose_time_is_put_back_is_one(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    assert look_at(tmp_path).was_written_since(before)


def test_a_log_that_was_written_into_the_file_before_may_go(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", mode="wal")
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("insert into t values (1)")
        conn.commit()
        conn.execute("pragma wal_checkpoint")
        before = look_at(tmp_path)
        assert before.wal_size
    after = look_at(tmp_path)
    assert after.wal_size == 0
    assert not after.was_written_since(before)


# Which tables are there.

MAKE = """
create table Raw (a primary key);
create view "odd ""n"" ame" as select a from raw;
create table orch_memory (a);
create index i on raw (a);
analyze;
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("name", ["data.db", "odd name?mode=rwc#%41.db"])
def test_tables_and_views_are_read_and_nothing_is_left_beside_the_file(
    tmp_path: Path, mode: str, name: str
) -> None:
    with closing(sqlite3.connect(tmp_path / name)) as conn:
        conn.executescript(f"pragma journal_mode = {mode};" + MAKE)
    before = look_at(tmp_path, name)
    names = frozenset({"raw", 'odd "n" ame', "index i", "trigger or index on raw"})
    assert read_tables(str(tmp_path), name) == names
    assert os.listdir(tmp_path) == [name]
    assert look_at(tmp_path, name) == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_tables_are_read_while_another_program_has_the_database_open(
    tmp_path: Path, mode: str
) -> None:
    path = database(tmp_path / "data.db", mode=mode)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table u (a)")
        conn.commit()
        before = sorted(os.listdir(tmp_path))
        assert read_tables(str(tmp_path), "data.db") == frozenset({"t", "u"})
        assert sorted(os.listdir(tmp_path)) == before
        conn.execute("begin exclusive")
        assert read_tables(str(tmp_path), "data.db") == (
            frozenset({"t", "u"}) if mode == "wal" else None
        )


def test_a_log_without_its_index_is_left_to_a_writer(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", mode="wal")
    (tmp_path / "copy").mkdir()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table u (a)")
        conn.commit()
        for name in ("data.db", "data.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy")
    assert read_tables(str(tmp_path / "copy"), "data.db") is None
    assert sorted(os.listdir(tmp_path / "copy")) == ["data.db", "data.db-wal"]


def test_what_is_no_sqlite_file_has_no_tables(tmp_path: Path) -> None:
    duck(tmp_path / "data.db", 1)
    assert read_tables(str(tmp_path), "data.db") is None
    assert read_tables(str(tmp_path), "absent.db") is None
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "empty.db").touch()
    assert read_tables(str(tmp_path), "empty.db") == frozenset()
