"""`orch history`: the runs, one run, what changed between two. Runs are recorded by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discover_orch.state.journal import EVENTS, RUNS, begin_run
from discover_orch.state.store import FOLDER
from tests.conftest import Orch, Project
from tests.support.journals import NOBODY, finished, started, tool_started, whole_run

SINCE = {"texts": ["2024-01-01"], "origin": "--since"}
FAULT = {
    "kind": "exception",
    "type": "ValueError",
    "message": "no such row\nmore",
    "path": "src/parse.py",
    "line": 12,
}


@pytest.fixture
def root(project: Project) -> Path:
    """A project without a single tool: history reads no source."""
    return project({"orch.toml": ""})


def plan(code: str = "x", **params: object) -> list[dict[str, object]]:
    return [{"module": "src.fetch", "name": "fetch", "params": params, "code": code}]


def test_without_a_run_a_sentence_says_so(root: Path, orch: Orch) -> None:
    answer = orch("history")
    assert (answer.code, answer.out, answer.err) == (0, "", "no run has been recorded yet\n")
    answer = orch("history", "--json")
    assert (answer.code, answer.json) == (0, {"version": 1, "runs": []})
    assert orch("history", "1").code == 2
    assert os.listdir(root) == ["orch.toml"]


def test_the_table_has_the_newest_run_first(root: Path, orch: Orch) -> None:
    whole_run(root, plan=plan(since=SINCE), targets=["ingest"])
    whole_run(
        root,
        ends={"fetch": {"status": "failed", "error": FAULT}, "parse": {"status": "blocked"}},
        end={"duration": 75.0},
        resumes="1",
        kind="watch",
    )
    answer = orch("history")
    assert answer.code == 0, answer.text
    assert answer.err == ""
    assert answer.out.splitlines() == [
        "run  started           status  duration    tools                targets",
        "  2  2026-11-24 14:03  failed  1 min 15 s  1 failed, 1 blocked  full (resumes 1)",
        f"{'(watch)':>50}",
        "  1  2026-11-24 14:03  passed  0.50 s      2 passed             ingest",
        f"{'since=2024-01-01':>59}",
    ]


def test_the_newest_twenty_are_shown_and_the_rest_is_counted(root: Path, orch: Orch) -> None:
    for _ in range(23):
        whole_run(root)
    lines = orch("history").out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", *map(str, range(23, 3, -1)), "and"]
    assert lines[-1] == "and 3 older runs (use --all to show all)"
    assert len(orch("history", "--all").out.splitlines()) == 24
    assert orch("history", "-n", "2").out.splitlines()[-1].startswith("and 21 older runs")
    assert len(orch("history", "--json").json["runs"]) == 23
    assert len(orch("history", "--json", "--limit", "2").json["runs"]) == 2


def test_one_run_is_told_with_everything(root: Path, orch: Orch) -> None:
    whole_run(
        root,
        plan=plan(since=SINCE),
        ends={
            "fetch": {"metrics": {"rows": 344}, "notes": ["it committed by itself"]},
            "parse": {"status": "failed", "error": FAULT},
        },
    )
    answer = orch("history", "1")
    assert answer.code == 0, answer.text
    assert answer.out.splitlines() == [
        "run 1: failed in 0.50 s, started 2026-11-24 14:03:22",
        "  targets    full",
        "  tools      1 failed, 1 passed",
        "  exit code  1",
        "  database   sqlite:///data.db  default",
        "    fetch  passed  0.25 s    rows=344",
        "           since = 2024-01-01  --since",
        "           it committed by itself",
        "    parse  failed  0.25 s    src/parse.py:12: ValueError: no such row",
    ]


def test_json_has_what_is_promised(root: Path, orch: Orch) -> None:
    whole_run(root, plan=plan(since=SINCE), ends={"fetch": {"metrics": {"rows": 3}}})
    whole_run(root)
    document = orch("history", "--json").json
    assert document["version"] == 1
    assert [run["run"] for run in document["runs"]] == ["2", "1"]
    run = orch("history", "1", "--json").json["runs"][0]
    assert run == document["runs"][1]
    promised = ("run", "started", "status", "targets", "params", "duration")
    assert {key: run[key] for key in promised} == {
        "run": "1",
        "started": "2026-11-24T14:03:22+01:00",
        "status": "passed",
        "targets": ["full"],
        "params": {"since": {"value": "2024-01-01", "origin": "--since"}},
        "duration": 0.5,
    }
    tool = run["tools"][0]
    of_tool = ("name", "status", "duration", "metrics")
    assert {key: tool[key] for key in of_tool} == {
        "name": "fetch",
        "status": "passed",
        "duration": 0.25,
        "metrics": {"rows": 3},
    }


def test_two_runs_are_compared(root: Path, orch: Orch) -> None:
    whole_run(root, ("fetch", "old"), plan=plan(since=SINCE))
    whole_run(
        root,
        ("fetch", "new"),
        plan=plan("y"),
        ends={"fetch": {"status": "failed", "error": FAULT, "duration": 2.0}},
    )
    answer = orch("history", "1", "2")
    assert answer.code == 0, answer.text
    assert answer.out.splitlines()[2:] == [
        "  + new",
        "  - old",
        "    fetch  0.25 s → 2.00 s",
        "           passed → failed",
        "           code changed",
        "           since: 2024-01-01 → default",
    ]
    found = orch("history", "1", "2", "--json").json["comparison"]
    assert (found["old"]["run"], found["new"]["run"]) == ("1", "2")
    assert (found["added"], found["removed"]) == (["new"], ["old"])
    assert found["tools"] == [
        {
            "name": "fetch",
            "module": "src.fetch",
            "status": {"old": "passed", "new": "failed"},
            "duration": {"old": 0.25, "new": 2.0},
            "params": [{"name": "since", "old": "2024-01-01", "new": None}],
            "code_changed": True,
            "inputs": [],
            "metrics": [],
        }
    ]
    assert "no change is recorded, except of the times" in orch("history", "1", "1").out


def test_a_run_whose_process_is_gone_was_killed(root: Path, orch: Orch) -> None:
    for pid in (NOBODY, os.getpid()):
        journal = begin_run(str(root))
        journal.write(started(journal.run, pid=pid))
        journal.write(tool_started("fetch"))
        journal.close()
    runs = orch("history", "--json").json["runs"]
    assert [run["status"] for run in runs] == ["running", "killed"]
    words = [[tool["status"] for tool in run["tools"]] for run in runs]
    assert words == [["running", "not_run"], ["unknown", "not_run"]]
    out = orch("history").out
    assert "1 unknown, 1 not run" in out
    assert "1 running, 1 not run" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["99"], "run 99 does not exist"),
        (["1", "x"], '"x" is not the number of a run'),
        (["1", "2", "3"], "expected at most two runs, got 3"),
        (["1", "-n", "2"], "--limit cannot be combined with a run"),
        (["--all", "-n", "2"], "--limit cannot be combined with --all"),
        (["-n", "0"], "0"),
    ],
)
def test_a_wrong_word_is_refused(root: Path, orch: Orch, words: list[str], said: str) -> None:
    whole_run(root)
    whole_run(root)
    answer = orch("history", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_run_that_does_not_exist_is_refused_with_those_that_do(root: Path, orch: Orch) -> None:
    for _ in range(12):
        whole_run(root)
    assert "recorded runs, 1 to 12" in orch("history", "40").err
    assert "did you mean 1" in orch("history", "122").err


def test_a_damaged_run_hides_no_other(root: Path, orch: Orch) -> None:
    for _ in range(3):
        whole_run(root)
    path = root / FOLDER / RUNS / "2" / EVENTS
    path.write_bytes(path.read_bytes()[:20])
    answer = orch("history")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["run", "3", "1"]
    assert "warning: run 2 cannot be read" in answer.err
    assert [run["run"] for run in orch("history", "--json").json["runs"]] == ["3", "1"]
    assert orch("history", "2").code == 2


def test_a_run_that_was_killed_before_it_began_is_none(root: Path, orch: Orch) -> None:
    begin_run(str(root)).close()
    answer = orch("history")
    assert (answer.out, answer.err) == ("", "no run has been recorded yet\n")
    assert orch("history", "1").code == 2
    whole_run(root)
    assert orch("history").err == ""


def test_a_run_that_was_broken_off_counts_what_never_ended(root: Path, orch: Orch) -> None:
    journal = begin_run(str(root))
    journal.write(started("1"))
    journal.write(tool_started("fetch"))
    journal.write(finished("killed", counts={}))
    journal.close()
    assert "killed  0.50 s    1 unknown, 1 not run" in orch("history").out


def test_a_resumed_run_names_the_tools_that_had_passed(root: Path, orch: Orch) -> None:
    whole_run(root)
    whole_run(root, ("parse",), plan=plan(), resumes="1", passed_before=["src.fetch", "src.gone"])
    assert "  resumes    run 1 (passed: fetch, src.gone)" in orch("history", "2").out


def test_a_real_run_is_in_the_history(project: Project, orch: Orch) -> None:
    project(
        {
            "src/fetch.py": """
            STAGE = "ingest"
            def run(*, since: str = "", token: str = ""):
                return {"rows": 3}
            """,
            "src/parse.py": """
            STAGE = "ingest"
            def run():
                raise ValueError("no such row")
            """,
        }
    )
    assert orch("run", "--since", "2024", "--token", "very-secret-text").code == 1
    assert orch("run", "fetch").code == 0
    new, old = orch("history", "--json").json["runs"]
    assert (old["run"], old["status"], old["targets"]) == ("1", "failed", ["full"])
    assert old["params"]["since"] == {"value": "2024", "origin": "--since"}
    assert old["params"]["token"]["value"] == "***"
    assert [tool["status"] for tool in old["tools"]] == ["passed", "failed"]
    assert old["tools"][0]["metrics"] == {"rows": 3}
    assert old["tools"][1]["error"]["message"] == "no such row"
    assert (new["run"], new["status"], new["targets"]) == ("2", "passed", ["fetch"])
    changed = orch("history", "1", "2", "--json").json["comparison"]["tools"]
    assert [(one["name"], one["code_changed"]) for one in changed] == [("fetch", False)]


def test_where_the_memory_is_a_file_there_is_none(root: Path, orch: Orch) -> None:
    (root / FOLDER).write_text("mine")
    assert orch("history").err == "no run has been recorded yet\n"
    assert (root / FOLDER).read_text() == "mine"


def test_looking_at_the_history_writes_nothing(root: Path, orch: Orch) -> None:
    whole_run(root, logs={"fetch": "x"})
    before = sorted(path for path in root.rglob("*"))
    for words in ([], ["1"], ["1", "1"], ["--json"]):
        orch("history", *words)
    assert sorted(path for path in root.rglob("*")) == before


def test_history_completes_the_runs(root: Path, orch: Orch) -> None:
    for _ in range(11):
        whole_run(root)
    answer = orch(
        env={"_ORCH_COMPLETE": "bash_complete", "COMP_WORDS": "orch history 1", "COMP_CWORD": "2"}
    )
    assert [line.partition(",")[2] for line in answer.out.splitlines()] == ["11", "10", "1"]


def test_the_history_is_found_from_below_and_from_elsewhere(
    root: Path, orch: Orch, tmp_path: Path
) -> None:
    whole_run(root)
    (root / "src" / "deep").mkdir(parents=True)
    expected = orch("history").out
    assert orch("history", cwd=root / "src" / "deep").out == expected
    assert orch("history", "-C", str(root), cwd=tmp_path).out == expected
