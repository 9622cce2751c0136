"""What real workers tell of their tools: files, tables, modules, each by the step that it belongs to."""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.observation import Observation, file_stat, list_paths
from discover_orch.model.tool_events import ToolFinished
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker
from tests.support.seen import Seen
from tests.support.seen import see as read_uses

SETUP = """
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS raw(a)")
    conn.execute("CREATE TABLE IF NOT EXISTS fine(a)")
    conn.execute("INSERT INTO raw VALUES (1)")
"""


def tool(body: str, *takes: str) -> str:
    head = "import os, sqlite3, threading\n"
    return f"{head}def run({', '.join(takes)}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


def watch(root: Path, *steps: str | tuple[str, ...], **prepare: Any) -> list[Seen]:
    """What was seen of these tools, one after another in one worker; a tuple has the tool's resources too."""
    with DrivenWorker(root, **prepare) as worker:
        ended = [worker.run(step) if isinstance(step, str) else worker.run(*step) for step in steps]
        worker.finish()
    for one in ended:
        assert one.status == "passed", one.error
    return [read_seen(one) for one in ended]


def read_seen(ended: ToolFinished) -> Seen:
    return read_uses(ended.seen)


def see(root: Path, body: str, *takes: str, **prepare: Any) -> Seen:
    """What was seen of one tool; with `conn`, of a database that has tables `raw` and `fine`."""
    (root / "tool.py").write_text(tool(body, *takes))
    if "conn" not in takes:
        return watch(root, "tool", **prepare)[0]
    (root / "setup.py").write_text(SETUP)
    return watch(root, ("setup", "conn"), ("tool", "conn"), **prepare)[1]


def is_end(event: object) -> bool:
    return isinstance(event, ToolFinished)


def tables(seen: Seen) -> tuple[list[str], list[str]]:
    return [*seen.tables_read], [*seen.tables_written]


# Who does what.


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
    assert one.read == (("in.csv", *file_stat(found)),)
    assert (one.written, one.listed) == (("x",), ())
    assert two.observed == Observation(began=two.began)
    names = ["in.csv", "one.py", "two.py", "three.py", "x"]
    assert three.listed == ((".", list_paths(".", names, ())),)
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
    with DrivenWorker(root, needs={"helper": ()}) as worker:
        ended = worker.run("tool", "helper")
    assert ended.error.type == "ZeroDivisionError"  # whose source lines are read to be shown
    seen = read_seen(ended)
    assert [path for path, *_ in seen.read] == ["settings.txt"]
    assert (seen.listed, seen.missed, seen.written) == ((), (), ())
    assert {*ended.loaded} == {"tool.py", "lib/part.py", "orchconf.py"}


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
    with DrivenWorker(root) as worker:
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
    assert seen.listed == ((".", list_paths(".", ["setup.py", "tool.py"], ())),)


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


def test_what_a_tool_does_to_tables_is_told_apart(project: Project) -> None:
    root = project({})
    body = """
    conn.execute("INSERT INTO raw VALUES (2)")
    conn.execute("CREATE TABLE IF NOT EXISTS fine(a)")
    conn.execute("DROP TABLE IF EXISTS old")
    conn.execute("CREATE TABLE fresh(a)")
    try:
        conn.execute("SELECT * FROM extra")
    except sqlite3.OperationalError:
        conn.execute("SELECT name FROM sqlite_master")
    """
    seen = see(root, body, "conn")
    assert (seen.tables_written, seen.tables_inserted) == (("fresh", "raw"), ("raw",))
    assert (seen.tables_created, sorted(seen.tables_kept)) == (("fresh",), ["fine", "fresh", "old"])
    assert (seen.tables_missed, seen.lists_tables) == (("extra", "old"), True)


SQLALCHEMY = """
import sqlalchemy
engine = sqlalchemy.create_engine("sqlite:///own.db")
def get_connection(): return engine.connect()
"""


