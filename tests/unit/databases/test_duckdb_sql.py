"""What statements of DuckDB do to tables: a table of cases, and DuckDB and SQLite themselves as oracles."""

from __future__ import annotations

import logging
import sqlite3
import string
from contextlib import closing

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from discover_orch.databases.duckdb_sql import LONGEST, UNCLEAR, Effect, read_statements
from discover_orch.databases.opening import open_sqlite
from discover_orch.databases.sqlite_tables import SqliteTableLog
from tests.support.seen import Seen


def names(parts: tuple[tuple[str, ...], ...]) -> str:
    return " ".join(sorted(".".join(one) for one in parts))


def effect_of(text: str) -> Effect:
    [effect] = read_statements(text)
    return effect


def tables_of(text: str) -> tuple[set[str], set[str]]:
    """(read, written or made) of all statements, none of them unclear."""
    effects = read_statements(text)
    assert not any(one.is_unclear for one in effects), text
    read = {".".join(name) for one in effects for name in one.read}
    written = {".".join(name) for one in effects for name in (*one.written, *one.created)}
    return read, written


# What is read, and what is written.


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT a FROM t", "t", ""),
        ("TABLE t", "t", ""),
        ("VALUES (1), (2)", "", ""),
        ("SELECT * FROM t x JOIN s.u y USING (a)", "s.u t", ""),
        ("SELECT * FROM t UNION ALL (SELECT * FROM u EXCEPT SELECT * FROM v)", "t u v", ""),
        ("INSERT INTO t VALUES (1) RETURNING a", "", "t"),
        ("INSERT INTO t (a) SELECT a FROM u", "u", "t"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "", "t"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b", "t", "t"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = t.b + 1", "t", "t"),
        ("UPDATE t SET a = 1", "t", "t"),
        ("UPDATE t SET a = a + 1", "t", "t"),
        ("UPDATE t SET a = 1 WHERE b = 2", "t", "t"),
        ("UPDATE t SET a = 1 RETURNING b", "t", "t"),
        ("UPDATE t SET a = (SELECT 1 FROM u)", "t u", "t"),
        ("UPDATE t SET a = u.a FROM u WHERE u.b = t.b", "t u", "t"),
        ("DELETE FROM t", "", "t"),
        ("DELETE FROM t RETURNING a", "t", "t"),
        ("DELETE FROM t USING u WHERE t.a = u.a", "t u", "t"),
        ("TRUNCATE t, u", "", "t u"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = u.b "
             "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (u.a, u.b)", "t u", "t"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "t u", "t"),
        ("CREATE TABLE n (a int REFERENCES u (a))", "", "n"),
        ("CREATE TABLE n AS SELECT * FROM t", "t", "n"),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", "t", "v"),
        ("DROP VIEW IF EXISTS v", "", "v"),
        ("ALTER TABLE t ADD COLUMN c int", "", "t"),
        ("ALTER TABLE s.t RENAME TO u", "", "s.t s.u"),
        ("CREATE INDEX ON t (a)", "", ""),
        ("-- t's own\n/* ' */ SELECT * FROM t", "t", ""),
        ("FROM t", "t", ""),
        ("FROM t SELECT a WHERE a IN (FROM u)", "t u", ""),
        ("SELECT * EXCLUDE (a) FROM t ASOF JOIN u USING (a)", "t u", ""),
        ("PIVOT t ON a USING sum(b)", "t", ""),
        ("SUMMARIZE t", "t", ""),
        ("INSERT OR REPLACE INTO t BY NAME FROM u", "u", "t"),
        ("CREATE OR REPLACE TABLE n AS FROM t", "t", "n"),
        ("SELECT list_transform(a, x -> x + 1), {'a': [1]}, a[1:2] FROM db.s.t", "db.s.t", ""),
        ("SELECT * FROM range(10), duckdb_tables()", "", ""),
    ],
)  # fmt: skip
def test_each_statement_has_its_tables(sql: str, read: str, written: str) -> None:
    seen_read, seen_written = tables_of(sql)
    assert (seen_read, seen_written) == ({*read.split()}, {*written.split()})


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE) DELETE FROM t",
        "this is no SQL",
        "SELECT 'unfinished",
        "COPY FROM DATABASE a TO b",
        "IMPORT DATABASE 'd'",
        "EXPORT DATABASE 'd'",
        "SELECT * FROM query('FROM t')",
        "SELECT * FROM st_read('x.shp')",
        "SELECT * FROM glob('*.csv')",
        "SET VARIABLE x = (SELECT max(a) FROM t)",
        "SET file_search_path = 'in'",
        "SELECT * FROM read_csv('a' || '.csv')",
        "FRIMBLE t",
        "WITH x AS (DELETE FROM t RETURNING a) FROM x",
        "SET search_path = s",
        "RESET search_path",
        "USE s",
        "SET schema = 's'",
        "PRAGMA search_path = 's'",
    ],
)  # fmt: skip
def test_statements_whose_effect_the_text_does_not_show_are_unclear(sql: str) -> None:
    assert any(one.is_unclear for one in read_statements(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SET TIME ZONE 'UTC'",
        "SET work_mem = '1GB'",
        "SHOW DATABASES",
        "BEGIN",
        "ANALYZE t",
        "PRAGMA threads = 4",
        "EXPLAIN SELECT * FROM t",
    ],
)
def test_statements_without_tables_have_no_effect(sql: str) -> None:
    assert effect_of(sql) == Effect()


