"""kill -9 of orch or of its worker: nothing stays behind, and the next run is a run like any other."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.conftest import Project
from tests.support.running import is_gone, running, wait_until

TOOL = """
    import os, subprocess, time
    STAGE = "s"
    def run(conn):
        conn.execute("create table t (x)")
        conn.execute("insert into t values (1)")
        if os.path.exists("go"):
            return
        child = subprocess.Popen(["sleep", "60"])
        with open("pids", "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        print("it has written")
        time.sleep(60)
"""


def pids(root: Path) -> list[int]:
    return [int(word) for word in (root / "pids").read_text().split()]


def rows(root: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return conn.execute("select x from t").fetchall()


def test_kill_9_of_orch_leaves_no_process_and_no_half_done_work(project: Project) -> None:
    root = project({"src/a.py": TOOL})
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGKILL)
        assert orch.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, pids(root))), "the end of all processes")
    (root / "go").touch()
    with running(root, "run") as again:
        assert again.wait() == 0, again.text
    assert rows(root) == [(1,)]


def test_kill_9_of_the_worker_is_a_failed_tool(project: Project) -> None:
    root = project({"src/a.py": TOOL, "src/b.py": 'STAGE = "s"\ndef run(): pass\n'})
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        worker, child = pids(root)
        os.kill(worker, signal.SIGKILL)
        assert orch.wait() == 1
    assert "FAILED a src/a.py  was killed by SIGKILL (out of memory?)" in orch.text
    assert "1 failed, 1 blocked in " in orch.text
    assert is_gone(child)
    (root / "go").touch()
    with running(root, "run") as again:
        assert again.wait() == 0, again.text
    assert rows(root) == [(1,)]


def test_a_tool_whose_turn_had_not_come_when_orch_was_killed_has_not_run(project: Project) -> None:
    root = project(
        {"src/a.py": TOOL, "src/b.py": 'STAGE = "s"\nAFTER = "a"\ndef run(conn): pass\n'}
    )
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGKILL)
        assert orch.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, pids(root))), "the end of all processes")
    with running(root, "status") as shown:
        assert shown.wait() == 0
    assert re.search(r"a +stale +failed \(run 1\)", shown.text), shown.text
    assert re.search(r"b +stale +never ran", shown.text), shown.text
    (root / "go").touch()
    with running(root, "run", "--resume") as again:
        assert again.wait() == 0, again.text
    assert "2 passed" in again.text


FIRST = """
    STAGE = "s"
    def run(conn):
        conn.execute("create table t (x)")
        conn.execute("insert into t values (1)")
"""
SECOND = """
    STAGE = "t"
    def run(conn):
        rows = conn.execute("select x from t").fetchall()
        conn.execute("create table u (x)")
        conn.executemany("insert into u values (?)", rows)
"""
#: Writes more than SQLite keeps in its cache, so the file has changed when the run is killed; who opens it next undoes that.
THIRD = """
    import os, time
    STAGE = "u"
    def run(conn):
        conn.execute("select x from u")
        conn.execute("create table v (x)")
        conn.executemany("insert into v values (?)", [("x" * 1000,)] * 20_000)
        with open("pids", "w") as file:
            file.write(str(os.getpid()))
        print("it has written")
        time.sleep(60)
"""


def test_after_a_kill_only_what_another_program_writes_makes_others_stale(project: Project) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["s", "t", "u"]\n',
            "src/a.py": FIRST,
            "src/b.py": SECOND,
            "src/c.py": THIRD,
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGKILL)
        assert orch.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, pids(root))), "the end of all processes")
    assert states(root) == {"a": "fresh", "b": "fresh", "c": "failed"}
    with closing(sqlite3.connect(root / "data.db")) as conn:
        conn.execute("update t set x = 2")
        conn.commit()
    assert states(root) == {"a": "stale", "b": "stale", "c": "failed"}


def states(root: Path) -> dict[str, str]:
    with running(root, "status", "--json") as shown:
        assert shown.wait() == 0
    tools = json.loads(shown.text)["tools"]
    return {tool["name"]: tool["state"] for tool in tools}
