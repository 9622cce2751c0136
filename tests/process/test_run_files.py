"""The files for other tools are complete however a run ends, and nothing is called for a run that was interrupted."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import pytest

from tests.conftest import Orch, Project
from tests.support.formats import read_junit, read_lineage, read_trace
from tests.support.project_builder import clean_environment
from tests.support.running import DEADLINE, running

FILES = {
    "orch.toml": "",
    "src/a.py": "STAGE = 's'\ndef run(conn): pass\n",
    "src/b.py": """
        import time
        STAGE = "s"
        AFTER = "a"
        def run(conn):
            conn.execute("create table half (a)")
            print("holding", flush=True)
            time.sleep(600)
        """,
    "src/c.py": "STAGE = 's'\nAFTER = 'b'\ndef run(): pass\n",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_files_are_complete_after_a_signal(project: Project, number: signal.Signals) -> None:
    root = project(FILES)
    names = {"--junit": "x.xml", "--trace": "x.json", "--openlineage": "x.jsonl"}
    files = [word for option, name in names.items() for word in (option, str(root / name))]
    with running(root, "run", *files, "--on-failure", f"touch {root}/called") as process:
        process.wait_for("holding")
        process.send(number)
        assert process.wait() == 128 + number
    cases = read_junit((root / "x.xml").read_text("utf-8")).iter("testcase")
    assert [[one.tag for one in case] for case in cases] == [[], ["error"], ["skipped"]]
    slices = [one for one in read_trace((root / "x.json").read_text("utf-8")) if one["ph"] == "X"]
    first = json.loads((root / ".orch/runs/1/events.jsonl").read_text("utf-8").splitlines()[0])
    [start] = [one for one in slices if one["name"] == "start"]
    assert start["ts"] == 0
    assert start["dur"] / 1e6 > first["age"] > 0, "the trace begins with the process"
    assert [one["args"]["status"] for one in slices if one["cat"] == "tool"] == [
        "passed",
        "interrupted",
    ]
    events = read_lineage((root / "x.jsonl").read_text("utf-8"))
    assert [one["eventType"] for one in events[-2:]] == ["ABORT", "ABORT"]
    # A scheduler that ends a run has given it up; who presses Ctrl-C knows it.
    assert (root / "called").exists() == (number == signal.SIGTERM)


def test_the_next_run_names_the_one_that_was_killed(project: Project, orch: Orch) -> None:
    """It could not call anything itself."""
    root = project(FILES)
    with running(root, "run") as process:
        process.wait_for("holding")
        process.send(signal.SIGKILL)
        process.wait()
    said = "warning: run 1 was killed while b ran\n  hint: orch history 1 shows it"
    assert said not in orch("run", "-n", "c").err
    assert said in orch("run", "c").err
    assert said not in orch("run", "c").err


def test_files_are_complete_after_the_reader_of_the_output_has_gone(project: Project) -> None:
    """A run whose output is closed ends early. What its files say is true."""
    root = project(
        {**FILES, "src/b.py": "STAGE = 's'\nAFTER = 'a'\ndef run():\n    print('x' * 100000)\n"}
    )
    command = [sys.executable, "-m", "discover_orch", "run", "--junit", "x.xml"]
    with subprocess.Popen(
        [*command, "--trace", "x.json", "--openlineage", "x.jsonl"],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE) == 141
    names = [
        case.attrib["name"] for case in read_junit((root / "x.xml").read_text()).iter("testcase")
    ]
    assert names == ["a", "b", "c"]
    read_trace((root / "x.json").read_text())
    read_lineage((root / "x.jsonl").read_text())


def test_the_reader_of_a_pipe_waits_for_the_end_of_the_run(project: Project) -> None:
    root = project(FILES)
    os.mkfifo(root / "pipe")
    command = [sys.executable, "-m", "discover_orch", "run", "--junit", "pipe"]
    alone = subprocess.run(
        command, cwd=root, env=clean_environment(), capture_output=True, check=False, text=True
    )
    assert alone.returncode == 2
    assert "nothing reads from this pipe\n  hint: start the reader first" in alone.stderr
    reader = os.open(root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with running(root, "run", "--junit", str(root / "pipe")) as process:
        process.wait_for("holding")
        poll = select.poll()
        poll.register(reader)
        assert poll.poll(0) == [], "the reader has not seen an end"
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert len([*read_junit(os.read(reader, 1 << 16).decode()).iter("testcase")]) == 3
    os.close(reader)
