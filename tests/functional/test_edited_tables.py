"""A table that another program has changed is as a file edited by hand, on each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import reasons, run_all, run_changed

pytestmark = pytest.mark.slow

Execute = Callable[[str], object]


def tool(stage: str, *lines: str, top: str = "", tag: str = "") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"STAGE = {stage!r}\n{tag}\n{top}\ndef run(conn):\n{body}"


def load(year: int, *before: str) -> str:
    insert = f'conn.execute("insert into sales select {year}, 1.0")'
    return tool("load", *(f'conn.execute("{sql}")' for sql in before), insert)


def report(table: str) -> str:
    query = f"select * from {table} order by 1, 2"
    text = f'str([[float(one) for one in row] for row in conn.execute("{query}").fetchall()])'
    return tool("show", f'open("{table}.txt", "w").write({text})')


FILES = {
    "src/load_a.py": load(
        2023, "drop table if exists sales", "create table sales (y int, n float)"
    ),
    "src/load_b.py": load(2024),
    "src/double.py": tool("double", 'conn.execute("update sales set n = n * 2")'),
    "src/report.py": report("sales"),
    "src/names.py": tool(
        "load",
        'conn.execute("drop table if exists names")',
        'conn.execute("create table names (y int, n int)")',
        'conn.execute("insert into names values (1, 2)")',
    ),
    "src/show_names.py": report("names"),
}
RIGHT = "[[2023.0, 2.0], [2024.0, 2.0]]"
SAID = "table sales was changed by another program after double made it"


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def execute(
    request: pytest.FixtureRequest, project: Project, new_postgres: Callable[[], str]
) -> Execute:
    """A project on each database; executes a statement as another program."""
    path = {"sqlite": "w.db", "duckdb": "w.duckdb"}.get(request.param, "")
    url = f"{request.param}:///{path}" if path else new_postgres()
    root = project(
        {"orch.toml": f"database = '{url}'\nstages = ['load', 'double', 'show']\n", **FILES}
    )

    def run(sql: str) -> None:
        conn: Any = psycopg.connect(url) if not path else None
        if request.param == "sqlite":
            conn = sqlite3.connect(root / path)
        elif path:
            import duckdb

            conn = duckdb.connect(root / path)
        with closing(conn):
            conn.execute(sql)
            conn.commit()

    return run


def test_rows_that_another_program_changed_are_made_again(
    execute: Execute, project: Project, orch: Orch
) -> None:
    root = project({})
    run_all(orch)
    report = root / "sales.txt"
    assert report.read_text() == RIGHT
    for sql in (
        "delete from sales where y = 2023",
        "update sales set n = 7",
        "insert into sales values (2025, 1)",
    ):
        execute(sql)
        found = reasons(orch)
        assert found.keys() == {"load_a", "load_b", "double", "report"}
        assert found["double"][0] == SAID
        assert "show_names" not in found
        answer = orch("run", "--changed", "-n", "--json")
        assert {one["name"] for one in answer.json["tools"]} == found.keys()
        assert run_changed(orch) == ["load_a", "load_b", "double"]  # the report has seen the same
        assert report.read_text() == RIGHT


def test_what_ran_on_a_changed_table_is_stale(
    execute: Execute, project: Project, orch: Orch
) -> None:
    root = project({})
    run_all(orch)
    execute("update sales set n = 7")
    assert orch("run", "report").code == 0
    assert (root / "sales.txt").read_text() == "[[2023.0, 7.0], [2024.0, 7.0]]"
    assert run_changed(orch) == ["load_a", "load_b", "double", "report"]
    assert (root / "sales.txt").read_text() == RIGHT

    assert orch("run", "load_a", "load_b").code == 0
    execute("update sales set n = 7")
    assert orch("run", "double").code == 0
    said = "ran on table sales as an edit had left it, not as load_b leaves it"
    assert said in reasons(orch)["double"]
    assert run_changed(orch) == ["load_a", "load_b", "double"]
    assert (root / "sales.txt").read_text() == RIGHT


def test_a_change_that_is_undone_or_accepted_or_ignored_makes_nothing_stale(
    execute: Execute, project: Project, orch: Orch
) -> None:
    root = project({})
    run_all(orch)
    execute("update names set n = 3")
    assert reasons(orch, env={"ORCH_EXTERNAL_WRITES": "ignore"}) == {}
    said = "table names was changed by another program after names made it"
    assert reasons(orch) == {"names": [said], "show_names": [said]}
    execute("update names set n = 2")
    assert reasons(orch) == {}
    execute("update names set n = 3")
    assert orch("accept", "names", "show_names").code == 0
    assert reasons(orch) == {}
    assert orch("run", "report").code == 0
    assert reasons(orch) == {}
    execute("update names set n = 4")
    assert reasons(orch) == {"names": [said], "show_names": [said]}
    assert orch("accept", "names").code == 0
    assert reasons(orch) == {"show_names": [said]}
    execute("update names set n = 5")
    assert run_changed(orch) == ["names", "show_names"]
    assert (root / "names.txt").read_text() == "[[1.0, 2.0]]"


def test_a_table_that_tools_only_add_to_is_a_log(
    execute: Execute, project: Project, orch: Orch
) -> None:
    project(
        {
            "src/load_a.py": load(2023),
            "src/create.py": tool(
                "load", 'conn.execute("create table if not exists sales (y int, n float)")'
            ),
            "src/double.py": tool("double", "pass"),
        }
    )
    run_all(orch)
    execute("insert into sales values (2025, 1)")
    assert reasons(orch) == {
        "report": ["table sales was changed by another program after load_b made it"]
    }


def test_a_tool_that_reads_the_table_that_it_adds_to_is_stale(
    execute: Execute, project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/load_a.py": load(2023, "create table if not exists sales (y int, n float)"),
            "src/load_b.py": tool(
                "load",
                'if not conn.execute("select 1 from sales where y = 2024").fetchall():',
                '    conn.execute("insert into sales values (2024, 1)")',
            ),
            "src/double.py": tool("double", "pass"),
        }
    )
    orch("run")
    run_changed(orch)
    execute("delete from sales where y = 2024")
    said = "table sales was changed by another program after load_b made it"
    assert reasons(orch)["load_b"] == [said]
    assert "load_b" in run_changed(orch)
    assert "2024" in (root / "sales.txt").read_text()


def test_more_rows_than_are_compared_are_a_change(
    execute: Execute, project: Project, orch: Orch
) -> None:
    project({})
    run_all(orch)
    rows = "select 1 as n union all select 2"
    for _ in range(14):
        rows = f"select a.n from ({rows}) a, (select 1 as m union all select 2) b"
    execute(f"insert into sales select 2023, n from ({rows}) c")
    assert reasons(orch)["double"][0] == SAID