def test_sqlalchemy_looks_for_the_tables_that_it_creates(project: Project) -> None:
    root = project({"orchconf.py": SQLALCHEMY})
    body = """
    from sqlalchemy import Column, Integer, MetaData, Table, exc, insert, inspect, text
    meta = MetaData()
    raw, fine = Table("raw", meta, Column("a", Integer)), Table("fine", meta, Column("a", Integer))
    meta.create_all(conn)
    conn.execute(insert(raw), [{"a": 1}, {"a": 2}])
    assert not inspect(conn).has_table("extra")
    try:
        conn.execute(text("SELECT * FROM other"))
    except exc.OperationalError:
        pass
    """
    (root / "tool.py").write_text(tool(body, "conn"))
    first, second = watch(root, ("tool", "conn"), ("tool", "conn"), has_connection=True)
    assert (first.tables_created, first.tables_inserted) == (("fine", "raw"), ())
    assert (second.tables_created, second.tables_inserted) == ((), ("raw",))
    for seen in (first, second):
        assert (seen.tables_missed, seen.lists_tables) == (("extra", "other"), False)
        assert not seen.is_unclear


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
    attach = "sqlite3.connect(':memory:').execute('ATTACH \"data.db\" AS x')"
    assert see(root, attach).is_unclear
    assert see(root, "import _sqlite3; _sqlite3.Connection('data.db')", "conn").is_unclear
    assert not see(root, "sqlite3.connect('data.db')", "conn").is_unclear
    seen = see(root, "sqlite3.connect('side.db').execute('CREATE TABLE t(a)')", "conn")
    assert (seen.is_unclear, seen.written) == (False, ("side.db",))


def test_what_a_resource_does_on_a_connection_of_its_own_is_seen(project: Project) -> None:
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
    assert [one.tables_written for one in seen] == [("t",), (), ()]
    assert [one.tables_read for one in seen] == [(), ("t",), ()]
    assert [one.is_unclear for one in seen] == [False, False, False]


def test_an_interrupt_among_many_statements_ends_the_tool(project: Project) -> None:
    """Most of them are being prepared when it comes, where SQLite swallows what is raised. Also on its own connection."""
    body = """
    print("begun", flush=True)
    number = 0
    while True:
        number += 1
        conn.execute(f"SELECT {number} FROM raw")
    """
    own = body.replace("number = 0", "number = 0; conn = sqlite3.connect('data.db')")
    files = {"setup.py": SETUP, "tool.py": tool(body, "conn"), "own.py": tool(own)}
    root = project(files)
    for name, takes in (("tool", "conn"), ("own", ""), ("tool", "conn"), ("own", "")):
        with DrivenWorker(root) as worker:
            worker.run("setup", "conn")
            worker.send(name, *filter(None, [takes]))
            worker.until_printed("begun")
            os.kill(worker.supervisor.pid, signal.SIGINT)
            ended = worker.until(is_end)
        assert (ended.status, ended.error.type) == ("interrupted", "KeyboardInterrupt")


# Modules.


# What later tools rest on without repeating it.

RATES = """
import functools, os
{decorator}
def rates(year=2024):
    os.listdir('data')
    return open('data/rates.csv').read(), os.environ.get('REGION'), os.path.exists('x') or missing()
def missing():
    try: open('absent')
    except OSError: pass
"""


@pytest.mark.parametrize(
    "decorator",
    [
        "@functools.cache",
        "@functools.lru_cache",
        "@functools.lru_cache(maxsize=8)",
        "@functools.lru_cache(None, True)",
        "@functools.cache\n@functools.wraps(os.getcwd)",
    ],
)
def test_what_a_cached_function_reads_is_told_with_its_file(
    project: Project, decorator: str
) -> None:
    root = project(
        {
            "lib/rates.py": RATES.format(decorator=decorator.replace("wraps(os.getcwd)", "cache")),
            "data/rates.csv": "1",
            "other.csv": "",
            "one.py": "from lib.rates import rates\ndef run(): rates(); open('other.csv').close()\n",
            "two.py": "from lib.rates import rates\ndef run(): rates()\n",
        }
    )
    one, two = watch(root, "one", "two")
    (use,) = one.shared
    assert use.path == "lib/rates.py"
    assert [path for path, *_ in use.read] == ["data/rates.csv"]
    assert use.listed == (("data", list_paths("data", ["rates.csv"], ())),)
    assert (use.missed, use.environment) == (("absent", "x"), ("REGION",))
    assert [path for path, *_ in one.read] == ["data/rates.csv", "other.csv"]
    assert one.environment == ("REGION",)
    assert two.observed == Observation(began=two.began)


