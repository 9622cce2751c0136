"""`breakpoint()` and post-mortem on a real terminal: lent to the worker, and taken back as it was."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.project_builder import clean_environment

Project = Callable[[Mapping[str, str | bytes]], Path]

TIME_LIMIT = 30.0
# Does with a supervisor what a run does, and says what came on its own standard output.
PARENT = """
import os, sys
from discover_orch.worker.protocol import *
from discover_orch.execution.supervisor import *
root, post_mortem, module = sys.argv[1], sys.argv[2] == "True", sys.argv[3]
worker = Supervisor.start()
worker.send(Prepare(root=root, pythonpath=(root,), database="sqlite:///data.db", post_mortem=post_mortem))
worker.send(RunStep(step=1, module=module, name=module, path=module + ".py", resources=("conn",)))
worker.send(RunStep(step=2, module="good", name="good", path="good.py", resources=("conn",), failures=1))
worker.send(Finish())
while not worker.is_over:
    for event in worker.events(30):
        if isinstance(event, DebugStarted):
            print("lent", worker.lend_terminal(), flush=True)
        elif isinstance(event, (StepFinished, Output)):
            print(type(event).__name__, event.step, getattr(event, "status", None) or event.text.strip(), flush=True)
print("mine", os.tcgetpgrp(0) == os.getpgrp(), input(), flush=True)
"""


class Terminal:
    """A process with a terminal of its own; what it shows, and what is typed."""

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:  # pragma: no cover
            os.execve(command[0], list(command), clean_environment(TERM="dumb"))
        self.attributes = termios.tcgetattr(self.fd)
        self.shown = ""
        self.looked = 0

    def until(self, text: str) -> None:
        deadline = time.monotonic() + TIME_LIMIT
        while text not in self.shown[self.looked :]:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown: {self.shown}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.shown += os.read(self.fd, 65_536).decode()
                except OSError:
                    pytest.fail(f"{text!r} was not shown, and it ended: {self.shown}")
        self.looked = self.shown.index(text, self.looked) + len(text)

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C; again where it came a moment before the line editor waits, which notices it late."""
        deadline = time.monotonic() + TIME_LIMIT
        while text not in self.shown[self.looked :]:
            assert time.monotonic() < deadline, self.shown
            self.type("\x03")
            if select.select([self.fd], [], [], 0.5)[0]:
                self.shown += os.read(self.fd, 65_536).decode()
        self.until(text)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> int:
        """Its exit code; it is killed where it does not end."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if select.select([self.fd], [], [], 0.01)[0]:
                try:
                    os.read(self.fd, 65_536)
                except OSError:
                    time.sleep(0.01)
        else:
            os.kill(self.pid, 9)
            status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def start(root: Path, module: str, *, post_mortem: bool = False) -> Terminal:
    return Terminal(sys.executable, "-c", PARENT, str(root), str(post_mortem), module)


FILES = {
    "stops.py": """
    def run(conn):
        conn.execute("CREATE TABLE t (a)")
        print("before")
        x = 41
        breakpoint()
        x += 1
        print("x is", x)
        breakpoint()
    """,
    "fails.py": """
    def run(conn):
        word = "deep"
        raise ValueError("for the debugger")
    """,
    "good.py": "def run(conn):\n    print('captured')\n",
}


def test_a_breakpoint_gets_the_terminal_and_gives_it_back(project: Project) -> None:
    terminal = start(project(FILES), "stops")
    terminal.until("lent True")
    terminal.until("(Pdb) ")
    terminal.type("p x + 1000\n")
    terminal.until("1041")
    terminal.until("(Pdb) ")
    terminal.type("!x = 99\n")
    terminal.until("(Pdb) ")
    terminal.type("c\n")
    terminal.until("x is 100")  # the tool's output is on the terminal now
    terminal.until("(Pdb) ")  # the second one needs no second lending
    terminal.type("c\n")
    terminal.until("StepFinished 1 passed")
    terminal.until("StepFinished 2 passed")
    terminal.type("typed\n")
    terminal.until("mine True typed")
    assert termios.tcgetattr(terminal.fd) == terminal.attributes
    assert terminal.close() == 0
    assert "Output 2 captured" in terminal.shown
    assert terminal.shown.count("lent True") == 1
    assert "Output 1 before" in terminal.shown


def test_leaving_the_debugger_fails_the_tool(project: Project) -> None:
    terminal = start(project(FILES), "stops")
    terminal.until("(Pdb) ")
    terminal.type("q\n")
    terminal.until("StepFinished 1 failed")
    terminal.until("StepFinished 2 passed")
    terminal.type("typed\n")
    terminal.until("mine True typed")
    assert terminal.close() == 0


def test_post_mortem_shows_the_users_frame(project: Project) -> None:
    terminal = start(project(FILES), "fails", post_mortem=True)
    terminal.until("ValueError: for the debugger")
    terminal.until("(Pdb) ")
    terminal.type("p word\n")
    terminal.until("'deep'")
    terminal.until("(Pdb) ")
    terminal.type("q\n")
    terminal.until("StepFinished 1 failed")
    terminal.until("StepFinished 2 passed")
    terminal.type("typed\n")
    terminal.until("mine True typed")
    assert terminal.close() == 0


def test_ctrl_c_at_the_prompt_is_the_debuggers(project: Project) -> None:
    terminal = start(project(FILES), "stops")
    terminal.until("(Pdb) ")
    terminal.interrupt_until("--KeyboardInterrupt--")
    terminal.until("(Pdb) ")
    terminal.type("p x\n")
    terminal.until("41")
    terminal.until("(Pdb) ")
    terminal.type("c\n")
    terminal.until("(Pdb) ")
    terminal.type("c\n")
    terminal.until("StepFinished 1 passed")
    terminal.type("typed\n")
    terminal.until("mine True typed")
    assert terminal.close() == 0


def test_a_worker_that_dies_in_the_debugger_gives_the_terminal_back(project: Project) -> None:
    terminal = start(project(FILES), "stops")
    terminal.until("(Pdb) ")
    terminal.type("import os; os.kill(os.getpid(), 9)\n")
    terminal.type("typed\n")
    terminal.until("mine True typed")
    assert terminal.close() == 0
