"""`orch adopt`: each list of a hand-written orchestrator selects the same tools in the same order afterwards.

The lists are those that Python finds when it runs the old file; orch only reads it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Orch, Project

MAIN = """

def _run_tool(name, conn, args):
    module = importlib.import_module(TOOL_MAP[name])
    module.run(conn, since=args.since)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stage", choices=list(STAGES), default="full")
    parser.add_argument("--since", default=None, help="the first day")
    args = parser.parse_args()
    conn = get_connection()
    for name in STAGES[args.stage]:
        _run_tool(name, conn, args)


if __name__ == "__main__":
    main()
"""
HEAD = """import argparse
import importlib
import os
import sqlite3, sys
from pathlib import Path

ROOT = Path(__file__).parent


def get_connection():
    conn = sqlite3.connect(os.environ.get("SHOP_DB", ROOT / "shop.db"))
    conn.execute("PRAGMA foreign_keys = ON")
    return conn


"""
TOOL = '''"""One of the tools."""
import csv  # a comment

LIMIT   =  10


def run(conn, since=None):
    print("since", since)
'''
TYPICAL = (
    HEAD
    + """TOOL_MAP = {
    "fetch": "src.pipeline.fetch",
    "parse": "src.pipeline.parse",
    "enrich": "src.pipeline.enrich",
    "summarize": "src.analysis.summarize",
    "render": "src.pipeline.render",
}
STAGES = {
    "ingest": ["fetch", "parse"],
    "analyze": ["enrich", "summarize"],
    "render": ["render"],
    "full": ["fetch", "parse", "enrich", "summarize", "render"],
}
"""
    + MAIN
)
OVERLAPPING = (
    HEAD
    + """TOOL_MAP = {
    "get": "src.pipeline.fetch",
    "clean": "src.pipeline.parse",
    "tidy": "src.other.parse",
    "draw": "src.pipeline.render",
    "send": "src.pipeline.send",
}
STAGES = {
    "ingest": ["tidy", "get", "clean"],
    "nightly": ["get", "draw"],
    "output": ["draw", "send"],
    "publish": ["draw", "send", "tidy"],
    "all": ["tidy", "get", "clean", "draw", "send"],
    "full": ["send", "draw", "get"],
}
"""
    + MAIN
)
COMPUTED = (
    HEAD
    + """PACKAGE = "src.tools"
INGEST = ("zebra", "apple", "mango")
TOOL_MAP = {name: f"{PACKAGE}.{name}" for name in (*INGEST, "late")}
TOOL_MAP["extra"] = PACKAGE + ".sub." + "extra"
if os.environ.get("DEBUG"):
    TOOL_MAP["debug"] = "src.debug"
STAGES = {"ingest": list(INGEST), "late": ["late", "extra"]}
STAGES["full"] = STAGES["ingest"] + STAGES["late"]
STAGES["reverse"] = sorted(STAGES["ingest"])
"""
    + MAIN
)
CLASS = """import importlib
import sqlite3
from contextlib import contextmanager
import argparse
from tasks import fetch
import tasks.report


class Orchestrator:
    TOOL_MAP = {"fetch": fetch, "clean": "tasks.clean", "report": tasks.report}

    def __init__(self):
        self.STAGES = {"ingest": ["fetch", "clean"], "report": ["report"]}

    @contextmanager
    def get_connection(self):
        conn = sqlite3.connect("shop.db")
        yield conn
        conn.close()

    def _run_tool(self, name, db, args):
        importlib.import_module(self.TOOL_MAP[name]).run(db, args.first_day)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--first-day")
