"""The events of `"retries"`, and their delays. What retries do is in `tests/scenes/attempts.scene`."""

from __future__ import annotations

import json

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
