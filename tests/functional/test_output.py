"""What a person sees of a run: header, lines as they come, the short summary last."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import clean_environment

HELLO = """
    STAGE = "s"
    def run():
        print("hello")
"""
FAILS = """
    STAGE = "s"
    def run():
        print("before")
        raise ValueError("no")
"""


def test_the_whole_of_a_run_reads_from_header_to_counts(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": HELLO, "src/b.py": FAILS})
    answer = orch("run")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[0].startswith("orch ")
    assert lines[0].endswith(f" · {root} · orch.toml · 2 tools in 1 stage")
    assert lines[1:6] == [
        "database sqlite:///data.db (default)",
        "running 2 tools: a, b",
        "[1/2] s › a",
        "    hello",
        lines[5],
    ]
    assert lines[5].startswith("    ✓ ")
    assert lines[6:8] == ["[2/2] s › b", "    before"]
    assert lines[8].startswith("    ✗ ")
    assert lines[9].startswith("── b ──")
    assert lines[10:-3] == [
        "Traceback (most recent call last):",
        '  File "src/b.py", line 5, in run',
        '    raise ValueError("no")',
        "ValueError: no",
    ]
    assert lines[-3:-1] == [
        "FAILED b src/b.py:5  ValueError: no",
        "  resume with: orch run --resume",
    ]
    assert lines[-1].startswith("1 failed, 1 passed in ")
    assert answer.err == ""


def test_quiet_shows_failures_and_the_summary_alone(project: Project, orch: Orch) -> None:
    project({"src/a.py": HELLO, "src/b.py": FAILS})
    answer = orch("run", "-q")
    assert answer.out.startswith("failed b\n    before\n── b ─")
    assert "hello" not in answer.out
    assert "\nFAILED b src/b.py:5" in answer.out
    well = orch("run", "a", "-q")
    assert well.out.startswith("1 passed in ")
    assert well.out.count("\n") == 1


def test_verbose_adds_reasons_values_and_notes(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                STAGE = "s"
                def run(conn, *, since: str = ""):
                    conn.execute("create table t (x)")
                    conn.close()
            """
        }
    )
    answer = orch("run", "s", "--since", "today", "-v")
    assert "s › a  in stage s  since=today" in answer.out
    assert "      closed its connection; a new one is opened for the next tool" in answer.out
    assert "closed" not in orch("run", "--since", "today", "--database", "sqlite://").out


def test_raw_output_is_untouched_and_stands_under_its_tool(project: Project, orch: Orch) -> None:
    project({"src/a.py": HELLO, "src/b.py": HELLO.replace("hello", "\\x1b[2Jworld\\r")})
    answer = orch("run", "--output", "raw")
    assert answer.code == 0, answer.text
    assert "s › a\nhello\n    ✓" in answer.out
    assert "s › b\n\x1b[2Jworld" in answer.out


def test_raw_output_goes_on_after_a_failure_too(project: Project, orch: Orch) -> None:
    project({"src/a.py": FAILS, "src/b.py": HELLO, "src/c.py": f"    AFTER = (){HELLO}"})
    answer = orch("run", "--output", "raw")
    assert answer.code == 1
    assert "s › a\nbefore\n    ✗" in answer.out
    assert answer.out.count("hello") == 1
    assert answer.out.splitlines()[-1].startswith("1 failed, 1 passed, 1 blocked in")


def test_what_children_write_belongs_to_their_tool(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                import os, subprocess, sys
                STAGE = "s"
                def run():
                    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
                    os.write(2, b"from a descriptor\\n")
            """,
            # By itself: between the two streams of one tool there is no order.
            "src/aa.py": "STAGE = 's'\ndef run(): print('no newline', end='')\n",
            "src/b.py": HELLO,
        }
    )
    answer = orch("run")
    assert "    from a child\n" in answer.out
    assert "    from a descriptor\n" in answer.out
    assert "    no newline\n    ✓" in answer.out
    assert answer.err == ""


def test_control_sequences_are_shown_and_not_obeyed(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                STAGE = "s"
                def run():
                    print("\\x1b[2J\\x1b]0;title\\x07\\x1b[31mred\\x1b[0m\\u202eback")
                    raise ValueError("\\x1b[2Jboo\\rhoo")
            """
        }
    )
    answer = orch("run")
    assert "    \\x1b[2J\\x1b]0;title\\x07red\\u202eback\n" in answer.out
    assert "FAILED a src/a.py:5  ValueError: \\x1b[2Jboo\\x0dhoo" in answer.out
    assert "\x1b" not in answer.out
    assert "\r" not in answer.out


def test_colours_of_tools_pass_where_there_are_colours(project: Project, orch: Orch) -> None:
    project({"src/a.py": HELLO.replace("hello", "\\x1b[31mred \\x1b[2J")})
    assert "    red \\x1b[2J\n" in orch("run").out
    assert "    red \\x1b[2J\n" in orch("run", "--color", "never", env={"FORCE_COLOR": "1"}).out
    coloured = orch("run", "--color", "always").out
    assert "    \x1b[31mred \\x1b[2J\x1b[0m\n" in coloured
    assert "\x1b[32m✓\x1b[0m" in coloured
    assert "\x1b[31mred" in orch("run", env={"NO_COLOR": "", "FORCE_COLOR": "1"}).out


def test_a_terminal_without_unicode_gets_ascii(project: Project, orch: Orch) -> None:
    project(
        {"src/a.py": 'STAGE = "s"\ndef run(): print("caf\\u00e9 \\u2713")\n', "src/b.py": FAILS}
    )
    answer = orch("run", env={"PYTHONIOENCODING": "ascii"})
    assert answer.out.isascii()
    assert "    caf\\xe9 \\u2713\n    ok 0." in answer.out
    assert "    FAILED 0." in answer.out
    assert "\n-- b ---" in answer.out


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_run_goes_on_without_one_of_its_streams(
    project: Project, orch: Orch, closed: str
) -> None:
    root = project({"src/a.py": 'STAGE = "s"\ndef run():\n    print("x")\n    open("ran", "w")\n'})
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m discover_orch run {closed}"],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "ran").exists()


def test_warnings_go_to_stderr_and_results_to_stdout(project: Project, orch: Orch) -> None:
    project({"orch.toml": 'stages = ["t"]', "src/a.py": HELLO})
    answer = orch("run")
    assert answer.code == 0
    assert 'warning: src/a.py:2: stage "s" is not a configured stage' in answer.err
    assert "warning:" not in answer.out
