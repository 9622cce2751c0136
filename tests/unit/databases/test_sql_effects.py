"""What statements do to tables: a table of cases, and DuckDB, SQLite and PostgreSQL themselves as oracles."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import string
from contextlib import closing

import duckdb
import psycopg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from discover_orch.databases.effect import UNCLEAR, Effect
from discover_orch.databases.opening import open_sqlite
from discover_orch.databases.sql_effects import LONGEST, read_statements
from discover_orch.databases.sqlite_tables import SqliteTableLog

PG, DUCK = "postgres", "duckdb"


def names(parts: tuple[tuple[str, ...], ...]) -> str:
    return " ".join(sorted(".".join(one) for one in parts))


def effect_of(text: str, dialect: str = PG) -> Effect:
    [effect] = read_statements(text, dialect)
    return effect


def tables_of(text: str, dialect: str) -> tuple[set[str], set[str]]:
    """(read, written or made) of all statements, none of them unclear."""
    effects = read_statements(text, dialect)
    assert not any(one.is_unclear for one in effects), text
    read = {".".join(name) for one in effects for name in one.read}
    written = {".".join(name) for one in effects for name in (*one.written, *one.created)}
    return read, written


# What is read, and what is written.


@pytest.mark.parametrize(
    ("dialect", "sql", "read", "written"),
    [
        (PG, "SELECT a FROM t", "t", ""),
        (PG, "TABLE t", "t", ""),
        (PG, "VALUES (1), (2)", "", ""),
        (PG, "SELECT * FROM t x JOIN s.u y USING (a)", "s.u t", ""),
        (PG, "SELECT * FROM t, LATERAL (SELECT * FROM u WHERE u.a = t.a) x", "t u", ""),
        (PG, "SELECT array(SELECT a FROM t), exists(TABLE u)", "t u", ""),
        (PG, "SELECT * FROM t UNION ALL (SELECT * FROM u EXCEPT SELECT * FROM v)", "t u v", ""),
        (PG, "SELECT * FROM orders o FOR UPDATE OF o SKIP LOCKED", "orders", ""),
        (PG, "SELECT * FROM t TABLESAMPLE SYSTEM (10)", "t", ""),
        (PG, "SELECT * FROM jsonb_each('{}') j, t", "t", ""),
        (PG, "SELECT data ? 'a', data @> '{}', a::numeric(10, 2) FROM t", "t", ""),
        (PG, "SELECT $$ FROM u $$, E'a\\' FROM v' FROM t", "t", ""),
        (PG, "INSERT INTO t VALUES (1) RETURNING a", "", "t"),
        (PG, "INSERT INTO t (a) SELECT a FROM u", "u", "t"),
        (PG, "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "", "t"),
        (PG, "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b", "", "t"),
        (PG, "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = t.b + 1", "t", "t"),
        (PG, "UPDATE t SET a = 1", "", "t"),
        (PG, "UPDATE t SET a = a + 1", "t", "t"),
        (PG, "UPDATE t SET a = 1 WHERE b = 2", "t", "t"),
        (PG, "UPDATE t SET a = 1 RETURNING b", "t", "t"),
        (PG, "UPDATE t SET a = (SELECT 1 FROM u)", "u", "t"),
        (PG, "UPDATE t SET a = u.a FROM u WHERE u.b = t.b", "t u", "t"),
        (PG, "DELETE FROM t", "", "t"),
        (PG, "DELETE FROM t RETURNING a", "t", "t"),
        (PG, "DELETE FROM t USING u WHERE t.a = u.a", "t u", "t"),
        (PG, "TRUNCATE t, u", "", "t u"),
        (PG, "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = u.b "
             "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (u.a, u.b)", "t u", "t"),
        (PG, "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "t u", "t"),
        (PG, "WITH m AS (MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE RETURNING 1) SELECT 1", "t u", "t"),
        (PG, "WITH gone AS (DELETE FROM t RETURNING a) INSERT INTO u SELECT a FROM gone", "t", "t u"),
        (PG, "WITH t AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM t", "", "t"),
        (PG, "COPY t (a, b) FROM STDIN WITH (FORMAT csv)", "", "t"),
        (PG, "COPY t FROM STDIN BINARY", "", "t"),
        (PG, "COPY t TO STDOUT", "t", ""),
        (PG, "COPY (SELECT * FROM t) TO STDOUT (FORMAT binary)", "t", ""),
        (PG, "CREATE TABLE n (a int REFERENCES u (a))", "", "n"),
        (PG, "CREATE TABLE n (LIKE t)", "t", "n"),
        (PG, "CREATE TABLE n AS SELECT * FROM t", "t", "n"),
        (PG, "CREATE UNLOGGED TABLE n AS SELECT * FROM t", "t", "n"),
        (PG, "SELECT * INTO n FROM t", "t", "n"),
        (PG, "CREATE OR REPLACE VIEW v AS SELECT * FROM t", "t", "v"),
        (PG, "CREATE MATERIALIZED VIEW m AS SELECT * FROM t", "t", "m"),
        (PG, "REFRESH MATERIALIZED VIEW CONCURRENTLY s.\"M\"", "s.M", "s.M"),
        (PG, "DROP VIEW IF EXISTS v", "", "v"),
        (PG, "ALTER TABLE t ADD COLUMN c int", "", "t"),
        (PG, "ALTER TABLE s.t RENAME TO u", "", "s.t s.u"),
        (PG, "ALTER INDEX i RENAME TO j", "", ""),
        (PG, "CREATE INDEX ON t (a)", "", ""),
        (PG, "CREATE EXTENSION IF NOT EXISTS hstore", "", ""),
        (PG, "LOCK TABLE t", "", ""),
        (PG, "-- t's own\n/* ' */ SELECT * FROM t", "t", ""),
        (DUCK, "FROM t", "t", ""),
        (DUCK, "FROM t SELECT a WHERE a IN (FROM u)", "t u", ""),
        (DUCK, "SELECT * EXCLUDE (a) FROM t ASOF JOIN u USING (a)", "t u", ""),
        (DUCK, "PIVOT t ON a USING sum(b)", "t", ""),
        (DUCK, "SUMMARIZE t", "t", ""),
        (DUCK, "INSERT OR REPLACE INTO t BY NAME FROM u", "u", "t"),
        (DUCK, "CREATE OR REPLACE TABLE n AS FROM t", "t", "n"),
        (DUCK, "SELECT list_transform(a, x -> x + 1), {'a': [1]}, a[1:2] FROM db.s.t", "db.s.t", ""),
        (DUCK, "SELECT * FROM range(10), duckdb_tables()", "", ""),
    ],
)  # fmt: skip
def test_each_statement_has_its_tables(dialect: str, sql: str, read: str, written: str) -> None:
    seen_read, seen_written = tables_of(sql, dialect)
    assert (seen_read, seen_written) == ({*read.split()}, {*written.split()})


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (PG, "DO $$ BEGIN DELETE FROM t; END $$"),
        (PG, "CALL p()"),
        (PG, "PREPARE p AS SELECT * FROM t"),
        (PG, "EXECUTE p"),
        (PG, "EXPLAIN ANALYZE DELETE FROM t"),
        (PG, "EXPLAIN (ANALYZE) DELETE FROM t"),
        (PG, "SELECT set_config('search_path', 's', false)"),
        (PG, "SELECT pg_catalog.set_config($1, 's', false)"),
        (PG, "SET LOCAL search_path = s"),
        (PG, "SELECT query_to_xml('SELECT * FROM t', true, true, '')"),
        (PG, "SELECT * FROM dblink('host=x', 'SELECT 1') AS t (a int)"),
        (PG, "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y"),
        (PG, "this is no SQL"),
        (PG, "SELECT 'unfinished"),
        (DUCK, "COPY FROM DATABASE a TO b"),
        (DUCK, "IMPORT DATABASE 'd'"),
        (DUCK, "EXPORT DATABASE 'd'"),
        (DUCK, "SELECT * FROM query('FROM t')"),
        (DUCK, "SELECT * FROM st_read('x.shp')"),
        (DUCK, "SELECT * FROM glob('*.csv')"),
        (DUCK, "SET VARIABLE x = (SELECT max(a) FROM t)"),
        (DUCK, "SET file_search_path = 'in'"),
        (DUCK, "SELECT * FROM read_csv('a' || '.csv')"),
        (DUCK, "FRIMBLE t"),
    ],
)  # fmt: skip
def test_statements_whose_effect_the_text_does_not_show_are_unclear(dialect: str, sql: str) -> None:
    assert any(one.is_unclear for one in read_statements(sql, dialect))


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (PG, "SET search_path = s"),
        (PG, "SET ROLE x"),
        (PG, "SET SESSION AUTHORIZATION x"),
        (PG, "RESET ALL"),
        (PG, "RESET search_path"),
        (PG, "DISCARD ALL"),
        (DUCK, "USE s"),
        (DUCK, "SET schema = 's'"),
        (DUCK, "PRAGMA search_path = 's'"),
        (DUCK, "ATTACH 'x.db' AS x"),
        (DUCK, "DETACH x"),
    ],
)
def test_statements_that_change_the_search_path(dialect: str, sql: str) -> None:
    assert effect_of(sql, dialect) == Effect(changes_names=True, changes_search_path=True)


@pytest.mark.parametrize(
    "sql",
    [
        "SET TIME ZONE 'UTC'",
        "SET work_mem = '1GB'",
        "SHOW search_path",
        "BEGIN",
        "SAVEPOINT a",
        "ANALYZE t",
        "PRAGMA threads = 4",
        "EXPLAIN SELECT * FROM t",
        "LISTEN x",
    ],
)
def test_statements_without_tables_have_no_effect(sql: str) -> None:
    assert effect_of(sql) == Effect()


def test_commits_and_rollbacks_are_recognised() -> None:
    assert effect_of("COMMIT") == effect_of("end work") == Effect(commits=True)
    assert effect_of("ROLLBACK TO a") == effect_of("abort") == Effect(rolls_back=True)


def test_creating_a_table_differs_from_writing_to_it() -> None:
    assert effect_of("CREATE TABLE IF NOT EXISTS n (a int)").if_not_exists
    default_schema = effect_of("CREATE TABLE n (a int)")
    assert (default_schema.created, default_schema.if_not_exists, default_schema.changes_names) == (
        (("n",),),
        False,
        True,
    )
    for sql in ("CREATE TEMP TABLE n AS SELECT * FROM t", "SELECT * INTO TEMP n FROM t"):
        temporary_created = effect_of(sql)
        assert (
            names(temporary_created.temporary_created),
            names(temporary_created.read),
            temporary_created.created,
        ) == ("n", "t", ())


def test_only_a_truncate_cascades() -> None:
    assert effect_of("TRUNCATE t CASCADE").cascades
    assert not effect_of("TRUNCATE t").cascades


# Names.


@pytest.mark.parametrize(
    ("dialect", "written", "name"),
    [
        (PG, "T", ("t",)),
        (PG, '"T"', ("T",)),
        (PG, 'S."x.y"', ("s", "x.y")),
        (PG, '"a""b"', ('a"b',)),
        (PG, "Ärger", ("Ärger",)),  # PostgreSQL folds letters of ASCII alone
        (PG, "db.s.T", ("db", "s", "t")),
        (PG, "x" * 70, ("x" * 63,)),
        (DUCK, '"T"', ("t",)),
        (DUCK, 'Db."S".T', ("db", "s", "t")),
    ],
)
def test_a_name_is_folded_as_the_database_does(
    dialect: str, written: str, name: tuple[str, ...]
) -> None:
    assert effect_of(f"SELECT * FROM {written}", dialect).read == (name,)


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
    effect = effect_of(sql, DUCK)
    assert not effect.is_unclear
    assert (" ".join(effect.files_read), " ".join(effect.files_written)) == (read, written)


def test_files_of_a_server_do_not_count() -> None:
    effect = effect_of("COPY t FROM '/srv/a.csv'")
    assert (effect.files_read, names(effect.written)) == ((), "t")


def test_several_statements_in_a_text_are_read_one_by_one() -> None:
    text = "SELECT 'é😀;'; -- ;\nINSERT INTO t SELECT * FROM u /* ; */ ;; SELECT $$;$$ FROM v"
    effects = read_statements(text, PG)
    assert [(names(one.read), names(one.written)) for one in effects] == [
        ("", ""),
        ("u", "t"),
        ("v", ""),
    ]
    assert read_statements(" ; -- nothing\n", PG) == ()


# Whatever comes.

WORDS = st.sampled_from(
    "select from with recursive insert into update set delete merge using when matched then copy to create table "
    "view temp as drop alter values union ( ) , ; . * ' \" $$ -- /* */ E' t u \"T\" 1 'x' $1 %s :n ? => -> [ ] { } "
    "on conflict do nothing returning explain analyze pivot lateral at time zone case end null".split()
)


@settings(max_examples=2 * settings().max_examples)
@given(text=st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=14).map(" ".join)))
@pytest.mark.parametrize("dialect", [PG, DUCK])
def test_no_text_makes_it_raise(dialect: str, text: str) -> None:
    read_statements(text, dialect)


def test_a_text_that_is_too_long_or_too_deep_is_unclear() -> None:
    assert read_statements("SELECT 1 /*" + "x" * LONGEST + "*/", PG) == (UNCLEAR,)
    deep = "SELECT " + "f(" * 10_000 + ")" * 10_000 + " FROM t"
    assert any(one.is_unclear for one in read_statements(deep, PG))


def test_the_parser_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read_statements("ALTER TABLE t FRIMBLE x", PG)
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
            assert tables_of(sql, DUCK)[0] == {*found}

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
        use = tables.drain()
        read, written, is_unclear = use.tables_read, use.tables_written, use.is_unclear
    assert not is_unclear
    seen_read, seen_written = tables_of(sql, "sqlite")
    assert {*read} <= seen_read
    assert {*written} == seen_written


MORE_WRITES = (
    "WITH t AS ({}) INSERT INTO t SELECT a, b FROM t",
    "UPDATE t SET a = q.a FROM ({}) AS q WHERE q.b = t.b",
    "DELETE FROM t USING ({}) AS q WHERE q.a = t.a",
    "WITH gone AS (DELETE FROM t RETURNING a, b) INSERT INTO w SELECT gone.a, q.b FROM gone, ({}) AS q",
    "MERGE INTO w USING ({}) AS q ON q.a = w.a WHEN MATCHED THEN UPDATE SET b = q.b "
    "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (q.a, q.b)",
    "CREATE TABLE n AS {}",
)


def relations(plan: object) -> set[tuple[str, bool]]:
    """What a plan of PostgreSQL names, and whether it is written."""
    if isinstance(plan, list):
        return set(itertools.chain.from_iterable(map(relations, plan)))
    if not isinstance(plan, dict):
        return set()
    found = relations([*plan.values()])
    if "Relation Name" in plan:
        found.add((plan["Relation Name"], plan["Node Type"] == "ModifyTable"))
    return found


def test_postgresql_reads_and_writes_no_other_tables(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(MAKE.encode())

        @settings(max_examples=2 * settings().max_examples)
        @given(frame=st.sampled_from((*WRITES, *MORE_WRITES)), query=queries())
        def holds(frame: str, query: str) -> None:
            sql = frame.format(query)
            try:
                [(plan,)] = conn.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode()).fetchall()
            except psycopg.Error:  # a WITH that names itself
                assume(False)
            read, written = tables_of(sql, PG)
            found = relations(plan)
            assert {name for name, is_written in found if not is_written} <= read | written
            assert {name for name, is_written in found if is_written} <= written

        holds()


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
            effects = read_statements(f"SELECT a FROM {written}", DUCK)
            if not any(one.is_unclear for one in effects):
                assert [one.read for one in effects] == [((created.lower(),),)]

        holds()
