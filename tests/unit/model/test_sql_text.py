"""Laws of the reader of SQL: where statements end, what a parameter is, and what does not count.

The databases' own readers are asked where each has one: SQLite's, DuckDB's, and sqlglot's for PostgreSQL."""

from __future__ import annotations

import re
import sqlite3

import duckdb
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.sql_text import UnreadableSql, split_statements

#: Expressions in which no parameter is, on every database or on those with the text.
SHARED = (
    "a",
    "1.5",
    "'x'",
    "';'",
    "':no'",
    "'it''s; :no'",
    '"a;b :no"',
    "count(*)",
    "1 <= 2",
    "- -1",
)
POSTGRES = ("1::int", "$$;:no$$", "$t$ ; $$ :no $t$", r"E'\';:no'", "b[1:2]", "b[lo:hi]", "x'1F'")
PARAMETERS = (":since", ":b_2", "(:since)", "a=:since", "a>= :b_2", "(:b_2)::date", "b[:b_2]")
GAPS = (
    " ",
    "\n",
    "\t ",
    " -- ; :no 'x\n",
    "/* ; :no ' */",
    " /* a -- */ ",
    "/* a /* nested ; */ b */",
)


def scripts(
    parts: tuple[str, ...], gaps: tuple[str, ...] = GAPS
) -> st.SearchStrategy[list[list[str]]]:
    """Statements, each of some parts; the gaps are between all words of them."""
    gap = st.sampled_from(gaps)
    part = st.tuples(st.sampled_from(parts), gap).map("".join)
    statement = st.tuples(gap, st.just("SELECT"), gap, st.lists(part, min_size=1, max_size=4))
    return st.lists(
        statement.map(lambda one: [*one[:3], ", ".join(one[3])]), min_size=1, max_size=4
    )


def write(script: list[list[str]]) -> str:
    return ";".join(map("".join, script))


@given(scripts((*SHARED, *POSTGRES, *PARAMETERS)))
def test_a_script_has_its_statements_and_their_parameters_and_is_written_as_it_was(
    script: list[list[str]],
) -> None:
    found = split_statements(write(script))
    assert len(found) == len(script)
    for statement, parts in zip(found, script, strict=True):
        expected = re.findall(r":(since|b_2)", "".join(parts))
        assert statement.parameters == tuple(dict.fromkeys(expected))
        assert statement.write(":{}").lstrip("\n") in "".join(parts)
        assert "no" not in " ".join(statement.bare.split("_"))


@given(scripts(SHARED, GAPS[:-1]))
def test_sqlite_splits_it_alike(script: list[list[str]]) -> None:
    text = write(script) + ";"
    statements = [one.write(":{}").lstrip("\n") for one in split_statements(text)]
    assert all(sqlite3.complete_statement(f"{one}\n;") for one in statements)
    assert not any(
        sqlite3.complete_statement(one[:end])
        for one in statements
        for end in (found.end() for found in re.finditer(";", one))
    )


@given(scripts((*SHARED, *POSTGRES)))
def test_duckdb_and_sqlglot_split_it_alike(script: list[list[str]]) -> None:
    text = write(script)
    number = len(split_statements(text))
    assert len(duckdb.extract_statements(text)) == number
    tokens = sqlglot.tokenize(text, read="postgres")
    assert sum(one.token_type == sqlglot.TokenType.SEMICOLON for one in tokens) == number - 1


@given(scripts((*SHARED, *POSTGRES, *PARAMETERS)), st.data())
def test_comments_and_layout_do_not_count_and_all_else_does(
    script: list[list[str]], data: st.DataObject
) -> None:
    meaning = [one.meaning for one in split_statements(write(script))]
    gap = st.sampled_from(GAPS)
    again = [[data.draw(gap), "\nSELECT", data.draw(gap), one[3]] for one in script]
    assert [one.meaning for one in split_statements(write(again))] == meaning
    other = [*script[:-1], [*script[-1], ", another"]]
    assert [one.meaning for one in split_statements(write(other))] != meaning


@pytest.mark.parametrize(
    "body",
    [
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET x = CASE WHEN 1 THEN 2 END; DELETE FROM c; END",
        "create temp trigger t after insert on a begin select ';'; end",
        "CREATE FUNCTION f() RETURNS int LANGUAGE SQL BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN RETURN NEW; END; $$ LANGUAGE plpgsql",
    ],
)
def test_the_body_of_a_trigger_or_function_is_in_its_statement(body: str) -> None:
    found = split_statements(f"SELECT 1;\n{body};\nSELECT 2;")
    assert [(one.line, one.write(":{}").lstrip("\n")) for one in found] == [
        (1, "SELECT 1"),
        (2, body),
        (3, "SELECT 2"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a::date",
        "f(x := 1)",
        "b[1:n]",
        "b[lo:hi]",
        "x.y:z",
        "{'k':v}",
        '"k":v',
        "t:v",
        "1:v",
        "]:v",
        "a::b::c",
    ],
)
def test_this_is_no_parameter(text: str) -> None:
    assert split_statements(f"SELECT {text}")[0].parameters == ()


@given(st.text(alphabet="';\"$-/*:aE\\\n`[ ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    lines = [0]
    try:
        lines += [one.line for one in split_statements(text)]
    except UnreadableSql as error:
        lines.append(error.line)
    assert lines == sorted(lines)
    assert lines[-1] <= text.count("\n") + 1


def test_keywords_mean_the_same_in_any_case_and_names_do_not() -> None:
    def meaning(script: str) -> list[list[str]]:
        return [one.meaning for one in split_statements(script)]

    assert meaning("SELECT a FROM t WHERE b IS NULL") == meaning("select a from t where b is null")
    assert meaning("SELECT a FROM t") != meaning("SELECT A FROM t")
    assert meaning("SELECT 'FROM'") != meaning("SELECT 'from'")
