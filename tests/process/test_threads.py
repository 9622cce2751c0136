"""Threads and interpreters that do not end: the result is told first, then there is a limit."""

from __future__ import annotations

import time

import pytest

from discover_orch.execution.supervisor import WorkerEnded
from discover_orch.worker.protocol import Finish
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker


@pytest.mark.slow
def test_a_thread_that_never_ends_is_named_and_killed_after_two_seconds(project: Project) -> None:
    root = project(
        {
            "starts.py": """
            import threading, time
            def run():
                threading.Thread(target=time.sleep, args=(3600,), name="the-lingerer").start()
                threading.Thread(target=time.sleep, args=(3600,), name="humble", daemon=True).start()
                return {"rows": 1}
            """,
            "good.py": "def run(): pass\n",
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("starts").metrics == {"rows": 1}
        assert worker.run("good").status == "passed"
        worker.supervisor.send(Finish())
        started = time.monotonic()
        ended = worker.until_over()
        assert time.monotonic() - started >= 2
        assert isinstance(ended, WorkerEnded)
        assert ended.threads == ("the-lingerer",)
        assert ended.sentence == "did not end within 2 s of finishing its work and was killed"


def test_a_pool_that_ends_by_itself_is_no_warning(project: Project) -> None:
    root = project(
        {
            "pool.py": """
            from concurrent.futures import ThreadPoolExecutor
            POOL = ThreadPoolExecutor(2)
            def run():
                return {"sum": sum(POOL.map(abs, range(-3, 3)))}
            """
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("pool").metrics == {"sum": 9}
        worker.finish()
        assert worker.seen[-1] == WorkerEnded()


def test_what_is_printed_and_written_at_exit_is_not_lost(project: Project) -> None:
    root = project(
        {
            "late.py": """
            import atexit
            LOG = open("log.txt", "w")
            class Cycle:
                def __init__(self):
                    self.me = self
                    self.file = open("cycle.txt", "w")
            CYCLE = [Cycle()]
            def run():
                LOG.write("module")
                CYCLE[0].file.write("cycle")
                CYCLE.clear()
                atexit.register(print, "good bye")
            """
        }
    )
    with DrivenWorker(root) as worker:
        worker.run("late")
        worker.finish()
        assert worker.output(None) == "good bye\n"
    assert (root / "log.txt").read_text() == "module"
    assert (root / "cycle.txt").read_text() == "cycle"


@pytest.mark.slow
def test_a_hanging_exit_handler_is_cut_short(project: Project) -> None:
    root = project(
        {"late.py": "import atexit, time\ndef run(): atexit.register(time.sleep, 3600)\n"}
    )
    with DrivenWorker(root) as worker:
        worker.run("late")
        worker.supervisor.send(Finish())
        ended = worker.until_over()
        assert isinstance(ended, WorkerEnded)
        assert "did not end" in ended.sentence
        assert ended.threads == ()


def test_a_crash_at_exit_is_told(project: Project) -> None:
    root = project(
        {"late.py": "import atexit, ctypes\ndef run(): atexit.register(ctypes.string_at, 0)\n"}
    )
    with DrivenWorker(root) as worker:
        worker.run("late")
        worker.supervisor.send(Finish())
        assert worker.until_over() == WorkerEnded(sentence="crashed with SIGSEGV while it ended")


def test_a_thread_of_an_earlier_tool_does_not_disturb_the_next(project: Project) -> None:
    root = project(
        {
            "talks.py": """
            import threading
            def run():
                stop = threading.Event()
                def talk():
                    while not stop.wait(0.0005):
                        print("background")
                threading.Thread(target=talk, daemon=True).start()
            """,
            "good.py": "import time\ndef run():\n    print('mine')\n    time.sleep(0.005)\n",
        }
    )
    with DrivenWorker(root) as worker:
        worker.run("talks")
        for _ in range(50):
            ended = worker.run("good")
            assert ended.status == "passed"
            assert "mine\n" in worker.output()
        worker.finish()


def test_a_thread_of_a_library_is_ended_without_a_word(project: Project) -> None:
    root = project(
        {
            "lib/site-packages/pool_library.py": """
            import threading
            def start():
                threading.Thread(target=wait, name="manager").start()
            def wait():
                threading.Event().wait()
            """,
            "pool.py": """
            import sys
            sys.path.append("lib/site-packages")
            import pool_library
            def run():
                pool_library.start()
                print("kept", end="")
            """,
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("pool").status == "passed"
        started = time.monotonic()
        worker.finish()
        assert time.monotonic() - started < 2
        assert worker.seen[-1] == WorkerEnded()


def test_a_thread_that_runs_code_of_the_project_is_named(project: Project) -> None:
    root = project(
        {
            "lib/site-packages/pool_library.py": """
            import threading
            def start(function):
                threading.Thread(target=call, args=(function,), name="manager").start()
            def call(function):
                function()
            """,
            "pool.py": """
            import sys, threading
            sys.path.append("lib/site-packages")
            import pool_library
            def wait():
                threading.Event().wait()
            def run():
                pool_library.start(wait)
            """,
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("pool").status == "passed"
        worker.finish()
        ended = worker.seen[-1]
        assert isinstance(ended, WorkerEnded)
        assert ended.threads == ("manager",)
