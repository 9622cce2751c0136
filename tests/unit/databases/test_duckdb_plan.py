"""Which tables each kind of statement reads and writes, as DuckDB plans it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from discover_orch.databases.drivers import find_database
from discover_orch.databases.duckdb_tables import DuckdbLog
from discover_orch.model.keys import OBJECTS
from tests.support.seen import Seen

SCRIPT = """
    CREATE TABLE t (a INTEGER, b INTEGER);
    INSERT INTO t VALUES (1, 2);
    CREATE TABLE u (a INTEGER, b INTEGER);
    CREATE TABLE k (a INTEGER PRIMARY KEY, b INTEGER);
    CREATE TABLE "odd ""name" (a INTEGER);
    CREATE SCHEMA s;
    CREATE TABLE s.t (a INTEGER);
    CREATE VIEW v AS SELECT * FROM t;
    CREATE VIEW vv AS SELECT v.a, u.b FROM v JOIN u USING (a);
    CREATE MACRO total(low) AS (SELECT sum(u.b) FROM u WHERE u.a > low);
    CREATE MACRO rows_of(low) AS TABLE SELECT * FROM v WHERE v.a > low;
    CREATE MACRO any_rows(name) AS TABLE SELECT * FROM query_table(name);
    CREATE SEQUENCE ids;
    CREATE TYPE mood AS ENUM ('a', 'b');
