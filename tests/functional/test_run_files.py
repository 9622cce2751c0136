"""What a run writes for other tools (`--junit`, `--trace`, `--openlineage`, GitHub), and whom it calls when it fails."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from discover_orch.cli.report_run import format_text
from discover_orch.state.recorded_run import read_run
from tests.conftest import Orch, Project
from tests.support.formats import (
    read_annotations,
    read_junit,
    read_lineage,
    read_summary,
    read_trace,
)
from tests.support.project_builder import Answer, run_orch, write_files

FILES: Mapping[str, str] = {
    "orch.toml": 'stages = ["ingest", "analyze"]\n',
    "src/load.py": """
        from pathlib import Path
        STAGE = "ingest"
        def run(conn, *, api_token: str = ""):
            '''Load rows.'''
            Path("out.csv").write_text(Path("in.csv").read_text())
            conn.execute("create table raw as select 1 a")
            return {"rows": 1}
        """,
    "in.csv": "a\n",
    "src/total.py": """
        import os
        from pathlib import Path
        STAGE = "analyze"
        AFTER = "load"
        ORCH = {"retries": 1, "retry_delay": 0.01}
        def run(conn, *, api_token: str = ""):
            assert conn.execute("select count(*) from raw").fetchone() == (1,)
            conn.execute("create table sums as select count(*) from raw")
            Path("total.txt").write_text("1")
            print("the token is", api_token)
            raise ValueError(f"no total: {api_token}, 100%")
        """,
    "src/page.py": 'STAGE = "analyze"\nAFTER = "total"\ndef run(): pass\n',
}

TOKEN = "correct-horse-battery"


class Failed:
    """A run that failed, with everything that can be written about it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "repository" / "shop"
        self.root.mkdir(parents=True)
        write_files(self.root, FILES)
        environment = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(root / "summary.md"),
            "GITHUB_WORKSPACE": str(self.root.parent),
            "OPENLINEAGE_NAMESPACE": "prod",
        }
        words = "--junit junit.xml --trace trace.json --openlineage lineage.jsonl".split()
        # The command can use orch itself: nothing holds the lock of the project any more.
        accept = f"{shlex.quote(sys.executable)} -m discover_orch accept load > accepted.txt"
        command = f"cat > failure.json; echo called; {accept}; exit 7"
        words += ["--on-failure", command, "--json", "--api-token", TOKEN]
        self.answer: Answer = run_orch(self.root, "run", *words, env=environment)
        self.summary = (root / "summary.md").read_text("utf-8")

    def read(self, name: str) -> str:
        return (self.root / name).read_text("utf-8")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Failed:
    return Failed(tmp_path_factory.mktemp("failed"))


def test_the_run_itself_is_as_without_them(failed: Failed) -> None:
    assert failed.answer.code == 1
    ends = [one for one in failed.answer.events if one["event"] == "tool_finished"]
    assert [one["status"] for one in ends] == ["passed", "failed", "blocked"]
    reads = run_orch(failed.root, "status", "--json").json["tools"]
    used = [path for one in reads for path in (*one["reads"], *one["writes"]) if "file" in path]
    assert {one["file"] for one in used} == {"in.csv", "out.csv"}


def test_junit_has_each_tool_and_why_it_failed(failed: Failed) -> None:
    root = read_junit(failed.read("junit.xml"))
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert [*cases] == ["load", "total", "page"]
    assert cases["total"].attrib["classname"] == "analyze"
    failure = cases["total"].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "src/total.py:12: ValueError: no total: ***, 100%"
    assert 'File "src/total.py", line 12, in run' in (failure.text or "")
    assert (cases["total"].findtext("system-out") or "").strip() == "the token is ***"
    assert cases["page"].find("skipped") is not None


def test_the_trace_has_both_attempts_and_the_commit(failed: Failed) -> None:
    slices = [one for one in read_trace(failed.read("trace.json")) if one["ph"] == "X"]
    names = [one["name"] for one in slices if one["cat"] != "orch"]
    assert names == ["load", "commit", "total", "total"]
    assert [one["args"]["attempt"] for one in slices if one["name"] == "total"] == [1, 2]


def test_lineage_has_the_tables_and_files_that_were_used(failed: Failed) -> None:
    events = read_lineage(failed.read("lineage.jsonl"))
    kinds = [(one["job"]["name"], one["eventType"]) for one in events]
    assert kinds == [
        ("shop", "START"),
        ("shop.src.load", "START"),
        ("shop.src.load", "COMPLETE"),
        ("shop.src.total", "START"),
        ("shop.src.total", "FAIL"),
        ("shop.src.total", "START"),
        ("shop.src.total", "FAIL"),
        ("shop", "FAIL"),
    ]
    assert {one["job"]["namespace"] for one in events} == {"prod"}
    assert len({one["run"]["runId"] for one in events}) == 4, "each attempt is a run of its own"
    root, load = failed.root, events[2]
    assert load["job"]["facets"]["documentation"]["description"] == "Load rows."
    database = f"sqlite://{root}/data.db"
    assert load["inputs"] == [{"namespace": "file", "name": f"{root}/in.csv"}]
    assert load["outputs"] == [
        {"namespace": "file", "name": f"{root}/out.csv"},
        {"namespace": database, "name": "raw"},
    ]
    assert events[4]["inputs"] == [{"namespace": database, "name": "raw"}]
    # The table was rolled back, the file was not.
    assert events[4]["outputs"] == [{"namespace": "file", "name": f"{root}/total.txt"}]
    error = events[4]["run"]["facets"]["errorMessage"]
    assert error["message"] == "ValueError: no total: ***, 100%"


