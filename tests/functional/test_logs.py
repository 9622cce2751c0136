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


def test_the_latest_run_in_which_the_tool_was_started_is_shown(root: Path, orch: Orch) -> None:
    whole_run(root, logs={"fetch": "first\n", "parse": "its own\n"})
    whole_run(root, logs={"fetch": "second\n"}, ends={"parse": {"status": "blocked"}})
    answer = orch("logs", "fetch")
    assert (answer.code, answer.out) == (0, "second\n")
    assert answer.err == "run 2, 2026-11-24 14:03: fetch passed\n"
    assert orch("logs", "parse").out == "its own\n"
    assert orch("logs", "fetch", "--run", "1").out == "first\n"


@pytest.mark.parametrize("word", ["fetch", "src.fetch", "src/fetch.py", "tool:fetch", "fetc*"])
def test_a_tool_is_named_as_any_target_is(root: Path, orch: Orch, word: str) -> None:
    whole_run(root, logs={"fetch": "text\n"})
    assert orch("logs", word).out == "text\n"


def test_the_number_of_a_run_in_place_of_a_tool_is_explained(root: Path, orch: Orch) -> None:
    whole_run(root, logs={"fetch": "text\n"})
    answer = orch("logs", "1")
    assert answer.code == 2
    assert 'error: "1" is not a tool' in answer.err
    hint = "orch history 1 shows that run; orch logs TOOL --run 1 shows a tool in it"
    assert hint in " ".join(answer.err.split())


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


def test_json_says_where_the_log_is(root: Path, orch: Orch) -> None:
    whole_run(root, logs={"fetch": "text\n"})
    assert orch("logs", "fetch", "--json").json == {
        "version": 1,
        "run": "1",
        "started": "2026-11-24T14:03:22+01:00",
        "name": "fetch",
        "module": "src.fetch",
        "status": "passed",
        "text": "text\n",
        "path": ".orch/runs/1/logs/src.fetch.log",
        "traceback": "",
    }
    assert (root / ".orch/runs/1/logs/src.fetch.log").read_text() == "text\n"


def test_a_tool_that_printed_nothing_says_so(root: Path, orch: Orch) -> None:
    whole_run(root)
    answer = orch("logs", "fetch")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "run 1, 2026-11-24 14:03: fetch passed (no output recorded)\n"
    document = orch("logs", "fetch", "--json").json
    assert (document["text"], document["path"]) == ("", None)


def test_a_tool_that_was_killed_has_what_it_printed(root: Path, orch: Orch) -> None:
    journal = begin_run(str(root))
    journal.write(started("1", pid=NOBODY, process=None))
    journal.write(tool_started("fetch"))
    journal.log("src.fetch", "stdout", "as far as")
    answer = orch("logs", "fetch")
    assert answer.out == "as far as"
    assert answer.err == "run 1, 2026-11-24 14:03: fetch unknown\n"
    journal.close()


def test_a_tool_that_never_ran_is_refused(root: Path, orch: Orch) -> None:
    answer = orch("logs", "fetch")
    assert (answer.code, answer.out) == (2, "")
    assert "no recorded run has started fetch" in answer.err
    whole_run(root, ends={"parse": {"status": "not_run"}})
    answer = orch("logs", "parse", "--run", "1")
    assert answer.code == 2
    assert "parse was not started in run 1" in answer.err


def test_an_unknown_word_is_refused_with_the_nearest(root: Path, orch: Orch) -> None:
    whole_run(root)
    answer = orch("logs", "fetsh")
    assert answer.code == 2
    assert 'did you mean "fetch"?' in answer.err
    assert orch("logs", "fetch", "--run", "9").code == 2
    assert orch("logs").code == 2


def test_several_tools_are_refused_by_their_names(root: Path, orch: Orch) -> None:
    whole_run(root)
    answer = orch("logs", "ingest")
    assert answer.code == 2
    assert "fetch, parse" in answer.err


@pytest.mark.parametrize("word", ["gone", "src.gone"])
def test_a_tool_that_is_gone_can_still_be_shown(root: Path, orch: Orch, word: str) -> None:
    whole_run(root, ("fetch", "gone"), logs={"gone": "text\n"})
    whole_run(root)
    assert orch("logs", word).out == "text\n"


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
