"""Interrupts reach the tool and nothing else; one that does not listen is ended step by step."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from discover_orch.execution.supervisor import WorkerDied, WorkerEnded, WorkerEvent
from discover_orch.model.tool_events import RunNote, ToolFinished, ToolStarted
from discover_orch.worker.protocol import Finish
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

SLOW = """
import time
def run():
    print("ready")
    time.sleep(60)
"""


def is_finished(event: WorkerEvent) -> bool:
    return isinstance(event, ToolFinished)


def test_an_interrupt_is_a_keyboard_interrupt_in_the_tool(project: Project) -> None:
    root = project(
        {
            "slow.py": """
            import time
            def run():
                try:
                    print("ready")
                    time.sleep(60)
                except KeyboardInterrupt:
                    print("caught")
                    raise
            """
        }
    )
    with DrivenWorker(root) as worker:
        step = worker.send("slow")
        worker.until_printed("ready")
        worker.supervisor.control("interrupt")
        ended = worker.until(is_finished)
        assert ended.status == "interrupted"
        assert worker.output(step).endswith("caught\n")
        worker.finish()


@pytest.mark.parametrize(
    "body",
    [
        "asyncio.run(asyncio.sleep(60))",
        "subprocess.run(['sleep', '60'])",
        "threading.Event().wait()",
        "queue.Queue().get()",
        "select.select([], [], [])",
        "sqlite3.connect(':memory:').execute('WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n WHERE x < 0').fetchall()",
    ],
)
def test_it_reaches_a_tool_that_waits(project: Project, body: str) -> None:
    names = "asyncio, queue, select, sqlite3, subprocess, threading"
    root = project({"slow.py": f"import {names}\ndef run():\n    print('ready')\n    {body}\n"})
    with DrivenWorker(root) as worker:
        worker.send("slow")
        worker.until_printed("ready")
        worker.supervisor.control("interrupt")
        if "sqlite3.connect" not in body:
            assert worker.until(is_finished).status == "interrupted"
            worker.finish()
            return
        # In C code Python's handlers do not run, unless it comes a moment before.
        while not worker.supervisor.is_over and not worker.messages(ToolFinished):
            worker.seen += worker.supervisor.events(30)
        last = worker.seen[-1]
        assert getattr(last, "status", "") == "interrupted" or (
            getattr(last, "sentence", "")
            == "did not stop within 2 s of the interrupt and was killed"
        )


@pytest.mark.parametrize("where", ["in its own code", "in the loop"])
def test_it_reaches_an_async_tool(project: Project, where: str) -> None:
    work = "time.sleep(60)" if where == "in its own code" else "await asyncio.sleep(60)"
    root = project(
        {
            "slow.py": f"""
            import asyncio, time
            async def other():
                try:
                    await asyncio.sleep(60)
                finally:
                    print("other cleaned up")
            async def run():
                task = asyncio.create_task(other())
                try:
                    asyncio.get_running_loop().call_soon(print, "ready")
                    await asyncio.sleep(0)
                    {work}
                finally:
                    print("cleaned up")
            """
        }
    )
    with DrivenWorker(root) as worker:
        step = worker.send("slow")
        worker.until_printed("ready")
        worker.supervisor.control("interrupt")
        ended = worker.until(is_finished)
        assert (ended.status, ended.error.path) == ("interrupted", "slow.py")
        assert worker.output(step).splitlines()[0] == "ready"
        assert sorted(worker.output(step).splitlines()[1:]) == ["cleaned up", "other cleaned up"]
        worker.finish()


def test_one_that_comes_while_nothing_runs_ends_what_follows_at_once(project: Project) -> None:
    root = project({"good.py": "def run(): pass\n", "next.py": "open('made', 'w')\n"})
    with DrivenWorker(root) as worker:
        worker.run("good")
        worker.supervisor.control("interrupt")
        assert worker.run("next").status == "interrupted"
        assert not (root / "made").exists()
        worker.finish()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setup", "at"),
    [
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])", 2),
        (
            "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            3,
        ),
    ],
)
def test_the_ladder_ends_a_tool_that_does_not_listen(project: Project, setup: str, at: int) -> None:
    root = project(
        {
            "deaf.py": f"""
            import signal, time
            def run():
                {setup}
                print("ready")
                while True:
                    time.sleep(60)
            """
        }
    )
    with DrivenWorker(root) as worker:
        worker.send("deaf")
        worker.until_printed("ready")
        started = time.monotonic()
        worker.supervisor.control("interrupt")
        died = worker.until_over()
        assert isinstance(died, WorkerDied)
        assert died.sentence == f"did not stop within {at} s of the interrupt and was killed"
        assert at <= time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "deaf"), [("open", False), ("running", False), ("close", False), ("close", True)]
)
def test_a_resource_that_hangs_is_given_a_second_and_the_others_are_closed(
    project: Project, at: str, deaf: bool
) -> None:
    """It is not broken into at once, as it may have opened what nobody else can close."""
    root = project(
        {
            "orchconf.py": f"""
            import time
            def hang():
                while True:
                    try:
                        print("hanging")
                        time.sleep(60)
                    except KeyboardInterrupt:
                        if not {deaf}:
                            raise
            def first():
                yield 1
                open("closed", "a").write("x")
            def slow(first):
                if "{at}" == "open":
                    hang()
                yield 1
                if "{at}" != "open":
                    hang()
            """,
            "uses.py": f"""
            import time
            def run(slow):
                if "{at}" == "running":
                    print("hanging")
                    time.sleep(60)
            """,
        }
    )
    with DrivenWorker(root, needs={"first": [], "slow": ["first"]}) as worker:
        worker.send("uses", "slow")
        worker.supervisor.send(Finish())
        worker.until_printed("hanging")
        worker.supervisor.control("interrupt")
        assert isinstance(worker.until_over(), WorkerDied if deaf else WorkerEnded)
    assert (root / "closed").exists() is not deaf


def test_an_interrupt_while_a_resource_opens_waits_until_it_is_open(project: Project) -> None:
    root = project(
        {
            "orchconf.py": """
            import time
            def slow():
                print("opening")
                time.sleep(0.2)
                print("opened")
                yield 1
                print("closed")
            """,
            "uses.py": "def run(slow): print('not reached')\n",
        }
    )
    with DrivenWorker(root, needs={"slow": []}) as worker:
        step = worker.send("uses", "slow")
        worker.until_printed("opening")
        worker.supervisor.control("interrupt")
        assert worker.until(is_finished).status == "interrupted"
        worker.finish()
        assert worker.output(step) == "opening\nopened\nclosed\n"


def test_the_caller_can_be_woken_while_it_waits(project: Project) -> None:
    root = project({"slow.py": SLOW})
    read, write = os.pipe()
    with DrivenWorker(root) as worker:
        worker.send("slow")
        worker.until_printed("ready")
        os.write(write, b"x")
        assert worker.supervisor.events(30, read) == []
        worker.supervisor.kill()
        worker.supervisor.close(30)
    os.close(read)
    os.close(write)


def test_a_stopped_worker_goes_on_and_can_be_interrupted(project: Project) -> None:
    root = project(
        {
            "count.py": "import time\ndef run():\n    while True:\n        print('tick')\n        time.sleep(0.001)\n"
        }
    )
    with DrivenWorker(root) as worker:
        worker.send("count")
        worker.until_printed("tick")
        worker.supervisor.control("suspend")
        deadline = time.monotonic() + 60
        while worker.supervisor.events(0.2):  # what was in the pipe
            assert time.monotonic() < deadline
        worker.supervisor.control("resume")
        worker.until_printed("tick")
        worker.supervisor.control("suspend")
        worker.supervisor.control("interrupt")
        worker.until(is_finished)
        worker.finish()


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 20))]
)
def test_closing_is_counted_exactly_once_whenever_it_is_interrupted(
    project: Project, seed: int
) -> None:
    """Every resource that opened is closed, at random moments of opening, running and closing."""
    root = project(
        {
            "orchconf.py": """
            import os
            LOG = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            def note(word):
                os.write(LOG, word.encode() + b"\\n")
            class Connection:
                autocommit = closed = False
                def __init__(self): note("open conn")
                def commit(self): note("end")
                rollback = commit
                def close(self): note("close conn")
            def get_connection():
                return Connection()
            def first(conn):
                note("open first")
                try:
                    yield 1
                finally:
                    note("close first")
            def second(first):
                note("open second")
                try:
                    yield 2
                finally:
                    note("close second")
            """,
            "tool.py": """
            def run(conn, second):
                for _ in range(20000):
                    pass
            """,
        }
    )
    chance = random.Random(seed)
    needs = {"first": ["conn"], "second": ["first"]}
    with DrivenWorker(root, needs=needs, has_connection=True) as worker:
        for _ in range(3):
            worker.send("tool", "conn", "second")
        worker.until(lambda event: isinstance(event, ToolStarted))
        time.sleep(chance.random() * 0.01)
        worker.supervisor.control("interrupt")
        worker.supervisor.send(Finish())
        assert isinstance(worker.until_over(), WorkerEnded), worker.seen
        assert not worker.messages(RunNote)
    log = (root / "log.txt").read_text().splitlines() if (root / "log.txt").exists() else []
    opened = [line[5:] for line in log if line.startswith("open ")]
    closed = [line[6:] for line in log if line.startswith("close ")]
    assert closed == opened[::-1], log


def test_the_worker_does_not_inherit_what_its_parent_ignores(project: Project) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with DrivenWorker(project({"slow.py": SLOW})) as worker:
            worker.send("slow")
            worker.until_printed("ready")
            os.kill(worker.supervisor.pid, signal.SIGTERM)
            died = worker.until_over()
            assert isinstance(died, WorkerDied)
            assert died.signal == "SIGTERM"
    finally:
        signal.signal(signal.SIGTERM, before)
