"""`orch graph`: stages and tools as a tree, with what each waits for, reads and writes."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]',
    "src/fetch.py": "STAGE = 'ingest'\nORCH = {'outputs': ['raw.csv', 'z.csv']}\ndef run(): ...\n",
    "src/parse.py": "STAGE = 'ingest'\nAFTER = 'fetch'\nORCH = {'inputs': ['raw.csv', 'x/*']}\n"
    "def run(): ...\n",
    "src/draw.py": "STAGE = 'render'\nORCH = {'inputs': 'raw.csv'}\ndef run(): ...\n",
}


def test_an_observed_path_is_no_glob_and_a_declared_one_is_also_the_file_of_that_name(
    project: Project, orch: Orch
) -> None:
    make = "STAGE = 's'\ndef run():\n    open({!r}, 'w').close()\n"
    project(
        {
            "orch.toml": "",
            "src/make1.py": make.format("in [v2].csv"),
            "src/make2.py": make.format("in v.csv"),
            "src/use.py": "STAGE = 's'\nORCH = {'outputs': []}\ndef run(): open('in [v2].csv').close()\n",
            "src/use_declared.py": "STAGE = 's'\nORCH = {'inputs': 'in [v2].csv'}\ndef run(): ...\n",
        }
    )
    assert orch("run").code == 0
    (stage,) = orch("graph", "--json").json["stages"]
    after = {tool["name"]: tool["after"] for tool in stage["tools"]}
    assert after["use"] == ["make1"]
    assert after["use_declared"] == ["make1", "make2"]


def test_stale_tools_are_marked_and_targets_stand_out(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project(PIPELINE | {"src/other.py": "STAGE = 'render'\nAFTER = ()\ndef run(): ...\n"})
    project({"raw.csv": "", "z.csv": "", "src/fetch.py": PIPELINE["src/fetch.py"]})
    assert orch("run").code == 0
    assert "stale" not in orch("graph").out
    project({"src/parse.py": PIPELINE["src/parse.py"].replace("...", "print()")})
    assert "└─ parse  stale  after fetch\n" in orch("graph").out
    states = {
        tool["name"]: (tool["state"], tool["reasons"])
        for stage in orch("graph", "--json").json["stages"]
        for tool in stage["tools"]
    }
    assert states["fetch"] == ("fresh", [])
    assert states["parse"] == ("stale", ["src/parse.py changed"])
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho \"$1\" > '{tmp_path}/opened'\n")
    browser.chmod(0o755)
    answer = orch("graph", "fetch", "--open", env={"BROWSER": str(browser)})
    assert answer.out == ".orch/graph.svg\n"
    assert (tmp_path / "opened").read_text() == (root / ".orch/graph.svg").as_uri() + "\n"
    svg = (root / ".orch/graph.svg").read_text(encoding="utf-8")
    assert 'class="tool s-fresh good chosen"' in svg
    assert 'class="tool s-stale warn dim"' in svg  # parse reads the same file
    assert "tool other" not in svg
