"""Which tables and files a tool used on DuckDB, in all that it may do to a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from discover_orch.databases.drivers import find_database
from discover_orch.databases.duckdb_tables import DuckdbLog
from tests.support.seen import Seen, used_tables

pytestmark = pytest.mark.slow

#: Before version 2, a query of a relation makes a view.
QUERIED = ("z",) if duckdb.__version__ < "2" else ()

Found = tuple[tuple[str, ...], tuple[str, ...], bool]


class Duck:
    def __init__(self, conn: duckdb.DuckDBPyConnection) -> None:
        self.conn = conn
        heard = find_database(conn).open_log(lambda name: None)
        assert heard is not None
        self.statements = heard

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
        (["FROM t", "CREATE TEMP TABLE t AS SELECT 1 AS a", "FROM t"], (("t",), (), False)),
        (["CREATE TEMP TABLE t AS SELECT 1 AS a", "FROM t"], ((), (), False)),
        (["USE s", "FROM t"], (("s.t",), (), False)),
        (["WITH u AS (FROM t) FROM u", "WITH x AS (FROM t) FROM x"], (("t",), (), False)),
        (["ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)", "USE x", "FROM q"], ((), (), False)),
        (["CREATE TABLE n AS FROM t", "DROP TABLE n"], (("t",), (), False)),
        (["DROP TABLE IF EXISTS ghost"], ((), (), False)),
        (["CREATE TABLE IF NOT EXISTS t (a INTEGER)"], ((), (), False)),
        ([lambda c: c.cursor().execute("FROM t")], (("t",), (), False)),
        (["CREATE TEMP TABLE x (a INT)", lambda c: c.cursor().execute("FROM t")], (("t",), (), False)),
        ([lambda c: c.table("t").filter("a IN (FROM u)").fetchall()], (("t", "u"), (), False)),
        ([lambda c: c.table("u").insert([1])], (("u",), (), True)),
        (["CREATE MACRO m(x) AS (SELECT max(a) + x FROM t)", "SELECT m(1)"], (("macro m", "t"), ("macro m",), False)),
        (["FROM main.T", "FROM memory.main.u"], (("t", "u"), (), False)),
        ([lambda c: [*map(c.execute, c.extract_statements("FROM t"))]], (("t",), (), False)),
        ([lambda c: c.executemany("INSERT INTO u VALUES (?)", [[1]])], ((), ("u",), False)),
        ([lambda c: c.sql("FROM t"), lambda c: c.query(query="FROM u")], (("t", "u"), (), False)),
        ([lambda c: duckdb.sql("FROM t", connection=c)], (("t",), (), False)),
        ([lambda c: c.table("t").aggregate("(SELECT max(a) FROM u)")], (("t", "u"), (), False)),
        ([lambda c: c.table("t").order("(SELECT max(a) FROM u) DESC")], (("t", "u"), (), False)),
        ([lambda c: c.table('main."T"').insert_into("u")], (("t",), ("u",), False)),
        ([lambda c: c.sql("FROM t").create("n")], (("t",), ("n",), False)),
        ([lambda c: c.table("t").query("z", "FROM z, u")], (("t",), QUERIED, True)),
        ([lambda c: c.table_function("range", [3])], ((), (), True)),
        (["CREATE MACRO m() AS TABLE FROM t", "CREATE VIEW v AS FROM m()"], (("macro m", "t"), ("macro m", "v"), False)),
        ([lambda c: c.cursor().execute("USE s").execute("FROM t")], (("s.t",), (), True)),
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
        (["CREATE INDEX IF NOT EXISTS i ON t (a)"], used_tables(tables_written=("index i",), tables_created=("index i",), tables_kept=("t",))),
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
        (["FROM duckdb_columns() WHERE table_name = 'absent'"], used_tables(tables_missed=("absent",))),
        (["FROM duckdb_columns() WHERE table_name = 't' OR column_name = 'a'"], used_tables(tables_read=("*",), lists_tables=True)),
        (["SELECT count(*) FILTER (WHERE table_name = 't') FROM duckdb_columns()"], used_tables(tables_read=("*",), lists_tables=True)),
        (["FROM information_schema.columns"], used_tables(tables_read=("*",), lists_tables=True)),
        (["PRAGMA show_tables"], used_tables(lists_tables=True)),
        (["SELECT table_name FROM information_schema.tables"], used_tables(lists_tables=True)),
        (["SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'"], used_tables(tables_found=("s.t", "t"))),
    ],
)  # fmt: skip
def test_how_tables_are_used_in_duckdb(
    duck: Duck, does: list[str | Callable[[Any], object]], expected: Seen
) -> None:
    duck.conn.execute("CREATE TABLE k (a INTEGER PRIMARY KEY)")
    assert duck.use(*does) == expected


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (["CALL pragma_version()"], used_tables()),
        (["SELECT 1 /*" + "x" * 1_000_000 + "*/"], used_tables()),
        (["FROM absent; FROM u"], used_tables(tables_missed=("absent",))),
        (["FROM u; FROM absent"], used_tables(tables_read=("u",), tables_missed=("absent",))),
        (["FROM absent", "FROM u"], used_tables(tables_read=("u",), tables_missed=("absent",))),
    ],
)
def test_long_texts_and_those_with_several_statements(
    duck: Duck, does: list[str | Callable[[Any], object]], expected: Seen
) -> None:
    assert duck.use(*does) == expected
    assert duck.use("FROM t") == used_tables(tables_read=("t",))


def test_a_statement_that_failed_has_written_nothing(duck: Duck) -> None:
    assert duck.use("INSERT INTO t VALUES ('x')") == used_tables(tables_read=("t",))
    assert duck.use("CREATE TABLE t (a INTEGER)") == used_tables(tables_kept=("t",))
    twice = duck.use("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)")
    assert twice == used_tables(tables_written=("t",), tables_inserted=("t",))


def test_a_table_keeps_its_name_from_step_to_step(duck: Duck) -> None:
    assert duck.run("ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)")[1] == ()
    assert duck.run("USE x") == ((), (), False)
    assert duck.run("INSERT INTO q FROM memory.t") == (("t",), ("x.main.q",), False)
