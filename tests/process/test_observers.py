"""Observers of real runs: the run does not wait for them, and nothing is left of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.project_builder import clean_environment
from tests.support.running import DEADLINE, find_marked, running, wait_until

KEEPS = """
@observer
def keeps(events):
    seen = [(event["event"], event.get("name"), event.get("status")) for event in events]
    open("seen.json", "w").write(json.dumps(seen))
"""
HEAD = "import json, os, subprocess, time\nfrom discover_orch import observer\n"
HANGS = """
@observer
def hangs(events):
    time.sleep(600)
"""
LEAVES = "    subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)\n"
PASSES = "STAGE = 's'\ndef run(): ...\n"


def seen(root: Path) -> list[list[str]]:
    found: list[list[str]] = json.loads((root / "seen.json").read_text("utf-8") or "[]")
    return found


def test_an_interrupt_ends_the_wait_for_an_observer_that_hangs(project: Project) -> None:
    hangs = HANGS.replace("    time", LEAVES + "    time")
    root = project({"orchconf.py": HEAD + hangs + KEEPS, "src/a.py": PASSES})
    mark = f"OBSERVED={root}"
    with running(root, "run", OBSERVED=str(root)) as process:
        process.wait_for("1 passed")  # the end of the run is shown before the wait
        wait_until(lambda: (root / "seen.json").exists() and bool(seen(root)), "the other one")
        process.send(signal.SIGINT)
        assert process.wait() == 0, "the exit code is that of the run"
        assert "warning: orchconf.py:5: observer hangs was interrupted" in process.text
    assert seen(root)[-1] == ["run_finished", None, "passed"]
    wait_until(lambda: not find_marked(mark), "the end of what the observer has started")


@pytest.mark.slow
def test_an_observer_that_hangs_is_killed_after_its_time(project: Project) -> None:
    root = project({"orchconf.py": HEAD + HANGS + KEEPS, "src/a.py": PASSES})
    with running(root, "run") as process:
        process.wait_for("1 passed")
        began = time.monotonic()
        process.wait_for("note: waiting up to 10 s for hangs to end; Ctrl-C stops this")
        assert process.wait() == 0
        assert 9 < time.monotonic() - began < 9 + DEADLINE
        assert "observer hangs did not end within 10 s of the run and was killed" in (
            " ".join(process.text.split())
        )


def test_observers_get_the_end_of_a_run_that_is_interrupted(project: Project) -> None:
    tool = "import time\nSTAGE = 's'\ndef run():\n    print('holding', flush=True)\n    time.sleep(600)\n"
    keeps = KEEPS.replace("    seen", LEAVES + "    seen")
    root = project({"orchconf.py": HEAD + keeps, "src/a.py": tool})
    with running(root, "run", OBSERVED=str(root)) as process:
        process.wait_for("holding")
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert seen(root)[-2:] == [
        ["tool_finished", "a", "interrupted"],
        ["run_finished", None, "interrupted"],
    ]
    wait_until(lambda: not find_marked(f"OBSERVED={root}"), "the end of what it has started")


def test_a_run_does_not_wait_for_an_observer_that_does_not_read(project: Project) -> None:
    """It reads only when the last tool has run, and more was printed than pipes and orch hold for it."""
    waits = "    while not os.path.exists('over'):\n        time.sleep(0.01)\n    seen ="
    root = project(
        {
            "orchconf.py": HEAD + KEEPS.replace("    seen =", waits),
            "src/a.py": "STAGE = 's'\ndef run():\n    for size in (10_000, 1000, 100, 10, 1):\n"
            "        for _ in range(300): print('x' * size, flush=True)\n",
            "src/b.py": "STAGE = 't'\ndef run(): open('over', 'w').close()\n",
            "orch.toml": 'stages = ["s", "t"]\n',
        }
    )
    with running(root, "run", "--output", "none") as process:
        assert process.wait() == 0
        assert "observer keeps reads slowly and does not get all events" in process.text
    found = seen(root)
    assert [one for one in found if one[0] != "tool_output"] == [
        ["run_started", None, None],
        ["tool_started", "a", None],
        ["tool_finished", "a", "passed"],
        ["tool_started", "b", None],
        ["tool_finished", "b", "passed"],
        ["run_finished", None, "passed"],
    ]


def test_a_worker_that_dies_takes_no_observer_with_it(project: Project) -> None:
    """orch kills what a dead worker has left, which are children of its own by then."""
    tool = "import os\nSTAGE = 's'\ndef run(): os._exit(3)\n"
    root = project({"orchconf.py": HEAD + KEEPS, "src/a.py": tool})
    with running(root, "run") as process:
        assert process.wait() == 1
        assert "observer" not in process.text
    assert seen(root)[-1] == ["run_finished", None, "failed"]


def test_an_observer_ends_with_an_orch_that_is_killed(project: Project) -> None:
    tool = "import time\nSTAGE = 's'\ndef run():\n    print('holding', flush=True)\n    time.sleep(600)\n"
    root = project({"orchconf.py": HEAD + KEEPS, "src/a.py": tool})
    with running(root, "run", OBSERVED=str(root)) as process:
        process.wait_for("holding")
        process.send(signal.SIGKILL)
        process.wait()
    wait_until((root / "seen.json").exists, "what the observer writes at the end")
    wait_until(lambda: not find_marked(f"OBSERVED={root}"), "the end of its process")


@pytest.mark.slow
def test_one_that_hangs_ends_though_the_reader_of_the_output_has_gone(project: Project) -> None:
    root = project({"orchconf.py": HEAD + HANGS, "src/a.py": PASSES})
    line = f"{sys.executable} -m discover_orch run --json | head -1"
    subprocess.run(
        ["bash", "-c", line], cwd=root, env=clean_environment(OBSERVED=str(root)), check=True
    )
    assert not find_marked(f"OBSERVED={root}")


@pytest.mark.slow
def test_one_that_hangs_ends_after_an_orch_that_is_killed(project: Project) -> None:
    tool = "import time\nSTAGE = 's'\ndef run():\n    print('holding', flush=True)\n    time.sleep(600)\n"
    root = project({"orchconf.py": HEAD + HANGS, "src/a.py": tool})
    with running(root, "run", OBSERVED=str(root)) as process:
        process.wait_for("holding")
        process.send(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not find_marked(f"OBSERVED={root}"), "the end of its process")


@pytest.mark.parametrize(
    ("conf", "observers"),
    [
        (None, 0),
        ("from discover_orch import observer\n", 0),
        (HEAD + KEEPS, 1),
        (HEAD + KEEPS + HANGS.replace("600", "0"), 2),
    ],
    ids=["no file", "none", "one", "two"],
)
def test_a_run_starts_one_process_for_each_observer_and_imports_nothing_for_none(
    project: Project, conf: str | None, observers: int
) -> None:
    tool = """
        import os
        STAGE = "s"
        def run():
            parent = os.getppid()
            for thread in os.listdir(f"/proc/{parent}/task"):
                print("children:", len(open(f"/proc/{parent}/task/{thread}/children").read().split()))
        """
    root = project({"src/a.py": tool, **({} if conf is None else {"orchconf.py": conf})})
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "discover_orch", "run"],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"children: {1 + observers}\n" in done.stdout
    assert ("discover_orch.execution.observers" in done.stderr) is bool(observers)
    assert ("observer_process" in done.stderr) is False