"""
SHAPES: dict[str, tuple[str, str]] = {
    "typical": (TYPICAL, TOOL),
    "overlapping": (OVERLAPPING, TOOL),
    "computed": (COMPUTED, TOOL),
    "class": (CLASS, TOOL.replace("conn", "db").replace("since", "first_day")),
}


def modules_of(root: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """`TOOL_MAP` and `STAGES` as Python gives them when it runs the old file."""
    sys.path.insert(0, str(root))
    before = set(sys.modules)
    try:
        old: Any = importlib.import_module("old_pipeline")
        owner = old if hasattr(old, "TOOL_MAP") else old.Orchestrator()
        tools = {name: getattr(one, "__name__", one) for name, one in owner.TOOL_MAP.items()}
        return tools, owner.STAGES
    finally:
        sys.path.remove(str(root))
        for name in set(sys.modules) - before:
            del sys.modules[name]


def build(project: Project, text: str, tool: str) -> Path:
    root = project({"old_pipeline.py": text})
    names: tuple[str, ...] = (
        "pipeline.fetch",
        "pipeline.parse",
        "pipeline.enrich",
        "analysis.summarize",
        "pipeline.render",
    )
    names += (
        "other.parse",
        "pipeline.send",
        "tools.zebra",
        "tools.apple",
        "tools.mango",
        "tools.late",
        "tools.sub.extra",
    )
    if "from tasks" in text:
        project({f"tasks/{name}.py": tool for name in ("fetch", "clean", "report")})
    else:
        used = [name for name in names if name.rpartition(".")[2] in text]
        project({f"src/{name.replace('.', '/')}.py": tool for name in used})
    return root


@pytest.mark.parametrize(
    "shape",
    [
        "overlapping",
        *(pytest.param(one, marks=pytest.mark.slow) for one in SHAPES if one != "overlapping"),
    ],
)
def test_every_list_selects_the_same_tools_in_the_same_order(
    shape: str, project: Project, orch: Orch
) -> None:
    root = build(project, *SHAPES[shape])
    tools, lists = modules_of(root)
    before = {path: path.read_text() for path in root.rglob("*.py")}
    shown = orch("adopt", "old_pipeline.py")
    assert {path: path.read_text() for path in root.rglob("*.py")} == before
    assert '+STAGE = "ingest"' in shown.out
    assert "+[tool.orch]" in shown.out
    written = orch("adopt", "old_pipeline.py", "--write")
    assert written.code == shown.code, written.text
    renamed = {"full": "full_list"} if shape == "overlapping" else {}
    for name, members in lists.items():
        answer = orch("run", "-n", renamed.get(name, name), "--json")
        assert answer.code == 0, answer.text
        planned = [one["module"] for one in answer.json["tools"]]
        assert planned == [tools[one] for one in members], name
    listed = {one["name"]: one["module"] for one in orch("list", "--json").json["tools"]}
    assert listed == tools
    for path, text in before.items():
        new = path.read_text().splitlines()
        kept = [line for line in new if not line.startswith(("STAGE = ", "AFTER = ", "ORCH = "))]
        assert [line for line in kept if line] == [line for line in text.splitlines() if line]
    again = orch("adopt", "old_pipeline.py", "--check")
    assert "nothing to write" in again.out
    # It begins with the numbers of tools and lists, not with an empty line.
    assert again.out[0].isdigit()


def test_everything_runs_as_before(project: Project, orch: Orch) -> None:
    root = build(project, *SHAPES["typical"])
    (root / "old_pipeline.py").rename(root / "old pipeline.py")
    shown = orch("adopt", "old pipeline.py").out
    assert shown.endswith("\nwrite this with: orch adopt 'old pipeline.py' --write\n")
    answer = orch("adopt", "old pipeline.py", "--write")
    assert (answer.code, answer.err) == (0, ""), answer.text
    assert "--since stays, as a parameter of fetch, parse, enrich, summarize, render" in answer.out
    assert "AFTER" not in (root / "src/pipeline/parse.py").read_text()
    assert 'AFTER = "enrich"' in (root / "src/analysis/summarize.py").read_text()
    assert "ORCH" not in (root / "src/pipeline/render.py").read_text()
    assert 'stages = ["ingest", "analyze", "render"]' in (root / "pyproject.toml").read_text()
    conf = (root / "orchconf.py").read_text()
    assert "sys" not in conf
    assert "argparse" not in conf
    ran = orch("run", "--since", "2024-01-31", "--json")
    assert ran.code == 0, ran.text
    assert [one["text"] for one in ran.events if one["event"] == "tool_output"] == [
        "since 2024-01-31\n"
    ] * 5
    assert (root / "shop.db").exists()
    assert orch("check").code == 0


def test_a_class_with_another_name_for_the_connection(project: Project, orch: Orch) -> None:
    root = build(project, *SHAPES["class"])
    answer = orch("adopt", "old_pipeline.py", "--write")
    assert answer.code == 0, answer.text
    ran = orch("run", "--first-day", "2024-01-31")
    assert ran.code == 0, ran.text
    assert "first_day 2024-01-31" in ran.out
    assert 'packages = ["tasks"]' in (root / "pyproject.toml").read_text()
    assert "def db(conn):" in (root / "orchconf.py").read_text()


def test_what_cannot_be_converted_is_said_with_its_line(project: Project, orch: Orch) -> None:
    text = """import argparse, importlib, sqlite3
from settings import load

