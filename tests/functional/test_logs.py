"""`orch logs`: what a tool printed. Runs are recorded by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.state.journal import begin_run
from tests.conftest import Orch, Project
from tests.support.journals import NOBODY, started, tool_started, whole_run

TOOL = 'STAGE = "ingest"\ndef run(): pass\n'


@pytest.fixture
def root(project: Project) -> Path:
    return project({"orch.toml": "", "src/fetch.py": TOOL, "src/parse.py": TOOL})


def test_a_tool_goes_before_a_stage_of_its_name(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/ingest.py": TOOL, "src/fetch.py": TOOL})
    whole_run(root, ("ingest", "fetch"), logs={"ingest": "text\n"})
    assert orch("logs", "ingest").out == "text\n"


def test_to_a_pipe_it_comes_byte_for_byte(root: Path, orch: Orch) -> None:
    text = "a\x1b[31mb\x1b[0m\x07\n\udcff no newline"
    whole_run(root, logs={"fetch": text})
    assert orch("logs", "fetch").out == text
    shown = orch("logs", "fetch", "--color", "always").out
    assert "\x1b[31mb\x1b[0m\\x07" in shown
    assert "\n\\udcff no newline" in shown


def test_a_long_log_is_whole(root: Path, orch: Orch) -> None:
    text = "".join(f"line {number} ü\n" for number in range(30_000))
    whole_run(root, logs={"fetch": text})
    assert orch("logs", "fetch").out == text
    assert orch("logs", "fetch", "--color", "always").out == text


def test_a_tool_that_was_killed_has_what_it_printed(root: Path, orch: Orch) -> None:
    journal = begin_run(str(root))
    journal.write(started("1", pid=NOBODY, process=None))
    journal.write(tool_started("fetch"))
    journal.log("src.fetch", "stdout", "as far as")
    answer = orch("logs", "fetch")
    assert answer.out == "as far as"
    assert answer.err == "run 1, 2026-11-24 14:03: fetch unknown\n"
    journal.close()


def test_a_broken_project_hides_no_log(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/fetch.py": TOOL, "src/parse.py": "STAGE = 'ingest'\ndef"})
    whole_run(root, logs={"fetch": "one\n", "parse": "two\n"})
    assert orch("logs", "fetch").out == "one\n"
    assert orch("logs", "parse").out == "two\n"
    project({"orch.toml": "nonsense"})
    assert orch("logs", "fetch").out == "one\n"
    assert orch("logs", "nobody").code == 2


def test_a_real_run_keeps_what_tools_and_their_children_print(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/fetch.py": """
            import subprocess, sys
            STAGE = "ingest"
            def run(*, token: str = ""):
                print("the tool", flush=True)
                subprocess.run(["echo", "its child"])
                print("to stderr", token, file=sys.stderr, flush=True)
            """
        }
    )
    assert orch("run", "--token", "very-secret-text").code == 0
    lines = orch("logs", "fetch").out.splitlines()
    assert sorted(lines) == ["its child", "the tool", "to stderr ***"]
    kept = b"".join(path.read_bytes() for path in (root / ".orch").rglob("*") if path.is_file())
    assert b"very-secret-text" not in kept


def test_logs_completes_tools_and_runs(root: Path, orch: Orch) -> None:
    whole_run(root)

    def complete(words: str, at: int) -> list[str]:
        env = {"_ORCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return [line.partition(",")[2] for line in orch(env=env).out.splitlines()]

    assert "fetch" in complete("orch logs fe", 2)
    assert complete("orch logs fetch --run ", 4) == ["1"]
