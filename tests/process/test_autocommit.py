"""The autocommit attribute that connections of SQLite have since Python 3.12.

Transactions on all versions are in `tests/scenes/transactions.scene`.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.tool_events import RunNote, ToolFinished
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

pytestmark = [
    pytest.mark.usefixtures("forked_workers"),
    pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit came with Python 3.12"),
]


def tool(body: str, fails: bool = False) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"def run(conn):\n{lines}" + ("    raise ValueError('no')\n" if fails else "    pass\n")


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [name for (name,) in conn.execute("SELECT name FROM sqlite_master ORDER BY 1")]


def run_all(root: Path, *modules: str, **prepare: Any) -> list[ToolFinished]:
    with DrivenWorker(root, **prepare) as worker:
        ended = [worker.run(module, "conn") for module in modules]
        worker.finish()
        assert not worker.messages(RunNote)
    return ended


SQLITE_CONF = """
import sqlite3
def get_connection():
    return sqlite3.connect("data.db"{options})
"""


def test_the_autocommit_attribute_of_newer_pythons_is_put_back(project: Project) -> None:
    root = project(
        {
            "on.py": tool("conn.autocommit = True\nconn.execute('CREATE TABLE t (a)')", fails=True),
            "off.py": tool("conn.autocommit = False\nconn.execute('CREATE TABLE u (a)')"),
            "bad.py": tool("conn.execute('CREATE TABLE v (a)')", fails=True),
        }
    )
    on, off, bad = run_all(root, "on", "off", "bad")
    assert [one.status for one in (on, off, bad)] == ["failed", "passed", "failed"]
    assert tables(root) == ["u"]


def test_a_connection_with_autocommit_on_is_left_alone_and_a_note_says_so(project: Project) -> None:
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=", autocommit=True"),
            "bad.py": tool("conn.execute('CREATE TABLE t (a)')", fails=True),
        }
    )
    (ended,) = run_all(root, "bad", has_connection=True)
    assert "autocommit" in ended.notes[0]
    assert tables(root) == ["t"]


def test_a_connection_with_autocommit_off_is_committed_and_rolled_back(project: Project) -> None:
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=", autocommit=False"),
            "good.py": tool("conn.execute('CREATE TABLE t (a)')"),
            "bad.py": tool("conn.execute('CREATE TABLE u (a)')", fails=True),
        }
    )
    good, bad = run_all(root, "good", "bad", has_connection=True)
    assert good.notes == bad.notes == ()
    assert tables(root) == ["t"]