TOOL_MAP = {
    "fetch": "src.fetch",
    "again": "src.fetch",
    "gone": "src.gone",
    "main": "src.script:main",
    "tagged": "src.tagged",
    load("name"): "src.other",
    "computed": load("module"),
}
STAGES = {
    "ingest": ["fetch", "tagged", "fetch", "gone", load("tool")],
    "other": load("list"),
    "empty": [],
}


def get_connection(path):
    return sqlite3.connect(path)


def _run_tool(name, conn, args, config):
    importlib.import_module(TOOL_MAP[name]).run(conn, config, limit=args.limit, since=args.since)


parser = argparse.ArgumentParser()
parser.add_argument("--limit", type=int, default=load("limit"))
parser.add_argument("--since", default="2024-01-31")
parser.add_argument("--verbose", action="store_true")
"""
    root = project(
        {
            "old_pipeline.py": text,
            "src/fetch.py": "def run(conn, config, limit=None, since=None): ...\n",
            "src/script.py": "def main(): ...\n",
            "src/tagged.py": "STAGE = 'mine'\ndef run(conn, config, *, limit: int = 3, **kwargs): ...\n",
        }
    )
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    answer = orch("adopt", "old_pipeline.py", "--check", env={"COLUMNS": "300"})
    assert answer.code == 4, answer.text
    assert "+++" not in answer.out
    for said in (
        "old_pipeline.py:6: again is the same module as fetch: src.fetch",
        "old_pipeline.py:7: the module of gone was not found: src.gone",
        "src/script.py: main has no run()",
        "add the line: run = main",
        "src/tagged.py:1: the module has STAGE = 'mine', not STAGE = \"ingest\"",
        "old_pipeline.py:10: the entry load('name') of TOOL_MAP cannot be read from the source",
        "old_pipeline.py:11: the module of computed cannot be read from the source: load('module')",
        "old_pipeline.py:14: the list ingest runs fetch twice",
        "old_pipeline.py:14: in the list ingest: load('tool') cannot be read",
        "old_pipeline.py:15: the list other of STAGES cannot be read from the source: load('list')",
        "old_pipeline.py:16: the list empty has no tools",
        "old_pipeline.py:20: get_connection() requires the argument path",
        "old_pipeline.py:29: the default of --limit is not known: load('limit')",
        "src/fetch.py:1: limit of fetch was int and becomes str, because run() has no annotation for it",
        "src/fetch.py:1: run() of fetch requires config, and no flag of old_pipeline.py gives it",
        "src/tagged.py:2: run() got since in **kwargs; --since does not reach it",
        "not passed on to run(), so not needed: --verbose (line 31)",
    ):
        assert said in answer.out + answer.err, f"{said}\n{answer.text}"
    after = {
        path: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".orch" not in path.parts
    }
    assert after == before


def test_a_file_that_is_no_orchestrator_is_refused(project: Project, orch: Orch) -> None:
    project({"a.py": "X = 1\n", "b.py": "X = (\n", "c.py": b"\xff\xfe"})
    for name, said in (
        ("a.py", "no TOOL_MAP was found"),
        ("b.py", "b.py:1: not valid Python"),
        ("c.py", "cannot be read"),
        ("d.py", "does not exist"),
    ):
        answer = orch("adopt", name)
        assert answer.code == 2, answer.text
        assert said in answer.err
        assert "Traceback" not in answer.err


def test_settings_that_exist_are_compared_and_not_changed(project: Project, orch: Orch) -> None:
    root = build(project, *SHAPES["typical"])
    settings = '[tool.orch]\nstages = ["render"]\n'
    project({"pyproject.toml": settings})
    answer = orch("adopt", "old_pipeline.py")
    assert answer.code == 4
    assert 'set there: stages = ["ingest", "analyze", "render"]' in " ".join(answer.err.split())
    assert (root / "pyproject.toml").read_text() == settings
    assert json.loads(orch("list", "--json").out)["tools"] == []


def test_a_project_without_tools_is_shown_the_way_from_its_orchestrator(
    project: Project, orch: Orch
) -> None:
    text = "import argparse\nTOOL_MAP: dict[str, str] = {\n    'fetch': 'src.fetch',\n}\n"
    for path in ("main.py", "src/main.py"):
        root = project({path: text, "other.py": "print('no TOOL_MAP = {')\n"})
        for words in (("list",), ("list",), ("list", "-v"), ("run",), ("status",), ("check",)):
            answer = orch(*words)
            assert answer.code == 5, answer.text
            shown = " ".join(answer.err.split())
            assert shown.endswith(
                f"hint: orch adopt {path} shows how the modules in its TOOL_MAP become tools"
            )
        (root / path).unlink()
    assert "orch adopt" not in orch("list").err
