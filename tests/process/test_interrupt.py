"""Ctrl-C and its kin, sent to `orch` itself: rolled back, closed once, told, and the right exit code."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.running import is_gone, running, wait_until

CONF = """
    from discover_orch import resource

    @resource
    def counted(conn):
        with open("opened", "a") as file:
            file.write("x")
        yield 1
        with open("closed", "a") as file:
            file.write("x")
"""
WRITES = """
    import os, time
    STAGE = "s"
    def run(conn, counted):
        conn.execute("create table t (x)")
        conn.execute("insert into t values (1)")
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        print("it has written")
        time.sleep(60)
"""
STUBBORN = """
    import os, signal, time
    STAGE = "s"
    def run(conn, counted):
        conn.execute("create table t (x)")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        print("it has written")
        time.sleep(60)
"""
AFTER = 'STAGE = "s"\ndef run():\n    open("ran", "w")\n'


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] for row in conn.execute("select name from sqlite_master")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_one_signal_rolls_back_closes_once_and_tells(
    project: Project, number: signal.Signals, code: int
) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WRITES, "src/b.py": AFTER})
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(number)
        assert orch.wait() == code, orch.text
    lines = orch.text.splitlines()
    assert lines[-3].startswith("    ■ ")
    assert lines[-3].endswith(" s  interrupted")
    assert lines[-2] == f"  resume with: orch -C {root} run --resume"
    assert lines[-1].startswith("1 interrupted, 1 not run in ")
    assert "Traceback" not in orch.text
    assert tables(root) == []
    assert (size(root / "opened"), size(root / "closed")) == (1, 1)
    assert not (root / "ran").exists()
    assert is_gone(int((root / "pid").read_text()))


def test_the_json_of_an_interrupted_run_is_complete(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WRITES, "src/b.py": AFTER})
    with running(root, "run", "--json") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    events = [json.loads(line) for line in orch.text.splitlines()]
    ends = {one["name"]: one["status"] for one in events if one["event"] == "tool_finished"}
    assert ends == {"a": "interrupted", "b": "not_run"}
    last = events[-1]
    assert (last["event"], last["status"], last["exit_code"]) == (
        "run_finished",
        "interrupted",
        130,
    )


def test_a_second_signal_kills_what_does_not_stop(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": STUBBORN, "src/b.py": AFTER})
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGINT)
        orch.send(signal.SIGTERM)
        assert orch.wait() == 130  # the first one is what ended the run
    assert "was killed by the second interrupt" in orch.text
    assert "out of memory" not in orch.text
    assert tables(root) == []
    assert is_gone(int((root / "pid").read_text()))


def test_an_interrupt_that_python_has_not_noticed_is_seen_all_the_same(project: Project) -> None:
    """As when it comes just before a system call; here it goes to another thread."""
    root = project(
        {
            "src/a.py": """
                import signal, threading, time
                STAGE = "s"
                def run():
                    threading.Thread(target=time.sleep, args=[60], daemon=True).start()
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                    print("it sleeps")
                    time.sleep(60)
            """
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it sleeps")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    assert "1 interrupted in " in orch.text
    assert "was killed" not in orch.text


def test_an_interrupt_that_comes_where_python_drops_exceptions_is_not_lost(
    project: Project,
) -> None:
    root = project(
        {
            "src/a.py": """
                import time
                STAGE = "s"
                class Resource:
                    def __del__(self):
                        print("it is deleted")
                        time.sleep(60)
                def run():
                    Resource()
                    time.sleep(60)
            """
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it is deleted")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    assert "1 interrupted in " in orch.text
    assert "was killed" not in orch.text
    assert "ignored" not in orch.text


def test_a_tool_that_swallows_the_interrupt_has_not_passed(project: Project) -> None:
    root = project(
        {
            "orchconf.py": CONF,
            "src/a.py": """
                import time
                STAGE = "s"
                def run(conn, counted):
                    conn.execute("create table t (x)")
                    try:
                        print("it has written")
                        time.sleep(60)
                    except KeyboardInterrupt:
                        print("never mind")
            """,
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    assert "    never mind\n" in orch.text
    assert "1 interrupted in " in orch.text
    assert tables(root) == []
    assert (size(root / "opened"), size(root / "closed")) == (1, 1)


def test_a_signal_from_outside_reaches_what_the_tool_started(project: Project) -> None:
    root = project(
        {
            "src/a.py": """
                import subprocess
                STAGE = "s"
                def run():
                    child = subprocess.Popen(["sleep", "60"])
                    with open("pid", "w") as file:
                        file.write(str(child.pid))
                    print("it has started")
                    child.wait()
            """
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it has started")
        orch.send(signal.SIGTERM)
        assert orch.wait() == 143
    assert is_gone(int((root / "pid").read_text()))


def test_a_closed_pipe_interrupts_the_tool_and_closes_once(project: Project) -> None:
    root = project(
        {
            "orchconf.py": CONF,
            "src/a.py": """
                STAGE = "s"
                def run(conn, counted):
                    conn.execute("create table t (x)")
                    print("it has written")
                    while True:
                        print("and prints and prints")
            """,
        }
    )
    with running(root, "run") as orch:
        orch.wait_for("it has written")
        orch.hang_up()
        assert orch.wait() == 141
    assert tables(root) == []
    assert (size(root / "opened"), size(root / "closed")) == (1, 1)
    with running(root, "status") as orch:
        orch.wait_for(r'interrupted \(run 1\): its output was closed \(for example by "\| head"\)')


def test_a_pause_does_not_count(project: Project) -> None:
    """Stopped and continued, as by Ctrl-Z and `fg`: the worker is stopped with orch."""
    root = project(
        {
            "src/a.py": """
                import os, sys
                STAGE = "s"
                def run():
                    print("waits for", os.getpid())
                    while not os.access.__wrapped__("go", os.F_OK):
                        pass
            """
        }
    )

    def state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    with running(root, "run") as orch:
        worker = int(orch.wait_for(r"waits for (\d+)")[1])
        orch.send(signal.SIGTSTP)
        orch.wait_until_stopped()
        wait_until(lambda: state(worker) == "T", "the worker to be stopped too")
        (root / "go").touch()
        orch.send(signal.SIGCONT)
        assert orch.wait() == 0, orch.text
    assert "1 passed in " in orch.text


@pytest.mark.parametrize(
    "how", ["signal.raise_signal(signal.SIGINT)", "os.kill(os.getpid(), signal.SIGINT)"]
)
def test_a_tool_that_interrupts_itself_has_failed(project: Project, orch: Orch, how: str) -> None:
    text = f"import os, signal, time\nSTAGE = 's'\ndef run():\n    {how}\n    time.sleep(5)\n"
    project({"orch.toml": "", "src/a.py": text})
    answer = orch("run", "--json")
    assert answer.code == 1, answer.text
    (end,) = [one for one in answer.events if one["event"] == "tool_finished"]
    assert (end["status"], end["error"]["type"]) == ("failed", "KeyboardInterrupt")


ENDLESS = {
    "sqlite:///data.db": "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "duckdb:///d.duckdb": "select sum(a.range * b.range) from range(100000000) a, range(1000000) b",
    "postgres": "select pg_sleep(600)",
}


@pytest.mark.parametrize("database", slow_but(["postgres"], ENDLESS))
def test_a_query_that_ctrl_c_cancels_has_interrupted_its_tool(
    project: Project, database: str, new_postgres: Callable[[], str]
) -> None:
    """Also where the error of the driver comes first: no KeyboardInterrupt is raised in this tool."""
    text = f"""
import signal
STAGE = "s"
def run(conn):
    signal.signal(signal.SIGINT, lambda *_: None)
    print("it asks", flush=True)
    conn.execute("{ENDLESS[database]}").fetchall()
"""
    root = project({"src/a.py": text})
    url = new_postgres() if database == "postgres" else database
    with running(root, "run", DATABASE_URL=url) as orch:
        orch.wait_for("it asks")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130, orch.text
    assert "1 interrupted" in orch.text
    assert "failed" not in orch.text
