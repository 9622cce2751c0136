"""Which tables a step read and wrote, as its statements say: on DuckDB, on PostgreSQL, and on a made-up driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.driver_duckdb import DuckdbLog
from discover_orch.databases.drivers import observe_statements
from discover_orch.databases.sql_effects import read_statements, shape_of
from discover_orch.databases.statement_log import (
    EXACT_LENGTH,
    MOST_STATEMENTS,
    StatementLog,
)
from discover_orch.model.observation import TableUse

CATALOG = Catalog(
    tables=frozenset({("", "public", "t"), ("", "public", "u")}),
    search_path=(("", "public"),),
    current_schema=("", "public"),
    default_schema=("", "public"),
)


class Fake(StatementLog):
    """Its database has what `catalog` is at the time; an exception is raised."""

    dialect = "postgres"
    catalog: ClassVar[Catalog | Exception] = CATALOG

    @classmethod
    def wrap_methods(cls) -> None:
        pass

    @classmethod
    def read_catalog(cls, conn: Any) -> Catalog:
        if isinstance(cls.catalog, Exception):
            raise cls.catalog
        return cls.catalog


Found = tuple[tuple[str, ...], tuple[str, ...], bool]


class Step:
    """Statements of one made-up connection."""

    def __init__(self) -> None:
        Fake.catalog = CATALOG
        self.statements = Fake("conn", lambda *_: None)

    def use(self, *does: str | Callable[[StatementLog], object]) -> TableUse:
        self.statements.begin_step()
        for one in does:
            self.statements.on_statement(one) if isinstance(one, str) else one(self.statements)
        self.statements.resolve()
        return self.statements.drain()

    def run(self, *does: str | Callable[[StatementLog], object]) -> Found:
        use = self.use(*does)
        return use.tables_read, use.tables_written, use.is_unclear


@pytest.fixture
def step() -> Step:
    return Step()


def aside(statements: StatementLog) -> None:
    statements.uses_other_connection = True


@pytest.mark.parametrize(
    "does",
    [
        "DO $$ BEGIN END $$",
        lambda s: s.on_unknown(),
        lambda s: [s.on_statement(f"SELECT a AS n{n} FROM t") for n in range(MOST_STATEMENTS + 1)],
        lambda s: s.on_statement("SELECT 1 /*" + "x" * 1_000_000 + "*/"),
        lambda s: s.on_statement("SELECT a AS " + "x" * 60_000),
    ],
)
def test_an_unclear_statement_makes_only_its_own_step_unclear(
    step: Step, does: str | Callable[[StatementLog], object]
) -> None:
    assert step.run("SELECT * FROM t", does)[2]
    assert step.run("SELECT * FROM t") == (("t",), (), False)


def test_many_statements_that_differ_in_values_are_one(step: Step) -> None:
    texts = [f"INSERT INTO u VALUES ({n}, 'x{n}')" for n in range(20 * MOST_STATEMENTS)]
    assert step.run(*texts) == ((), ("u",), False)


def test_a_long_statement_is_read_by_its_shape(step: Step) -> None:
    rows = ", ".join(f"({n}, 'x')" for n in range(EXACT_LENGTH * 20))
    listed = ", ".join(str(n) for n in range(EXACT_LENGTH * 20))
    found = step.run(f"INSERT INTO u VALUES {rows}", f"SELECT * FROM t WHERE a IN ({listed})")
    assert found == (("t",), ("u",), False)


# Where names are looked up.

ONE, TWO = "SET search_path = one", "SET search_path = two"


@pytest.mark.parametrize(
    ("does", "is_unclear"),
    [
        ([ONE, "SELECT * FROM t"], False),
        ([ONE, "SELECT * FROM t", ONE], False),
        ([ONE, "SELECT * FROM t", TWO], True),
        ([ONE, TWO, ONE, "SELECT * FROM t", TWO], True),
        ([ONE, TWO, "SELECT * FROM t", ONE], True),
        (["SELECT * FROM t", ONE], True),
        (["INSERT INTO t VALUES (1)", ONE], True),
        (["CREATE TABLE t (a int)", ONE], True),
        (["ROLLBACK", ONE, "SELECT * FROM t"], False),
        ([ONE, "SELECT * FROM t", "ROLLBACK"], True),
        (["ROLLBACK", ONE, "SELECT * FROM t", "ROLLBACK"], True),
        (["SELECT * FROM t", "ROLLBACK", "SELECT * FROM t", "ROLLBACK"], False),
        ([ONE, TWO, ONE, TWO, "SELECT 1"], False),
    ],
)
def test_names_that_may_have_meant_another_table_are_unclear(
    step: Step, does: list[str], is_unclear: bool
) -> None:
    assert step.run(*does)[2] is is_unclear


def test_another_connection_has_a_search_path_and_temporary_tables_of_its_own(step: Step) -> None:
    assert step.run(aside, "SELECT * FROM t") == (("t",), (), False)
    Fake.catalog = replace(CATALOG, temporary=frozenset({("", "pg_temp_1", "x")}))
    assert step.run(aside, "SELECT * FROM t")[2]
    Fake.catalog = CATALOG
    step.run(ONE)
    assert step.run(aside, "SELECT * FROM t")[2]  # it lasts
    assert not step.run("SELECT * FROM t")[2]


def failing(*texts: str) -> Callable[[StatementLog], object]:
    def run(statements: StatementLog) -> None:
        for text in texts:
            statements.on_statement(text)
        statements.on_error(is_statement=True)

    return run


def test_a_name_that_only_a_failed_statement_names_is_missed(step: Step) -> None:
    Fake.catalog = replace(CATALOG, has_variables=True)
    assert step.use("SELECT * FROM frame, t") == TableUse(tables_read=("t",))
    seen = TableUse(tables_read=("t",), tables_missed=("frame",))
    assert step.use(failing("SELECT * FROM frame, t")) == seen
    assert step.use(failing("SELECT 1; SELECT * FROM frame, t")).is_unclear
    assert step.use(failing("SELECT * FROM frame", "SELECT * FROM frame")).is_unclear
    assert not step.use("SELECT * FROM frame, t").is_unclear


def test_a_call_that_is_no_statement_and_failed_may_have_named_a_table(step: Step) -> None:
    def fail(statements: StatementLog) -> None:
        statements.on_error(is_statement=False)

    Fake.catalog = replace(CATALOG, has_variables=True)
    assert step.use("SELECT * FROM frame, t", fail).is_unclear
    assert not step.use("SELECT * FROM t", fail).is_unclear


def test_a_statement_that_failed_has_written_nothing(step: Step) -> None:
    assert step.use(failing("INSERT INTO u VALUES (1)")) == TableUse(tables_read=("u",))
    assert step.use(failing("CREATE TABLE t (a int)")) == TableUse(tables_kept=("t",))
    assert step.use(
        failing("INSERT INTO u VALUES (1)", "INSERT INTO u VALUES (1)")
    ).tables_written == ("u",)


def fail_with(answer: Exception, *texts: str) -> Callable[[StatementLog], object]:
    """After these statements one fails, and the database cannot be asked in this transaction any more."""

    def run(statements: StatementLog) -> None:
        for text in texts:
            statements.on_statement(text)
        failing("SELEC 1")(statements)
        Fake.catalog = answer

    return run


@pytest.mark.parametrize("dialect", ["postgres", "duckdb"])
def test_what_is_rolled_back_after_an_error_is_no_commit(step: Step, dialect: str) -> None:
    step.statements.dialect = dialect
    use = step.use(
        fail_with(
            RuntimeError("aborted"), "CREATE TABLE n (a int)", "INSERT INTO n SELECT a FROM t"
        )
    )
    assert (use.tables_read, use.tables_written) == (("t",), ("n",))
    assert not step.statements.may_have_committed
    Fake.catalog = CATALOG
    step.use(failing("SELEC 1"), "COMMIT")
    assert step.statements.may_have_committed
    step.use(failing("SELEC 1"), "DO $$ BEGIN END $$")
    assert step.statements.may_have_committed


# On DuckDB.


class Duck:
    def __init__(self, conn: duckdb.DuckDBPyConnection) -> None:
        self.conn = conn
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.listed: set[str] = set()
        heard = observe_statements(conn, self._note)
        assert heard is not None
        self.statements = heard

    def _note(self, read: Iterable[str], written: Iterable[str], listed: Iterable[str]) -> None:
        self.read.update(read)
        self.written.update(written)
        self.listed.update(listed)

    def use(self, *does: str | Callable[[Any], object]) -> TableUse:
        self.statements.begin_step()
        for one in does:
            with suppress(duckdb.Error):  # as a tool may do
                self.conn.execute(one) if isinstance(one, str) else one(self.conn)
        self.statements.resolve()
        return self.statements.drain()

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
        (["FROM t", "CREATE TEMP TABLE t AS SELECT 1 AS a"], (("t",), (), False)),
        (["USE s", "FROM t"], (("s.t",), (), False)),
        (["ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)", "USE x", "FROM q"], ((), (), True)),
        (["CREATE TABLE n AS FROM t", "DROP TABLE n"], (("t",), (), False)),
        (["DROP TABLE IF EXISTS ghost"], ((), (), False)),
        (["CREATE TABLE IF NOT EXISTS t (a INTEGER)"], ((), (), False)),
        ([lambda c: c.cursor().execute("FROM t")], (("t",), (), False)),
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
        (["FROM absent"], TableUse(tables_missed=("absent",))),
        ([lambda c: c.table("absent")], TableUse(tables_missed=("absent",))),
        (["DROP TABLE IF EXISTS absent"], TableUse(tables_missed=("absent",), tables_kept=("absent",))),
        (["INSERT INTO absent VALUES (1)"], TableUse(tables_missed=("absent",))),
        (["FROM absent", "CREATE TABLE absent AS FROM t"], TableUse(tables_read=("absent", "t"), tables_written=("absent",), tables_created=("absent",))),
        (["DROP TABLE IF EXISTS t"], TableUse(tables_written=("t",), tables_dropped=("t",))),
        (["ALTER TABLE t RENAME TO w"], TableUse(tables_written=("t", "w"), tables_created=("w",), tables_dropped=("t",))),
        (["INSERT INTO t VALUES (1)"], TableUse(tables_written=("t",), tables_inserted=("t",))),
        (["INSERT OR REPLACE INTO k VALUES (1)"], TableUse(tables_written=("k",))),
        (["INSERT OR IGNORE INTO k VALUES (1)"], TableUse(tables_written=("k",))),
        (["INSERT INTO t VALUES (1)", "DELETE FROM t"], TableUse(tables_written=("t",))),
        (["CREATE TABLE IF NOT EXISTS t (a INTEGER)"], TableUse(tables_kept=("t",))),
        (["CREATE INDEX IF NOT EXISTS i ON t (a)"], TableUse(tables_kept=("t",))),
        (["FROM duckdb_tables()"], TableUse(lists_tables=True)),
        (["SHOW TABLES"], TableUse(lists_tables=True)),
        (["SHOW ALL TABLES"], TableUse(lists_tables=True)),
        (["PRAGMA show_tables"], TableUse(lists_tables=True)),
        (["SELECT table_name FROM information_schema.tables"], TableUse(lists_tables=True)),
        (["SELECT 1 FROM information_schema.tables WHERE table_name = 'absent'"], TableUse(tables_missed=("absent",))),
        (["SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'"], TableUse()),
    ],
)  # fmt: skip
def test_how_tables_are_used_in_duckdb(
    duck: Duck, does: list[str | Callable[[Any], object]], expected: TableUse
) -> None:
    duck.conn.execute("CREATE TABLE k (a INTEGER PRIMARY KEY)")
    assert duck.use(*does) == expected


def test_a_table_keeps_its_name_from_step_to_step(duck: Duck) -> None:
    assert duck.run("ATTACH ':memory:' AS x", "CREATE TABLE x.q (a INTEGER)")[1] == ()
    assert duck.run("USE x") == ((), (), False)
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


# Shapes: statements without their values.

PG, DUCK = "postgres", "duckdb"


def is_unclear_text(text: str, dialect: str) -> bool:
    return any(one.is_unclear for one in read_statements(text, dialect))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT * FROM t WHERE a = 1", "SELECT * FROM t WHERE a = 2.5e-3"),
        ("SELECT * FROM t WHERE a = 'x'", "SELECT * FROM t WHERE a = 'it''s (1), '"),
        ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b'), (3, 'c'), (4, '(d)')"),
        ("SELECT * FROM t LIMIT 5", "SELECT * FROM t LIMIT 6"),
        (f"SELECT 1 WHERE a IN ({'1,' * 20} 1)", f"SELECT 1 WHERE a IN ({'2,' * 30} 1)"),
    ],
)
def test_texts_that_differ_in_values_have_one_shape(one: str, other: str) -> None:
    assert shape_of(one) == shape_of(other)


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "1", "it\'s", "a""2" FROM "t1"',
        "SELECT t1.a2 FROM t1 WHERE b = $1 AND c = %s AND d = :n3",
        "SELECT a FROM (t1 JOIN u1 USING (a)), (t2 JOIN u2 USING (b))",
        "SELECT 'a' -- it's 1",
        "SELECT E'it\\'s 1'",
        "SELECT $$ 1 $$, $x$ 'a $x$",
        "CREATE TABLE t1 (a numeric(10, 2))",
        "COPY t TO 'a1.csv'",
    ],
)
def test_a_shape_keeps_everything_but_values(sql: str) -> None:
    assert shape_of(sql) == sql


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (DUCK, "SELECT * FROM 'a.csv'"),
        (DUCK, "SELECT * FROM read_csv('a.csv')"),
        (DUCK, "SELECT * FROM read_parquet(['a.parquet', 'b.parquet'])"),
        (PG, "SELECT set_config('app.user', 'x', false)"),
    ],
)
def test_a_shape_without_the_name_of_its_file_is_unclear(dialect: str, sql: str) -> None:
    assert not is_unclear_text(sql, dialect)
    assert is_unclear_text(shape_of(sql), dialect)


@pytest.mark.parametrize("dialect", [PG, DUCK])
def test_ordinary_values_leave_a_shape_that_is_understood(dialect: str) -> None:
    sql = (
        "INSERT INTO t SELECT cast(a AS decimal(10, 2)), date '2020-01-01', interval '1 day', a::varchar(3), 1e3, "
        "round(b, 2), 'x' || 'it''s' FROM u WHERE c BETWEEN 1 AND 2 AND d LIKE '%50%' ORDER BY 1 LIMIT 10 OFFSET 5"
    )
    [effect] = read_statements(shape_of(sql), dialect)
    assert (effect.read, effect.written, effect.is_unclear) == ((("u",),), (("t",),), False)


VALUES = st.sampled_from(
    (
        *("1", "2.5", "1e10", "-3", "'x'", "'it''s'", "'-'", "'a(b'", "'), ('", "''", "'/'"),
        *('"a1"', '"a""1"', "$1", "%s", ":n1", "a1", "a::int", "E'\\''", "$$'$$", "'--'", "(SELECT 4 FROM v)"),
    )
)  # fmt: skip
SHAPED = (
    "SELECT {} FROM t WHERE a IN ({}, {})",
    "INSERT INTO t VALUES ({}, {}), ({}, 1)",
    "UPDATE t SET a = {} WHERE b = {} OR c = {}",
    "SELECT * FROM (t CROSS JOIN u), (v CROSS JOIN w) WHERE a IN ({}, {}, {})",
    "WITH c AS (SELECT {} AS x), d AS (SELECT {} AS x FROM u) SELECT {} FROM c, d",
)


@settings(max_examples=3 * settings().max_examples)
@given(sql=st.sampled_from(SHAPED), given_values=st.tuples(VALUES, VALUES, VALUES))
@pytest.mark.parametrize("dialect", [PG, DUCK])
def test_a_shape_loses_no_table(dialect: str, sql: str, given_values: tuple[str, str, str]) -> None:
    text = sql.format(*given_values)
    effects = read_statements(shape_of(text), dialect)
    whole = read_statements(text, dialect)
    assume(not any(one.is_unclear for one in whole))
    if not any(one.is_unclear for one in effects):
        assert {name for one in whole for name in one.read} <= {
            name for one in effects for name in one.read
        }
        assert {name for one in whole for name in one.written} == {
            name for one in effects for name in one.written
        }


@settings(max_examples=3 * settings().max_examples)
@given(text=st.text(max_size=60))
def test_every_text_has_a_shape_and_the_shape_is_its_own(text: str) -> None:
    assert shape_of(shape_of(text)) == shape_of(text)
