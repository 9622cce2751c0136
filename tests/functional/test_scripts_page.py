"""The examples of the page "From scripts to tools" print the same before and after.

A block begins with the name of its file, with "before" or "after", and with the command that starts it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.functional.test_documentation import ROOT
from tests.functional.test_how_to_pages import run
from tests.support.project_builder import write_files

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+\n# ([^\n]+?), (before|after)(?:: ([^\n]+))?\n(.*?)^```$", re.M | re.S)
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)[1:]}
ADOPTED = "A hand-written orchestrator"
#: What is tried as it is.
TRIED = [one for one, part in SECTIONS.items() if BLOCK.search(part) and one != ADOPTED]
DATA = {
    "data/orders.csv": "customer,amount\nAda,2.5\nGrace,3.5\n",
    ".env": "SHOP_NAME=corner\n",
}


def test_every_example_is_tried() -> None:
    blocks = re.findall(r"^```(?:python|toml|yaml|makefile)$", PAGE, re.M)
    assert len(BLOCK.findall(PAGE)) == len(blocks) >= 34


@pytest.mark.parametrize("title", TRIED)
def test_a_script_prints_the_same_as_a_tool(title: str, tmp_path: Path) -> None:
    shown = {}
    for when in ("before", "after"):
        root = tmp_path / when
        write_files(root, {**DATA, "orch.toml": ""})
        found = [
            (name, how, text)
            for name, one, how, text in BLOCK.findall(SECTIONS[title])
            if one == when
        ]
        for name, _, text in found:
            write_files(root, {"notebook.py" if name == "a notebook" else name: text})
        for name, how, _ in found:
            if how or name == "a notebook":
                shown[when] = output_of(how or "python notebook.py", root)
    assert shown["before"] == shown["after"] != ""


def output_of(command: str, root: Path) -> str:
    """What a script prints, or what a tool prints."""
    done = run(command, root, {})
    assert done.returncode == 0, done.stdout
    if command.startswith("orch run"):
        listed = json.loads(run("orch list --json", root, {}).stdout)["tools"]
        names = command.split()[2:3] or [one["name"] for one in listed]
        return "".join(run(f"orch logs {one} 2>/dev/null", root, {}).stdout for one in names)
    return done.stdout


def test_the_orchestrator_of_the_page_is_moved_over(project: Project, orch: Orch) -> None:
    """Everything runs as before, `--since` too."""
    [(name, _, command, old)] = BLOCK.findall(SECTIONS[ADOPTED])
    tool = "def run(conn, since=None):\n    print('since', since)\n"
    modules = ("src/pipeline/fetch.py", "src/pipeline/parse.py", "src/analysis/summarize.py")
    root = project({name: old, **dict.fromkeys(modules, tool)})
    assert run(command, root, {}).stdout == "since None\n" * 2
    assert orch("adopt", name).code == 0
    assert orch("adopt", name, "--write").code == 0
    assert orch("run", "ingest").out.count("since None") == 2
    assert orch("run", "--since", "2024-01-31").out.count("since 2024-01-31") == 3
    assert (root / "pipeline.db").exists()
    answer = orch("run", "-n", "--json").json["tools"]
    assert [one["name"] for one in answer] == ["fetch", "parse", "summarize"]
