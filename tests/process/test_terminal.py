"""A run on a real terminal: the line of the moment, keys, job control, and no litter."""

from __future__ import annotations

import re
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.running import Running, is_gone, on_terminal, running, wait_until

WIPE = "\r\x1b[K"
SILENT = """
    import os
    STAGE = "s"
    def run():
        print("begins")
        while not os.access.__wrapped__("go", os.F_OK):
            pass
        print("ends")
"""
CONF = """
    from discover_orch import resource

    @resource
    def counted(conn):
        yield 1
        with open("closed", "a") as file:
            file.write("x")
"""
WAITS = """
    import os, time
    STAGE = "s"
    def run(conn, counted):
        conn.execute("create table t (x)")
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        says = print
        while True:
            try:
                says("it has written")
                time.sleep(60)
            except KeyboardInterrupt:
                with open("interrupts", "a") as file:
                    file.write("x")
                says = str
                if os.path.exists("gives up"):
                    raise
"""
NEXT = 'STAGE = "s"\ndef run(): pass\n'


def shown(orch: Running) -> list[str]:
    """The lines as they stand in the end: of one that was drawn over, what came last."""
    return [line.rpartition(WIPE)[2] for line in orch.text.split("\n")]


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] for row in conn.execute("select name from sqlite_master")]


