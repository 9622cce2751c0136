"""`orch run --changed` answers at once where all was fresh and nothing has changed; it never answers wrongly so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

FETCH = """STAGE = "s"
import os, sqlite3
from lib.rows import rows
def run(conn, *, limit: int = 3):
    conn.execute("DROP TABLE IF EXISTS raw")
    conn.execute("CREATE TABLE raw (x)")
    with open("data/in.csv") as file:
        conn.executemany("INSERT INTO raw VALUES (?)", [(x,) for x in rows(file)[:limit]])
    print(os.listdir("data/many"))
    try:
        open("data/optional.csv")
    except FileNotFoundError:
        pass
"""
REPORT = """STAGE = "t"
def run(conn):
    with open("report.txt", "w") as file:
        file.write(str(conn.execute("SELECT count(*) FROM raw").fetchone()))
"""
FILES = {
    "orch.toml": "",
    "src/fetch.py": FETCH,
    "src/report.py": REPORT,
    "lib/rows.py": "def rows(file):\n    return file.read().split()\n",
    "data/in.csv": "1\n2\n3\n4\n",
    "data/many/a.csv": "",
}
AT_ONCE = "nothing to run: all 2 tools are fresh\n"


def settled(project: Project, orch: Orch) -> Path:
    """A project in which everything is fresh, and known to be."""
    root = project(FILES)
    before = time.time() - 60
    for path in FILES:
        os.utime(root / path, (before, before))
    assert orch("run").code == 0
    deadline = time.monotonic() + 60
    # What has just been written may change again unseen.
    while not (root / ".orch/all-fresh").exists():
        assert time.monotonic() < deadline
        assert orch("run", "--changed").out == AT_ONCE
    return root


def is_at_once(root: Path, orch: Orch) -> bool:
    """Whether the answer comes from the verdict: the files that a comparison needs are put away meanwhile."""
    os.rename(root / ".orch/code", root / ".orch/away")
    try:
        answer = orch("run", "--changed")
        return answer.out == AT_ONCE and not (root / ".orch/code").exists()
    finally:
        os.replace(root / ".orch/away", root / ".orch/code")


def test_a_project_in_which_nothing_changed_is_not_even_compared(
    project: Project, orch: Orch
) -> None:
    root = settled(project, orch)
    assert is_at_once(root, orch)
    short = orch("status").out
    assert (
        short == orch("status", "full").out == "s\n  fetch   fresh\nt\n  report  fresh\n2 fresh\n"
    )


def write(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(text)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a helper outside of the scanned folders": write(
        "lib/rows.py", "def rows(f):\n    return []\n"
    ),
    "a data file of the same size": write("data/in.csv", "4\n3\n2\n1\n"),
    "a new name in a listed folder": write("data/many/b.csv", ""),
    "an orchconf.py": write("orchconf.py", "def get_connection():\n    return None\n"),
}


def test_the_environment_counts(project: Project, orch: Orch) -> None:
    settled(project, orch)
    environment = {"ORCH_PARAM_LIMIT": "1"}
    assert "--limit: default → 1" in orch("status", env=environment).out
    assert "running 2 tools" in orch("run", "--changed", env=environment).out


@pytest.mark.parametrize("what", CHANGES)
def test_the_short_answer_is_never_given_after_a_change(
    project: Project, orch: Orch, what: str
) -> None:
    root = settled(project, orch)
    CHANGES[what](root)
    assert orch("run", "--changed").out != AT_ONCE


def test_accept_takes_the_verdict_back(project: Project, orch: Orch) -> None:
    root = settled(project, orch)
    assert orch("accept", "fetch", "--limit", "1").code == 0
    assert not (root / ".orch/all-fresh").exists()
    assert "running 2 tools" in orch("run", "--changed").out
