"""What real workers tell of their tools: files, tables, modules, each by the step that it belongs to."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from discover_orch.model.observation import Observation, listing_hash
from discover_orch.worker.protocol import StepFinished
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

SETUP = """
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS raw(a)")
    conn.execute("CREATE TABLE IF NOT EXISTS fine(a)")
    conn.execute("INSERT INTO raw VALUES (1)")
"""


def tool(body: str, *takes: str) -> str:
    head = "import os, sqlite3, threading\n"
    return f"{head}def run({', '.join(takes)}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


def watch(root: Path, *steps: str | tuple[str, ...], **prepare: Any) -> list[Observation]:
    """What was seen of these tools, one after another in one worker; a tuple has the tool's resources too."""
    with DrivenWorker(root, observes=True, **prepare) as worker:
        ended = [worker.run(step) if isinstance(step, str) else worker.run(*step) for step in steps]
        worker.finish()
    for one in ended:
        assert one.status == "passed", one.error
    return [read_seen(one) for one in ended]


def read_seen(ended: StepFinished) -> Observation:
    assert ended.seen is not None
    return ended.seen


def see(root: Path, body: str, *takes: str, **prepare: Any) -> Observation:
    """What was seen of one tool; with `conn`, of a database that has tables `raw` and `fine`."""
    (root / "tool.py").write_text(tool(body, *takes))
    if "conn" not in takes:
        return watch(root, "tool", **prepare)[0]
    (root / "setup.py").write_text(SETUP)
    return watch(root, ("setup", "conn"), ("tool", "conn"), **prepare)[1]


def is_end_of(step: int) -> Callable[[object], bool]:
    return lambda event: isinstance(event, StepFinished) and event.step == step


def tables(seen: Observation) -> tuple[list[str], list[str]]:
    return [*seen.tables_read], [*seen.tables_written]


# Who does what.


def test_only_where_it_is_asked_for(project: Project) -> None:
    root = project({"tool.py": tool("open('x', 'w').close()")})
    with DrivenWorker(root) as worker:
        assert worker.run("tool").seen is None


def test_each_step_has_its_own_and_nothing_of_the_one_before(project: Project) -> None:
    root = project(
        {
            "in.csv": "1",
            "one.py": tool("open('in.csv').close(); open('x', 'w').close()"),
            "two.py": tool("pass"),
            "three.py": tool("os.listdir('.')"),
        }
    )
    one, two, three = watch(root, "one", "two", "three")
    found = (root / "in.csv").stat()
    assert one.read == (("in.csv", found.st_size, found.st_mtime_ns, found.st_ino),)
    assert (one.written, one.listed) == (("x",), ())
    assert two == Observation(began=two.began)
    names = ["in.csv", "one.py", "two.py", "three.py", "x"]
    assert three.listed == ((".", listing_hash(".", names, ())),)
    assert one.began[1] < two.began[1] < three.began[1]


def test_modules_that_are_loaded_are_no_files_that_are_read(project: Project) -> None:
    root = project(
        {
            "tool.py": "import lib.part, orchconf\ntext = open('settings.txt').read()\ndef run(helper): 1 / helper\n",
            "lib/part.py": "",
            "settings.txt": "",
            "orchconf.py": "from discover_orch import resource\n@resource\ndef helper(): return 0\n",
        }
    )
    with DrivenWorker(root, observes=True, needs={"helper": ()}) as worker:
        ended = worker.run("tool", "helper")
    assert ended.error.type == "ZeroDivisionError"  # whose source lines are read to be shown
    seen = read_seen(ended)
    assert [path for path, *_ in seen.read] == ["settings.txt"]
    assert (seen.listed, seen.missed, seen.written) == ((), (), ())
    assert {path for _, path, _ in ended.loaded} == {"tool.py", "lib/part.py", "orchconf.py"}


def test_a_module_that_is_loaded_past_the_loader_is_a_file_that_is_read(project: Project) -> None:
    body = """
    import importlib.util
    spec = importlib.util.spec_from_file_location("plugin", "plugins/plugin.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    """
    root = project({"tool.py": tool(body), "plugins/plugin.py": "import lib\n", "lib.py": ""})
    for _ in range(2):  # the second time from bytecode
        (seen,) = watch(root, "tool")
        assert [path for path, *_ in seen.read] == ["plugins/plugin.py"]


def test_a_tool_that_fails_or_is_rolled_back_has_been_seen_all_the_same(project: Project) -> None:
    body = """
    open('x', 'w').close()
    conn.execute("CREATE TABLE new(a)")
    conn.execute("INSERT INTO raw SELECT a FROM fine")
    raise ValueError
    """
    root = project({"setup.py": SETUP, "tool.py": tool(body, "conn")})
    with DrivenWorker(root, observes=True) as worker:
        worker.run("setup", "conn")
        ended = worker.run("tool", "conn")
    seen = read_seen(ended)
    assert (ended.status, seen.written) == ("failed", ("x",))
    assert tables(seen) == (["fine"], ["new", "raw"])