def test_a_silent_tool_has_a_status_line_that_leaves_nothing_behind(project: Project) -> None:
    root = project({"src/a.py": SILENT, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for(r"\r\x1b\[K    a 0\.\d\d s, 1 left to run")
        orch.wait_for(r"\r\x1b\[K    a 1\.\d\d s, 1 left to run")
        (root / "go").touch()
        assert orch.wait() == 0, orch.text
    lines = shown(orch)
    begin = lines.index("[1/2] s › a")
    assert lines[begin + 1 : begin + 3] == ["    begins", "    ends"]
    assert shown(orch)[-2].startswith("2 passed in ")
    # The cursor is never hidden, the screen never cleared: there is nothing to put back.
    assert set(re.findall(r"\x1b[^A-Za-z]*[A-Za-z]", orch.text)) == {"\x1b[K"}


def test_the_status_line_never_wraps(project: Project) -> None:
    name = "very_long_name_" * 5
    root = project({f"src/{name}.py": SILENT, "src/b.py": NEXT})
    with on_terminal(root, "run", columns=40) as orch:
        line = orch.wait_for(r"\r\x1b\[K(    very_long.*?…)")[1]
        assert len(line) == 39
        (root / "go").touch()
        assert orch.wait() == 0


@pytest.mark.parametrize(
    "words", [["--json"], pytest.param(["--output", "raw"], marks=pytest.mark.slow)]
)
def test_there_is_no_such_line_where_it_would_disturb(project: Project, words: list[str]) -> None:
    root = project({"src/a.py": 'import time\nSTAGE = "s"\ndef run(): time.sleep(0.8)\n'})
    with on_terminal(root, "run", *words) as orch:
        assert orch.wait() == 0
    assert "\x1b" not in orch.text


def test_a_dumb_terminal_or_a_pipe_gets_plain_lines(project: Project) -> None:
    root = project({"src/a.py": 'import time\nSTAGE = "s"\ndef run(): time.sleep(0.8)\n'})
    with on_terminal(root, "run", TERM="dumb", NO_COLOR="") as orch:
        assert orch.wait() == 0
    assert "\x1b" not in orch.text
    with running(root, "run", TERM="xterm", NO_COLOR="") as orch:
        assert orch.wait() == 0
    assert "\x1b" not in orch.text


def test_a_terminal_gets_colours_and_the_whole_width(project: Project) -> None:
    root = project({"src/a.py": 'STAGE = "s"\ndef run(): 1 / 0\n'})
    for columns in (80, 200):
        with on_terminal(root, "run", columns=columns, NO_COLOR="") as orch:
            assert orch.wait() == 1
        assert "\x1b[1;31m✗\x1b[0m" in orch.text
        plain = re.sub(r"\x1b\[[\d;]*m", "", orch.text)
        rule = next(line for line in plain.split("\n") if line.startswith("── a "))
        assert columns - 4 < len(rule) <= columns


def test_ctrl_c_interrupts_the_tool_once(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WAITS, "src/b.py": NEXT, "gives up": ""})
    with on_terminal(root, "run") as orch:
        orch.wait_for("it has written")
        orch.type("\x03")
        assert orch.wait() == 130
    assert (root / "interrupts").read_text() == "x"
    assert (root / "closed").read_text() == "x"
    assert tables(root) == []
    assert shown(orch)[-3] == "  resume with: orch run --resume"
    assert shown(orch)[-2].startswith("1 interrupted, 1 not run in ")


def test_while_an_interrupted_tool_goes_on_it_is_said_how_to_kill_it(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WAITS, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for("it has written")
        orch.type("\x03")
        orch.wait_for(r"a \d\.\d\d s, interrupted, waiting for it to end \(Ctrl-C again kills it\)")
        orch.type("\x03")
        assert orch.wait() == 130
    assert "      was killed by the second interrupt" in shown(orch)
    assert is_gone(int((root / "pid").read_text()))
    assert tables(root) == []


def test_closing_the_terminal_rolls_back_and_closes_once(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WAITS, "gives up": ""})
    with on_terminal(root, "run") as orch:
        orch.wait_for("it has written")
        orch.hang_up()
        assert orch.wait() == 129
    assert (root / "closed").read_text() == "x"
    assert tables(root) == []
    assert is_gone(int((root / "pid").read_text()))


def test_ctrl_z_stops_all_wipes_the_line_and_fg_goes_on(project: Project) -> None:
    root = project({"src/a.py": SILENT, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for(r"    a 0\.\d\d s, 1 left to run")
        orch.type("\x1a")
        orch.wait_until_stopped()
        orch.wait_for(r"\r\x1b\[K$")
        (root / "go").touch()
        orch.send(signal.SIGCONT)
        assert orch.wait() == 0, orch.text
    assert shown(orch)[-2].startswith("2 passed in ")


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs a shell with job control")
def test_a_shell_can_stop_it_continue_it_and_run_it_in_the_background(project: Project) -> None:
    root = project({"src/a.py": SILENT})
    orch = f"'{sys.executable}' -m discover_orch run"
    with on_terminal(root, "--norc", "-i", program="/bin/bash", PS1="$ ") as shell:
        shell.wait_for(r"\$ $")
        shell.type(f"{orch}\n")
        shell.wait_for(r"    a 0\.\d\d s")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        shell.type("fg\n")
        shell.wait_for(r"\r\x1b\[K    a \d\.\d\d s")
        (root / "go").touch()
        shell.wait_for("1 passed in ")
        shell.type("echo code $?\n")
        shell.wait_for("code 0")
        shell.type(f"{orch} --output none &\n")
        shell.wait_for("1 passed in ")
        shell.type("exit\n")
        shell.wait()


def test_a_resource_that_takes_long_to_close_has_a_status_line(project: Project) -> None:
    root = project(
        {
            "orchconf.py": """
                import os
                from discover_orch import resource

                @resource
                def slow():
                    yield 1
                    while not os.access.__wrapped__("go", os.F_OK):
                        pass
            """,
            "src/a.py": 'STAGE = "s"\ndef run(slow): pass\n',
        }
    )
    with on_terminal(root, "run") as orch:
        orch.wait_for(r"\r\x1b\[K    closing resources 0\.\d\d s")
        (root / "go").touch()
        assert orch.wait() == 0
    assert shown(orch)[-2].startswith("1 passed in ")


def test_kill_9_leaves_a_sane_terminal(project: Project) -> None:
    root = project({"orchconf.py": CONF, "src/a.py": WAITS})
    with on_terminal(root, "run") as orch:
        orch.wait_for(r"    a 0\.\d\d s")
        orch.send(signal.SIGKILL)
        assert orch.wait() == -signal.SIGKILL
    assert "\x1b[?25l" not in orch.text
    pid = int((root / "pid").read_text())
    wait_until(lambda: is_gone(pid), "the end of the worker")
