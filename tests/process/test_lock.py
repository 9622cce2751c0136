"""One run at a time for each project."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.running import is_gone, running, wait_until
from tests.support.watching import tool_text, watching

#: Says that it has begun, and ends when it is told to.
HOLDS = """
    import os, time
    STAGE = "s"
    def run():
        print("holding", os.getpid(), flush=True)
        while not os.access.__wrapped__("go", os.F_OK):
            time.sleep(0.01)
    """


def test_a_second_run_is_refused_and_says_who_holds_the_project(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    with running(root, "run") as first:
        first.wait_for("holding")
        answer = orch("run")
        assert answer.code == 2
        assert f"another run is in progress (pid {first.pid}, since " in answer.err
        assert "wait for it with --if-busy wait" in answer.err
        assert answer.out == ""
        document = orch("run", "--json").events[-1]
        assert (document["event"], document["exit_code"]) == ("run_finished", 2)
        (root / "go").touch()
        assert first.wait() == 0
    assert orch("run").code == 0


def test_with_wait_it_runs_when_the_other_has_ended_with_the_code_of_then(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS, "src/b.py": tool_text(7)})
    assert orch("run", "b").code == 0
    with running(root, "run", "a") as first:
        first.wait_for("holding")
        with running(root, "run", "b", "--if-busy", "wait", "--changed") as second:
            wait_until(lambda: is_waiting(second.pid), "its waiting")
            project({"src/b.py": tool_text(8)})
            (root / "go").touch()
            assert first.wait() == 0
            assert second.wait() == 0
            assert "8\n" in second.text
            assert "changed after" not in second.text
            assert f"(pid {first.pid}, since " in second.text
            assert "; waiting for it to end" in second.text
    assert orch("status", "b", "--exit-code").code == 0


def test_who_waits_can_be_interrupted(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    with running(root, "run") as first:
        first.wait_for("holding")
        with running(root, "run", "--if-busy", "wait") as second:
            wait_until(lambda: is_waiting(second.pid), "its waiting")
            second.send(signal.SIGINT)
            assert second.wait() == 130
        (root / "go").touch()
        assert first.wait() == 0


def is_waiting(pid: int) -> bool:
    """Whether it asks the kernel for a lock; elsewhere than on Linux nobody can tell, and it soon will."""
    try:
        locks = Path("/proc/locks").read_text()
    except OSError:
        return True
    return any("->" in line and f" {pid} " in line for line in locks.splitlines())


def test_the_lock_of_a_killed_run_is_free_at_once_though_a_child_of_it_lives(
    project: Project, orch: Orch
) -> None:
    body = "p = subprocess.Popen(['sleep', '30'], start_new_session=True)\nprint('child', p.pid, flush=True)\ntime.sleep(30)"
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool_text(top="import subprocess, time", body=body),
            "src/b.py": tool_text(1),
        }
    )
    with running(root, "run", "a") as first:
        child = int(first.wait_for(r"child (\d+)")[1])
        first.send(signal.SIGKILL)
        first.wait()
        assert orch("run", "b").code == 0
        wait_until(lambda: is_gone(child), "the end of the child")


def test_on_a_file_system_without_locks_a_run_warns_once_and_goes_on(
    project: Project, orch: Orch
) -> None:
    without = "import errno, fcntl\ndef refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\nfcntl.flock = refuse\n"
    root = project({"orch.toml": "", "src/a.py": tool_text(7), "site/sitecustomize.py": without})
    answer = orch("run", env={"PYTHONPATH": str(root / "site")})
    assert (answer.code, "7\n" in answer.out) == (0, True)
    assert answer.err.count("warning: the file system of .orch cannot lock files") == 1


def test_commands_that_look_need_no_lock(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    with running(root, "run") as first:
        first.wait_for("holding")
        for words in (["list"], ["graph"], ["check"], ["run", "-n"], ["run", "--help"]):
            assert orch(*words).code == 0
        (root / "go").touch()
        assert first.wait() == 0


@pytest.mark.slow
def test_a_tool_that_runs_orch_in_its_own_project_fails_with_a_sentence(
    project: Project, orch: Orch
) -> None:
    command = [sys.executable, "-m", "discover_orch", "run", "b", "--if-busy", "wait"]
    body = f"sys.exit(subprocess.run({command!r}).returncode)"
    project(
        {
            "orch.toml": "",
            "src/a.py": tool_text(top="import subprocess, sys", body=body),
            "src/b.py": tool_text(1),
        }
    )
    answer = orch("run", "a", env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert answer.code == 1
    assert "a tool of that run started this command" in answer.text


def test_of_many_that_start_at_once_one_runs_after_another(project: Project) -> None:
    top = "import os, time"
    body = "open('log', 'a').write('begin\\n')\ntime.sleep(0.05)\nopen('log', 'a').write('end\\n')"
    root = project({"orch.toml": "", "src/a.py": tool_text(top=top, body=body)})
    pids = [
        os.posix_spawn(
            sys.executable,
            [
                sys.executable,
                "-m",
                "discover_orch",
                "-C",
                str(root),
                "run",
                "-q",
                "--if-busy",
                "wait",
            ],
            {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        for _ in range(4)
    ]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    assert (root / "log").read_text().split() == ["begin", "end"] * 4


def test_a_watch_holds_it_only_while_it_runs_something(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(0)})
    with watching(root) as watch:
        assert orch("run", "a").code == 0
        assert watch.settle() == []


def test_a_watch_waits_for_a_run_and_says_so(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS, "src/b.py": tool_text(0)})
    with watching(root, "b", "sentinel") as watch, running(root, "run", "a") as first:
        first.wait_for("holding")
        (root / "src/b.py").write_text(tool_text(1))
        notice = watch.wait_for("notice")
        assert f"(pid {first.pid}, since " in notice["problem"]["message"]
        assert json.dumps(notice).count("waiting for it to end") == 1
        (root / "go").touch()
        assert first.wait() == 0
        assert watch.next_run().output["b"] == "1\n"


def test_with_if_busy_skip_a_second_run_does_nothing(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    with running(root, "run", "--junit", str(root / "x.xml")) as first:
        first.wait_for("holding")
        words = ("run", "--if-busy", "skip", "--junit", "x.xml", "--on-failure", "touch called")
        answer = orch(*words, "--json")
        assert answer.code == 0
        assert f"another run is in progress (pid {first.pid}, since " in answer.err
        last = answer.events[-1]
        assert (last["event"], last["status"], last["exit_code"]) == ("run_finished", "skipped", 0)
        other = ("--junit", "x.xml", "--trace", "new.json", "--on-failure", "touch called")
        busy = orch("run", "--if-busy", "fail", *other)
        assert busy.code == 2
        (root / "go").touch()
        assert first.wait() == 0
    assert (root / "called").exists()
    assert 'name="a"' in (root / "x.xml").read_text()  # the others left it alone
    assert not (root / "new.json").exists()
