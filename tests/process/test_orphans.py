"""Nothing that a tool started outlives orch, however either of them ends."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker
from tests.support.marks import slow_but
from tests.support.project_builder import clean_environment
from tests.support.running import find_marked, is_gone, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere only process groups are ended"
)
TIME_TO_GO = 30.0  # seconds; two are promised, on a machine that is not busy with other tests
SLEEPER = "exec sleep 86400"
WAYS = {
    "alone": "",
    "child": f"subprocess.Popen(['sh', '-c', '{SLEEPER}'])",
    "ignores_term": f"subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; {SLEEPER}'])",
    "setsid": f"subprocess.Popen(['setsid', 'sh', '-c', '{SLEEPER}'])",
    "new_session": f"subprocess.Popen(['sh', '-c', '{SLEEPER}'], start_new_session=True)",
    "double_fork": f"subprocess.run(['sh', '-c', 'setsid sh -c \"{SLEEPER}\" & :'])",
    "forked": "fork_and_leave()",
}
TOOL = """
import os, re, subprocess, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def fork_and_leave():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(86400)
        os._exit(0)
    os.wait()

def run(way: str, end: str):
    {way}
    print("ready")
    {end}
"""
# What uses a supervisor as orch does, to be killed.
PARENT = """
import sys
from discover_orch.worker.protocol import Prepare, RunStep
from discover_orch.model.tool_events import ToolOutput
from discover_orch.execution.supervisor import Supervisor
root = sys.argv[1]
worker = Supervisor.start()
worker.send(Prepare(root=root, pythonpath=(root,), database="sqlite://"))
worker.send(RunStep(module="tool", name="tool", path="tool.py", extra={"way": "", "end": ""}))
while True:
    for event in worker.events(60):
        print(worker.pid if isinstance(event, ToolOutput) else event, flush=True)
