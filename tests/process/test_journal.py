"""The journal of a real run is true even after kill -9, and a tool can take it away without stopping the run."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.conftest import Orch, Project
from tests.support.journals import whole_run
from tests.support.project_builder import clean_environment
from tests.support.running import on_terminal, running

SLOW = """
    import time
    STAGE = "s"
    def run():
        print("it has begun", flush=True)
        time.sleep(60)
"""
QUICK = 'STAGE = "s"\ndef run(): print("quick")\n'


def test_a_run_that_is_going_on_is_running_and_after_kill_9_it_was_killed(
    project: Project, orch: Orch
) -> None:
    root = project({"src/a.py": QUICK, "src/b.py": SLOW, "src/c.py": QUICK})

    def look() -> tuple[str, list[str]]:
        (run,) = orch("history", "--json").json["runs"]
        return run["status"], [tool["status"] for tool in run["tools"]]

    with running(root, "run") as started:
        started.wait_for("it has begun")
        assert look() == ("running", ["passed", "running", "not_run"])
        started.send(signal.SIGKILL)
        started.wait()
    status, (first, second, third) = look()
    assert (status, first, second) == ("killed", "passed", "unknown")
    assert third in ("unknown", "not_run")  # its order may have been out
    assert orch("logs", "b").out == "it has begun\n"
    assert "killed" in orch("history", "1").out


def test_an_interrupted_run_says_so(project: Project, orch: Orch) -> None:
    root = project({"src/b.py": SLOW, "src/c.py": QUICK})
    with running(root, "run") as started:
        started.wait_for("it has begun")
        started.send(signal.SIGINT)
        assert started.wait() == 130
    (run,) = orch("history", "--json").json["runs"]
    assert (run["status"], run["exit_code"]) == ("interrupted", 130)
    assert [tool["status"] for tool in run["tools"]] == ["interrupted", "not_run"]


def test_a_tool_that_removes_the_memory_costs_the_memory_alone(
    project: Project, orch: Orch
) -> None:
    remover = 'import shutil\nSTAGE = "s"\ndef run(): shutil.rmtree(".orch", ignore_errors=True)\n'
    project({"src/a.py": remover, "src/b.py": QUICK})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "2 passed" in answer.out
    assert answer.err.count("cannot write the history of this run") == 1
    assert orch("history").err == "no run has been recorded yet\n"
    assert orch("run", "b").code == 0
    assert len(orch("history", "--json").json["runs"]) == 1


def test_on_a_terminal_the_users_colours_pass_and_nothing_else(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/fetch.py": QUICK})
    whole_run(root, ("fetch",), logs={"fetch": "\x1b[31mred\x1b[0m\x1b]0;title\x07\nend"})
    with on_terminal(root, "logs", "fetch", NO_COLOR="") as shown:
        assert shown.wait() == 0
    assert "\x1b[31mred\x1b[0m\\x1b]0;title\\x07" in shown.text
    with on_terminal(root, "logs", "fetch") as shown:
        assert shown.wait() == 0
    assert "\nred\\x1b]0;title\\x07\n" in shown.text
    with on_terminal(root, "history", NO_COLOR="") as shown:
        assert shown.wait() == 0
    assert "\x1b[32mpassed\x1b[0m" in shown.text


def test_a_reader_that_stops_reading_ends_it_quietly(project: Project) -> None:
    root = project({"orch.toml": "", "src/fetch.py": QUICK})
    whole_run(root, ("fetch",), logs={"fetch": "line\n" * 200_000})
    with subprocess.Popen(
        [sys.executable, "-m", "discover_orch", "logs", "fetch"],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == "line\n"
        reader.stdout.close()
        assert reader.stderr.read() == "run 1, 2026-11-24 14:03: fetch passed\n"
    assert reader.returncode == 141
