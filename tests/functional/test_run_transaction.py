"""`transaction = "run"`: all tools of a run are one transaction, which is committed as a whole or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.process.test_database_memory import URLS, query
from tests.support.running import running

TOOL = """
import os, time
STAGE = "s"
AFTER = {after}
def run(conn, *, fails: str = "", sleeps: bool = False):
    conn.execute("create temporary table scratch (x int)")
    conn.execute("create table if not exists {name} (x int)")
    conn.execute("insert into {name} values (1)")
    {undo}
    if fails == "{name}":
        raise ValueError
    if sleeps and "{name}" == "b":
        print("it sleeps", flush=True)
        time.sleep(60)
    return {{"rows": 1}}
"""
UNDO = """conn.commit()
    conn.execute("delete from {name}")
    conn.rollback()"""


def files(url: str) -> dict[str, str]:
    """DuckDB has no savepoints, so nothing can be undone there in the second tool."""
    undo = "" if url.startswith("duckdb") else UNDO
    found = {"orch.toml": f"transaction = 'run'\ndatabase = '{url}'\n"}
    for name, after in (("a", ()), ("b", "a")):
        body = TOOL.format(name=name, after=repr(after), undo=undo.format(name=name))
        found[f"src/{name}.py"] = body
    return found


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, new_postgres: Callable[[], str]) -> str:
    return new_postgres() if request.param == "postgres" else str(request.param)


def counts(root: Path, url: str) -> tuple[int, int, int]:
    """The rows of both tools, and of the memory."""
    found = [query(root, url, f"select * from {name}") for name in ("a", "b", "orch_memory")]
    return len(found[0]), len(found[1]), len(found[2])


def test_a_run_is_committed_as_a_whole_or_not_at_all(
    project: Project, orch: Orch, url: str
) -> None:
    root = project(files(url))
    answer = orch("run", "--fails", "b")
    assert answer.code == 1, answer.text
    assert "1 failed, 1 rolled back" in answer.out
    assert counts(root, url) == (0, 0, 0)
    assert "rolled back (run 1)" in orch("status").out
    assert "rolled back" in orch("history", "1").out
    resumed = orch("run", "--resume", "--fails", "", "--json")
    assert resumed.code == 0, resumed.text
    ends = [one["status"] for one in resumed.events if one["event"] == "tool_finished"]
    assert ends == ["done", "done"]
    assert resumed.events[-2]["event"] == "transaction_ended"
    assert resumed.events[-1]["counts"] == {"passed": 2}
    assert counts(root, url) == (1, 1, 2)
    assert orch("status", "--exit-code", "--fails", "").code == 0
    with running(root, "run", "--sleeps") as process:
        process.wait_for("it sleeps")
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert "1 interrupted, 1 rolled back" in process.text
    assert counts(root, url) == (1, 1, 2)


def test_a_run_that_is_killed_is_rolled_back(project: Project, orch: Orch) -> None:
    url = "sqlite:///data.db"
    root = project(files(url))
    assert orch("run").code == 0
    with running(root, "run", "--sleeps") as process:
        process.wait_for("it sleeps")
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    shown = orch("history", "2")
    assert shown.out.count("rolled back") >= 2, shown.text
    status = orch("status")
    assert status.out.count("rolled back (run 2)") == 2, status.text
    assert counts(root, url) == (1, 1, 2)
    assert orch("run", "--resume", "--no-sleeps").code == 0
    assert counts(root, url) == (2, 2, 2)
