"""What stays of a tool that commits by itself and then fails, and who is stale then.

On orch's connections and on those that it can adopt, nothing stays. Where it stays, who reads the tables is stale.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import reasons, rows

CONFIG = "[tool.orch]\nstages = ['one', 'two']\n"
READER = (
    "STAGE = 'two'\nAFTER = 'a'\ndef run(conn): conn.execute('SELECT count(a) FROM t').fetchone()\n"
)
WRITTEN = ["table t was rewritten by a (run 2)"]
WAITS = ["upstream a is stale (table t)"]


def writer(body: str, takes: str = "conn") -> str:
    """It does this where there is a file `fail`, and makes the table else."""
    return f"""
import os, sqlite3
STAGE = "one"
def insert(conn): conn.execute("INSERT INTO t VALUES (2)")
def run({takes}):
    if os.access.__wrapped__("fail", os.F_OK):
        {body}
    conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
    insert(conn)
"""


def fail(project: Project, orch: Orch, body: str, config: str = "", **more: str) -> Path:
    """A run in which all goes well, and one of the writer alone that fails."""
    files = {"pyproject.toml": CONFIG + config, "src/a.py": writer(body), "src/b.py": READER}
    root = project({**files, **more})
    answer = orch("run", "-q")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    (root / "fail").touch()
    assert orch("run", "-q", "a").code == 1
    return root


def count(root: Path) -> int:
    return int(rows(root, "SELECT count(*) FROM t")[0][0])


CONF = "import sqlite3\ndef get_connection(): return sqlite3.connect('data.db'{more})\n"


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ("insert(conn); sqlite3.Cursor(conn).execute('COMMIT'); 1 / 0", ""),  # past orch
        ("insert(conn); conn.commit(); 1 / 0", "transaction = 'none'\n"),
        ("conn.isolation_level = None; insert(conn); 1 / 0", "transaction = 'none'\n"),
    ],
)
def test_who_reads_what_a_failed_tool_committed_is_stale(
    project: Project, orch: Orch, body: str, config: str
) -> None:
    root = fail(project, orch, body, config)
    # It stays. With "none" the success left its row uncommitted.
    assert count(root) == (1 if config else 2)
    assert reasons(orch) == {"a": ["failed (run 2)"], "b": WRITTEN}
    answer = orch("run", "b", "--changed")
    assert (answer.code, "1 passed" in answer.out) == (0, True)
    assert reasons(orch) == {"a": ["failed (run 2)"], "b": WAITS}


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "insert(conn); 1 / 0",
        "insert(conn); conn.commit(); 1 / 0",
        "insert(conn); conn.commit(); insert(conn); conn.rollback(); raise SystemExit",
        "insert(conn); conn.cursor(sqlite3.Cursor).execute('COMMIT'); 1 / 0",
        "conn.isolation_level = None; insert(conn); 1 / 0",
        "insert(conn); conn.commit(); conn.close(); 1 / 0",
        "insert(conn); conn.rollback(); 1 / 0",
        "insert(conn); conn.close(); 1 / 0",
    ],
)
@pytest.mark.parametrize("conf", ["", CONF.format(more="")])
def test_what_was_rolled_back_was_not_written(
    project: Project, orch: Orch, body: str, conf: str
) -> None:
    files = {"orchconf.py": conf} if conf else {}
    root = fail(project, orch, body, **files)
    assert count(root) == 1
    assert reasons(orch) == {"a": ["failed (run 2)"], "b": WAITS}


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("insert(conn); 1 / 0", ", isolation_level=None"),
        ("insert(conn); sqlite3.Cursor(conn).execute('COMMIT'); 1 / 0", ""),
    ],
)
def test_who_reads_what_stays_on_a_connection_of_the_user_s_is_stale(
    project: Project, orch: Orch, body: str, more: str
) -> None:
    root = fail(project, orch, body, **{"orchconf.py": CONF.format(more=more)})
    assert count(root) == 2
    assert WRITTEN[0] in reasons(orch)["b"]


def test_what_a_connection_that_the_tool_opened_to_the_database_has_left_is_known(
    project: Project, orch: Orch
) -> None:
    body = "exec('with sqlite3.connect(\"data.db\") as own: insert(own)'); own.close(); 1 / 0"
    root = fail(project, orch, body)
    assert count(root) == 2
    assert reasons(orch)["b"] == ["table t was rewritten by a (run 2)"]


def test_what_a_resource_wrote_stays_though_the_tool_failed(project: Project, orch: Orch) -> None:
    conf = """
import os
from discover_orch import resource
@resource
def fill(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
    conn.execute("INSERT INTO t VALUES (3)")
"""
    source = "import os\nSTAGE = 'one'\ndef run(fill): assert not os.access.__wrapped__('fail', os.F_OK)\n"
    root = project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": conf,
            "src/a.py": source,
            "src/b.py": READER,
        }
    )
    assert orch("run", "-q").code == 0
    (root / "fail").touch()
    assert orch("run", "-q", "a").code == 1
    assert count(root) == 2
    assert reasons(orch)["b"] == WRITTEN


def test_it_is_remembered_until_the_next_success(project: Project, orch: Orch) -> None:
    body = "os.access.__wrapped__('calm', os.F_OK) or (insert(conn), conn.commit()); 1 / 0"
    root = fail(project, orch, body, **{"orchconf.py": CONF.format(more=", isolation_level=None")})
    (root / "calm").touch()
    assert orch("run", "-q", "a").code == 1  # and leaves nothing
    assert reasons(orch)["b"] == WRITTEN
    assert orch("run", "-q", "b").code == 0
    assert reasons(orch)["b"] == WAITS
    (root / "fail").unlink()
    assert orch("run", "-q", "a").code == 0
    assert reasons(orch) == {"b": ["table t was rewritten by a (run 5)"]}
    assert orch("run", "-q", "--changed").code == 0
    assert reasons(orch) == {}


def test_what_was_left_in_another_database_is_none_of_this_one(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "pyproject.toml": CONFIG + "transaction = 'none'\n",
            "src/a.py": writer("insert(conn); conn.commit(); 1 / 0"),
            "src/b.py": READER,
        }
    )
    assert orch("run", "-q").code == 0
    with closing(sqlite3.connect(root / "other.db")) as conn:
        conn.execute("CREATE TABLE t(a)")
    (root / "fail").touch()
    assert orch("run", "-q", "a", "--database", "sqlite:///other.db").code == 1
    assert reasons(orch)["b"] == WAITS
