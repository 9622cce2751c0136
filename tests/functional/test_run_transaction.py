"""`transaction = "run"`: all tools of a run are one transaction, which is committed as a whole or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.process.test_ledger import URLS, query
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
    found = {"orch.toml": f"transaction = 'run'\nledger = true\ndatabase = '{url}'\n"}
    for name, after in (("a", ()), ("b", "a")):
        body = TOOL.format(name=name, after=repr(after), undo=undo.format(name=name))
        found[f"src/{name}.py"] = body
    return found


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, new_postgres: Callable[[], str]) -> str:
    return new_postgres() if request.param == "postgres" else str(request.param)


def counts(root: Path, url: str) -> tuple[int, int, int]:
    """The rows of both tools, and of the ledger."""
    found = [query(root, url, f"select * from {name}") for name in ("a", "b", "orch_ledger")]
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
    assert counts(root, url) == (2, 2, 4)


def test_what_fails_at_the_last_commit_rolls_back_all_tools(project: Project, orch: Orch) -> None:
    body = """
STAGE = "s"
def run(conn):
    conn.execute("create table p (x integer primary key)")
    conn.execute("create table c (x references p (x) deferrable initially deferred)")
    conn.execute("insert into c values (7)")
"""
    root = project({"orch.toml": "transaction = 'run'", "src/a.py": body, "src/b.py": body.replace(" p ", " q ").replace(" c ", " d ")})  # fmt: skip
    answer = orch("run")
    assert answer.code == 1
    assert "the run was not committed" in answer.err
    assert "FOREIGN KEY constraint failed" in answer.err
    assert "2 rolled back" in answer.out
    with closing(sqlite3.connect(root / "data.db")) as conn:
        assert conn.execute("select name from sqlite_master").fetchall() == []


def test_what_cannot_be_part_of_one_transaction_is_refused(project: Project, orch: Orch) -> None:
    alone = "STAGE = 's'\nORCH = {'transaction': 'none'}\ndef run(conn): pass\n"
    takes = "STAGE = 's'\ndef run(conn):\n    conn.execute('select 1')\n"
    root = project({"orch.toml": "transaction = 'run'\n", "src/alone.py": alone, "src/b.py": takes})
    answer = orch("run", "--jobs", "2")
    assert (answer.code, "several workers cannot share one transaction" in answer.err) == (2, True)
    answer = orch("run")
    assert answer.code == 2
    assert 'alone has the transaction "none"' in answer.err
    assert "--exclude alone" in answer.err
    assert orch("run", "b").code == 0
    closes = "STAGE = 's'\ndef run(conn):\n    conn.close()\n"
    conf = "import sqlite3\ndef get_connection(): return sqlite3.connect('x.db', isolation_level=None)\n"
    project({"src/closes.py": closes, "src/b.py": takes})
    answer = orch("run", "closes")
    assert answer.code == 1
    assert "closed the connection" in answer.out
    project({"orchconf.py": conf})
    answer = orch("run", "b")
    assert answer.code == 1
    assert 'transaction = "run" needs a connection' in " ".join(answer.out.split())
    assert not (root / ".orch" / "lock").read_text()


def test_retries_that_do_not_count_are_said(project: Project, orch: Orch) -> None:
    text = 'STAGE = "s"\nORCH = {"retries": 2}\ndef run(conn): 1 / 0\n'
    project({"orch.toml": "transaction = 'run'\n", "src/a.py": text})
    said = 'warning: the "retries" of a do not count: with transaction = "run" the first failure'
    answer = orch("run")
    assert said in answer.err
    assert answer.out.count("ZeroDivisionError: division by zero\n") == 2  # once, and its summary
    assert said in orch("check").out
    project({"orch.toml": ""})
    assert "do not count" not in orch("run", "-n").text
