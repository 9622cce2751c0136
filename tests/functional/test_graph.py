"""`orch graph`: stages and tools as a tree, with what each waits for, reads and writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]',
    "src/fetch.py": "STAGE = 'ingest'\nORCH = {'outputs': ['raw.csv', 'z.csv']}\ndef run(): ...\n",
    "src/parse.py": "STAGE = 'ingest'\nAFTER = 'fetch'\nORCH = {'inputs': ['raw.csv', 'x/*']}\n"
    "def run(): ...\n",
    "src/draw.py": "STAGE = 'render'\nORCH = {'inputs': 'raw.csv'}\ndef run(): ...\n",
}


def test_the_tree(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    answer = orch("graph")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "ingest\n"
        "├─ fetch\n"
        "│  ├─ writes raw.csv\n"
        "│  └─ writes z.csv\n"
        "└─ parse  after fetch\n"
        "   ├─ reads raw.csv\n"
        "   └─ reads x/*\n"
        "render\n"
        "└─ draw  after fetch\n"
        "   └─ reads raw.csv\n"
    )
    plain = orch("graph", env={"PYTHONIOENCODING": "ascii"}).out
    assert plain.isascii()
    assert "|- fetch\n" in plain


def test_many_files_of_one_kind_are_one_line_and_verbose_and_json_name_each(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": "",
            "src/make.py": """
                from pathlib import Path
                STAGE = "s"
                def run():
                    Path("data").mkdir()
                    for n in range(120):
                        Path(f"data/{n}.csv").touch()
                    for name in ("a.txt", "b.txt", "README"):
                        Path(f"data/{name}").touch()
                """,
            "src/other.py": f"STAGE = 's'\nORCH = {{'inputs': {[f'{n}/x' for n in range(30)]}}}\ndef run(): ...\n",
        }
    )
    assert orch("run", "make").code == 0
    shown = orch("graph", "make").out
    assert "├─ writes data/*.csv (120 files)\n" in shown
    assert "writes data/README\n" in shown
    assert shown.count("\n") == 6
    assert "writes      data/*.csv (120 files)\n" in orch("status", "make").out
    assert orch("graph", "-v", "make").out.count("writes data/") == 123
    assert len(orch("graph", "--json", "make").json["stages"][0]["tools"][0]["writes"]) == 123
    assert "reads and 18 more files\n" in orch("graph", "other").out


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


def test_targets_limit_it_and_json_says_the_same(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    assert orch("graph", "render").out.startswith("render\n└─ draw")
    document = orch("graph", "--exclude", "parse", "--json").json
    assert document["version"] == 1
    assert [tool["name"] for stage in document["stages"] for tool in stage["tools"]] == [
        "fetch",
        "draw",
    ]
    assert orch("graph", "nope").code == 2
    project({"src/broken.py": "STAGE = 'ingest'\n("})
    broken = orch("graph", "--json")
    assert broken.code == 4
    assert broken.json["stages"]


def test_each_format_goes_to_a_file_whose_ending_says_which(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    starts = {
        "g.svg": '<svg xmlns="http://www.w3.org/2000/svg"',
        "g.mmd": "flowchart LR",
        "g.gv": "digraph pipeline {",
        "g.json": '{"version": 1, "stages": [',
        "g.txt": "ingest\n",
    }
    for name, start in starts.items():
        answer = orch("graph", "-o", name)
        assert (answer.code, answer.out) == (0, f"{name}\n")
        assert (root / name).read_text(encoding="utf-8").startswith(start)
    assert orch("graph", "--format", "svg").out == (root / "g.svg").read_text(encoding="utf-8")
    refused = orch("graph", "--json", "--format", "dot")
    assert (refused.code, [*json.loads(refused.out)]) == (2, ["version", "errors"])
    assert orch("graph", "-o", "no/such.svg").code == 2
    assert orch("graph", "--color", "always", "-o", "g.txt").code == 0
    assert "\x1b" not in (root / "g.txt").read_text(encoding="utf-8")
    (root / "link.txt").symlink_to("g.txt")
    (root / "g.txt").write_text("")
    assert orch("graph", "-o", "link.txt").code == 0
    assert (root / "link.txt").is_symlink()
    assert (root / "g.txt").read_text(encoding="utf-8").startswith("ingest\n")
    for format_ in ("text", "svg"):
        shown = orch("graph", "--format", format_, "-o", "-").out
        assert shown == orch("graph", "--format", format_).out
    assert orch("graph", "-o", "-", "--open").code == 2
    assert not (root / "-").exists()
    unknown = orch("graph", "-o", "g.png")
    assert unknown.code == 2
    assert "cannot write a file that ends in .png" in unknown.err
    assert not (root / "g.png").exists()


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


def test_mermaid_beyond_its_limits_says_so(project: Project, orch: Orch) -> None:
    tool = "STAGE = 's'\nAFTER = ()\nORCH = {{'inputs': {}}}\ndef run(): ...\n"
    inputs = [f"{n}/in" for n in range(300)]
    project({"orch.toml": "", "src/a.py": tool.format(inputs), "src/b.py": tool.format(inputs)})
    answer = orch("graph", "--format", "mermaid")
    assert answer.out.startswith("flowchart LR")
    assert answer.err == (
        "warning: the graph has 600 edges, and Mermaid draws at most 500\n"
        "  hint: select fewer tools, raise maxEdges and maxTextSize in Mermaid, or use --format svg\n"
    )
