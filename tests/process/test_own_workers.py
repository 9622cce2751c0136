"""`ORCH = {"worker": "own"}`: the next worker is started ahead, and none is left over."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.running import find_marked, on_terminal, running, wait_until

CONFIG = 'worker = "own"\n'
WAITS = """
    import time
    STAGE = "s"
    def run(conn):
        conn.execute("create table t (x)")
        print("it has written")
        time.sleep(60)
"""


@pytest.mark.parametrize("way", [(), ("--output", "raw"), ("--jobs", "2")])
def test_the_next_worker_has_the_imports_of_its_tool_and_no_others(
    project: Project, orch: Orch, way: tuple[str, ...]
) -> None:
    files = {"orch.toml": CONFIG}
    for name, library in (("a", "pluggy"), ("b", "iniconfig"), ("c", "iniconfig")):
        files[f"src/{name}.py"] = f"""
            import sys
            known = [one for one in ("iniconfig", "pluggy") if one in sys.modules]
            import {library}
            STAGE = "s"
            AFTER = ()
            def run():
                print(__name__, "knew", *known, flush=True)
        """
    project(files)
    answer = orch("run", *way)
    assert answer.code == 0, answer.text
    said = sorted(line.strip() for line in answer.text.splitlines() if "knew" in line)
    assert said[0] == "src.a knew", answer.text
    if "--jobs" not in way:  # else any worker takes any tool
        assert said[1:] == ["src.b knew iniconfig", "src.c knew iniconfig"], answer.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(project: Project, number: signal.Signals) -> None:
    mark = f"MARK_{number}"
    root = project({"orch.toml": CONFIG, "src/a.py": WAITS, "src/b.py": WAITS})
    with running(root, "run", ORCH_TEST_MARK=mark) as orch:
        orch.wait_for("it has written")
        wait_until(lambda: len(find_marked(mark)) == 3, "the next worker is there")
        orch.send(number)
        orch.wait()
        wait_until(lambda: not find_marked(mark), "all are gone")
    with closing(sqlite3.connect(Path(root) / "data.db")) as conn:
        assert not conn.execute("select * from sqlite_master where name = 't'").fetchall()


def test_a_debugger_in_a_worker_of_its_own(project: Project) -> None:
    stops = 'STAGE = "s"\ndef run():\n    {}\n    print("went on")\n'
    root = project(
        {
            "orch.toml": CONFIG,
            "src/a.py": stops.format("breakpoint()"),
            "src/b.py": stops.format("pass"),
            "src/c.py": stops.format("raise ValueError('no')"),
        }
    )
    with on_terminal(root, "run", "--pdb") as orch:
        orch.wait_for(r"\(Pdb\) $")
        orch.type("c\n")
        orch.wait_for(r"ValueError: no")
        orch.wait_for(r"\(Pdb\) $")
        orch.type("q\n")
        assert orch.wait() == 1, orch.text
    assert orch.text.count("went on\n") == 2, orch.text
    assert "1 failed, 2 passed" in orch.text
