"""`"timeout"`: a tool that takes longer is stopped, whatever it does, has failed, and the run goes on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.running import is_gone

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select sum(i) from n"
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
        return [row[0] for row in conn.execute("select name from sqlite_master")]


@pytest.mark.parametrize("output", ["live", pytest.param("raw", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        pytest.param(f'conn.execute("{ENDLESS}").fetchone()', id="query"),
        "subprocess.run(['sleep', '60'])",
        pytest.param("try: time.sleep(60)\n        except KeyboardInterrupt: pass", id="caught"),
    ],
)
def test_a_tool_is_stopped_at_its_timeout_and_rolled_back(
    project: Project, orch: Orch, body: str, output: str
) -> None:
    root = project({"src/a.py": HANGS.format(body=body), "src/b.py": NEXT})
    answer = orch("run", "--output", output)
    assert answer.code == 1, answer.text
    assert "FAILED a src/a.py" in answer.out
    assert "  timed out after 0.5 s\n" in answer.out
    assert "killed" not in answer.text
    assert answer.out.splitlines()[-1].startswith("1 failed, 1 passed in ")
    assert tables(root) == ["next"]


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


def test_an_attempt_that_timed_out_is_tried_again(project: Project, orch: Orch) -> None:
    body = """
        try:
            open("tried", "x")
        except FileExistsError:
            return
        time.sleep(60)
    """
    text = HANGS.format(body=body.strip()).replace("0.5}", '0.5, "retries": 1, "retry_delay": 0}')
    root = project({"src/a.py": text, "src/b.py": NEXT})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert sorted(tables(root)) == ["next", "t"]


def test_resources_are_closed_after_a_timeout_and_opened_again(
    project: Project, orch: Orch
) -> None:
    conf = """
        from discover_orch import resource
        @resource
        def counted():
            open("log", "a").write("opened ")
            yield 1
            open("log", "a").write("closed ")
    """
    tool = HANGS.format(body="time.sleep(60)").replace("run(conn)", "run(conn, counted)")
    root = project(
        {
            "orchconf.py": conf,
            "src/a.py": tool,
            "src/b.py": NEXT.replace("(conn)", "(conn, counted)"),
        }
    )
    answer = orch("run")
    assert answer.out.splitlines()[-1].startswith("1 failed, 1 passed in "), answer.text
    assert (root / "log").read_text() == "opened closed opened closed "