def test_commits_are_recognised() -> None:
    assert effect_of("COMMIT") == effect_of("end work") == Effect(commits=True)


def test_creating_a_table_differs_from_writing_to_it() -> None:
    assert effect_of("CREATE TABLE IF NOT EXISTS n (a int)").if_not_exists
    default_schema = effect_of("CREATE TABLE n (a int)")
    assert (default_schema.created, default_schema.if_not_exists, default_schema.changes_names) == (
        (("n",),),
        False,
        True,
    )
    for sql in ("CREATE TEMP TABLE n AS SELECT * FROM t", "CREATE TEMP VIEW n AS FROM t"):
        temporary_created = effect_of(sql)
        assert (
            names(temporary_created.temporary_created),
            names(temporary_created.read),
            temporary_created.created,
        ) == ("n", "t", ())


# Names.


@pytest.mark.parametrize(
    ("written", "name"),
    [("T", ("t",)), ('"T"', ("t",)), ('"a""b"', ('a"b',)), ('Db."S".T', ("db", "s", "t"))],
)
def test_a_name_is_folded_as_the_database_does(written: str, name: tuple[str, ...]) -> None:
    assert effect_of(f"SELECT * FROM {written}").read == (name,)


@pytest.mark.parametrize(
    ("sql", "called"),
    [
        ("SELECT nvl(a), f.x(1) FROM t", "nvl x"),  # sqlglot knows nvl, and calls it otherwise
        ('SELECT "My" (1)', "my"),
        ("CREATE TABLE n (a int DEFAULT f())", "f"),
        ("SELECT * FROM g(1)", "g"),
    ],
)
def test_possible_functions_of_the_user_are_found(sql: str, called: str) -> None:
    assert {*called.split()} <= {*effect_of(sql).called}


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("FROM 'a.csv', 'in/*.parquet'", "a.csv in/*.parquet", ""),
        ("FROM read_csv(['a.csv', 'b.csv'])", "a.csv b.csv", ""),
        ("FROM read_parquet('a.parquet', hive_partitioning = true)", "a.parquet", ""),
        ("FROM read_json_auto('a.json')", "a.json", ""),
        ("FROM read_text('a.txt')", "a.txt", ""),
        ("COPY t FROM 'a.csv' (HEADER)", "a.csv", ""),
        ("COPY t TO 'd' (FORMAT parquet, PARTITION_BY (a))", "", "d"),
        ("COPY (FROM 'a.csv') TO 'b.csv'", "a.csv", "b.csv"),
        ("FROM read_csv(?)", "", ""),
        ("FROM read_csv($path)", "", ""),
    ],
)
def test_files_in_statements_of_duckdb_are_found(sql: str, read: str, written: str) -> None:
    effect = effect_of(sql)
    assert not effect.is_unclear
    assert (" ".join(effect.files_read), " ".join(effect.files_written)) == (read, written)


def test_several_statements_in_a_text_are_read_one_by_one() -> None:
    text = "SELECT 'é😀;'; -- ;\nINSERT INTO t SELECT * FROM u /* ; */ ;; SELECT $$;$$ FROM v"
    effects = read_statements(text)
    assert [(names(one.read), names(one.written)) for one in effects] == [
        ("", ""),
        ("u", "t"),
        ("v", ""),
    ]
    assert read_statements(" ; -- nothing\n") == ()


# Whatever comes.

WORDS = st.sampled_from(
    "select from with recursive insert into update set delete merge using when matched then copy to create table "
    "view temp as drop alter values union ( ) , ; . * ' \" $$ -- /* */ E' t u \"T\" 1 'x' $1 %s :n ? => -> [ ] { } "
    "on conflict do nothing returning explain analyze pivot lateral at time zone case end null".split()
)


