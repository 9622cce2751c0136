"""What is in the database after a run: all of a tool that succeeded, nothing of one that did not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project


def tables(root: Path, name: str = "data.db") -> dict[str, int]:
    """Rows by table, read by somebody else after the run."""
    with closing(sqlite3.connect(root / name)) as conn:
        names = [
            row[0] for row in conn.execute("select name from sqlite_master where type='table'")
        ]
        return {
            one: conn.execute(f"select count(*) from {one}").fetchone()[0] for one in sorted(names)
        }


def tool(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f'import os, sys\nSTAGE = "s"\ndef run(conn):\n{body}'


CREATE = 'conn.execute("create table t (x)")'

INSERT = 'conn.execute("insert into t values (1)")'

FAIL = 'raise ValueError("no")'


@pytest.mark.parametrize(
    "end", [FAIL, "sys.exit(0)", "os._exit(0)", "raise KeyboardInterrupt", "os.abort()"]
)
def test_a_tool_that_fails_is_rolled_back_with_its_tables(
    project: Project, orch: Orch, end: str
) -> None:
    root = project({"src/a.py": tool(CREATE, INSERT, end)})
    assert orch("run").code == 1
    assert tables(root) == {}


def test_tools_share_one_connection(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": tool("print(id(conn))"),
            "src/b.py": tool("print(id(conn))"),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    ids = [line.strip() for line in answer.out.splitlines() if line.strip().isdigit()]
    assert len(ids) == 2
    assert ids[0] == ids[1]


def test_a_connection_that_a_tool_closed_is_opened_anew(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": tool("conn.close()"), "src/b.py": tool(CREATE, INSERT)})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert tables(root) == {"t": 1}


def test_no_database_is_opened_where_nobody_asks_for_it(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": 'STAGE = "s"\ndef run(): pass\n'})
    assert orch("run").code == 0
    assert not (root / "data.db").exists()


def test_what_such_a_tool_leaves_open_is_rolled_back_before_the_next(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": 'ORCH = {"transaction": "none"}\n' + tool(CREATE, INSERT),
            "src/b.py": tool(INSERT, INSERT),
        }
    )
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert "orch rolled back what a tool" in answer.out
    assert tables(root) == {"t": 2}


@pytest.mark.parametrize(("at", "content"), [("COMMIT", {}), ("SELECT type", {"t": 1})])
def test_a_tool_that_is_killed_while_it_commits_is_unknown(
    project: Project, orch: Orch, at: str, content: dict[str, int]
) -> None:
    kill = (
        f'conn.set_trace_callback(lambda sql: sql.startswith("{at}") and os.kill(os.getpid(), 9))'
    )
    root = project(
        {
            "orch.toml": "stages = ['s', 'z']\n",
            "src/a.py": tool("conn.execute('create table if not exists t (x)')", INSERT, kill),
            "src/b.py": "STAGE = 'z'\nAFTER = 'a'\ndef run(): pass\n",
        }
    )
    answer = orch("run")
    assert answer.code == 1
    assert tables(root) == content
    assert "UNKNOWN a src/a.py" in answer.out
    assert "what it wrote may be in the database" in answer.out
    assert "1 unknown, 1 blocked" in answer.out
    assert "unknown" in orch("history", "1").out
    assert "outcome unknown: its worker was lost in run 1" in orch("status", "a").out
    project({"src/a.py": tool("conn.execute('create table if not exists t (x)')", INSERT)})
    answer = orch("run", "--resume")
    assert (answer.code, "2 passed" in answer.out) == (0, True), answer.text


def test_a_tool_that_is_killed_with_nothing_to_commit_has_failed(
    project: Project, orch: Orch
) -> None:
    kill = 'conn.set_trace_callback(lambda sql: os.kill(os.getpid(), 9) if "temp" in sql else None)'
    project({"src/a.py": tool("conn.execute('select 1')", kill)})
    assert "1 failed" in orch("run").out


def test_a_database_can_be_opened_for_reading_alone(project: Project, orch: Orch) -> None:
    url = "sqlite:///data.db?mode=ro"
    root = project(
        {"src/a.py": tool(CREATE, INSERT), "src/b.py": tool("conn.execute('select * from t')")}
    )
    assert orch("run").code == 0
    answer = orch("run", "b", "--database", url)
    assert answer.code == 0, answer.text
    project({"src/b.py": tool(INSERT)})
    answer = orch("run", "b", "--database", url)
    assert answer.code == 1
    assert "readonly database" in answer.out
    assert sorted(one.name for one in root.iterdir() if "db" in one.name) == ["data.db"]
