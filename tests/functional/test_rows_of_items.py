"""With `"column"`, an item is judged by its own rows of a table, on each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import run_all, run_changed

#: Runs a statement as another program, and returns the rows.
Execute = Callable[[str], list[tuple[Any, ...]]]

TOOL = """
from datetime import date
STAGE = {stage!r}
ORCH = {tag}
def run(conn, *, day: date):
    conn.execute("create table if not exists {table} (day date, amount integer)")
    conn.execute(f"delete from {table} where day = '{{day}}'")
    {fill}
"""
LOAD = TOOL.format(
    stage="load",
    tag={"each": "raw/{day}.csv", "column": "day"},
    table="sales",
    fill="""conn.execute(f"insert into sales values ('{day}', {open(f'raw/{day}.csv').read()})")""",
)
DAILY = TOOL.format(
    stage="daily",
    tag={"each": "load", "column": "day"},
    table="daily",
    fill="""conn.execute(f"insert into daily select day, amount * 10 from sales where day = '{day}'")""",
)
TOTAL = """
STAGE = "total"
def run(conn):
    [(total,)] = conn.execute("select sum(amount) from daily").fetchall()
    open("total.txt", "w").write(str(total))
"""
DAYS = {"2026-01-10": 1, "2026-01-11": 2, "2026-01-12": 4}


def changed(orch: Orch) -> set[str]:
    return {*run_changed(orch)}


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("duckdb", marks=pytest.mark.slow),
        pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres]),
    ]
)
def execute(
    request: pytest.FixtureRequest, project: Project, new_postgres: Callable[[], str]
) -> Execute:
    """A project on each database that has run."""
    path = {"sqlite": "w.db", "duckdb": "w.duckdb"}.get(request.param, "")
    url = f"{request.param}:///{path}" if path else new_postgres()
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['load', 'daily', 'total']\n",
            "src/load.py": LOAD,
            "src/daily.py": DAILY,
            "src/total.py": TOTAL,
            **{f"raw/{day}.csv": str(amount) for day, amount in DAYS.items()},
        }
    )

    def run(sql: str) -> list[tuple[Any, ...]]:
        conn: Any = psycopg.connect(url) if not path else None
        if request.param == "sqlite":
            conn = sqlite3.connect(root / path)
        elif path:
            import duckdb

            conn = duckdb.connect(root / path)
        with closing(conn):
            done = conn.execute(sql)
            rows: list[tuple[Any, ...]] = done.fetchall() if sql.startswith("select") else []
            conn.commit()
        return rows

    return run


@pytest.fixture
def root(execute: Execute, project: Project, orch: Orch) -> Path:
    run_all(orch)
    return project({})


def test_a_corrected_day_runs_that_day_of_each_tool(root: Path, orch: Orch) -> None:
    assert (root / "total.txt").read_text() == "70"
    (root / "raw/2026-01-11.csv").write_text("3")
    assert changed(orch) == {"load 2026-01-11", "daily 2026-01-11", "total"}
    assert (root / "total.txt").read_text() == "80"
    assert changed(orch) == set()


def test_a_row_that_another_program_changed_is_made_again_by_its_item(
    execute: Execute, root: Path, orch: Orch
) -> None:
    execute("update sales set amount = 100 where day = '2026-01-12'")
    status = orch("status").out
    assert "2026-01-12  stale  table sales (day = 2026-01-12) was changed by another" in status
    assert "3 days: 2 fresh, 1 stale" in status
    assert changed(orch) == {"load 2026-01-12"}
    execute("delete from daily where day = '2026-01-10'")
    ran = changed(orch)
    # On DuckDB and PostgreSQL a table does not count as changed by the order of its rows.
    assert ran - {"total"} == {"daily 2026-01-10"}
    assert (root / "total.txt").read_text() == "70"
    assert changed(orch) == set()


def test_a_day_whose_reader_ran_on_a_changed_row_runs_again(
    execute: Execute, root: Path, orch: Orch
) -> None:
    execute("update sales set amount = 100 where day = '2026-01-12'")
    assert orch("run", "daily", "total").code == 0
    assert (root / "total.txt").read_text() == "1030"
    assert changed(orch) == {"load 2026-01-12", "daily 2026-01-12", "total"}
    assert (root / "total.txt").read_text() == "70"


def test_a_failure_of_one_day_blocks_that_day_alone(root: Path, orch: Orch) -> None:
    (root / "raw/2026-01-10.csv").write_text("no number")
    (root / "raw/2026-01-11.csv").write_text("5")
    answer = orch("run", "--changed")
    assert "FAILED load 2026-01-10" in answer.out
    assert "blocked by load 2026-01-10: daily 2026-01-10, total" in answer.out
    assert "daily 2026-01-11" in answer.out


def test_rows_of_a_withdrawn_day_are_left_over_until_clean_deletes_them(
    execute: Execute, root: Path, orch: Orch
) -> None:
    (root / "raw/2026-01-10.csv").unlink()
    said = " ".join(orch("status").out.split())
    assert "table sales (day = 2026-01-10) is left over" in said
    assert "reads table daily (day = 2026-01-10) of daily 2026-01-10, which is withdrawn" in said
    listed = orch("clean").out
    assert "the rows of 2 items can be deleted: add --yes" in listed
    assert len(execute("select * from sales")) == 3
    assert "deleted the rows of 2 items" in orch("clean", "--yes").out
    assert {str(day) for day, _ in execute("select * from daily")} == {*DAYS} - {"2026-01-10"}
    assert changed(orch) == {"total"}
    assert (root / "total.txt").read_text() == "60"
    assert "withdrawn" not in orch("status").out
    assert "nothing is left over" in orch("clean").out


def test_rows_of_a_withdrawn_day_that_another_program_changed_stay(
    execute: Execute, root: Path, orch: Orch
) -> None:
    (root / "raw/2026-01-10.csv").unlink()
    execute("update sales set amount = 7 where day = '2026-01-10'")
    answer = orch("clean", "--yes")
    assert "stays: they were changed after load 2026-01-10 made them" in " ".join(
        answer.out.split()
    )
    assert len(execute("select * from sales")) == 3
    assert len(execute("select * from daily")) == 2


def test_a_later_tool_that_changes_the_whole_table_makes_its_readers_by_day_stale(
    execute: Execute, root: Path, orch: Orch
) -> None:
    scale = """
        STAGE = "load"
        AFTER = "tool:load"
        def run(conn):
            conn.execute("update sales set amount = amount + 1")
        """
    (root / "src/scale.py").write_text("\n".join(line[8:] for line in scale.splitlines()))
    ran = changed(orch)
    assert {"scale", *(f"daily {day}" for day in DAYS), "total"} <= ran
    assert (root / "total.txt").read_text() == "100"
    assert changed(orch) == set()


def test_a_row_changed_behind_a_tool_that_writes_the_whole_table_is_made_again(
    execute: Execute, root: Path, orch: Orch
) -> None:
    note = """
        STAGE = "load"
        AFTER = "tool:load"
        def run(conn):
            conn.execute("delete from sales where day = '2000-01-01'")
            conn.execute("insert into sales values ('2000-01-01', 0)")
        """
    (root / "src/note.py").write_text("\n".join(line[8:] for line in note.splitlines()))
    changed(orch)
    execute("update sales set amount = 100 where day = '2026-01-12'")
    changed(orch)
    rows = {str(day): amount for day, amount in execute("select * from sales")}
    assert rows == {**DAYS, "2000-01-01": 0}


def test_a_dropped_table_makes_all_days_stale(execute: Execute, root: Path, orch: Orch) -> None:
    execute("drop table sales")
    assert changed(orch) >= {f"load {day}" for day in DAYS}
    assert {str(day) for day, _ in execute("select * from sales")} == {*DAYS}
    assert changed(orch) == set()


SHARED = """
STAGE = {stage!r}
ORCH = {tag}
def run(conn, *, day: str):
    conn.execute("create table if not exists shared (maker text, day text, amount integer)")
    conn.execute(f"delete from shared where maker = {stage!r} and day = '{{day}}'")
    conn.execute(f"insert into shared values ({stage!r}, '{{day}}', {{open(f'raw/{{day}}.csv').read()}})")
