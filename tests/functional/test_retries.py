"""`"retries"`: a tool that fails is tried again, with a transaction of its own, and only its last attempt counts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

#: Fails until it was tried `needed` times.
FLAKY = """
    import os
    STAGE = "s"
    ORCH = {{"retries": {retries}, "retry_delay": {delay}}}
    def run(conn):
        conn.execute("create table t (x)")
        with open("attempts", "a") as file:
            file.write("x")
        if os.path.getsize("attempts") < {needed}:
            {fails}
        return {{"rows": 7}}
"""


def flaky(retries: int, needed: int, delay: float = 0, fails: str = "raise OSError('no')") -> str:
    return FLAKY.format(retries=retries, needed=needed, delay=delay, fails=fails)


def attempts(root: Path) -> int:
    return (root / "attempts").stat().st_size


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] for row in conn.execute("select name from sqlite_master")]


@pytest.mark.parametrize("fails", ["os._exit(7)", "raise SystemExit(0)", "conn.close(); 1 / 0"])
def test_every_kind_of_failure_is_tried_again(project: Project, orch: Orch, fails: str) -> None:
    root = project({"src/a.py": flaky(retries=1, needed=2, fails=fails)})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert (attempts(root), tables(root)) == (2, ["t"])


def test_each_attempt_is_an_event_with_its_number(project: Project, orch: Orch) -> None:
    project({"src/a.py": flaky(retries=2, needed=3, delay=0.01)})
    events = [json.loads(line) for line in orch("run", "--json").out.splitlines()]
    kinds = [one["event"] for one in events]
    assert kinds == [
        "run_started",
        *("tool_started", "tool_retried", "tool_started", "tool_retried", "tool_started"),
        *("tool_finished", "run_finished"),
    ]
    first, second = (one for one in events if one["event"] == "tool_retried")
    assert (first["attempt"], first["error"]["type"], second["attempt"]) == (1, "OSError", 2)
    assert 0.0075 <= first["delay"] <= 0.0125, "about the delay that is given"
    assert 0.015 <= second["delay"] <= 0.025, "twice that"
    [end] = [one for one in events if one["event"] == "tool_finished"]
    assert (end["status"], end["attempt"]) == ("passed", 3)


def test_a_retry_comes_before_the_tools_that_follow(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": flaky(retries=1, needed=2, delay=0.1),
            **{f"src/{name}.py": "STAGE = 's'\nAFTER = ()\ndef run(): ..." for name in "bcd"},
        }
    )
    events = [json.loads(line) for line in orch("run", "--json").out.splitlines()]
    started = [one["name"] for one in events if one["event"] == "tool_started"]
    assert started == ["a", "a", "b", "c", "d"]
