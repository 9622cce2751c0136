"""A tool that forgets a declared output has failed, and nothing of it is kept."""

from __future__ import annotations

import sqlite3

from tests.conftest import Orch, Project

TOOL = """STAGE = "s"
ORCH = {"outputs": ["out.txt", "made/*.csv"]}
def run(conn, *, whole: bool = False):
    conn.execute("CREATE TABLE t (x)")
    if whole:
        import os
        os.makedirs("made", exist_ok=True)
        for path in ("out.txt", "made/1.csv"):
            open(path, "w").close()
"""


def test_a_missing_output_fails_the_tool_before_its_commit(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": TOOL})
    result = orch("run", "--json")
    assert result.code == 1
    (end,) = (one for one in result.events if one["event"] == "tool_finished")
    assert (end["status"], end["error"]["kind"]) == ("failed", "outputs")
    assert end["error"]["message"] == "declared outputs not written: out.txt, made/*.csv"
    assert end["error"]["path"] == "src/a.py"
    with sqlite3.connect(root / "data.db") as conn:
        assert conn.execute("SELECT name FROM sqlite_master").fetchall() == []
    conn.close()


def test_the_screen_says_what_is_missing_without_a_traceback(project: Project, orch: Orch) -> None:
    project({"orch.toml": "", "src/a.py": TOOL})
    result = orch("run")
    assert "declared outputs not written: out.txt, made/*.csv" in result.out
    assert 'hint: write the file in run(), or remove it from "outputs" in ORCH' in result.out
    assert "Traceback" not in result.out + result.err


def test_a_tool_that_writes_its_outputs_passes(project: Project, orch: Orch) -> None:
    project({"orch.toml": "", "src/a.py": TOOL})
    assert orch("run", "--whole").code == 0
    assert "fresh" in orch("status", "--whole").out
