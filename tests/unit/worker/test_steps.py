"""Whatever a tool does, the next one finds a worker in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.driven_worker import DrivenWorker

pytestmark = pytest.mark.usefixtures("forked_workers")

Project = Callable[[Mapping[str, str | bytes]], Path]


def test_async_tools_leave_no_tasks_to_the_next(project: Project) -> None:
    root = project(
        {
            "tool.py": """
            import asyncio
            async def run():
                assert len(asyncio.all_tasks()) == 1
                asyncio.create_task(asyncio.sleep(3600))
                await asyncio.sleep(0)
            """
        }
    )
    with DrivenWorker(root) as worker:
        for _ in range(3):
            assert worker.run("tool").status == "passed"
        worker.finish()


RAISED = [
    ("raise GeneratorExit", "GeneratorExit", ""),
    ("raise StopIteration", "StopIteration", ""),
    ("raise MemoryError", "MemoryError", ""),
    ("run()", "RecursionError", "maximum recursion depth"),
    ("raise BaseException('base')", "BaseException", "base"),
    (
        "raise ExceptionGroup('many', [ValueError('one'), KeyError('two')])",
        "ExceptionGroup",
        "many",
    ),
    ("raise asyncio.CancelledError", "CancelledError", ""),
    (
        "class E(Exception):\n        def __str__(self): raise KeyError\n    raise E",
        "E",
        "__str__ raised KeyError",
    ),
    (
        "class E(Exception):\n        __cause__ = property(lambda s: 1 / 0)\n    raise E",
        "E",
        "",
    ),
    (
        "class E(Exception):\n        def __getattribute__(self, name): raise KeyError\n    raise E",
        "E",
        "",
    ),
    ("raise ValueError('\\udcff\\x00')", "ValueError", "\udcff\x00"),
    ("raise ValueError('x' * 10_000_000)", "ValueError", "xxx"),
    ("sys.setrecursionlimit(60); raise ValueError('low')", "ValueError", "low"),
    ("input()", "EOFError", "EOF"),
    ("sys.exit('no luck')", "SystemExit", "no luck"),
]


def test_the_next_tool_runs_whatever_a_tool_raises(project: Project) -> None:
    bad = {
        f"bad{number}.py": f"import asyncio, sys\ndef run():\n    {body}\n"
        for number, (body, *_) in enumerate(RAISED)
    }
    root = project({**bad, "good.py": "def run(): return {'ok': 1}\n"})
    with DrivenWorker(root) as worker:
        for number, (body, kind, text) in enumerate(RAISED):
            ended = worker.run(f"bad{number}")
            assert (ended.status, ended.error.type) == ("failed", kind), body
            assert text in ended.error.message, body
            assert len(ended.error.message) < 5000, body
            after = worker.run("good")
            assert after.metrics == {"ok": 1}, (body, after.error)
        worker.supervisor.kill()


def test_a_failing_orchconf_runs_once_and_fails_each_tool_that_needs_it(
    project: Project,
) -> None:
    root = project(
        {
            "orchconf.py": "open('log', 'a').write('x')\nraise RuntimeError('conf')\n",
            "tool.py": "def run(conn): pass\n",
            "free.py": "def run(): pass\n",
        }
    )
    with DrivenWorker(root, has_connection=True) as worker:
        for _ in range(2):
            error = worker.run("tool", "conn").error
            assert (error.message, error.path, error.line) == ("conf", "orchconf.py", 2)
        assert worker.run("free").status == "passed"
        worker.finish()
    assert (root / "log").read_text() == "x"


# What the next one finds.


def test_a_worker_takes_the_environment_of_its_orders(project: Project) -> None:
    root = project({"tool.py": "import os\ndef run():\n    print(sorted(os.environ))\n"})
    with DrivenWorker(root, environment={"ONLY": "this", "PATH": os.defpath}) as worker:
        worker.run("tool")
        worker.finish()
        assert worker.output() == "['ONLY', 'ORCH_INSIDE', 'PATH']\n"
