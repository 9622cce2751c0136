"""`orch run --changed`: what is stale, and what is downstream of it within the targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons, statuses

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "analyze", "render"]\n',
    "src/fetch.py": """
        STAGE = "ingest"
        def run(conn, *, since: str = ""):
            conn.execute("create table if not exists raw (x)")
            conn.execute("delete from raw")
            conn.execute("insert into raw values (1)")
        """,
    "src/count.py": """
        STAGE = "analyze"
        def run(conn):
            conn.execute("create table if not exists counted (x)")
            conn.execute("delete from counted")
            conn.execute("insert into counted select count(*) from raw")
        """,
    "src/other.py": "STAGE = 'analyze'\ndef run(): print(open('other.txt').read())\n",
    "other.txt": "its data",
    "src/page.py": """
        STAGE = "render"
        def run(conn):
            (n,) = conn.execute("select x from counted").fetchone()
            with open("page.txt", "w") as file:
                file.write(str(n))
        """,
}


@pytest.fixture
def pipeline(project: Project, orch: Orch) -> Path:
    root = project(PIPELINE)
    assert orch("run").code == 0
    return root


def edit(root: Path, tool: str) -> None:
    with (root / "src" / f"{tool}.py").open("a") as file:
        file.write("X = 1\n")


def test_what_is_stale_runs_and_what_is_downstream_by_table(pipeline: Path, orch: Orch) -> None:
    change(pipeline / "src" / "count.py", "count(*)", "count(*) + 1")
    dry = orch("run", "--changed", "-n")
    assert "would run 2 tools, in this order:\n" in dry.out
    assert "src/count.py changed" in dry.out
    assert "fresh: fetch, other\n" in dry.out
    answer = orch("run", "--changed", "--json")
    assert answer.code == 0, answer.text
    assert ran(answer) == ["count", "page"]
    assert statuses(answer) == {
        "fetch": "fresh",
        "other": "fresh",
        "count": "passed",
        "page": "passed",
    }
    assert answer.events[-1]["counts"] == {"passed": 2, "fresh": 2}
    assert reasons(orch) == {}


def test_a_tool_that_fails_is_stale_afterwards_and_so_is_what_did_not_run(
    pipeline: Path, orch: Orch
) -> None:
    change(pipeline / "src" / "count.py", "def run(conn):\n", "def run(conn):\n    1 / 0\n")
    first = orch("run", "--changed", "--json")
    assert first.code == 1
    assert statuses(first)["count"] == "failed"
    assert statuses(first)["page"] == "blocked"
    second = orch("run", "--changed", "--json")
    assert ran(second) == ["count"]
    change(pipeline / "src" / "count.py", "    1 / 0\n", "")
    third = orch("run", "--changed", "--json")
    assert third.code == 0, third.text
    assert ran(third)[0] == "count"
    assert reasons(orch) == {}


def test_downstream_is_within_the_targets(pipeline: Path, orch: Orch) -> None:
    change(pipeline / "src" / "fetch.py", "values (1)", "values (1), (2)")
    answer = orch("run", "--changed", "--json", "ingest", "page")
    assert answer.code == 0, answer.text
    assert ran(answer)[0] == "fetch"
    assert "count" not in ran(answer)
    assert reasons(orch)["count"] == ["table raw was rewritten by fetch (run 2)"]


def test_a_stale_tool_upstream_of_the_targets_is_a_warning(pipeline: Path, orch: Orch) -> None:
    change(pipeline / "src" / "fetch.py", "values (1)", "values (1), (2)")
    shown = orch("run", "--changed", "-n", "--json", "render").json
    assert [tool["name"] for tool in shown["tools"]] == ["page"]
    assert "fetch is upstream" in shown["warnings"][0]["message"]
    answer = orch("run", "--changed", "render")
    assert answer.code == 0
    assert "running 1 tool: page\n" in answer.out
    assert answer.err.startswith(
        "warning: fetch is upstream of the targets and stale, but does not run: src/fetch.py changed\n"
    )
    assert "+" in answer.err
    assert answer.err.count("warning:") == 1
    assert reasons(orch)["page"] == ["upstream count is stale (table counted)"]
    above = orch("run", "--changed", "+render", "--json")
    assert ran(above) == ["fetch", "count", "page"]
    assert above.err == ""


def test_what_is_not_known_to_read_or_write_is_taken_to_do_so(
    pipeline: Path, orch: Orch, project: Project
) -> None:
    project({"src/blind.py": "STAGE = 'render'\ndef run(): pass\n"})
    assert orch("run", "blind").code == 0
    assert reasons(orch) == {}
    edit(pipeline, "other")
    assert reasons(orch) == {
        "other": ["src/other.py changed"],
        "blind": ["other is stale and may be upstream (this tool is not known to read anything)"],
        "page": ["other is stale and may be upstream (the writes of other are not known)"],
    }
    assert ran(orch("run", "--changed", "--json")) == ["other", "blind", "page"]
    edit(pipeline, "count")
    assert list(reasons(orch)) == ["count", "blind", "page"]


def test_it_is_refused_as_any_run_would_be(pipeline: Path, orch: Orch) -> None:
    assert orch("run", "--changed", "nope").code == 2
    assert orch("run", "--changed", "page", "--exclude", "page").code == 5
    assert orch("run", "--changed", "--sicne", "1").code == 2
    (pipeline / "src" / "count.py").write_text("STAGE = 'analyze'\n(")
    assert orch("run", "--changed").code == 4


def test_a_file_that_changes_while_the_tool_runs_is_stale_again(
    project: Project, orch: Orch
) -> None:
    """A tool that rewrites its own source text, and a file by its name outside of the project, stands for an editor
    that saves at that moment."""
    root = project(
        {
            "orch.toml": "",
            "input.txt": "1",
            "src/a.py": """
                import pathlib, subprocess
                STAGE = "s"
                def run():
                    pathlib.Path("input.txt").read_text()
                    subprocess.run(["sh", "-c", "echo 2 > ../same.txt; echo 'X = 1' >> src/a.py"])
                """,
        }
    )
    os.link(root / "input.txt", root.parent / "same.txt")
    assert orch("run").code == 0
    found = reasons(orch)["a"]
    assert any("src/a.py changed" in one for one in found)
    assert any("input.txt changed" in one for one in found)


def test_a_tool_that_makes_a_hard_link_to_what_it_reads_settles(
    project: Project, orch: Orch
) -> None:
    """Each link changes the time of the status of the file, as a write would."""
    project(
        {
            "orch.toml": "",
            "input.txt": "1",
            "src/a.py": """
                import os, time
                STAGE = "s"
                def run():
                    began = time.time_ns()
                    while os.stat("input.txt").st_ctime_ns < began + 50_000_000:
                        os.link("input.txt", "link.txt")
                        os.unlink("link.txt")
                    open("input.txt").read()
                """,
        }
    )
    assert orch("run").code == 0
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}
