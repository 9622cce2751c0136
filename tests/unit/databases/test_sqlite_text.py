"""Where the statements of a script end."""

from __future__ import annotations

import pytest

from discover_orch.databases.sqlite_text import split_script


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
