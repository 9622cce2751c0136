"""Shell completion, by the protocol of bash: commands, targets, options, values."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]\ngroups = {nightly = ["render"]}',
    "src/fetch.py": """
        from pathlib import Path
        from typing import Literal
        STAGE = "ingest"
        def run(*, row_limit: int = 1, source: Path = Path("x"), kind: Literal["new", "old"] = "new"): ...
        """,
    "src/render.py": "STAGE = 'render'\ndef run(*, wide: bool = False): ...\n",
}


def complete(orch: Orch, line: str, cwd: Path | None = None) -> list[str]:
    """What bash would offer for the last word of the line, `type,value` each."""
    words = line.split(" ")
    env = {
        "_ORCH_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    answer = orch(env=env, cwd=cwd)
    assert (answer.code, answer.err) == (0, ""), answer.text
    return [item.removeprefix("plain,") for item in answer.out.split()]


def test_commands_and_targets(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    looking = {"list", "graph", "report", "check", "lock", "status", "history", "logs"}
    assert set(complete(orch, "orch ")) == {
        "run",
        "watch",
        "accept",
        "clean",
        "init",
        "new",
        "adopt",
        "completion",
        "export",
        *looking,
    }
    targets = ["ingest", "render", "full", "nightly", "fetch"]
    for command in (
        "run",
        "list",
        "graph",
        "status",
        "accept",
        "clean",
        "run --exclude",
        "list fetch",
    ):
        assert complete(orch, f"orch {command} ") == targets, command
    assert complete(orch, "orch run re") == ["render"]
    assert complete(orch, "orch run +fe") == ["+fetch"]
    assert complete(orch, "orch logs ") == ["fetch", "render"]
    assert complete(orch, "orch ls re") == ["render"]
    assert complete(orch, "orch run tool:") == ["tool:fetch", "tool:render"]
    assert complete(orch, "orch new x --stage ") == ["ingest", "render"]
    assert complete(orch, "orch new x --after f") == ["full", "fetch"]
    assert complete(orch, "orch run src/fe") == ["file,src/fe"]


def test_options_of_the_tools_that_are_chosen(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    every = complete(orch, "orch run --")
    assert {"--row-limit", "--kind", "--wide", "--no-wide", "--dry-run"} <= set(every)
    assert "--row_limit" not in every
    chosen = complete(orch, "orch run fetch --")
    assert "--row-limit" in chosen
    assert "--wide" not in chosen
    assert complete(orch, "orch run fetch --ki") == ["--kind"]
    assert complete(orch, "orch run fetch --kind ") == ["new", "old"]
    assert complete(orch, "orch run fetch --source da") == ["file,da"]
    assert complete(orch, "orch run --output f") == ["fail"]
    assert complete(orch, "orch run --executor d") == ["dask="]


def test_parameters_behind_the_option_that_sets_one(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    assert complete(orch, "orch run -p ") == ["row_limit=", "source=", "kind=", "wide="]
    assert complete(orch, "orch run render -p ") == ["wide="]
    assert complete(orch, "orch status --param fetch.") == [
        "fetch.row_limit=",
        "fetch.source=",
        "fetch.kind=",
    ]
    assert complete(orch, "orch run -p kind=n") == ["kind=new"]
    assert complete(orch, "orch run -p row_limit=") == []


def test_another_project_and_a_broken_one(project: Project, orch: Orch) -> None:
    root = project({"inner/src/only.py": "STAGE = 's'\ndef run(): ...\n", "broken/orch.toml": "["})
    assert complete(orch, "orch run -C inner o") == ["only"]
    assert complete(orch, "orch -C inner run o") == ["only"]
    for config in ("[", "jobs = 'x'", "packages = ['nowhere']"):
        project({"broken/orch.toml": config})
        for line in ("orch run ", "orch list ", "orch run f"):
            assert complete(orch, line, cwd=root / "broken") == []
    assert "--dry-run" in complete(orch, "orch run --", cwd=root / "broken")
    project({"broken/orch.toml": "", "broken/src/a.py": "STAGE = 's'\n(", **PIPELINE})
    assert "full" in complete(orch, "orch run ", cwd=root / "broken")


def test_the_values_of_items_are_completed(project: Project, orch: Orch) -> None:
    tool = 'STAGE = "clean"\nORCH = {"each": "raw/{day}.csv"}\ndef run(*, day): ...\n'
    project({"src/clean.py": tool, "raw/2026-01-01.csv": "", "raw/2026-02-01.csv": ""})
    assert complete(orch, "orch run clean --day ") == ["2026-01-01", "2026-02-01"]
    assert complete(orch, "orch status --day 2026-02") == ["2026-02-01"]
