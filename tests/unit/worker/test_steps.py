"""What a tool gets, what is made of what it gives, and what the next one finds; in a real worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.parameter import Choice, EnumChoice, ParamType, Scalar
from discover_orch.worker.protocol import DebugStarted, StepFinished, Terminal, WireArgument
from tests.support.driven_worker import DrivenWorker

pytestmark = pytest.mark.usefixtures("forked_workers")

Project = Callable[[Mapping[str, str | bytes]], Path]


def run_one(root: Path, *resources: str, needs: Any = None, **more: Any) -> StepFinished:
    with DrivenWorker(root, needs=needs or {}) as worker:
        ended: StepFinished = worker.run("tool", *resources, **more)
        worker.finish()
    return ended


def fail_one(root: Path, **more: Any) -> Any:
    ended = run_one(root, **more)
    assert ended.status == "failed"
    return ended.error


def argument(base: Any, *texts: str, many: bool = False) -> WireArgument:
    return WireArgument(texts=texts, type=ParamType(base=base, many=many))


# What it gets.


def test_arguments_are_converted_and_members_are_real(project: Project) -> None:
    root = project(
        {
            "kinds.py": """
            from enum import Enum
            class Kind(Enum):
                RAW = "raw"
                FINE = "fine"
            """,
            "tool.py": """
            from datetime import date
            from pathlib import Path
            from kinds import Kind
            def run(n: int, day: date, where: Path, mode, kind: Kind, kinds: list[Kind], *, gone=3, **extra):
                assert (n, day, where, mode) == (7, date(2024, 1, 31), Path("/x"), 2), (n, day, where, mode)
                assert kind is Kind.FINE
                assert kinds == [Kind.RAW, Kind.FINE]
                assert gone == 3
                assert extra == {"more": "text"}
            """,
        }
    )
    kind = EnumChoice(module="kinds", name="Kind", members=(("RAW", "raw"), ("FINE", "fine")))
    ended = run_one(
        root,
        n=argument(Scalar(kind="int"), "7"),
        day=argument(Scalar(kind="date"), "2024-01-31"),
        where=argument(Scalar(kind="path"), "/x"),
        mode=argument(Choice(values=(1, 2)), "2"),
        kind=argument(kind, "fine"),
        kinds=argument(kind, "raw", "FINE", many=True),
        extra={"more": "text"},
    )
    assert ended.status == "passed", ended.error


@pytest.mark.parametrize(
    "source",
    [
        "async def run(a): return {'a': a}",
        "def run(a, /): return {'a': a}",
        "run = lambda a: {'a': a}",
        "import functools\ndef f(b, a): return {'a': a}\nrun = functools.partial(f, 1)",
        "class C:\n    def __call__(self, a): return {'a': a}\nrun = C()",
        "class C:\n    @staticmethod\n    async def run(a): return {'a': a}\nrun = C.run",
    ],
)
def test_any_callable_will_do(project: Project, source: str) -> None:
    ended = run_one(project({"tool.py": source}), a="x")
    assert ended.metrics == {"a": "x"}, ended.error


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


def test_a_pool_of_processes_works(project: Project) -> None:
    root = project(
        {
            "src/tool.py": """
            import multiprocessing as mp
            from concurrent.futures import ProcessPoolExecutor
            def double(n): return 2 * n
            def run():
                with ProcessPoolExecutor(2, mp_context=mp.get_context("spawn")) as pool:
                    return {"sum": sum(pool.map(double, range(4)))}
            """
        }
    )
    with DrivenWorker(root) as worker:
        ended = worker.run("src.tool")
        assert ended.metrics == {"sum": 12}, ended.error
        worker.finish()


# How it fails.


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


def test_a_tool_that_forgets_all_modules_is_reported(project: Project) -> None:
    root = project(
        {"bad.py": "import sys\ndef run():\n    sys.modules.clear(); raise ValueError('cleared')\n"}
    )
    with DrivenWorker(root) as worker:
        ended = worker.run("bad")
        assert (ended.status, ended.error.type) == ("failed", "ValueError")
        assert ended.error.message == "cleared"
        worker.supervisor.kill()


def test_a_breakpoint_without_a_terminal_fails_the_tool_with_a_sentence(project: Project) -> None:
    root = project({"tool.py": "def run():\n    breakpoint()\n", "good.py": "def run(): pass\n"})
    with DrivenWorker(root) as worker:
        worker.send("tool")
        ahead = worker.send("good", failures=1)
        worker.until(lambda event: isinstance(event, DebugStarted))
        worker.supervisor.send(Terminal(granted=False))
        ended = worker.until(lambda event: isinstance(event, StepFinished))
        assert ended.error.message == "breakpoint() needs a terminal, and there is none"
        assert (ended.error.path, ended.error.line) == ("tool.py", 2)
        assert ended.error.hint
        after = worker.until(lambda event: isinstance(event, StepFinished))
        assert (after.step, after.status) == (ahead, "passed")  # it had waited for its turn
        worker.finish()


@pytest.mark.parametrize(
    ("source", "kind", "path", "line"),
    [
        ("def run():\n  x = (\n", "SyntaxError", "tool.py", 2),
        ("x = '\\udcff'\n\n1 / 0\n", "ZeroDivisionError", "tool.py", 3),
        ("import broken\n", "SyntaxError", "broken.py", 1),
        ("import nothing_here\n", "ModuleNotFoundError", "tool.py", 1),
        ("x = 1\n", "ImportProblem", "tool.py", None),
        ("run = 3\n", "ImportProblem", "tool.py", None),
        ("raise SystemExit(2)\n", "SystemExit", "tool.py", 1),
    ],
)
def test_a_module_that_cannot_be_loaded_says_where(
    project: Project, source: str, kind: str, path: str, line: int | None
) -> None:
    error = fail_one(project({"tool.py": source, "broken.py": "def def\n"}))
    assert (error.type, error.path, error.line) == (kind, path, line) or (
        kind == "ImportProblem" and (error.type, error.path) == (kind, path)
    )
    assert "importlib" not in error.traceback


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


def test_a_step_that_was_sent_before_a_failure_was_known_is_declined(project: Project) -> None:
    root = project({"bad.py": "1 / 0", "good.py": "def run(): pass\n"})
    with DrivenWorker(root) as worker:
        worker.send("bad")
        worker.send("good", failures=0)
        worker.send("good", failures=1)
        worker.until(lambda event: isinstance(event, StepFinished) and event.step == 3)
        kinds = [type(event).__name__ for event in worker.seen]
        assert kinds == ["StepStarted", "StepFinished", "Declined", "StepStarted", "StepFinished"]
        assert worker.supervisor.failures == 1
        worker.finish()


# What the next one finds.


def test_a_worker_takes_the_environment_of_its_orders(project: Project) -> None:
    root = project({"tool.py": "import os\ndef run():\n    print(sorted(os.environ))\n"})
    with DrivenWorker(root, environment={"ONLY": "this", "PATH": os.defpath}) as worker:
        step = worker.run("tool").step
        worker.finish()
        assert worker.output(step) == "['ONLY', 'ORCH_INSIDE', 'PATH']\n"


def test_a_module_is_loaded_once_and_reported_by_that_step(project: Project) -> None:
    root = project(
        {
            "shared.py": "LOADS = []\nLOADS.append(1)\n",
            "a.py": "import shared\ndef run(): pass\n",
            "b.py": "import shared\ndef run(): return {'n': len(shared.LOADS)}\n",
        }
    )
    with DrivenWorker(root) as worker:
        first, second = worker.run("a"), worker.run("b")
        assert [path for _, path, _ in first.loaded] == ["a.py", "shared.py"]
        assert [path for _, path, _ in second.loaded] == ["b.py"]
        assert second.metrics == {"n": 1}
        assert worker.run("a").loaded == ()
        worker.finish()


def test_the_root_is_gone(project: Project, tmp_path: Path) -> None:
    root = project({"tool.py": "def run(): pass\n"})
    with DrivenWorker(root) as worker:
        worker.run("tool")
        root.rename(tmp_path / "away")
        error = worker.run("other").error
        assert error.type == "ModuleNotFoundError"
        worker.finish()