def test_a_cached_function_keeps_what_functools_gives_it(project: Project) -> None:
    lib = """
    import functools, pickle
    @functools.lru_cache(maxsize=8)
    def double(x):
        "Twice."
        return 2 * x
    def plain(x): return x
    def run():
        double(1), double(1), double(2)
        assert double.cache_info() == (1, 2, 8, 2), double.cache_info()
        assert double.cache_parameters() == {"maxsize": 8, "typed": False}
        assert (double.__name__, double.__doc__, double.__wrapped__(4)) == ("double", "Twice.", 8)
        double.cache_clear()
        assert double.cache_info().currsize == 0
        assert pickle.loads(pickle.dumps(functools.lru_cache)) is functools.lru_cache
        deep = functools.cache(lambda n: n and 1 + deep(n - 1))
        assert deep(300) == 300
    """
    watch(project({"tool.py": textwrap.dedent(lib)}), "tool")


def test_only_functions_of_the_project_are_told(project: Project) -> None:
    root = project(
        {
            "site-packages/installed.py": RATES.format(decorator="@functools.cache"),
            "data/rates.csv": "1",
            "tool.py": tool("import installed; installed.rates()"),
        }
    )
    (seen,) = watch(root, "tool", pythonpath=(str(root), str(root / "site-packages")))
    assert [path for path, *_ in seen.read] == ["data/rates.csv"]
    assert (seen.shared, seen.environment) == ((), ())


def test_what_a_module_reads_when_it_is_imported_is_told_with_its_file(project: Project) -> None:
    root = project(
        {
            "lib/a.py": "import os, lib.b\nMODE = os.environ.get('MODE')\n",
            "lib/b.py": "TEXT = open('in.csv').read()\n",
            "in.csv": "",
            "late.csv": "",
            "one.py": tool("import lib.a; open('late.csv').close()"),
            "two.py": tool("import lib.b"),
        }
    )
    one, two = watch(root, "one", "two")
    found = {use.path: ([path for path, *_ in use.read], use.environment) for use in one.shared}
    assert found == {"lib/a.py": (["in.csv"], ("MODE",)), "lib/b.py": (["in.csv"], ())}
    assert two.observed == Observation(began=two.began)


@pytest.mark.parametrize(
    "load",
    [
        "import_module('plugins.csv_file')",
        "import_module('.csv_file', 'plugins')",
        "importlib.import_module(name='plugins.csv_file')",
        "__import__('plugins.csv_file')",
        "__import__('plugins', fromlist=['csv_file'])",
        "pkgutil.resolve_name('plugins.csv_file')",
    ],
)
def test_a_module_that_another_tool_loaded_counts_for_who_gets_it_by_name(
    project: Project, load: str
) -> None:
    text = f"import importlib, pkgutil\nfrom importlib import import_module\ndef run(): {load}\n"
    root = project(
        {
            "plugins/__init__.py": "",
            "plugins/csv_file.py": "",
            "one.py": text,
            "two.py": text,
            "three.py": "import plugins.csv_file, json, importlib\n"
            "def run(): importlib.import_module('json')\n",
        }
    )
    one, two, three = watch(root, "one", "two", "three")
    assert (one.used_modules, three.used_modules) == ((), ())
    assert {*two.used_modules} == {"plugins", "plugins.csv_file"}


