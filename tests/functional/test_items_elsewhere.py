"""Items on PostgreSQL and on a Dask cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.executors import dask_cluster

LOAD = """\
-- STAGE: load
-- EACH: raw/{day}.csv
-- day: date
CREATE TABLE IF NOT EXISTS sales (day date, n integer);
DELETE FROM sales WHERE day = :day;
INSERT INTO sales VALUES (:day, 1);
"""
ADD = """\
-- STAGE: sum
-- EACH: load
-- day: date
CREATE TABLE IF NOT EXISTS total (day date, n integer);
DELETE FROM total WHERE day = :day;
INSERT INTO total SELECT day, sum(n) FROM sales WHERE day = :day GROUP BY day;
"""


def test_sql_tools_with_items_on_postgres(project: Project, orch: Orch, postgres: str) -> None:
    project(
        {
            "orch.toml": f'database = "{postgres}"\nstages = ["load", "sum"]\n',
            "src/load.sql": LOAD,
            "src/add.sql": ADD,
            **{f"raw/2026-01-{day}.csv": "" for day in (10, 11, 12)},
        }
    )
    answer = orch("run", "--jobs", "2")
    assert answer.code == 0, answer.text
    assert "6 passed" in answer.out
    assert "6 fresh" in orch("status").out
    answer = orch("run", "load", "--day", "2026-01-11", "--jobs", "2")
    assert "1 passed" in answer.out
    assert "6 fresh" in orch("status").out


@pytest.mark.slow
def test_items_run_on_a_cluster(project: Project, orch: Orch, tmp_path: Path) -> None:
    tool = """
        from datetime import date
        STAGE = "s"
        ORCH = {"each": "raw/{day}.csv", "retries": 1}
        def run(*, day: date):
            text = open(f"raw/{day}.csv").read()
            if text == "bad":
                raise ValueError(text)
            print(day)
        """
    root = project({"src/a.py": tool, **{f"raw/2026-01-{day}.csv": "" for day in range(10, 16)}})
    (root / "raw/2026-01-12.csv").write_text("bad")
    with dask_cluster(tmp_path, workers=2) as made:
        answer = orch("run", "--executor", f"dask={made.address}")
        assert "1 failed, 5 passed" in answer.out
        (root / "raw/2026-01-12.csv").write_text("good")
        answer = orch("run", "--changed", "--executor", f"dask={made.address}")
        assert "1 passed, 5 fresh" in answer.out
    assert "6 fresh" in orch("status").out
