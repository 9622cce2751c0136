"""A tool that does not stop at its `"timeout"`. The others are in `tests/scenes/attempts.scene`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.running import is_gone

HANGS = """
    import signal, subprocess, time
    STAGE = "s"
    AFTER = ()
    ORCH = {{"timeout": 0.5}}
    def run(conn):
        conn.execute("create table t (x)")
        {body}
"""
NEXT = 'STAGE = "s"\nAFTER = ()\ndef run(conn):\n    conn.execute("create table next (x)")\n'


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [
            row[0]
            for row in conn.execute("select name from sqlite_master where name not like '%orch%'")
        ]


@pytest.mark.slow
def test_a_tool_that_does_not_stop_is_killed_with_its_children(
    project: Project, orch: Orch
) -> None:
    body = """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "86400"], start_new_session=True)
        open("child", "w").write(str(child.pid))
        time.sleep(60)
    """
    root = project({"src/a.py": HANGS.format(body=body.strip()), "src/b.py": NEXT})
    events = [json.loads(line) for line in orch("run", "--json").out.splitlines()]
    [end] = [one for one in events if one["event"] == "tool_finished" and one["name"] == "a"]
    assert (end["status"], end["error"]["kind"]) == ("failed", "timeout")
    assert end["duration"] > 0.5
    assert tables(root) == ["next"]
    assert is_gone(int((root / "child").read_text()))