"""


def fill_shared(root: Path, daily: dict[str, str]) -> None:
    """Two tools fill one table; only the second one may say by which column."""
    load = SHARED.format(stage="load", tag={"each": "raw/{day}.csv"})
    (root / "src/load.py").write_text(load)
    (root / "src/daily.py").write_text(SHARED.format(stage="daily", tag={"each": "load", **daily}))
    (root / "src/total.py").unlink()


def test_a_changed_row_stays_one_when_a_later_tool_ran_on_it_and_its_maker_on_another_day(
    execute: Execute, root: Path, orch: Orch
) -> None:
    fill_shared(root, {})
    changed(orch)
    execute("update shared set amount = 100 where day = '2026-01-12'")
    orch("run", "daily", "load", "--day", "2026-01-10")
    assert {f"load {day}" for day in DAYS if day != "2026-01-10"} <= changed(orch)
    rows = {(maker, str(day)): amount for maker, day, amount in execute("select * from shared")}
    assert rows == {(maker, day): DAYS[day] for maker in ("load", "daily") for day in DAYS}


def test_rows_of_a_withdrawn_day_are_gone_with_a_table_that_is_made_anew(
    execute: Execute, root: Path, orch: Orch
) -> None:
    fill_shared(root, {"column": "day"})
    changed(orch)
    (root / "raw/2026-01-10.csv").unlink()
    assert orch("run", "--rebuild", "load", "daily").code == 0
    assert len(execute("select * from shared")) == 4
    assert changed(orch) == set()
    tools = orch("status", "--json").json["tools"]
    left = [one for tool in tools for one in tool.get("withdrawn") or ()]
    assert "shared" not in str(left)


def test_all_is_fresh_after_a_run_where_a_later_tool_does_not_say_which_rows_it_writes(
    execute: Execute, root: Path, orch: Orch
) -> None:
    load = {"each": "raw/{day}.csv", "column": "day"}
    (root / "src/load.py").write_text(SHARED.format(stage="load", tag=load))
    daily = {"each": "load", "column": "day"}
    (root / "src/daily.py").write_text(SHARED.format(stage="daily", tag=daily))
    (root / "src/total.py").write_text(SHARED.format(stage="total", tag={"each": "load"}))
    changed(orch)
    assert changed(orch) == set()


def test_a_day_that_comes_back_after_clean_is_made_again_by_each_tool_of_its_rows(
    execute: Execute, root: Path, orch: Orch
) -> None:
    load = {"each": "raw/{day}.csv", "column": "day"}
    fill_shared(root, {"column": "day"})
    (root / "src/load.py").write_text(SHARED.format(stage="load", tag=load))
    changed(orch)
    (root / "raw/2026-01-10.csv").unlink()
    assert orch("clean", "--yes").code == 0
    (root / "raw/2026-01-10.csv").write_text("1")
    assert "orch clean deleted the rows that it had made" in orch("status").out
    assert changed(orch) == {"load 2026-01-10", "daily 2026-01-10"}
    rows = {(maker, str(day)): amount for maker, day, amount in execute("select * from shared")}
    assert rows == {(maker, day): DAYS[day] for maker in ("load", "daily") for day in DAYS}


@pytest.mark.parametrize("tag", [{}, {"column": "day"}])
def test_a_dropped_table_that_a_later_tool_made_again_has_lost_all_rows_of_the_earlier_one(
    execute: Execute, root: Path, orch: Orch, tag: dict[str, str]
) -> None:
    fill_shared(root, tag)
    (root / "src/load.py").write_text(
        SHARED.format(stage="load", tag={"each": "raw/{day}.csv", **tag})
    )
    changed(orch)
    execute("drop table shared")
    orch("run", "daily")
    assert changed(orch) >= {f"load {day}" for day in DAYS}
    rows = {(maker, str(day)): amount for maker, day, amount in execute("select * from shared")}
    assert rows == {(maker, day): DAYS[day] for maker in ("load", "daily") for day in DAYS}
    assert changed(orch) == set()
