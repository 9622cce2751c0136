"""What texts mean for transactions, and where the statements of a script end."""

from __future__ import annotations

import pytest

from discover_orch.databases.sqlite_text import read_statement, split_script


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
