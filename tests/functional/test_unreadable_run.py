"""Tools whose `run` has a signature that the source does not show: what they ask for is told from the real object."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import rows

CONF = """
    from discover_orch import resource
    @resource
    def clock():
        yield "noon"
        print("clock closed")
    @resource
    def never():
        raise RuntimeError("nobody asks for it")
"""

LOAD = """
    from functools import partial
    STAGE = "s"
    def load(table, conn, *, limit: int = 3, part=0.5, name="x", clock):
        conn.execute(f"CREATE TABLE {table} (n)")
        assert (limit, part, name) == (5, 0.25, "7")
        return {"limit": limit, "clock": clock}
    run = partial(load, "raw")
"""


def test_conn_and_resources_are_injected_by_the_real_signature(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": LOAD, "orchconf.py": CONF})
    assert "(signature cannot be read: set parameters with -p)" in orch("list").out
    assert orch("list", "--json").json["tools"][0]["resources"] == []
    values = ("-p", "limit=5", "-p", "part=0.25", "-p", "name=7")
    answer = orch("run", *values)
    assert answer.code == 0, answer.text
    assert "limit=5  clock=noon" in answer.out
    assert "clock closed" in answer.text
    reads = orch("status", "--json", *values).json["tools"][0]
    assert (reads["state"], reads["writes"]) == ("fresh", [{"table": "raw"}])


CALLABLES = (
    "def run(self, conn): return main(conn)\nclass C: go = run\nrun = C().go",
    "class C:\n    def __call__(self, conn): return main(conn)\nrun = C()",
    "class C:\n    @staticmethod\n    def go(conn): return main(conn)\nrun = C.go",
    "class C:\n    @classmethod\n    async def go(cls, conn, /): return main(conn)\nrun = C.go",
    "from functools import partial\nrun = partial(lambda conn: main(conn))",
    "from functools import partial, partialmethod\nrun = partial(lambda x, conn: main(conn), x=1)",
)


def test_any_callable_gets_what_it_asks_for_and_is_one_transaction(
    project: Project, orch: Orch
) -> None:
    def write(last: str) -> Path:
        return project(
            {
                f"src/t{number}.py": "STAGE = 's'\nAFTER = ()\ndef main(conn):\n"
                f"    conn.execute('CREATE TABLE t{number} (n)')\n    {last}\n{run}\n"
                for number, run in enumerate(CALLABLES)
            }
        )

    root = write("1 / 0")
    answer = orch("run")
    assert answer.code == 1
    assert f"{len(CALLABLES)} failed in " in answer.out, answer.text
    assert rows(root, "SELECT name FROM sqlite_master") == []
    write("return {'n': 1}")
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert answer.out.count("n=1") == len(CALLABLES)
    assert len(rows(root, "SELECT name FROM sqlite_master")) == len(CALLABLES)


def test_what_a_partial_has_bound_stays(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                from functools import partial
                STAGE = "s"
                def load(conn, clock): return {"conn": conn, "clock": clock}
                run = partial(load, conn="mine")
            """,
            "orchconf.py": CONF,
        }
    )
    root = project({})
    answer = orch("run")
    assert "conn=mine  clock=noon" in answer.out, answer.text
    assert not (root / "data.db").exists()


@pytest.mark.parametrize(
    ("run", "words", "message", "hint"),
    [
        (
            "class C:\n    def go(self, conn): ...\nrun = C.go",
            [],
            'run() requires "self", which is not given',
            "use one of an instance",
        ),
        ("run = (lambda f: f)(lambda day: 1)", [], 'run() requires "day"', "-p day=VALUE"),
        (
            "run = (lambda f: f)(lambda day=1: 1)",
            ["-p", "dya=2"],
            'run() has no parameter "dya" (from -p)',
            "use -p TOOL.dya=VALUE",
        ),
        (
            "def load(n: 'int'): ...\nrun = (lambda f: f)(load)",
            ["-p", "n=x"],
            "invalid -p n: 'x' is not a whole number",
            "its type in run() is int",
        ),
        (
            "def load():\n    yield 1\nrun = (lambda f: f)(load)",
            [],
            "run() contains yield, so calling it executed nothing",
            "do the work without yield",
        ),
        (
            "import functools\n"
            "def log(f):\n"
            "    @functools.wraps(f)\n"
            "    def inner(): return f()\n"
            "    return inner\n"
            "@log\n"
            "def run():\n    yield 1",
            [],
            "run() contains yield, so calling it executed nothing",
            "do the work without yield",
        ),
    ],
)
def test_what_cannot_be_called_is_a_failure_that_says_why(
    project: Project, orch: Orch, run: str, words: list[str], message: str, hint: str
) -> None:
    project({"src/a.py": f"STAGE = 's'\n{run}\n"})
    answer = orch("run", *words)
    said = " ".join(answer.text.split())
    assert answer.code == 1, answer.text
    assert message in said
    assert hint in said
    assert "Traceback" not in said


def test_a_tool_that_asks_for_nothing_stays_fresh(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": "from functools import partial\nSTAGE = 's'\nrun = partial(print, 'hello')\n",
            "src/b.py": "STAGE = 's'\nrun = dict\n",
            "orch.toml": "",
        }
    )
    assert orch("run").code == 0
    assert orch("status", "--exit-code").code == 0
