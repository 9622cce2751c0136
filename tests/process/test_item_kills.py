"""kill -9 in the middle of a run of items: afterwards each item is in the table exactly once."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.project_builder import run_orch, write_files
from tests.support.running import running

DAYS = 20
#: Inserts a row; a day that runs again removes its own before, where it may run again.
LOAD = """
    from datetime import date
    STAGE = "s"
    ORCH = {{"each": {{"day": "2026-01-01..2026-01-20"}}}}
    def run(conn, *, day: date):
        conn.execute("CREATE TABLE IF NOT EXISTS sales (day TEXT)")
        {delete}
        conn.execute("INSERT INTO sales VALUES ({mark})", (str(day),))
        print("wrote", day, flush=True)
    """


def read_rows(root: Path, url: str) -> Counter[str]:
    """How often each day is in the table."""
    connect: Callable[[], Any] = (
        (lambda: psycopg.connect(url)) if url else (lambda: sqlite3.connect(root / "data.db"))
    )
    with closing(connect()) as conn:
        return Counter(day for (day,) in conn.execute("SELECT day FROM sales").fetchall())


def kill_and_go_on(root: Path, url: str, chance: random.Random, *, jobs: int) -> None:
    """Kill a run at a random item, then have the next run do the rest."""
    is_repeatable = chance.random() < 0.5
    mark = "%s" if url else "?"
    delete = f'conn.execute("DELETE FROM sales WHERE day = {mark}", (str(day),))'
    source = LOAD.format(mark=mark, delete=delete if is_repeatable else "pass")
    settings = f'database = "{url}"\n' if url else ""
    write_files(root, {"orch.toml": settings, "src/load.py": source})
    options = ("--jobs", str(jobs))
    at = chance.randint(1, DAYS - 1)
    with running(root, "run", *options) as orch:
        orch.wait_for(f"wrote 2026-01-{at:02}")
        orch.send(signal.SIGKILL)
        orch.wait()
    # What was committed and never reported its end runs again with --changed, and not with --resume.
    again = run_orch(root, "run", "--changed" if is_repeatable else "--resume", *options)
    assert again.code == 0, again.text
    found = read_rows(root, url)
    assert found == {f"2026-01-{day:02}": 1 for day in range(1, DAYS + 1)}, again.text


def kill_often(folder: Path, times: int, new_url: Callable[[], str]) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(times):
        url = new_url()
        kill_and_go_on(folder / f"{number}", url, chance, jobs=1 + (number % 2 if url else 0))


def test_each_item_is_there_once_after_kills_of_4_runs(tmp_path: Path) -> None:
    kill_often(tmp_path, 4, lambda: "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_item_is_there_once_after_kills_of_20_runs(tmp_path: Path) -> None:
    kill_often(tmp_path, 20, lambda: "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_item_is_there_once_after_kills_of_20_runs_on_postgres(
    tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    kill_often(tmp_path, 20, new_postgres)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_each_item_is_there_once_after_kills_of_200_runs(
    tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    kill_often(tmp_path / "sqlite", 100, lambda: "")
    kill_often(tmp_path / "postgres", 100, new_postgres)


def test_an_item_that_takes_too_long_leaves_nothing_and_the_others(tmp_path: Path) -> None:
    source = LOAD.format(mark="?", delete='if day.day == 3: __import__("time").sleep(60)').replace(
        'ORCH = {"each"', 'ORCH = {"timeout": 0.5, "each"'
    )
    write_files(tmp_path, {"orch.toml": "", "src/load.py": source})
    assert run_orch(tmp_path, "run", "--day", "..2026-01-05").code == 1
    assert read_rows(tmp_path, "") == {f"2026-01-{day:02}": 1 for day in (1, 2, 4, 5)}
