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


def test_of_long_output_that_is_shown_late_the_end_stays_and_the_log_has_all(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": """
                STAGE = "s"
                def run():
                    for number in range(40_000):
                        print(f"line {number:>30}")
                    raise ValueError("no")
            """
        }
    )
    lines = orch("run", "--output", "fail").out.splitlines()
    place = lines.index("    … (orch logs a shows all of it)")
    assert f"    line {39_999:>30}" in lines[place:]
    assert f"    line {0:>30}" not in lines
    assert orch("logs", "a").out.count("\n") == 40_000
