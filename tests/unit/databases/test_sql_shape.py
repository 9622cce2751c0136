"""The shapes of statements: values are gone, and with them no table."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from discover_orch.databases.sql_effects import read_statements
from discover_orch.databases.sql_shape import shape_of

PG, DUCK = "postgres", "duckdb"


def is_unclear(text: str, dialect: str) -> bool:
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
def test_what_is_no_value_stays(sql: str) -> None:
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
def test_a_value_that_says_what_is_read_is_unclear_once_it_is_gone(dialect: str, sql: str) -> None:
    assert not is_unclear(sql, dialect)
    assert is_unclear(shape_of(sql), dialect)


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


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60))
def test_every_text_has_a_shape_and_the_shape_is_its_own(text: str) -> None:
    assert shape_of(shape_of(text)) == shape_of(text)