"""


def write_tool(project: Project, way: str, end: str) -> tuple[Path, str]:
    """The project, and a mark that every process below the parent has in its first environment."""
    mark = os.environ["ORCH_TEST_MARK"]
    return project({"tool.py": TOOL.format(way=WAYS[way], end=end)}), mark


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_TEST_MARK", f"mark-{os.getpid()}-{os.urandom(4).hex()}")


def assert_gone(pids: set[int], mark: str) -> None:
    deadline = time.monotonic() + TIME_TO_GO
    while left := {pid for pid in pids | find_marked(mark) if not is_gone(pid)}:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


@contextlib.contextmanager
def killed_parent(root: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that runs the tool, once the tool is ready; it is killed at the end at the latest."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root)],
        env=clean_environment(ORCH_TEST_MARK=os.environ["ORCH_TEST_MARK"]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    try:
        seen = []
        for line in parent.stdout:
            seen.append(line)
            if line.strip().isdigit():
                break
        assert seen, "the parent ended"
        assert seen[-1].strip().isdigit(), seen
        yield parent, int(seen[-1])
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "end"),
    [
        *((way, "time.sleep(86400)") for way in WAYS),
        ("alone", "while True: pass"),
        ("setsid", "subprocess.run(['sleep', '86400'])"),
    ],
)
def test_kill_9_of_the_parent_leaves_nobody(project: Project, way: str, end: str) -> None:
    root, mark = write_tool(project, way, end)
    with killed_parent(root) as (parent, worker):
        left = 1 if way == "alone" else 2
        wait_until(lambda: len(find_marked(mark)) > left, f"what {way} leaves")
        pids = find_marked(mark) | {worker}
        parent.kill()
        assert_gone(pids, mark)


def test_kill_9_of_the_parent_ends_a_tool_that_never_lets_go_of_the_interpreter(
    project: Project,
) -> None:
    """Then no thread of Python can notice; the kernel does."""
    root, mark = write_tool(project, "alone", "re.match('(a+)+$', 'a' * 64 + 'b')")
    with killed_parent(root) as (parent, worker):
        parent.kill()
        assert_gone({worker}, mark)


@pytest.mark.parametrize("seed", slow_but(range(5), range(15)))
def test_kill_9_at_any_moment_of_the_start(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    root, mark = write_tool(project, chance.choice(list(WAYS)), "time.sleep(86400)")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root)],
        env=clean_environment(ORCH_TEST_MARK=mark),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(chance.random() * 0.25)
    parent.kill()
    parent.wait()
    assert_gone(set(), mark)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "end"),
    [
        *((way, "return") for way in WAYS),
        ("setsid", "os._exit(1)"),
        ("forked", "os.kill(os.getpid(), 9)"),
        ("double_fork", "os.kill(0, 9)"),
    ],
)
def test_what_a_tool_left_behind_is_gone_once_the_worker_is_over(
    project: Project, way: str, end: str
) -> None:
    root, mark = write_tool(project, way, end)
    with DrivenWorker(root) as worker:
        step = worker.send("tool", extra={"way": "", "end": ""})
        if end == "return":
            worker.until_printed("ready")
            worker.finish()
        else:
            worker.until_over()
        assert worker.output(step) == "ready\n"
        assert_gone({worker.supervisor.pid}, mark)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ignores_term", "double_fork"])
def test_the_ladder_leaves_nobody(project: Project, way: str) -> None:
    root, mark = write_tool(project, way, "signal_deaf()")
    text = (root / "tool.py").read_text()
    deaf = "def signal_deaf():\n    import signal\n    for n in (2, 15): signal.signal(n, signal.SIG_IGN)\n    print('deaf')\n    time.sleep(86400)\n"
    (root / "tool.py").write_text(text + deaf)
    with DrivenWorker(root) as worker:
        worker.send("tool", extra={"way": "", "end": ""})
        worker.until_printed("deaf")
        pids = find_marked(mark)
        worker.supervisor.control("interrupt")
        worker.until_over()
        assert_gone(pids, mark)


def test_a_worker_is_no_orphan_of_another(project: Project) -> None:
    root = project({"good.py": "def run(): pass\n"})
    with DrivenWorker(root) as one, DrivenWorker(root) as other:
        one.run("good")
        one.finish()
        assert other.run("good").status == "passed"
        other.finish()


def test_descriptors_and_zombies_do_not_pile_up(project: Project) -> None:
    root = project({"good.py": "def run(): pass\n"})
    before = None
    for _ in range(5):
        with DrivenWorker(root) as worker:
            worker.run("good")
            worker.finish()
        now = os.listdir("/proc/self/fd")
        before = before or now
        assert len(now) == len(before)
        with pytest.raises(ProcessLookupError):
            os.kill(worker.supervisor.pid, 0)


def test_the_parent_adopts_only_where_it_has_asked_to(project: Project) -> None:
    """A process that embeds a supervisor keeps its other children."""
    code = """
import subprocess, sys
from discover_orch.worker.protocol import Finish, Prepare, RunStep
from discover_orch.execution.supervisor import Supervisor
root = sys.argv[1]
worker = Supervisor.start(adopts_orphans=False)
own = subprocess.Popen(["sleep", "60"])
worker.send(Prepare(root=root, pythonpath=(root,), database="sqlite://"))
worker.send(RunStep(module="good", name="good", path="good.py"))
worker.send(Finish())
worker.close(30)
assert own.poll() is None
own.kill()
own.wait()
print("kept")
"""
    root = project({"good.py": "def run(): pass\n"})
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_sigkill_of_the_worker_is_told_while_its_child_holds_the_pipes(project: Project) -> None:
    root, mark = write_tool(project, "new_session", "time.sleep(86400)")
    with DrivenWorker(root) as worker:
        worker.send("tool", extra={"way": "", "end": ""})
        worker.until_printed("ready")
        os.kill(worker.supervisor.pid, signal.SIGKILL)
        worker.until_over()
        assert_gone(set(), mark)