def test_lineage_tells_duckdb_from_sqlite(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orchconf.py": "import duckdb\ndef get_connection(): return duckdb.connect('x.db')\n",
            "src/a.py": "STAGE = 's'\ndef run(conn): conn.execute('create table raw as select 1 a')\n",
        }
    )
    assert orch("run", "--openlineage", "x.jsonl").code == 0
    outputs = read_lineage((root / "x.jsonl").read_text("utf-8"))[2]["outputs"]
    assert outputs == [{"namespace": f"duckdb://{root}/x.db", "name": "raw"}]


def test_the_command_gets_the_summary_once_and_changes_nothing(failed: Failed) -> None:
    (summary,) = [json.loads(line) for line in failed.read("failure.json").splitlines()]
    assert summary["version"] == 1
    assert summary["status"] == "failed"
    assert summary["exit_code"] == 1
    assert summary["counts"] == {"passed": 1, "failed": 1, "blocked": 1}
    load, total, page = summary["tools"]
    assert load["metrics"] == {"rows": 1}
    assert (total["stage"], total["attempt"], total["error"]["line"]) == ("analyze", 2, 12)
    assert "line 12, in run" in total["error"]["traceback"]
    assert page["blocked_by"] == "total"
    assert failed.read("accepted.txt") == "accepted as fresh: load\n"
    assert "called\n" in failed.answer.err  # stdout holds only JSON
    assert "warning: the --on-failure command exited with 7" in failed.answer.err


def test_github_gets_annotations_and_a_summary(failed: Failed) -> None:
    lines = [line for line in failed.answer.err.split("\n") if line.startswith("::")]
    ((kind, properties, message),) = read_annotations("\n".join(lines))
    assert (kind, properties["file"], properties["line"]) == ("error", "shop/src/total.py", "12")
    assert message.endswith("ValueError: no total: ***, 100%\n")
    heading, cells = read_summary(failed.summary)
    assert heading == "orch: shop"
    assert [row[0] for row in cells] == ["tool", "total", "load", "page"]
    assert "rows=1" in failed.summary


def test_a_run_that_was_broken_off_anywhere_has_valid_files(failed: Failed) -> None:
    lines = failed.read(".orch/runs/1/events.jsonl").encode().splitlines(keepends=True)
    for length in range(1, len(lines) + 1):
        record = read_run(lines[:length], lambda *_: False)
        assert record is not None
        root = read_junit(format_text("--junit", record, str(failed.root)))
        assert len([*root.iter("testcase")]) == 3
        read_trace(format_text("--trace", record, str(failed.root)))
        events = read_lineage(format_text("--openlineage", record, str(failed.root)))
        assert [one["eventType"] == "START" for one in events].count(True) * 2 == len(events)


def test_only_the_end_of_what_the_last_attempt_printed_is_kept(
    project: Project, orch: Orch
) -> None:
    code = "print('first')\n    print('start' + 'y' * 9000)\n    raise ValueError\n"
    root = project({"src/a.py": f"STAGE = 's'\ndef run():\n    {code}"})
    assert orch("run", "--junit", "x.xml").code == 1
    [printed] = read_junit((root / "x.xml").read_text("utf-8")).iter("system-out")
    assert printed.text == "y" * 7999 + "\n"


def test_lineage_names_at_most_a_thousand_datasets_the_tables_first(
    project: Project, orch: Orch
) -> None:
    code = """
        from pathlib import Path
        STAGE = "s"
        def run(conn):
            for number in range(1100):
                Path(f"{number}.txt").touch()
            conn.execute("create table raw as select 1 a")
        """
    root = project({"src/a.py": code})
    assert orch("run", "--openlineage", "x.jsonl").code == 0
    outputs = read_lineage((root / "x.jsonl").read_text("utf-8"))[2]["outputs"]
    assert len(outputs) == 1000
    assert "raw" in {one["name"] for one in outputs}


def test_no_secret_is_written(failed: Failed) -> None:
    texts = [failed.read(one) for one in ("junit.xml", "trace.json", "lineage.jsonl")]
    texts += [failed.read("failure.json"), failed.summary, failed.answer.text]
    assert not [text for text in texts if TOKEN in text]
    assert all(texts)


def test_a_file_that_fails_later_is_a_warning(project: Project, orch: Orch) -> None:
    project({"src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    answer = orch("run", "-q", "--trace", "/dev/full")
    assert answer.code == 0
    assert answer.err.count("warning: the --trace file is incomplete: /dev/full") == 1


def test_the_hook_for_pre_commit_runs_orch_check() -> None:
    text = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text("utf-8")
    rows = dict(line.removeprefix("- ").strip().split(": ", 1) for line in text.splitlines())
    assert rows["entry"] == "orch check"
    assert rows["pass_filenames"] == "false"
    assert {"id", "name", "language"} <= {*rows}