@settings(max_examples=2 * settings().max_examples)
@given(text=st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=14).map(" ".join)))
def test_no_text_makes_it_raise(text: str) -> None:
    read_statements(text)


def test_a_text_that_is_too_long_or_too_deep_is_unclear() -> None:
    assert read_statements("SELECT 1 /*" + "x" * LONGEST + "*/") == (UNCLEAR,)
    deep = "SELECT " + "f(" * 10_000 + ")" * 10_000 + " FROM t"
    assert any(one.is_unclear for one in read_statements(deep))


def test_the_parser_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read_statements("ALTER TABLE t FRIMBLE x")
    assert caplog.records == []
    assert not logging.getLogger("sqlglot").disabled


# Asked of the databases themselves.

TABLES = ("t", "u", "v")
MAKE = "".join(f"CREATE TABLE {one} (a INTEGER, b INTEGER);" for one in (*TABLES, "w"))


@st.composite
def queries(
    draw: st.DrawFn, is_sqlite: bool = False, depth: int = 3, common: tuple[str, ...] = ()
) -> str:
    """A query with the columns a and b; its own WITHs may have names of tables."""

    def one(*more: str) -> str:
        return draw(queries(is_sqlite, depth - 1, (*common, *more)))

    def name(*more: str) -> str:
        return draw(st.sampled_from((*TABLES, *common, *more)))

    # SQLite's authorizer takes a WITH that has the name of a table for it.
    own = ("c", "d") if is_sqlite else ("c", *TABLES)
    kinds = ["plain", "join"]
    if depth > 0:
        kinds += ["in", "union", "from", "with", "two", "recursive", "exists"]
        kinds += [] if is_sqlite else ["lateral"]
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


WRITES = (
    "{}",
    "INSERT INTO w {}",
    "INSERT INTO t {}",
    "UPDATE w SET a = (SELECT max(a) FROM ({}) AS q)",
    "UPDATE t SET a = b + 1 WHERE b IN (SELECT a FROM ({}) AS q)",
    "DELETE FROM w WHERE a IN (SELECT a FROM ({}) AS q)",
    "WITH c AS ({}) INSERT INTO w SELECT a, b FROM c",
)


def test_duckdb_reads_the_same_tables() -> None:
    with duckdb.connect() as conn:
        conn.execute(MAKE)

        @settings(max_examples=3 * settings().max_examples // 2)
        @given(sql=queries())
        def holds(sql: str) -> None:
            try:
                found = conn.get_table_names(sql)
            except duckdb.Error:
                assume(False)
            # A WITH counts as the table of that name.
            assert {*found} <= tables_of(sql)[0] <= {*found, "c", *TABLES}

        holds()


@settings(max_examples=2 * settings().max_examples)
@given(frame=st.sampled_from(WRITES), query=queries(is_sqlite=True))
def test_sqlite_reads_and_writes_no_other_tables(frame: str, query: str) -> None:
    sql = frame.format(query)
    with closing(open_sqlite(":memory:")) as conn:
        conn.executescript(MAKE)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        try:
            conn.execute(sql)
        except sqlite3.Error:  # a WITH that names itself, to SQLite
            assume(False)
        tables.resolve()
        use = Seen(tables.drain())
        read, written, is_unclear = use.tables_read, use.tables_written, use.is_unclear
    assert not is_unclear
    seen_read, seen_written = tables_of(sql)
    assert {*read} <= seen_read
    assert {*written} == seen_written


IDENTIFIERS = st.text(alphabet=string.ascii_letters + 'äÖ_1." ', min_size=1, max_size=8)


def test_duckdb_and_this_mean_the_same_table_by_a_name() -> None:
    with duckdb.connect() as conn:

        @given(name=IDENTIFIERS, is_quoted=st.booleans())
        def holds(name: str, is_quoted: bool) -> None:
            written = '"' + name.replace('"', '""') + '"' if is_quoted else name
            conn.execute("BEGIN")
            try:
                conn.execute(f"CREATE TABLE {written} (a INTEGER)")
                [(created,)] = conn.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            except duckdb.Error:
                assume(False)
            finally:
                conn.execute("ROLLBACK")
            effects = read_statements(f"SELECT a FROM {written}")
            if not any(one.is_unclear for one in effects):
                assert [one.read for one in effects] == [((created.lower(),),)]

        holds()
