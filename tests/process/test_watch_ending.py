"""However a watch ends, it ends at once, with the right code, and nobody is left."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.marks import slow_but
from tests.support.running import running, wait_until
from tests.support.watching import Watching, tool_text, watching

IDLE = tool_text(0, top="import json, sqlite3")
BUSY = """
    import os, subprocess, time
    STAGE = "s"
    def run(conn):
        conn.execute("CREATE TABLE t (x)")
        for words in (["sleep", "86400"], ["setsid", "sleep", "86400"]):
            subprocess.Popen(words)
        try:
            print("begins", flush=True)
            time.sleep(86400)
        except KeyboardInterrupt:
            with open("interrupted", "a") as file:
                file.write("x")
            raise
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] for row in conn.execute("SELECT name FROM sqlite_master")]


def wait_for_warm_worker(watch: Watching) -> None:
    wait_until(lambda: len(watch.processes()) >= 2, "a warm worker")


@pytest.mark.parametrize("number", slow_but({signal.SIGINT}, CODES))
def test_a_signal_ends_a_waiting_watch(project: Project, number: signal.Signals) -> None:
    root = project({"src/a.py": IDLE})
    with watching(root, forks=False) as watch:
        wait_for_warm_worker(watch)
        watch.send(number)
        assert watch.wait() == CODES[number], watch.story()
        watch.assert_no_process_left()
        assert "Traceback" not in watch.stderr


def test_ctrl_z_stops_a_waiting_watch_and_what_is_saved_meanwhile_counts_afterwards(
    project: Project,
) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(0)})
    with running(root, "watch") as watch:
        watch.wait_for("watching ")
        watch.send(signal.SIGTSTP)
        watch.wait_until_stopped()
        save(root / "src/a.py", tool_text(1))
        watch.send(signal.SIGCONT)
        watch.wait_for(r"src/a.py changed → s: 1 tool stale\n.*\n    1\n")
        watch.send(signal.SIGINT)
        assert watch.wait() == 130, watch.text


@pytest.mark.parametrize("number", slow_but({signal.SIGINT}, CODES))
def test_a_signal_during_a_run_interrupts_the_tool_once_and_ends_the_watch(
    project: Project, number: signal.Signals
) -> None:
    root = project({"src/a.py": BUSY})
    with watching(root, waits=False, forks=False) as watch:
        watch.wait_for("tool_output", text="begins\n")
        watch.send(number)
        assert watch.wait() == CODES[number], watch.story()
        watch.assert_no_process_left()
        assert watch.runs[-1].status == "interrupted"
        assert watch.runs[-1].ended["a"] == "interrupted"
        assert "Traceback" not in watch.stderr
    assert (root / "interrupted").read_text() == "x"
    assert tables(root) == []


def test_a_second_signal_kills_at_once(project: Project) -> None:
    deaf = "while True:\n    try: print('begins', flush=True); time.sleep(60)\n    except KeyboardInterrupt: print('deaf', flush=True)"
    root = project({"src/a.py": tool_text(top="import time", body=deaf)})
    with watching(root, waits=False, forks=False) as watch:
        watch.wait_for("tool_output", text="begins\n")
        watch.send(signal.SIGINT)
        watch.wait_for_one(lambda one: "deaf" in one.get("text", ""), "that it does not hear")
        watch.send(signal.SIGINT)
        assert watch.wait() == 130
        assert "second interrupt" in watch.runs[-1].errors["a"]["message"]
        watch.assert_no_process_left()


def test_a_signal_before_the_first_run_ends_it_too(project: Project) -> None:
    root = project({"src/a.py": IDLE})
    for delay in (0.1, 0.2, 0.3):
        with watching(root, waits=False, forks=False) as watch:
            time.sleep(delay)
            watch.send(signal.SIGTERM)
            assert watch.wait() in (143, -signal.SIGTERM), watch.story()
            watch.assert_no_process_left()


# kill -9


def test_kill_9_during_a_run_leaves_no_process_and_no_half_done_work(
    project: Project, orch: Orch
) -> None:
    root = project({"src/a.py": BUSY})
    with watching(root, waits=False, forks=False) as watch:
        watch.wait_for("tool_output", text="begins\n")
        watch.send(signal.SIGKILL)
        assert watch.wait() == -signal.SIGKILL
        watch.assert_no_process_left()
    assert tables(root) == []
    project({"src/a.py": tool_text(1)})
    answer = orch("run")
    assert answer.code == 0, answer.text


@pytest.mark.parametrize(
    "trials", [4, pytest.param(300, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
)
def test_kill_9_at_any_moment_leaves_no_process(project: Project, trials: int) -> None:
    """From its start to some runs later, with a tool that has children of its own."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    body = "subprocess.Popen(['setsid', 'sleep', '86400'])\ntime.sleep(0.02)"
    text = {"top": "import subprocess, time", "body": body}
    root = project({"src/a.py": tool_text(0, **text)})
    for trial in range(trials):
        with watching(root, waits=False, forks=False) as watch:
            end = time.monotonic() + chance.random() * 0.8
            version = 0
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 0.1))
                version += 1
                save(root / "src/a.py", tool_text(version, **text))
            watch.send(signal.SIGKILL)
            assert watch.wait() == -signal.SIGKILL, f"seed {seed}, trial {trial}"
            watch.assert_no_process_left()


# Keys and closed ends


@pytest.mark.parametrize("busy", [False, True])
def test_q_ends_with_0(project: Project, busy: bool) -> None:
    root = project({"src/a.py": BUSY if busy else IDLE})
    with watching(root, waits=not busy, forks=False) as watch:
        if busy:
            watch.wait_for("tool_output", text="begins\n")
        watch.press("q")
        assert watch.wait() == 0, watch.story()
        watch.assert_no_process_left()
    assert not busy or tables(root) == []


def test_q_ends_a_worker_that_imports_for_long(project: Project) -> None:
    slow = "import time\ntime.sleep(86400)\n"
    root = project(
        {"orch.toml": '[watch]\npreload = ["slow"]\n', "slow.py": slow, "src/a.py": IDLE}
    )
    with watching(root, "--no-initial", forks=False) as watch:
        wait_for_warm_worker(watch)
        watch.press("q")
        assert watch.wait() == 0, watch.story()
        watch.assert_no_process_left()


def test_who_stops_reading_ends_it_quietly(project: Project) -> None:
    root = project({"src/a.py": IDLE})
    with watching(root, forks=False) as watch:
        os.close(watch.out)
        watch.out = os.open(os.devnull, os.O_RDONLY)
        deadline = time.monotonic() + 60
        version = 0
        while not watch.has_ended():  # it can notice when it says something
            assert time.monotonic() < deadline
            version += 1
            save(root / "src/a.py", tool_text(version))
            time.sleep(0.05)
        watch.assert_no_process_left()
        assert "Traceback" not in watch.stderr
