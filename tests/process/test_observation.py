"""What real workers tell of what child processes and native code do to files, and of editable packages.

What Python code does is seen through the commands, in `tests/scenes`: `kept_by_modules`, `own_connections`, `inputs`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from discover_orch.execution import kernel_trace
from discover_orch.execution.supervisor import WorkerDied
from discover_orch.model.tool_events import ToolFinished
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker
from tests.support.seen import Seen, mark_numbers
from tests.support.seen import see as read_uses

SETUP = """
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS raw(a)")
    conn.execute("CREATE TABLE IF NOT EXISTS fine(a)")
    conn.execute("INSERT INTO raw VALUES (1)")
"""

needs_trace = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is not asked")


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


def is_end(event: object) -> bool:
    return isinstance(event, ToolFinished)


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


@pytest.mark.parametrize(
    "begins", ["", pytest.param("os.system('true'); ", marks=needs_trace)], ids=["Python", "kernel"]
)
def test_a_driver_that_connects_for_conn_leaves_no_gap(project: Project, begins: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = f"{begins}socket.create_connection({server.getsockname()}, 5).close()"
        conf = f"import os, socket, sqlite3\ndef get_connection():\n    {call}\n    return sqlite3.connect(':memory:')\n"
        root = project({"orchconf.py": conf, "one.py": tool("pass", "conn"), "two.py": tool(f"import socket; {call}")})  # fmt: skip
        one, two = watch(root, ("one", "conn"), "two", has_connection=True)
    assert (one.gaps, two.gaps) == ((), ("opened a network connection",))


def test_the_file_of_passwords_of_a_url_is_no_input(project: Project, postgres: str) -> None:
    root = project({"one.py": tool("open('in.csv')", "conn"), "in.csv": "", "passwords": "*:*:*:*:open-sesame\n"})  # fmt: skip
    (root / "passwords").chmod(0o600)
    url = f"{postgres}&passfile={root}/passwords"
    assert used(watch(root, ("one", "conn"), database=url)[0])[0] == ["in.csv"]


# What native code and child processes read and write.

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


def used(seen: Seen) -> tuple[list[str], list[str], list[str], list[str]]:
    """The files that were read, written, missed and removed."""
    return [path for path, *_ in seen.read], [*seen.written], [*seen.missed], [*seen.removed]


NATIVE_TOOLS = {
    "shell": tool("os.system('cat in.csv > out.csv')"),
    "subprocess": "import subprocess\ndef run(): subprocess.run(['cp', 'in.csv', 'out.csv'], check=True)\n",
    "fork": POOL.format(method="fork"),
    "spawn": POOL.format(method="spawn"),
    "forkserver": POOL.format(method="forkserver"),
    "libc": f"{LIBC}\ndef run(): touch('in.csv', 'r'); touch('out.csv', 'w')\n",
}


@needs_trace
@pytest.mark.parametrize("kind", NATIVE_TOOLS)
def test_files_of_native_code_and_children_are_seen_and_nothing_of_the_next_tool(
    project: Project, kind: str
) -> None:
    after = tool("open('out.csv').close()")
    root = project({"in.csv": "1", "tool.py": NATIVE_TOOLS[kind], "after.py": after})
    seen, after_it = watch(root, "tool", "after")
    assert used(seen) == (["in.csv"], ["out.csv"], [], [])
    assert seen.read[0][1:] == mark_numbers((root / "in.csv").stat())
    assert used(after_it) == (["out.csv"], [], [], [])
    assert seen.gaps == after_it.gaps == ()


@needs_trace
def test_what_python_does_too_is_not_told_twice(project: Project) -> None:
    body = """
    import subprocess
    open('both.csv').close()
    subprocess.run('cat both.csv; echo > made.csv; cat made.csv; echo x >> log', shell=True, check=True)
    open('log', 'a').close(); os.remove('gone.csv'); open('mine.csv', 'w').close(); os.rename('mine.csv', 'new.csv')
    """
    root = project({"both.csv": "1", "log": "", "gone.csv": "", "tool.py": tool(body)})
    (seen,) = watch(root, "tool")
    read, written, missed, removed = used(seen)
    assert (read, {*written}) == (["both.csv"], {"log", "made.csv", "new.csv"})
    assert (missed, removed) == ([], ["gone.csv"])
    assert seen.appended == ("log",)


@needs_trace
@pytest.mark.parametrize(
    ("command", "read", "written"),
    [
        ("mkdir -p new/deep && echo > new/deep/x.csv", [], ["new/deep/x.csv"]),
        ("mkdir new && echo > tmp && mv tmp new/x.csv", [], ["new/x.csv"]),
        ("mkdir new && echo > new/x.csv && mv new later", [], ["later/x.csv"]),
        ("mv in.csv moved.csv", [], ["moved.csv"]),
        ("mkdir new && echo > new/x && mv -T new deep2 && rm -r deep2", [], []),
        ("rm in.csv", [], []),
        ("ln in.csv link.csv", [], ["link.csv"]),
        ("sed -i s/1/2/ in.csv", [], ["in.csv"]),
        ("echo 2 > in.csv && cat in.csv", [], ["in.csv"]),
        (": <> in.csv", ["in.csv"], []),  # opened to read and write, and not written
        ("echo > gone && cat gone && rm gone", [], []),
        ("echo 2 >> in.csv", [], ["in.csv"]),
        ("cat deep/down/y.csv", ["deep/down/y.csv"], []),
        ("cat 'a b.csv'", ["a b.csv"], []),
        ("cat data/z.csv", ["data/z.csv", "{outside}/z.csv"], []),
        ("cat single.csv", ["single.csv", "{single}"], []),
        ("cat inside/down/y.csv", ["inside/down/y.csv", "deep/down/y.csv"], []),
        ("cat deep/../in.csv", ["in.csv"], []),
        ("cd deep/down && cat y.csv ../../in.csv", ["deep/down/y.csv", "in.csv"], []),
        ("mkdir .git; echo > .git/x; cat tool.py", ["tool.py"], []),
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
    places = {"outside": tmp_path / "outside", "single": tmp_path / "single.csv"}
    removed = [] if (root / "in.csv").exists() else ["in.csv"]
    expected = [one.format_map(places) for one in read]
    assert used(seen) == (expected, written, [], removed)


@needs_trace
def test_what_a_command_looks_for_and_does_not_find_is_missed(project: Project) -> None:
    (seen,) = watch(
        project({"tool.py": tool("os.system('[ -f opt ]; cat absent.csv; true')")}), "tool"
    )
    assert used(seen)[0::3] == ([], [])
    assert {*seen.missed} == {"opt", "absent.csv"}


@needs_trace
def test_what_the_step_made_itself_it_does_not_read(project: Project) -> None:
    body = """
    os.system('echo 1 > mid.csv; echo 1 > gone.csv'); open('mid.csv').close(); open('gone.csv').close()
    os.remove('gone.csv')
    """
    steps = watch(project({"tool.py": tool(body), "again.py": tool(body)}), "tool", "again")
    assert [used(seen) for seen in steps] == [([], ["mid.csv"], [], [])] * 2


@needs_trace
def test_what_python_wrote_and_a_child_read_is_no_input(project: Project) -> None:
    body = "open('in.csv', 'w').close(); os.system('cat in.csv')"
    root = project({"in.csv": "1", "one.py": tool(body), "two.py": tool(body)})
    assert [used(seen) for seen in watch(root, "one", "two")] == [([], ["in.csv"], [], [])] * 2


@needs_trace
def test_what_python_read_before_a_child_wrote_it_was_changed_in_place(project: Project) -> None:
    body = "open('in.csv').close(); os.system('echo 2 > in.csv')"
    root = project({"in.csv": "1", "one.py": tool(body), "two.py": tool(body)})
    for seen in watch(root, "one", "two"):
        assert [use.kind for use in seen.uses if use.key == "file:in.csv"] == ["updated", "reread"]


@needs_trace
def test_new_folders_are_followed_in_later_steps_too(project: Project) -> None:
    make = "os.makedirs('new/deep'); os.system('true'); open('new/deep/x', 'w').close()"
    root = project({"one.py": tool(make), "two.py": tool("os.system('cat new/deep/x > new/y')")})
    one, two = watch(root, "one", "two")
    assert used(one) == ([], ["new/deep/x"], [], [])
    assert used(two) == (["new/deep/x"], ["new/y"], [], [])


@needs_trace
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
    assert (used(one)[:2], one.gaps) == (([], []), ())
    assert (used(two)[:2], two.gaps) == ((["in.csv"], []), ())


@needs_trace
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
    assert {one.path: used(one)[0] for one in seen.shared} == {
        "lib.py": ["in.csv"],
        "tool.py": ["in.csv"],
    }
    assert used(seen)[:2] == (["in.csv"], [])


@needs_trace
def test_a_failed_tool_has_been_seen_too(project: Project) -> None:
    root = project({"in.csv": "", "tool.py": tool("os.system('cat in.csv > out.csv'); 1 / 0")})
    with DrivenWorker(root) as worker:
        ended = worker.run("tool")
    assert used(read_seen(ended)) == (["in.csv"], ["out.csv"], [], [])


@needs_trace
def test_a_port_of_the_tools_own_process_is_not_the_network(project: Project) -> None:
    serve = "import socket; server = socket.create_server(('127.0.0.1', 0)); os.system('true')\n"
    own = f"{serve}socket.create_connection(server.getsockname()).close()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = f"import socket; os.system('true'); socket.create_connection({server.getsockname()}).close()"
        one, two = watch(project({"one.py": tool(own), "two.py": tool(other)}), "one", "two")
    assert (one.gaps, two.gaps) == ((), ("opened a network connection",))


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
        ("beside", "../lib/beside.py"),
        ("core.dates", "../one/src/core/dates.py"),
        ("flat", "../two/flat/__init__.py"),
        ("flat.deep", "../two/flat/deep.py"),
        ("mine.own", "src/mine/own.py"),
    ]
    assert read_seen(one).environment == ("LEVEL",)
    assert {use.path for use in read_seen(one).shared} == {
        *(
            "tool.py",
            "../lib/beside.py",
            "../one/src/core/dates.py",
            "../two/flat/__init__.py",
            "../two/flat/deep.py",
        )
    }


@needs_trace
def test_what_a_native_library_reads_and_writes_is_seen(project: Project) -> None:
    pytest.importorskip("duckdb")
    copy = (
        "import duckdb\ndef run(): duckdb.sql(\"COPY (SELECT * FROM 'in.csv') TO '{}.parquet'\")\n"
    )
    root = project({"in.csv": "a\n1\n", "one.py": copy.format("one"), "two.py": copy.format("two")})
    for name, seen in zip(("one", "two"), watch(root, "one", "two"), strict=True):
        assert (used(seen), seen.gaps) == ((["in.csv"], [f"{name}.parquet"], [], []), ())


# The thread that answers the kernel.


@needs_trace
def test_a_call_that_cannot_be_read_fails_as_it_would_without_orch(project: Project) -> None:
    body = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.CDLL('libm.so.6')
    assert libc.open(ctypes.c_void_p(1), 0) == -1 and ctypes.get_errno() == 14
    assert libc.open(b'x' * 5000, 0) == -1 and ctypes.get_errno() == 36
    assert libc.openat(1000, b'x', 0) == -1 and ctypes.get_errno() == 9
    os.system('cat in.csv')
    """
    (seen,) = watch(project({"in.csv": "1", "tool.py": tool(body)}), "tool")
    assert [path for path, *_ in seen.read] == ["in.csv"]


@needs_trace
def test_what_orch_fails_to_note_is_a_gap_and_no_failure_of_the_tool(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(kernel_trace.KernelTrace, "_note_rename", fail)
    (seen,) = watch(
        project({"a.csv": "1", "tool.py": tool("os.system('mv a.csv b.csv && cat b.csv')")}), "tool"
    )
    assert seen.gaps == (kernel_trace.UNREADABLE,)


@needs_trace
def test_a_worker_is_lost_whose_answering_thread_has_ended(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(kernel_trace.KernelTrace, "_note_rename", end)
    root = project({"a.csv": "1", "tool.py": tool("os.system('mv a.csv b.csv; sleep 60')")})
    with DrivenWorker(root) as worker:
        worker.send("tool")
        died = worker.until(lambda event: isinstance(event, WorkerDied))
    assert died.signal == "SIGKILL"