def test_the_plugins_of_a_registry_are_told_with_its_file(project: Project) -> None:
    registry = """
    import functools, importlib
    FIRST = importlib.import_module('plugins.first')
    @functools.cache
    def find(name): return importlib.import_module(f'plugins.{name}')
    """
    root = project(
        {
            "plugins/first.py": "",
            "plugins/second.py": "",
            "registry.py": textwrap.dedent(registry),
            "one.py": "import registry\ndef run(): registry.find('second')\n",
        }
    )
    (seen,) = watch(root, "one")
    assert {use.path: use.used_modules for use in seen.shared} == {
        "one.py": ("plugins.first",),
        "registry.py": ("plugins.first", "plugins.second"),
    }


def test_variables_are_told_with_the_step_that_asks_for_them(project: Project) -> None:
    root = project(
        {
            "orchconf.py": "import os\nMODE = os.environ['MODE']\ndef helper(): return os.getenv('REGION')\n",
            "one.py": "import os\nos.getenv('TOP')\ndef run(helper): os.environ['SET'] = 'x'; os.getenv('IN')\n",
            "two.py": tool("os.getenv('SET'), os.getenv('IN')"),
        }
    )
    with DrivenWorker(
        root, needs={"helper": ()}, environment={**os.environ, "MODE": "dev"}
    ) as worker:
        one, two = worker.run("one", "helper"), worker.run("two")
    seen = read_seen(one)
    assert {*seen.environment} == {"TOP", "MODE", "REGION", "IN"}
    assert {use.path: use.environment for use in seen.shared} == {
        "one.py": ("TOP",),
        "orchconf.py": ("MODE",),
        "resource:helper": ("REGION",),
    }
    assert read_seen(two).environment == ("SET", "IN")


def test_a_driver_that_connects_for_conn_leaves_no_gap(project: Project) -> None:
    connect = "socket.create_connection(('127.0.0.1', {port}), 5).close()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = connect.format(port=server.getsockname()[1])
        conf = f"import socket, sqlite3\ndef get_connection():\n    {call}\n    return sqlite3.connect(':memory:')\n"
        root = project({"orchconf.py": conf, "one.py": tool("pass", "conn"), "two.py": tool(f"import socket; {call}")})  # fmt: skip
        one, two = watch(root, ("one", "conn"), "two", has_connection=True)
    assert (one.gaps, two.gaps) == ((), ("opened a network connection",))


# Declared outputs.


@pytest.mark.parametrize(
    "output", ["out/*.csv", "out/**", "**/*.csv", "out/report [2024].csv", "out/[a-r]*"]
)
def test_the_check_of_declared_outputs_is_no_listing(project: Project, output: str) -> None:
    body = "os.makedirs('out', exist_ok=True); open('out/report [2024].csv', 'w').close()"
    root = project({"tool.py": tool(body)})
    with DrivenWorker(root) as worker:
        worker.send("tool", outputs=(output,))
        ended = worker.until(is_end)
    assert (ended.status, ended.error) == ("passed", None)
    assert (read_seen(ended).listed, read_seen(ended).missed) == ((), ())


def test_a_glob_of_the_tool_itself_is_a_listing(project: Project) -> None:
    seen = see(project({"out/x.csv": ""}), "import glob; glob.glob('out/*.csv')")
    assert seen.listed == (("out", list_paths("out", ["x.csv"], ())),)


# What native code and child processes read and write.

needs_file_events = pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no inotify")
LIBC = """
import ctypes
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
def touch(path, mode):
    file = ctypes.c_void_p(libc.fopen(path.encode(), mode.encode()))
    if mode != 'r': libc.fputs(b'x', file)
    assert libc.fclose(file) == 0
"""
POOL = """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
def work(number):
    open('in.csv').close()
    open('out.csv', 'w').close()
def run():
    with ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
        assert [*pool.map(work, [1])] == [None]
"""


def native(seen: Seen) -> tuple[list[str], list[str]]:
    return [path for path, *_ in seen.native_read], [*seen.native_written]


def plain(seen: Seen) -> tuple[list[str], list[str], list[str], list[str]]:
    return [path for path, *_ in seen.read], [*seen.written], [*seen.missed], [*seen.removed]


