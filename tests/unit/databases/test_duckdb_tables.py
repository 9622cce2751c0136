"""Which tables and files a tool used on DuckDB, in all that it may do to a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from discover_orch.databases.drivers import choose_log
from discover_orch.databases.duckdb_tables import MOST_STATEMENTS, DuckdbLog
from tests.support.seen import Seen, used_tables

pytestmark = pytest.mark.slow

Found = tuple[tuple[str, ...], tuple[str, ...], bool]


class Duck:
    def __init__(self, conn: duckdb.DuckDBPyConnection) -> None:
        self.conn = conn
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.listed: set[str] = set()
        heard = choose_log(conn, self._note)
        assert heard is not None
        self.statements = heard

    def _note(self, read: Iterable[str], written: Iterable[str], listed: Iterable[str]) -> None:
        self.read.update(read)
        self.written.update(written)
        self.listed.update(listed)

    def use(self, *does: str | Callable[[Any], object]) -> Seen:
        self.statements.begin_step()
        for one in does:
            with suppress(duckdb.Error):  # as a tool may do
                self.conn.execute(one) if isinstance(one, str) else one(self.conn)
        self.statements.resolve()
        return Seen(self.statements.drain())

    def run(self, *does: str | Callable[[Any], object]) -> Found:
        use = self.use(*does)
        return use.tables_read, use.tables_written, use.is_unclear


@pytest.fixture
def duck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Duck]:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as conn:
        for one in ("t", "u"):
            conn.execute(f"CREATE TABLE {one} AS SELECT 1 AS a")
        conn.execute("CREATE SCHEMA s")
        conn.execute("CREATE TABLE s.t (b INTEGER)")
        yield Duck(conn)
        DuckdbLog.latest = None


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (["FROM t", "CREATE TEMP TABLE t AS SELECT 1 AS a"], ((), (), True)),
        (["USE s", "FROM t"], (("s.t",), (), True)),
        (["WITH u AS (FROM t) FROM u", "WITH x AS (FROM t) FROM x"], (("t", "u"), (), False)),
        (["ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)", "USE x", "FROM q"], ((), (), True)),
        (["CREATE TABLE n AS FROM t", "DROP TABLE n"], (("t",), (), False)),
        (["DROP TABLE IF EXISTS ghost"], ((), (), False)),
        (["CREATE TABLE IF NOT EXISTS t (a INTEGER)"], ((), (), False)),
        ([lambda c: c.cursor().execute("FROM t")], (("t",), (), False)),
        (["CREATE TEMP TABLE x (a INT)", lambda c: c.cursor().execute("FROM t")], (("t",), (), True)),
        ([lambda c: c.table("t").filter("a IN (FROM u)").fetchall()], (("t", "u"), (), False)),
        ([lambda c: c.table("u").insert([1])], (("u",), (), True)),
        (["CREATE MACRO m(x) AS (SELECT max(a) + x FROM t)", "SELECT m(1)"], ((), (), True)),
        (["FROM main.T", "FROM memory.main.u"], (("t", "u"), (), False)),
        ([lambda c: [*map(c.execute, c.extract_statements("FROM t"))]], (("t",), (), False)),
        ([lambda c: c.executemany("INSERT INTO u VALUES (?)", [[1]])], ((), ("u",), False)),
        ([lambda c: c.sql("FROM t"), lambda c: c.query(query="FROM u")], (("t", "u"), (), False)),
        ([lambda c: duckdb.sql("FROM t", connection=c)], (("t",), (), False)),
        ([lambda c: c.table("t").aggregate("(SELECT max(a) FROM u)")], (("t", "u"), (), False)),
        ([lambda c: c.table("t").order("(SELECT max(a) FROM u) DESC")], (("t", "u"), (), False)),
        ([lambda c: c.table('main."T"').insert_into("u")], (("t",), ("u",), False)),
        ([lambda c: c.sql("FROM t").create("n")], (("t",), ("n",), False)),
        ([lambda c: c.table("t").query("z", "FROM z, u")], (("t",), (), True)),
        ([lambda c: c.table_function("range", [3])], ((), (), True)),
        (["CREATE MACRO m() AS TABLE FROM t", "CREATE VIEW v AS FROM m()"], ((), ("v",), True)),
        ([lambda c: c.cursor().execute("USE s").execute("FROM t")], (("t",), (), True)),
        ([lambda c: c.sql("FROM t").create_view("n"), "FROM n"], (("n", "t"), ("n",), False)),
        ([lambda c: c.register("frame", c.sql("FROM t")), "FROM frame"], (("t",), (), False)),
        (["MERGE INTO t USING u ON t.a = u.a WHEN NOT MATCHED THEN INSERT VALUES (u.a)"], (("t", "u"), ("t",), False)),
    ],
)  # fmt: skip
def test_uses_of_tables_in_duckdb(
    duck: Duck, does: list[str | Callable[[Any], object]], expected: Found
) -> None:
    assert duck.run(*does) == expected


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (["FROM absent"], used_tables(tables_missed=("absent",))),
        ([lambda c: c.table("absent")], used_tables(tables_missed=("absent",))),
        (["DROP TABLE IF EXISTS absent"], used_tables(tables_missed=("absent",), tables_kept=("absent",))),
        (["INSERT INTO absent VALUES (1)"], used_tables(tables_missed=("absent",))),
        (["FROM absent", "CREATE TABLE absent AS FROM t"], used_tables(tables_read=("absent", "t"), tables_written=("absent",), tables_created=("absent",))),
        (["DROP TABLE IF EXISTS t"], used_tables(tables_written=("t",), tables_dropped=("t",))),
        (["ALTER TABLE t RENAME TO w"], used_tables(tables_written=("t", "w"), tables_created=("w",), tables_dropped=("t",))),
        (["INSERT INTO t VALUES (1)"], used_tables(tables_written=("t",), tables_inserted=("t",))),
        (["INSERT OR REPLACE INTO k VALUES (1)"], used_tables(tables_written=("k",))),
        (["INSERT OR IGNORE INTO k VALUES (1)"], used_tables(tables_written=("k",))),
        (["INSERT INTO t VALUES (1)", "DELETE FROM t"], used_tables(tables_written=("t",))),
        (["CREATE TABLE IF NOT EXISTS t (a INTEGER)"], used_tables(tables_kept=("t",))),
        (["CREATE INDEX IF NOT EXISTS i ON t (a)"], used_tables(tables_kept=("t",))),
        (["FROM duckdb_tables()"], used_tables(tables_read=("*",), lists_tables=True)),
        (["SELECT table_name FROM duckdb_tables()"], used_tables(lists_tables=True)),
        (["SHOW TABLES"], used_tables(lists_tables=True)),
        (["SHOW ALL TABLES"], used_tables(tables_read=("*",), lists_tables=True)),
        (["DESCRIBE t"], used_tables(tables_read=("t",))),
        (["DESCRIBE FROM t"], used_tables(tables_read=("t",))),
        (["SHOW t"], used_tables(tables_read=("t",))),
        (["PRAGMA table_info('main.t')"], used_tables(tables_read=("t",))),
        (["FROM pragma_table_info('t')"], used_tables(tables_read=("t",))),
        (["FROM information_schema.columns WHERE table_name = 't' AND data_type = 'INTEGER'"], used_tables(tables_read=("s.t", "t"))),
        (["FROM duckdb_columns() WHERE table_name IN ('t', 'k')"], used_tables(tables_read=("k", "s.t", "t"))),
        (["FROM duckdb_columns() WHERE table_name = 'absent'"], used_tables(lists_tables=True)),
        (["FROM duckdb_columns() WHERE table_name = 't' OR column_name = 'a'"], used_tables(tables_read=("*",), lists_tables=True)),
        (["SELECT count(*) FILTER (WHERE table_name = 't') FROM duckdb_columns()"], used_tables(tables_read=("*",), lists_tables=True)),
        (["FROM information_schema.columns"], used_tables(tables_read=("*",), lists_tables=True)),
        (["PRAGMA show_tables"], used_tables(lists_tables=True)),
        (["SELECT table_name FROM information_schema.tables"], used_tables(lists_tables=True)),
        (["SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'"], used_tables(lists_tables=True)),
    ],
)  # fmt: skip
def test_how_tables_are_used_in_duckdb(
    duck: Duck, does: list[str | Callable[[Any], object]], expected: Seen
) -> None:
    duck.conn.execute("CREATE TABLE k (a INTEGER PRIMARY KEY)")
    assert duck.use(*does) == expected


@pytest.mark.parametrize(
    ("does", "is_unclear"),
    [
        (["CALL pragma_version()"], True),
        ([f"SELECT a AS n{n} FROM t" for n in range(MOST_STATEMENTS + 1)], True),
        (["SELECT 1 /*" + "x" * 1_000_000 + "*/"], True),
        (["FROM absent; FROM t"], True),
        (["FROM absent", "FROM t"], False),
    ],
)
def test_what_names_may_mean_and_long_texts_are_unclear(
    duck: Duck, does: list[str | Callable[[Any], object]], is_unclear: bool
) -> None:
    assert duck.use(*does).is_unclear is is_unclear
    assert duck.use("FROM t") == used_tables(tables_read=("t",))


def test_a_statement_that_failed_has_written_nothing(duck: Duck) -> None:
    assert duck.use("INSERT INTO t VALUES ('x')") == used_tables(tables_read=("t",))
    assert duck.use("CREATE TABLE t (a INTEGER)") == used_tables(tables_kept=("t",))
    twice = duck.use("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)")
    assert twice == used_tables(tables_written=("t",), tables_inserted=("t",))


def test_a_table_keeps_its_name_from_step_to_step(duck: Duck) -> None:
    assert duck.run("ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)")[1] == ()
    assert duck.run("USE x") == ((), (), True)
    assert duck.run("INSERT INTO q FROM memory.t") == (("t",), ("x.main.q",), False)


def test_files_are_reported_as_paths(duck: Duck, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("a\n1\n")
    duck.run("FROM 'in/a.csv'", "FROM 'in/*.csv'", "COPY t TO 'out.csv'")
    assert duck.read == {str(folder / "a.csv"), str(folder / "b.csv")}
    assert duck.written == {str(tmp_path / "out.csv")}
    duck.run(lambda conn: conn.sql("FROM t").write_csv("more.csv"))
    duck.run(lambda conn: conn.read_csv(["more.csv"]).fetchall())
    assert str(tmp_path / "more.csv") in duck.written & duck.read


def test_the_folders_of_a_glob_are_reported(duck: Duck, tmp_path: Path) -> None:
    deep = tmp_path / "in" / "deep"
    deep.mkdir(parents=True)
    for folder in (deep.parent, deep):
        (folder / "a.csv").write_text("a\n1\n")
    folders = {"*.csv": tmp_path, "in/*.csv": deep.parent, "in/d*/a.csv": deep.parent}
    for pattern, folder in folders.items():
        duck.listed.clear()
        duck.use(f"FROM '{pattern}'")
        assert duck.listed == {str(folder)}
    duck.listed.clear()
    duck.use("FROM read_csv('in/**/*.csv')", "FROM 'in/a.csv'", "FROM 'https://host/in/*.csv'")
    assert duck.listed == {str(deep.parent), str(deep)}


def test_files_behind_a_view_are_reported(duck: Duck, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    duck.run("CREATE VIEW v AS FROM 'a.csv'")
    duck.read.clear()
    assert duck.run("FROM v") == (("v",), (), False)
    assert duck.read == {str(tmp_path / "a.csv")}