"""


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """One for all tests, each of which rolls back what it does."""
    folder = tmp_path_factory.mktemp("duckdb")
    with contextlib.chdir(folder), duckdb.connect("w.duckdb") as conn:
        Path("in.csv").write_text("1,2\n")
        conn.execute("ATTACH 'other.duckdb' AS other; CREATE TABLE other.o (a INTEGER)")
        conn.execute(SCRIPT)
        yield conn
        DuckdbLog.latest = None


def use(conn: duckdb.DuckDBPyConnection, text: str, values: object = None) -> Seen:
    log = find_database(conn).open_log(lambda name: None)
    assert log is not None
    log.begin_step()
    conn.begin()
    conn.execute(text, values)
    log.resolve()
    conn.rollback()
    return Seen(log.drain())


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT a FROM t", "t", ""),
        ("SELECT a FROM t WHERE false AND a IN (FROM s.t)", "s.t t", ""),
        ("WITH t AS (SELECT * FROM u) SELECT * FROM t", "u", ""),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "t", ""),
        ("WITH v AS (SELECT * FROM u) SELECT * FROM v", "u", ""),
        ("WITH v AS (SELECT * FROM v) SELECT * FROM v", "t v", ""),
        ("WITH vv AS (SELECT * FROM u), t AS (SELECT * FROM vv) SELECT count(*) AS v FROM t", "u", ""),
        ("WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a + 1 FROM r WHERE a < 3) FROM r", "t", ""),
        ("SELECT (WITH t AS (SELECT 1 AS a) SELECT max(a) FROM t) FROM u", "u", ""),
        ("SELECT * FROM t JOIN u USING (a)", "t u", ""),
        ("FROM t POSITIONAL JOIN u", "t u", ""),
        ("FROM t, LATERAL (SELECT b + t.a FROM u)", "t u", ""),
        ("FROM v", "t v", ""),
        ("FROM vv", "t u v vv", ""),
        ("SELECT total(1)", "macro total|u", ""),
        ("FROM rows_of(1)", "macro rows_of|t|v", ""),
        ("FROM any_rows('u')", "macro any_rows|u", ""),
        ("FROM any_rows('vv')", "macro any_rows|t|u|v|vv", ""),
        ("FROM query_table('v')", "t v", ""),
        ("FROM query('SELECT * FROM ' || 't')", "t", ""),
        ("SET VARIABLE x = 'u'; FROM query_table(getvariable('x'))", "u", ""),
        ("PIVOT t ON a IN (1, 2) USING sum(b)", "t", ""),
        ("PIVOT t ON a USING sum(b)", "t", ""),
        ("UNPIVOT t ON a, b", "t", ""),
        ("SUMMARIZE t", "t", ""),
        ("DESCRIBE v", "t v", ""),
        ("DESCRIBE SELECT * FROM t", "t", ""),
        ("SHOW t", "t", ""),
        ("EXPLAIN SELECT * FROM v", "t v", ""),
        ("SELECT nextval('ids')", "sequence ids", ""),
        ("SELECT 'a'::mood", "type mood", ""),
        ("PREPARE q AS SELECT * FROM vv WHERE a = ?; EXECUTE q(1)", "t u v vv", ""),
        ("PREPARE q AS SELECT * FROM u; EXECUTE q", "u", ""),
        ('SELECT * FROM "odd ""name", W.MAIN."T", s.T', 'odd "name|s.t|t', ""),
        ("FROM other.o", "", ""),
        ("FROM 'in.csv', read_csv('in.csv')", "", ""),
        ("FROM range(3), generate_series(1, 2), glob('*.csv')", "", ""),
        ("CREATE TEMP TABLE x AS FROM t; FROM x", "t", ""),
        ("CREATE TEMP TABLE u AS FROM t; FROM u", "t", ""),
        ("INSERT INTO t VALUES (1, 2)", "", "t"),
        ("INSERT INTO t VALUES (total(1), nextval('ids'))", "macro total|sequence ids|u", "t"),
        ("INSERT INTO s.t SELECT a FROM v", "t v", "s.t"),
        ("INSERT INTO t BY NAME SELECT a, b FROM t", "t", "t"),
        ("WITH t AS (FROM u) INSERT INTO k SELECT * FROM t", "u", "k"),
        ("INSERT INTO k VALUES (1, 2) ON CONFLICT DO NOTHING", "", "k"),
        ("INSERT INTO k SELECT * FROM k ON CONFLICT DO NOTHING", "k", "k"),
        ("INSERT INTO k VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = excluded.b", "k", "k"),
        ("INSERT OR REPLACE INTO k FROM u", "u", "k"),
        ("UPDATE t SET a = 1", "t", "t"),
        ("UPDATE t SET a = u.b FROM u WHERE u.a = t.a", "t u", "t"),
        ("DELETE FROM t", "", "t"),
        ("DELETE FROM t WHERE a = 1", "t", "t"),
        ("DELETE FROM t USING u WHERE t.a = u.a", "t u", "t"),
        ("DELETE FROM t RETURNING a", "t", "t"),
        ("TRUNCATE t", "", "t"),
        ("MERGE INTO t USING v ON t.a = v.b WHEN MATCHED THEN DELETE", "t v", "t"),
        ("MERGE INTO k USING u USING (a) WHEN NOT MATCHED THEN INSERT", "k u", "k"),
        ("CREATE TABLE n (a INTEGER REFERENCES k (a))", "", "n"),
        ("CREATE TABLE n AS WITH t AS (FROM u) FROM t", "u", "n"),
        ("CREATE OR REPLACE TABLE t AS FROM t", "t", "t"),
        ("CREATE TABLE n AS PIVOT t ON a USING sum(b)", "t", "n"),
        ("INSERT INTO u (b) SELECT count(*) FROM (PIVOT t ON a USING sum(b))", "t", "u"),
        ("CREATE TABLE s.n AS FROM v", "t v", "s.n"),
        ("CREATE VIEW n AS SELECT * FROM vv", "t u v vv", "n"),
        ("CREATE OR REPLACE VIEW v (c) AS SELECT a FROM u", "u", "v"),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", "t", "v"),
        ("CREATE MACRO n(a) AS a + 1", "", "macro n"),
        ("CREATE OR REPLACE MACRO total(low) AS low", "", "macro total"),
        ("CREATE SEQUENCE n", "", "sequence n"),
        ("CREATE TYPE n AS ENUM ('c')", "", "type n"),
        ("CREATE INDEX i ON t (a)", "", "index i"),
        ("DROP TABLE s.t", "", "s.t"),
        ("DROP VIEW vv", "", "vv"),
        ("DROP MACRO total", "", "macro total"),
        ("DROP SCHEMA s CASCADE", "", "s.t"),
        ("ALTER TABLE u ADD COLUMN c INTEGER", "", "u"),
        ("ALTER TABLE s.t RENAME TO n", "", "s.n s.t"),
        ("COPY t TO 'out.csv'", "t", ""),
        ("COPY (SELECT * FROM v) TO 'out.parquet' (FORMAT parquet)", "t v", ""),
        ("COPY t (a, b) FROM 'in.csv'", "", "t"),
        ("EXPORT DATABASE 'out'", "*", ""),
        ("INSERT INTO t FROM u; UPDATE u SET a = 1; FROM s.t", "s.t u", "t u"),
        ("-- t's own\nFROM /* v */ u", "u", ""),
    ],
)  # fmt: skip
def test_each_statement_has_its_tables(
    conn: duckdb.DuckDBPyConnection, sql: str, read: str, written: str
) -> None:
    if "EXECUTE" in sql and duckdb.__version__ < "2":
        pytest.skip("DuckDB does not explain what was prepared")
    seen = use(conn, sql)

    def names(given: str) -> set[str]:
        is_list = "|" in given or given.startswith(OBJECTS)
        return {*(given.split("|") if is_list else given.split())}

    assert ({*seen.tables_read}, {*seen.tables_written}) == (names(read), names(written))
    assert not seen.is_unclear
    assert not seen.gaps


# DuckDB's own reader of names as an oracle, which knows only queries.

TABLES = ("t", "u", "v")


@st.composite
def queries(draw: st.DrawFn, depth: int = 3, common: tuple[str, ...] = ()) -> str:
    """A query with the columns a and b; its own WITHs may have names of tables."""

    def one(*more: str) -> str:
        return draw(queries(depth - 1, (*common, *more)))

    def name(*more: str) -> str:
        return draw(st.sampled_from((*TABLES, *common, *more)))

    own = ("c", *TABLES)
    kinds = ["plain", "join"]
    if depth > 0:
        kinds += ["in", "union", "from", "with", "two", "recursive", "exists", "lateral"]
    match draw(st.sampled_from(kinds)):
        case "join":
            return f"SELECT x.a, y.b FROM {name()} AS x JOIN {name()} AS y ON x.a = y.a"
        case "in":
            return f"SELECT a, b FROM {name()} WHERE a IN (SELECT a FROM ({one()}) AS q)"
        case "exists":
            return f"SELECT a, b FROM {name()} AS x WHERE EXISTS (SELECT y.b FROM ({one()}) AS y WHERE y.a = x.a)"
        case "union":
            return f"SELECT a, b FROM ({one()}) AS q UNION ALL SELECT a, b FROM ({one()}) AS r"
        case "from":
            return f"SELECT a, b FROM ({one()}) AS q"
        case "lateral":
            return f"SELECT x.a, y.b FROM {name()} AS x, LATERAL (SELECT a, b FROM {name()} AS z WHERE z.a = x.a) AS y"
        case "with":
            new = draw(st.sampled_from(own))
            return f"WITH {new} AS ({one()}) SELECT x.a, x.b FROM {new} AS x, ({one(new)}) AS y"
        case "two":
            new, other = draw(st.permutations(own))[:2]
            inner = f"SELECT x.a, y.b FROM {new} AS x, ({one(new)}) AS y"
            return f"WITH {new} AS ({one()}), {other} AS ({inner}) SELECT a, b FROM {other}"
        case "recursive":
            new = draw(st.sampled_from(own))
            start = draw(st.sampled_from([one for one in TABLES if one != new]))
            return (
                f"WITH RECURSIVE {new} AS (SELECT a, b FROM {start} UNION ALL SELECT a + 1, b FROM {new} WHERE a < 3) "
                f"SELECT x.a, x.b FROM {new} AS x, ({one(new)}) AS y"
            )
    return f"SELECT a, b FROM {name()}"


@pytest.mark.slow
def test_any_query_reads_the_tables_that_duckdb_names() -> None:
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t (a INTEGER, b INTEGER); CREATE TABLE u AS FROM t")
        conn.execute("CREATE TABLE w AS FROM t; CREATE VIEW v AS SELECT a, b FROM w")

        @settings(max_examples=3 * settings().max_examples // 2)
        @given(
            sql=queries(), form=st.sampled_from(["{}", "CREATE TABLE n AS {}", "INSERT INTO w {}"])
        )
        def holds(sql: str, form: str) -> None:
            try:
                named = conn.get_table_names(sql)
            except duckdb.Error:
                assume(False)
            DuckdbLog.latest = None
            seen = use(conn, form.format(sql))
            assert {*seen.tables_read} - {"v"} == named, sql
            assert ("v" in seen.tables_read) is ("w" in named), sql
            assert not seen.is_unclear
            assert not seen.gaps

        holds()
        DuckdbLog.latest = None