NATIVE_TOOLS = {
    "shell": (tool("os.system('cat in.csv > out.csv')"), ("started a child process",)),
    "subprocess": (
        "import subprocess\ndef run(): subprocess.run(['cp', 'in.csv', 'out.csv'], check=True)\n",
        ("started a child process",),
    ),
    "fork": (POOL.format(method="fork"), ("started a child process",)),
    "spawn": (POOL.format(method="spawn"), ("started a child process",)),
    "libc": (f"{LIBC}\ndef run(): touch('in.csv', 'r'); touch('out.csv', 'w')\n", ()),
}


@needs_file_events
@pytest.mark.parametrize("kind", NATIVE_TOOLS)
def test_files_of_native_code_and_children_are_seen(project: Project, kind: str) -> None:
    code, gaps = NATIVE_TOOLS[kind]
    root = project({"in.csv": "1", "tool.py": code, "after.py": tool("open('out.csv').close()")})
    seen, after = watch(root, "tool", "after")
    assert native(seen) == (["in.csv"], ["out.csv"])
    found = (root / "in.csv").stat()
    assert seen.native_read[0][1:] == file_stat(found)
    assert plain(seen) == ([], [], [], [])
    assert seen.gaps == gaps
    assert plain(after) == (["out.csv"], [], [], [])
    assert (native(after), after.gaps) == (([], []), ())


@needs_file_events
def test_what_python_does_too_is_not_told_twice(project: Project) -> None:
    body = """
    import subprocess
    open('both.csv').close()
    subprocess.run('cat both.csv; echo > made.csv; cat made.csv; echo x >> log', shell=True, check=True)
    open('log', 'a').close(); os.remove('gone.csv'); open('mine.csv', 'w').close(); os.rename('mine.csv', 'new.csv')
    """
    root = project({"both.csv": "1", "log": "", "gone.csv": "", "tool.py": tool(body)})
    (seen,) = watch(root, "tool")
    assert native(seen) == (["made.csv"], ["made.csv"])
    assert plain(seen) == (["both.csv"], ["log", "new.csv"], [], ["gone.csv"])
    assert seen.appended == ("log",)


