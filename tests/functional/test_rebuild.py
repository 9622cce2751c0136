"""`orch run --rebuild` removes what the tools made before they run, on each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

import discover_orch
from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons, run_all, run_changed, statuses

pytestmark = pytest.mark.slow

Ask = Callable[[str], list[tuple[Any, ...]]]


def tool(stage: str, *lines: str, top: str = "") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"STAGE = {stage!r}\n{top}\ndef run(conn):\n{body}"


def add(year: int) -> str:
    """An incremental tool: it adds its row where there is none."""
    return tool(
        "load",
        'conn.execute("create table if not exists sales (y int, n int)")',
        f'if not conn.execute("select 1 from sales where y = {year}").fetchall():',
        f'    conn.execute(f"insert into sales values ({year}, {{N}})")',
        top="N = 1",
    )


REPORT = tool(
    "show",
    'rows = conn.execute("select y, n from sales order by 1, 2").fetchall()',
    'open("sales.txt", "w").write(str([tuple(row) for row in rows]))',
)
FILES = {"src/load_a.py": add(1), "src/load_b.py": add(2), "src/report.py": REPORT}


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def ask(request: pytest.FixtureRequest, project: Project, new_postgres: Callable[[], str]) -> Ask:
    """A project on each database; executes a statement as another program, and gives its rows."""
    path = {"sqlite": "w.db", "duckdb": "w.duckdb"}.get(request.param, "")
    url = f"{request.param}:///{path}" if path else new_postgres()
    root = project({"orch.toml": f"database = '{url}'\nstages = ['load', 'show']\n"})

    def run(sql: str) -> list[tuple[Any, ...]]:
        conn: Any = psycopg.connect(url) if not path else None
        if request.param == "sqlite":
            conn = sqlite3.connect(root / path)
        elif path:
            import duckdb

            conn = duckdb.connect(root / path)
        with closing(conn):
            rows = conn.execute(sql)
            found = [tuple(row) for row in rows.fetchall()] if sql.startswith("select") else []
            conn.commit()
            return found

    return run


ROWS = "select y, n from sales order by 1, 2"


def test_a_table_that_several_tools_add_to_is_made_anew(
    ask: Ask, project: Project, orch: Orch
) -> None:
    root = project(FILES)
    orch("run")
    run_changed(orch)
    change(root / "src/load_a.py", "N = 1", "N = 5")
    assert orch("run", "load_a").code == 0
    assert ask(ROWS) == [(1, 1), (2, 1)]  # as its earlier code made it
    answer = orch("run", "load_a", "--rebuild")
    assert answer.code == 2
    assert "--rebuild of load_a would remove table sales, which load_b writes too" in answer.err
    assert ask(ROWS) == [(1, 1), (2, 1)]
    answer = orch("run", "load", "--rebuild", "-n")
    assert "removes table sales" in answer.out
    assert ask(ROWS) == [(1, 1), (2, 1)]
    assert orch("run", "load", "--rebuild").code == 0
    assert ask(ROWS) == [(1, 5), (2, 1)]
    assert run_changed(orch) == ["report"]
    # As after the first runs: who adds goes on adding.
    assert orch("run", "--rebuild", "--jobs", "2").code == 0
    assert reasons(orch) == {}
    assert ask(ROWS) == [(1, 5), (2, 1)]
    assert discover_orch.Project(root).run(rebuild=True).is_passed
    assert ask(ROWS) == [(1, 5), (2, 1)]


def test_a_failure_brings_all_back(ask: Ask, project: Project, orch: Orch) -> None:
    state = [
        "import os, json",
        'done = json.load(open("done.json")) if os.path.exists("done.json") else []',
    ]
    fails = 'if os.path.exists("fail"): raise RuntimeError("no")'
    load = tool(
        "load",
        'conn.execute("create table if not exists sales (y int, n int)")',
        *state,
        'if 1 not in done: conn.execute("insert into sales values (1, 1)")',
        fails,
        'json.dump([1], open("done.json", "w"))',
    )
    root = project({**FILES, "src/load_a.py": load})
    orch("run")
    run_changed(orch)
    (root / "fail").touch()
    answer = orch("run", "load", "--rebuild", "--json")
    assert statuses(answer) == {"load_a": "failed", "load_b": "blocked"}
    assert ask(ROWS) == [(1, 1), (2, 1)]
    assert (root / "done.json").read_text() == "[1]"
    (root / "fail").unlink()
    run_changed(orch)
    assert ask(ROWS) == [(1, 1), (2, 1)]
    assert orch("run", "load", "--rebuild").code == 0
    assert ask(ROWS) == [(1, 1), (2, 1)]
    assert (root / "done.json").read_text() == "[1]"


def test_what_another_tool_removed_is_stale_until_it_has_run(
    ask: Ask, project: Project, orch: Orch
) -> None:
    root = project(FILES)
    orch("run")
    run_changed(orch)
    text = (root / "src/load_b.py").read_text()
    (root / "src/load_b.py").write_text(text + '    raise RuntimeError("no")\n')
    orch("run", "load", "--rebuild")
    assert ask(ROWS) == [(1, 1)]
    (root / "src/load_b.py").write_text(text)
    assert "load_b" in reasons(orch)
    run_changed(orch)
    assert ask(ROWS) == [(1, 1), (2, 1)]


def test_a_run_that_ends_early_leaves_no_tool_fresh_whose_rows_are_gone(
    ask: Ask, project: Project, orch: Orch
) -> None:
    between = tool(
        "load",
        'if os.path.exists("fail"): raise RuntimeError("no")',
        top="import os\nAFTER = 'load_a'",
    )
    root = project(
        {
            **FILES,
            "src/load_b.py": add(2).replace("N = 1", "N = 1\nAFTER = 'between'"),
            "src/between.py": between,
        }
    )
    orch("run")
    run_changed(orch)
    (root / "fail").touch()
    orch("run", "load", "--rebuild")
    (root / "fail").unlink()
    assert ask(ROWS) == [(1, 1)]
    assert "run it with --rebuild, too" in reasons(orch)["load_b"][0]
    run_changed(orch)
    assert ask(ROWS) == [(1, 1), (2, 1)]


def test_rows_are_deleted_from_a_table_that_another_tool_creates(
    ask: Ask, project: Project, orch: Orch
) -> None:
    project(
        {
            "src/create.py": tool(
                "load", 'conn.execute("create table if not exists sales (y int, n int)")'
            ),
            "src/fill.py": tool(
                "load", 'conn.execute("insert into sales values (1, 1)")', top="AFTER = 'create'"
            ),
            "src/report.py": REPORT,
        }
    )
    run_all(orch)
    assert orch("run", "fill").code == 0
    assert ask(ROWS) == [(1, 1)] * 2
    assert orch("run", "fill", "--rebuild").code == 0
    assert ask(ROWS) == [(1, 1)]


def insert(year: int, *more: str, top: str = "AFTER = 'create'") -> str:
    return tool("load", *more, f'conn.execute("insert into sales values ({year}, 1)")', top=top)


CREATE = tool("load", 'conn.execute("create table if not exists sales (y int, n int)")')


def test_who_only_adds_does_so_after_a_rebuild_too_and_waits_for_who_removes(
    ask: Ask, project: Project, orch: Orch
) -> None:
    fails = 'if os.path.exists("fail"): raise RuntimeError("no")'
    root = project(
        {
            "src/create.py": CREATE,
            "src/fill_a.py": insert(1, fails, top="import os\nAFTER = 'create'"),
            "src/fill_b.py": insert(2),
        }
    )
    run_all(orch)
    assert orch("run", "fill_a", "fill_b", "--rebuild").code == 0
    assert ask(ROWS) == [(1, 1), (2, 1)]
    assert orch("run", "fill_a").code == 0
    assert reasons(orch) == {}  # neither minds what the other adds
    (root / "fail").touch()
    answer = orch("run", "fill_a", "fill_b", "--rebuild", "--json")
    assert statuses(answer) == {"fill_a": "failed", "fill_b": "blocked"}
    assert ask(ROWS) == [(1, 1), (1, 1), (2, 1)]


def test_no_step_of_a_rebuild_is_left_out_in_its_turn(
    ask: Ask, project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/source.py": 'STAGE = "load"\nN = 1\ndef run(): open("in.txt", "w").write("same")\n',
            "src/create.py": CREATE,
            "src/fill_a.py": insert(1, 'open("in.txt").read()', top="AFTER = 'create', 'source'"),
            "src/fill_b.py": insert(2).replace("load", "show"),
        }
    )
    run_all(orch)
    change(root / "src/source.py", "N = 1", "N = 2")
    change(root / "src/fill_b.py", "(2, 1)", "(2, 2)")
    answer = orch("run", "--changed", "--rebuild", "--json")
    assert ran(answer) == ["source", "fill_a", "fill_b"], answer.text
    assert ask(ROWS) == [(1, 1), (2, 2)]


def test_what_depends_on_a_table_is_dropped_with_it_or_named(
    ask: Ask, project: Project, orch: Orch, request: pytest.FixtureRequest
) -> None:
    latest = tool(
        "load", 'conn.execute("create view latest as select * from sales")', top="AFTER = 'load_a'"
    )
    project({"src/load_a.py": add(1), "src/latest.py": latest, "src/report.py": REPORT})
    orch("run")
    assert orch("run", "--rebuild").code == 0
    assert ask("select * from latest") == [(1, 1)]
    answer = orch("run", "load_a", "--rebuild")
    if "postgres" in request.node.name:
        assert answer.code == 1
        assert (
            "--rebuild cannot drop table sales: table latest depends on it, and is not made anew"
            in answer.out
        )
    assert ask("select * from latest") == [(1, 1)]


def test_what_no_tool_made_stays(ask: Ask, project: Project, orch: Orch) -> None:
    ask("create table sales (y int, n int)")
    ask("insert into sales values (0, 0)")
    root = project({"src/load_a.py": add(1), "src/report.py": REPORT, "sales.txt": "mine"})
    said = "load_a has never passed here, so it is not known what it made"
    assert said in orch("run", "--rebuild").err
    answer = orch("run", "--rebuild")
    assert answer.code == 0
    assert "table sales of load_a stays: orch did not see a tool create it" in answer.err
    assert ask(ROWS) == [(0, 0), (1, 1)]
    assert (root / "sales.txt").read_text() == "[(0, 0), (1, 1)]"


def test_stale_tools_alone_are_rebuilt_with_changed(ask: Ask, project: Project, orch: Orch) -> None:
    root = project({"src/load_a.py": add(1), "src/report.py": REPORT})
    orch("run")
    run_changed(orch)
    assert ran(orch("run", "--changed", "--rebuild", "--json")) == []
    change(root / "src/load_a.py", "N = 1", "N = 5")
    assert ran(orch("run", "--changed", "--rebuild", "--json")) == ["load_a", "report"]
    assert ask(ROWS) == [(1, 5)]
    assert reasons(orch) == {}
