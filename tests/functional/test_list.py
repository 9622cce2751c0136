"""What `orch list` looks like: stages, tools, parameters, widths, colours, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import Orch, Project
from tests.support.project_builder import clean_environment

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "analyze"]',
    "src/fetch.py": '''
        """Get the raw rows of all.

        More about it.
        """
        STAGE = "ingest"
        def run(conn, *, source: str, limit: int = 3, force: bool = False): ...
        ''',
    "src/lib/tables.py": "NAME = 'raw'\n",
    "src/sum_up.py": '''
        from src.lib.tables import NAME
        STAGE = "analyze"
        AFTER = "fetch"
        def run(*, many: list[str] = ()):
            """Sum up."""
        ''',
    "src/old.py": "STAGE = None\ndef run(): ...\n",
}


def test_it_shows_tools_by_stage_with_what_they_take(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    answer = orch("list")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "ingest\n"
        "  fetch   Get the raw rows of all.\n"
        "          src/fetch.py  --source STR*  --limit INT  --force\n"
        "analyze\n"
        "  sum_up  Sum up.\n"
        "          src/sum_up.py  --many STR ...\n"
        "disabled\n"
        "  old\n"
        "          src/old.py\n"
        "\n"
        "2 tools in 2 stages, 1 disabled\n"
    )


def test_orch_dash_dash_list_and_python_m_are_the_same(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    plain = orch("list").out
    assert orch("--list").out == plain
    assert orch("ls").out == plain
    assert orch("-C", str(root), "ls", "analyze").out == orch("list", "analyze").out
    assert "  ls" not in orch("--help").out
    assert orch("--list", "analyze", "--json").out == orch("list", "analyze", "--json").out
    assert orch("-C", str(root), "--list", cwd=root.parent).out == plain


def test_the_healthy_rest_is_shown_beside_the_errors_with_exit_4(
    project: Project, orch: Orch
) -> None:
    project({**PIPELINE, "src/x.py": "STAGE = 'a'\ndef run(:\n"})
    for _ in range(2):  # from the index, too
        answer = orch("list")
        assert answer.code == 4
        assert "2 tools in 2 stages" in answer.out
        assert "error: src/x.py:2: not valid Python" in answer.err
    assert orch("list", "ingest").code == 4


def test_what_only_a_broken_file_could_mean_is_that_error(project: Project, orch: Orch) -> None:
    project({**PIPELINE, "src/x.py": "STAGE = 'render'\ndef run(:\n"})
    for words in (("render",), ("x",), ("src/x.py",), ("graph", "render")):
        command, targets = ("graph", words[1:]) if words[0] == "graph" else ("list", words)
        answer = orch(command, *targets)
        assert (answer.code, answer.out) == (4, ""), answer.text
        assert "error: src/x.py:2: not valid Python" in answer.err
    both = orch("list", "render", "ingest")
    assert both.code == 4
    assert "fetch" in both.out
    assert orch("list", "rendre").code == 2


def test_colours_are_for_terminals_and_for_who_asks(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for env, words, is_coloured in (
        ({"NO_COLOR": ""}, (), False),
        ({"NO_COLOR": "", "FORCE_COLOR": "1"}, (), True),
        ({}, ("--color", "always"), True),
        ({"NO_COLOR": "", "FORCE_COLOR": "1"}, ("--color", "never"), False),
    ):
        before, behind = orch(*words, "list", env=env), orch("list", *words, env=env)
        assert before.out == behind.out
        assert ("\x1b[" in behind.out) is is_coloured, (env, words)
    assert orch("list", "--color", "sometimes").code == 2


def _shell(root: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m discover_orch"
    return subprocess.run(
        ["bash", "-c", line.replace("orch", command, 1) + "; echo ${PIPESTATUS[0]}"],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_pipe_ends_quietly(project: Project) -> None:
    root = project(PIPELINE)
    for words in (
        ("list",),
        ("list", "--json"),
        ("run", "-n", "ingest", "--source", "x"),
        ("--help",),
    ):
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "discover_orch", *words],
                cwd=root,
                env=clean_environment(),
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            os.close(write)
        assert (done.returncode, done.stderr) == (141, ""), words


def test_standard_output_that_cannot_be_written_is_no_fault_of_orchs(
    project: Project, orch: Orch
) -> None:
    root = project(PIPELINE)
    closed = _shell(root, "orch list >&-")
    assert (closed.stdout, closed.stderr) == ("0\n", "")
    if os.path.exists("/dev/full"):
        full = _shell(root, "orch list >/dev/full")
        assert full.stdout == "2\n"
        assert full.stderr.startswith("error: cannot write standard output: no space left")