@needs_file_events
@pytest.mark.parametrize(
    ("command", "read", "written"),
    [
        ("mkdir -p new/deep && echo > new/deep/x.csv", [], ["new/deep/x.csv"]),
        ("mkdir new && echo > tmp && mv tmp new/x.csv", [], ["new/x.csv"]),
        ("mkdir new && echo > new/x.csv && mv new later", [], ["later/x.csv"]),
        ("mv in.csv moved.csv", [], ["moved.csv"]),
        ("rm in.csv", [], []),
        ("ln in.csv link.csv", [], ["link.csv"]),
        ("sed -i s/1/2/ in.csv", ["in.csv"], ["in.csv"]),
        ("echo 2 > in.csv && cat in.csv", ["in.csv"], ["in.csv"]),
        (": <> in.csv", ["in.csv"], []),  # opened to read and write, and not written
        ("echo > gone && cat gone && rm gone", [], []),
        ("cat deep/down/y.csv", ["deep/down/y.csv"], []),
        ("cat 'a b.csv' absent.csv; true", ["a b.csv"], []),
        ("cat data/z.csv single.csv", ["data/z.csv", "single.csv"], []),
        ("cat inside/down/y.csv", ["deep/down/y.csv"], []),
        ("touch untouched.csv~ .x.swp .#lock '#x#' 4913", [], []),
        ("mkdir .git node_modules; echo > .git/x; echo > node_modules/x; cat tool.py", [], []),
        ("cat data.db; echo > data.db-wal; mkdir .orch; echo > .orch/x", [], []),
        ("test -e in.csv && ls . > /dev/null", [], []),
    ],
)
def test_each_thing_that_a_command_does_to_files(
    project: Project, tmp_path: Path, command: str, read: list[str], written: list[str]
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/z.csv").write_text("")
    (tmp_path / "single.csv").write_text("")
    body = f"import subprocess\nsubprocess.run({command!r}, shell=True, check=True)"
    root = project(
        {"in.csv": "1", "a b.csv": "", "deep/down/y.csv": "", "data.db": "", "tool.py": tool(body)}
    )
    (root / "data").symlink_to(tmp_path / "outside")
    (root / "single.csv").symlink_to(tmp_path / "single.csv")
    (root / "inside").symlink_to(root / "deep")
    (seen,) = watch(root, "tool", database="sqlite:///data.db")
    assert native(seen) == (read, written)
    removed = [] if (root / "in.csv").exists() else ["in.csv"]
    assert plain(seen) == ([], [], [], removed)


@needs_file_events
def test_what_a_child_made_and_python_read_is_no_input_that_python_opened(project: Project) -> None:
    body = """
    os.system('echo 1 > mid.csv; echo 1 > gone.csv'); open('mid.csv').close(); open('gone.csv').close()
    os.remove('gone.csv')
    """
    (first, second) = watch(
        project({"tool.py": tool(body), "again.py": tool(body)}), "tool", "again"
    )
    for seen in (first, second):
        assert native(seen) == (["mid.csv"], ["mid.csv"])
        assert plain(seen) == ([], [], [], [])


@needs_file_events
def test_what_python_read_before_a_child_wrote_it_stays_an_input(project: Project) -> None:
    body = "open('in.csv').close(); os.system('echo 2 > in.csv')"
    root = project({"in.csv": "1", "one.py": tool(body), "two.py": tool(body)})
    for seen in watch(root, "one", "two"):  # the events are followed from the first child on
        assert native(seen) == ([], ["in.csv"])
        assert plain(seen) == (["in.csv"], [], [], [])


@needs_file_events
def test_new_folders_are_followed_in_later_steps_too(project: Project) -> None:
    root = project(
        {
            "one.py": tool(
                "os.makedirs('new/deep'); os.system('true'); open('new/deep/x', 'w').close()"
            ),
            "two.py": tool("os.system('cat new/deep/x > new/y')"),
        }
    )
    one, two = watch(root, "one", "two")
    assert native(one) == ([], [])
    assert native(two) == (["new/deep/x"], ["new/y"])


@needs_file_events
def test_a_library_that_one_tool_loaded_is_followed_for_the_next(project: Project) -> None:
    root = project(
        {
            "lib.py": LIBC,
            "in.csv": "",
            "one.py": "import lib\ndef run(): pass\n",
            "two.py": "import lib\ndef run(): lib.touch('in.csv', 'r')\n",
        }
    )
    one, two = watch(root, "one", "two")
    assert (native(one), one.gaps) == (([], []), ())
    assert (native(two), two.gaps) == ((["in.csv"], []), ())


@needs_file_events
def test_what_native_code_reads_while_a_module_is_imported_is_shared(project: Project) -> None:
    root = project(
        {
            "lib.py": f"{LIBC}\ntouch('in.csv', 'r')\n",
            "in.csv": "",
            "tool.py": "import lib\ndef run(): pass\n",
        }
    )
    with DrivenWorker(root) as worker:
        ended = worker.run("tool")
    seen = read_seen(ended)
    assert {use.path: native(use) for use in seen.shared} == {"lib.py": (["in.csv"], [])} | {
        "tool.py": (["in.csv"], [])
    }
    assert native(seen) == (["in.csv"], [])


@needs_file_events
def test_a_failed_tool_has_been_seen_too(project: Project) -> None:
    root = project({"in.csv": "", "tool.py": tool("os.system('cat in.csv > out.csv'); 1 / 0")})
    with DrivenWorker(root) as worker:
        ended = worker.run("tool")
    assert native(read_seen(ended)) == (["in.csv"], ["out.csv"])


@needs_file_events
def test_events_that_are_lost_are_a_gap_of_that_step_only(project: Project) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    body = f"os.system('for number in $(seq {queue + 10}); do : < $((number % 2)).csv; done')"
    root = project(
        {
            "0.csv": "",
            "1.csv": "",
            "one.py": tool(body),
            "two.py": tool("os.system('cat 0.csv')"),
        }
    )
    one, two = watch(root, "one", "two")
    assert one.gaps == ("started a child process", "the kernel's event queue overflowed")
    assert (native(two), two.gaps) == ((["0.csv"], []), ("started a child process",))


@needs_file_events
def test_many_files_of_python_do_not_fill_the_queue(project: Project) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    body = f"""
    os.system('true')
    for number in range({queue} + 10): open(f'{{number % 2}}.csv').close()
    os.system('cat in.csv')
    """
    root = project({"0.csv": "", "1.csv": "", "in.csv": "", "tool.py": tool(body)})
    (seen,) = watch(root, "tool")
    assert (native(seen), seen.gaps) == ((["in.csv"], []), ("started a child process",))


@needs_file_events
def test_a_tool_that_closes_the_queue_leaves_a_gap(project: Project) -> None:
    close = """
    import ctypes
    ctypes.CDLL(None)
    for name in os.listdir('/proc/self/fd'):
        try:
            if os.readlink(f'/proc/self/fd/{name}') == 'anon_inode:inotify': os.close(int(name))
        except OSError: pass
    """
    one, two = watch(project({"one.py": tool(close), "two.py": tool("pass")}), "one", "two")
    assert one.gaps == two.gaps == ("loaded an extension module without file events",)


# Where modules of the project come from.

SETUPTOOLS_FINDER = """
import sys
from importlib.util import spec_from_file_location
MAPPING = {{"flat": {folder!r}}}
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return spec_from_file_location(name, MAPPING[name] + "/__init__.py")
sys.meta_path.append(Finder)
"""


def test_editable_packages_are_loaded_as_the_project_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment as `uv sync` of a workspace and `pip install -e` make it."""
    for path in (
        "one/src/core/dates.py",
        "two/flat/__init__.py",
        "two/flat/deep.py",
        "lib/beside.py",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("import os\nos.getenv('LEVEL')\n")
    body = "import beside, core.dates, flat.deep, mine.own\ndef run(): pass\n"
    root = project({"tool.py": body, "src/mine/own.py": ""})
    site = tmp_path / "env/lib/site-packages"
    site.mkdir(parents=True)
    (site / "core.pth").write_text(f"{root}/src\n{tmp_path}/one/src\n")
    (site / "__editable___flat_finder.py").write_text(
        SETUPTOOLS_FINDER.format(folder=f"{tmp_path}/two/flat")
    )
    (site / "flat.pth").write_text("import __editable___flat_finder\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/lib:{tmp_path}/start")
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(f"import site; site.addsitedir({str(site)!r})")
    with DrivenWorker(root) as worker:
        one = worker.run("tool")
    assert one.error is None
    assert [(name, path) for path, name in one.loaded_as.items()] == [
        ("tool", "tool.py"),
        ("core.dates", "../one/src/core/dates.py"),
        ("flat", "../two/flat/__init__.py"),
        ("flat.deep", "../two/flat/deep.py"),
        ("mine.own", "src/mine/own.py"),
    ]
    assert read_seen(one).environment == ("LEVEL",)
    assert {use.path for use in read_seen(one).shared} == {
        *("tool.py", "../one/src/core/dates.py", "../two/flat/__init__.py", "../two/flat/deep.py")
    }


@needs_file_events
def test_what_a_native_library_reads_and_writes_is_seen(project: Project) -> None:
    pytest.importorskip("duckdb")
    copy = (
        "import duckdb\ndef run(): duckdb.sql(\"COPY (SELECT * FROM 'in.csv') TO '{}.parquet'\")\n"
    )
    root = project({"in.csv": "a\n1\n", "one.py": copy.format("one"), "two.py": copy.format("two")})
    for name, seen in zip(("one", "two"), watch(root, "one", "two"), strict=True):
        assert native(seen) == (["in.csv"], [f"{name}.parquet"])
        assert (plain(seen), seen.gaps) == (([], [], [], []), ())