def test_the_working_directory_of_one_tool_is_not_that_of_the_next(project: Project) -> None:
    root = project(
        {
            "sub/in.csv": "",
            "in.csv": "",
            "one.py": tool("os.chdir('sub'); open('in.csv').close(); open('x', 'w').close()"),
            "two.py": tool("open('in.csv').close(); open('x', 'w').close()"),
        }
    )
    one, two = watch(root, "one", "two")
    assert ([path for path, *_ in one.read], one.written) == (["sub/in.csv"], ("sub/x",))
    assert ([path for path, *_ in two.read], two.written) == (["in.csv"], ("x",))


def test_the_database_is_no_file_of_the_tool(project: Project) -> None:
    body = "open('data.db', 'rb').close(); conn.execute('DELETE FROM raw'); os.listdir('.')"
    root = project({})
    seen = see(root, body, "conn")
    assert (seen.read, seen.written, seen.database) == ((), (), "data.db")
    assert seen.listed == ((".", listing_hash(".", ["setup.py", "tool.py"], ())),)


# Tables.


def test_who_takes_no_connection_has_no_tables_and_is_clear(project: Project) -> None:
    root = project({"setup.py": SETUP, "tool.py": tool("pass")})
    first, second = watch(root, ("setup", "conn"), "tool")
    assert (tables(second), second.database, second.is_unclear) == (([], []), "", False)
    assert tables(first) == ([], ["fine", "raw"])


def test_a_connection_by_way_of_a_resource_is_one_too(project: Project) -> None:
    root = project(
        {
            "orchconf.py": """
            from discover_orch import resource
            @resource
            def store(conn):
                conn.execute("CREATE TABLE IF NOT EXISTS kept(a)")
                return conn
            """,
            "tool.py": tool("store.execute('INSERT INTO kept VALUES (1)')", "store"),
        }
    )
    for written in (["kept"], ["kept"]):
        (seen,) = watch(root, ("tool", "store"), needs={"store": ("conn",)})
        assert tables(seen) == ([], written)
        assert (seen.database, seen.is_unclear) == ("data.db", False)


PLAIN = "import sqlite3\ndef get_connection(): return sqlite3.connect('own.db')\n"


def test_a_plain_connection_of_the_user_is_seen_as_well(project: Project) -> None:
    root = project({"orchconf.py": PLAIN})
    seen = see(
        root, "conn.execute('INSERT INTO fine SELECT a FROM raw')", "conn", has_connection=True
    )
    assert tables(seen) == (["raw"], ["fine"])
    assert (seen.database, seen.is_unclear, seen.read, seen.written) == ("own.db", False, (), ())


def test_a_connection_of_another_kind_is_unclear(project: Project) -> None:
    conf = """
    class Foreign:
        def execute(self, sql): pass
        def commit(self): pass
        def rollback(self): pass
    def get_connection(): return Foreign()
    """
    root = project({"orchconf.py": conf, "other.py": tool("pass")})
    seen = see(root, "conn.execute('DELETE FROM raw')", "conn", has_connection=True)
    assert (tables(seen), seen.is_unclear, seen.database) == (([], []), True, "")
    (other,) = watch(root, "other", has_connection=True)
    assert not other.is_unclear


def test_who_opens_the_database_past_orch_is_unclear(project: Project) -> None:
    root = project({})
    assert see(root, "sqlite3.connect('data.db')").is_unclear
    assert see(root, "sqlite3.connect('data.db')", "conn").is_unclear
    seen = see(root, "sqlite3.connect('side.db').execute('CREATE TABLE t(a)')", "conn")
    assert (seen.is_unclear, seen.written) == (False, ("side.db",))


def test_a_resource_with_a_connection_of_its_own_makes_its_tools_unclear(project: Project) -> None:
    root = project(
        {
            "orchconf.py": """
            import sqlite3
            from discover_orch import resource
            @resource
            def engine():
                return sqlite3.connect("data.db")
            """,
            "one.py": tool("engine.execute('CREATE TABLE t(a)')", "engine"),
            "two.py": tool("engine.execute('SELECT * FROM t')", "engine"),
            "three.py": tool("pass"),
        }
    )
    seen = watch(root, ("one", "engine"), ("two", "engine"), "three", needs={"engine": ()})
    assert [one.is_unclear for one in seen] == [True, True, False]


def test_an_interrupt_among_many_statements_ends_the_tool(project: Project) -> None:
    """Most of them are being prepared when it comes, where SQLite swallows what is raised."""
    body = """
    print("begun", flush=True)
    number = 0
    while True:
        number += 1
        conn.execute(f"SELECT {number} FROM raw")
    """
    root = project({"setup.py": SETUP, "tool.py": tool(body, "conn")})
    for _ in range(3):
        with DrivenWorker(root, observes=True) as worker:
            worker.run("setup", "conn")
            step = worker.send("tool", "conn")
            worker.until_printed("begun")
            os.kill(worker.supervisor.pid, signal.SIGINT)
            ended = worker.until(is_end_of(step))
        assert (ended.status, ended.error.type) == ("interrupted", "KeyboardInterrupt")


# Modules.
