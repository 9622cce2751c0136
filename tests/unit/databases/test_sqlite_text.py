"""What texts mean for transactions, and where the statements of a script end."""

from __future__ import annotations

import pytest

from discover_orch.databases.sqlite_text import Statement, read_statement, split_script


@pytest.mark.parametrize(
    ("sql", "word", "kind"),
    [
        ("select 1", "SELECT", "reads"),
        ("  \n\tInsert into t", "INSERT", "changes"),
        ("-- a comment\nUPDATE t", "UPDATE", "changes"),
        ("/* a\n * comment */ /**/ DELETE FROM t", "DELETE", "changes"),
        (";;COMMIT", "COMMIT", "COMMIT"),
        ("\ufeffcommit", "COMMIT", "COMMIT"),
        ("end", "END", "COMMIT"),
        ("begin immediate", "BEGIN", "BEGIN"),
        ("rollback", "ROLLBACK", "ROLLBACK"),
        ("rollback to savepoint x", "ROLLBACK", "ROLLBACK TO"),
        ("", "", "reads"),
        ("-- nothing", "", "reads"),
        ("/* not closed", "", "reads"),
        ("(SELECT 1)", "", "reads"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH", "reads"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "WITH", "changes"),
        ("PRAGMA user_version", "PRAGMA", "reads"),
        ("PRAGMA user_version = 3", "STORE", "changes"),
        ("pragma main.application_id(7)", "STORE", "changes"),
        ("PRAGMA foreign_keys", "PRAGMA", "reads"),
        ("PRAGMA foreign_keys = OFF", "PRAGMA", "sets"),
        ("VACUUM INTO 'x.db'", "VACUUM", "sets"),
        ("ATTACH ':memory:' AS m", "ATTACH", "reads"),
        (" " * 100_000 + "SELECT", "SELECT", "reads"),
    ],
)
def test_the_first_word_of_a_statement_and_its_kind(sql: str, word: str, kind: str) -> None:
    assert read_statement(sql)[:2] == (word, kind)


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SAVEPOINT a", "a"),
        ("savepoint /* so */ A;", "a"),
        ('SAVEPOINT "a ""b"" C"', 'a "b" c'),
        ("SAVEPOINT [a b]", "a b"),
        ("RELEASE `a`", "a"),
        ("RELEASE SAVEPOINT 'it''s'", "it's"),
        ("RELEASE savepoint", "savepoint"),
        ("ROLLBACK TRANSACTION TO SAVEPOINT\na", "a"),
        ("ROLLBACK TO é", "é"),
    ],
)
def test_the_name_of_a_savepoint(sql: str, name: str) -> None:
    assert read_statement(sql).name == name


@pytest.mark.parametrize(
    ("sql", "begins"),
    [
        ("INSERT INTO t", True),
        (" /* so */ -- so\n replace INTO t", True),
        ("; INSERT INTO t", False),
        ("WITH x AS (SELECT 1) DELETE FROM t", False),
        ("CREATE TABLE t", False),
    ],
)
def test_before_which_statements_python_begins(sql: str, begins: bool) -> None:
    assert read_statement(sql).begins is begins


def test_what_is_no_text_reads() -> None:
    no_text: object = 3
    assert read_statement(no_text) == Statement("", "reads")


@pytest.mark.parametrize(
    "parts",
    [
        ["SELECT 1;", " SELECT ';';", '\nSELECT ";" -- ;\n;', " /* ; */ SELECT [;];"],
        ["CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;", "SELECT 3"],
        ["EXPLAIN CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END;"],
        ["SELECT 'it''s;';", " SELECT 'not closed ;"],
        [";", ";"],
    ],
)
def test_a_script_is_split_after_each_statement(parts: list[str]) -> None:
    assert list(split_script("".join(parts))) == parts
