"""`breakpoint()` and `--pdb`: the debugger gets the terminal, and orch gets it back."""

from __future__ import annotations

import os
import signal
import sys
import termios

import pytest

from tests.conftest import Orch, Project
from tests.support.running import is_gone, on_terminal, running, wait_until

PROMPT = r"\(Pdb\) $"
STOPS = """
    STAGE = "s"
    def run():
        answer = 6 * 7
        breakpoint()
        print("went on with", answer)
"""
FAILS = """
    STAGE = "s"
    def run():
        answer = 6 * 7
        raise ValueError("no")
"""
#: Python 3.13 stops at the call of breakpoint() itself, older ones at the line behind it.
STOPPED_AT = 5 if sys.version_info >= (3, 13) else 6
NEXT = 'STAGE = "s"\ndef run(): print("next")\n'


def test_breakpoint_stops_in_the_tool_and_the_run_goes_on(project: Project) -> None:
    root = project({"src/a.py": STOPS, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for(PROMPT)
        assert f"src/a.py({STOPPED_AT})run()" in orch.text
        orch.type("p answer\n")
        orch.wait_for("42")
        orch.wait_for(PROMPT)
        orch.type("c\n")
        assert orch.wait() == 0, orch.text
    assert "went on with 42\n" in orch.text
    assert "[2/2] s › b\n    next\n" in orch.text  # captured again
    assert "2 passed in " in orch.text


def test_a_tool_can_stop_twice_and_so_can_the_next(project: Project) -> None:
    root = project({"src/a.py": STOPS + "        breakpoint()\n", "src/b.py": STOPS})
    with on_terminal(root, "run") as orch:
        orch.wait_for(PROMPT)
        orch.type("!answer = 99\n")
        for _ in range(3):
            orch.wait_for(PROMPT)
            orch.type("c\n")
        assert orch.wait() == 0, orch.text
    assert "went on with 99" in orch.text
    assert "went on with 42" in orch.text


def test_a_worker_that_dies_in_the_debugger_gives_the_terminal_back(project: Project) -> None:
    root = project({"src/a.py": STOPS})
    with on_terminal(root, "run") as orch:
        before = termios.tcgetattr(orch.fd)
        orch.wait_for(PROMPT)
        orch.type("import os; os.kill(os.getpid(), 9)\n")
        orch.wait_for("FAILED a")
        assert termios.tcgetattr(orch.fd) == before
        assert orch.wait() == 1


def test_leaving_the_debugger_fails_the_tool(project: Project) -> None:
    root = project({"src/a.py": STOPS, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for(PROMPT)
        orch.type("q\n")
        assert orch.wait() == 1
    assert f"FAILED a src/a.py:{STOPPED_AT}  BdbQuit" in orch.text
    assert "1 failed, 1 blocked in " in orch.text


def test_pdb_opens_where_a_tool_fails_and_shows_no_frame_of_orch(project: Project) -> None:
    root = project({"src/a.py": FAILS, "src/b.py": NEXT})
    with on_terminal(root, "run", "--pdb") as orch:
        orch.wait_for(PROMPT)
        assert "src/a.py(5)run()" in orch.text
        assert "ValueError: no\n" in orch.text
        orch.type("p answer + 1\n")
        orch.wait_for("43")
        orch.wait_for(PROMPT)
        orch.type("q\n")
        assert orch.wait() == 1
    assert "FAILED a src/a.py:5  ValueError: no" in orch.text
    assert "resume with: orch run --resume" in orch.text
    assert "discover_orch" not in orch.text


def test_pdb_stays_out_of_a_run_that_goes_well(project: Project) -> None:
    root = project({"src/a.py": NEXT})
    with on_terminal(root, "run", "--pdb") as orch:
        assert orch.wait() == 0
    assert "Pdb" not in orch.text


def test_pdb_without_a_terminal_is_a_failure_like_any_other(project: Project) -> None:
    root = project({"src/a.py": FAILS})
    with running(root, "run", "--pdb") as orch:
        assert orch.wait() == 1
    assert "Pdb" not in orch.text
    assert "warning: --pdb needs a terminal, and there is none: no debugger opens\n" in orch.text
    assert "FAILED a src/a.py:5  ValueError: no" in orch.text


def test_breakpoints_can_be_switched_off(project: Project, orch: Orch) -> None:
    project({"src/a.py": STOPS})
    answer = orch("run", env={"PYTHONBREAKPOINT": "0"})
    assert answer.code == 0, answer.text
    assert "    went on with 42\n" in answer.out


def test_ctrl_c_at_the_prompt_is_the_debuggers(project: Project) -> None:
    root = project({"src/a.py": STOPS, "src/b.py": NEXT})
    with on_terminal(root, "run") as orch:
        orch.wait_for(PROMPT)
        orch.type("\x03")
        orch.type("\n")  # readline sees a signal that came before it waited only with the next key
        orch.wait_for(PROMPT)
        orch.type("c\n")
        assert orch.wait() == 0
    assert "2 passed in " in orch.text


def test_ctrl_z_at_the_prompt_does_not_leave_the_terminal_dead(project: Project) -> None:
    root = project({"src/a.py": STOPS})
    with on_terminal(root, "run") as orch:
        orch.wait_for(PROMPT)
        orch.type("\x1a\n")
        orch.wait_for(PROMPT)
        orch.type("c\n")
        assert orch.wait() == 0, orch.text


def test_the_terminal_is_put_back_as_it_was(project: Project) -> None:
    root = project(
        {
            "src/a.py": """
                import sys, tty
                STAGE = "s"
                def run():
                    breakpoint()
                    tty.setraw(0)
            """,
            "src/b.py": """
                import os
                STAGE = "s"
                def run():
                    print("waits")
                    while not os.access.__wrapped__("go", os.F_OK):
                        pass
            """,
        }
    )
    with on_terminal(root, "run") as orch:
        before = termios.tcgetattr(orch.fd)
        orch.wait_for(PROMPT)
        orch.type("c\n")
        orch.wait_for("waits")
        assert termios.tcgetattr(orch.fd) == before
        (root / "go").touch()
        assert orch.wait() == 0, orch.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_nobody_is_left_when_orch_ends_while_somebody_debugs(
    project: Project, number: signal.Signals
) -> None:
    root = project(
        {
            "src/a.py": """
                import os
                STAGE = "s"
                def run():
                    print("worker", os.getpid())
                    breakpoint()
                    print("never")
            """
        }
    )
    with on_terminal(root, "run") as orch:
        worker = int(orch.wait_for(r"worker (\d+)")[1])
        orch.wait_for(PROMPT)
        os.kill(orch.pid, number)
        expected = -number if number == signal.SIGKILL else 128 + number
        assert orch.wait() == expected, orch.text
    wait_until(lambda: is_gone(worker), "the end of the worker")
