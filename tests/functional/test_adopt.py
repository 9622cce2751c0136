"""`orch adopt`: each list of a hand-written orchestrator selects the same tools in the same order afterwards.

The lists are those that Python finds when it runs the old file. orch reads them where they are written out, and runs
the file only where it is told to.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import textwrap
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
    "data": ["fetch", "parse", "enrich", "summarize"],
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
MODULES = """import importlib
import os
import sqlite3
from contextlib import contextmanager
from enum import Enum
from tasks import clean, fetch
import tasks.report

class Stage(Enum):
    INGEST = "ingest"

TOOL_MAP = {"fetch": fetch, "clean": clean.run, "report": (tasks.report.__name__, "run")}
STAGES = [(Stage.INGEST, ("fetch", "clean")), ("report", ["report"])]
print("it was imported", flush=True)
os.system("echo it was imported")


@contextmanager
def get_connection():
    conn = sqlite3.connect("shop.db")
    yield conn
    conn.close()


def _run_tool(name, db, args):
    importlib.import_module(TOOL_MAP[name]).run(db, args.first_day)


if __name__ == "__main__":
    raise SystemExit(1)
"""
SHAPES: dict[str, tuple[str, str]] = {
    "typical": (TYPICAL, TOOL),
    "overlapping": (OVERLAPPING, TOOL),
    "computed": (COMPUTED, TOOL),
    "modules": (
        MODULES,
        TOOL.replace("conn", "db").replace("since", "first_day") + "    db.execute('SELECT 1')\n",
    ),
}


def modules_of(root: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """`TOOL_MAP` and `STAGES` as Python gives them when it runs the old file."""
    sys.path.insert(0, str(root))
    before = set(sys.modules)
    try:
        old: Any = importlib.import_module("old_pipeline")
        if not isinstance(old.STAGES, dict):
            names = ("fetch", "clean", "report")
            tools = {name: f"tasks.{name}" for name in names}
            return tools, {"ingest": ["fetch", "clean"], "report": ["report"]}
        return old.TOOL_MAP, old.STAGES
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


@pytest.mark.parametrize("shape", SHAPES)
def test_every_list_selects_the_same_tools_in_the_same_order(
    shape: str, project: Project, orch: Orch
) -> None:
    root = build(project, *SHAPES[shape])
    tools, lists = modules_of(root)
    before = {path: path.read_text() for path in root.rglob("*.py")}
    words = ["adopt", "old_pipeline.py"]
    if shape in ("computed", "modules"):
        refused = orch(*words)
        assert refused.code == 4, refused.text
        assert "TOOL_MAP is not written out in old_pipeline.py" in refused.err
        assert "orch adopt old_pipeline.py --import runs the file" in refused.err
        words.append("--import")
    shown = orch(*words)
    assert {path: path.read_text() for path in root.rglob("*.py")} == before
    assert '+STAGE = "ingest"' in shown.out
    assert "+[tool.orch]" in shown.out
    written = orch(*words, "--write")
    assert written.code == shown.code == 0, written.text
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
    again = orch(*words, "--check")
    assert "nothing to write" in again.out
    # It begins with the numbers of tools and lists, not with an empty line.
    assert again.out[0].isdigit()


@pytest.mark.parametrize("seed", range(4))
def test_any_lists_select_the_same_afterwards(seed: int, project: Project, orch: Orch) -> None:
    """Also where they share tools, disagree on an order, or have the name of a tool."""
    chance = random.Random(seed)
    names = ("delta", "alpha", "echo", "bravo", "charlie")
    lasts = ("delta", "alpha", "x", "x", "other")
    folders = chance.sample("zambo", 5)
    tools = {n: f"src.f{one}.{x}" for n, one, x in zip(names, folders, lasts, strict=True)}
    words = ["full", *chance.sample(["ingest", "analyze", "alpha", "nightly", "all", "other"], 4)]
    lists = {one: chance.sample(names, chance.randint(1, 5)) for one in words}
    text = f"TOOL_MAP = {tools}\nSTAGES = {lists}\n"
    project({"old.py": text, **{f"{one.replace('.', '/')}.py": TOOL for one in tools.values()}})
    root = project(
        {f"{tools['delta'].replace('.', '/')}.py": "#!/bin/python\ndef run(conn): ...\n"}
    )
    answer = orch("adopt", "old.py", "--write")
    first = (root / f"{tools['delta'].replace('.', '/')}.py").read_text().splitlines()[0]
    assert first == "#!/bin/python"
    assert answer.code == 0, text + answer.text
    for name, members in lists.items():
        renamed = "full_list" if f"the list {name} is the group" in answer.out else name
        planned = orch("run", "-n", renamed, "--json").json["tools"]
        assert [one["module"] for one in planned] == [tools[one] for one in members], text


def test_everything_runs_as_before(project: Project, orch: Orch) -> None:
    root = build(project, *SHAPES["typical"])
    (root / "old_pipeline.py").rename(root / "old pipeline.py")
    refused = orch("adopt", "old pipeline.py")
    assert refused.out.endswith("\nwrite this with: orch adopt 'old pipeline.py' --write\n")
    assert "orchconf.py cannot import get_connection() from a file of this name" in refused.err
    (root / "old pipeline.py").rename(root / "old_pipeline.py")
    answer = orch("adopt", "old_pipeline.py", "--write", env={"COLUMNS": "300"})
    assert (answer.code, answer.err) == (0, ""), answer.text
    assert "no tool takes --stage: orch run --help shows how to choose tools" in answer.out
    assert "get_connection() from old_pipeline.py, so that file stays" in answer.out
    assert "AFTER" not in (root / "src/pipeline/parse.py").read_text()
    assert 'AFTER = "enrich"' in (root / "src/analysis/summarize.py").read_text()
    assert "ORCH" not in (root / "src/pipeline/render.py").read_text()
    assert 'stages = ["ingest", "analyze", "render"]' in (root / "pyproject.toml").read_text()
    ran = orch("run", "--since", "2024-01-31", "--json")
    assert ran.code == 0, ran.text
    assert [one["text"] for one in ran.events if one["event"] == "tool_output"] == [
        "since 2024-01-31\n"
    ] * 5
    assert (root / "shop.db").exists()
    assert orch("check").code == 0


def test_the_connection_is_the_old_one_with_what_its_file_does_at_the_top(
    project: Project, orch: Orch
) -> None:
    """A `load_dotenv()` says which database it is."""
    root = project(
        {
            "old/run_pipeline.py": """
                import os, sqlite3
                from dotenv import load_dotenv

                load_dotenv()
                TOOL_MAP = {"fetch": "tools.fetch"}
                STAGES = {"ingest": ["fetch"]}

                def get_connection(path=None):
                    return sqlite3.connect(path or os.environ["SHOP_DB"])
                """,
            ".env": "SHOP_DB=shop.db\n",
            "tools/fetch.py": "def run(conn, **kwargs):\n    conn.execute('CREATE TABLE raw (id)')\n",
        }
    )
    answer = orch("adopt", "old/run_pipeline.py", "--write")
    assert (answer.code, answer.err) == (0, ""), answer.text
    assert "from run_pipeline import get_connection\n" in (root / "orchconf.py").read_text()
    ran = orch("run")
    assert ran.code == 0, ran.text
    assert (root / "shop.db").stat().st_size > 0
    assert not (root / "data.db").exists()


def test_a_context_manager_and_another_name_for_the_connection(
    project: Project, orch: Orch
) -> None:
    root = build(project, *SHAPES["modules"])
    answer = orch("adopt", "old_pipeline.py", "--import", "--write")
    assert answer.code == 0, answer.text
    assert "it was imported" in answer.err
    assert "it was imported" not in answer.out
    ran = orch("run", "--first-day", "2024-01-31")
    assert ran.code == 0, ran.text
    assert "first_day 2024-01-31" in ran.out
    assert 'packages = ["tasks"]' in (root / "pyproject.toml").read_text()
    assert "def db(conn):" in (root / "orchconf.py").read_text()


def test_what_cannot_be_converted_is_said_with_its_line(project: Project, orch: Orch) -> None:
    text = """import importlib, sqlite3

TOOL_MAP = {
    "fetch": "src.fetch",
    "again": "src.fetch",
    "gone": "src.gone",
    "main": "src.script:main",
    "tagged": "src.tagged",
    "broken": "src.broken",
    "number": 1,
}
STAGES = {
    "ingest": ["fetch", "tagged", "fetch", "nobody"],
    "number": 1,
    "empty": [],
}


def get_connection(path):
    return sqlite3.connect(path)


def main():
    importlib.import_module(TOOL_MAP["fetch"]).run(get_connection("x"))


main()
"""
    root = project(
        {
            "old_pipeline.py": text,
            "src/fetch.py": "def run(conn, config, limit=None, since=None, verbose=False): ...\n",
            "src/script.py": "def main(): ...\n\nmain()\n",
            "src/tagged.py": "STAGE = 'mine'\ndef run(conn, config, *, limit: int = 3, **kwargs): ...\n",
            "src/broken.py": "def run(conn:\n",
        }
    )
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    answer = orch("adopt", "old_pipeline.py", "--check", env={"COLUMNS": "300"})
    assert answer.code == 4, answer.text
    assert "+++" not in answer.out
    for said in (
        "old_pipeline.py:5: again is in the same module as fetch: src/fetch.py",
        "old_pipeline.py:6: there is no src.gone for gone (looked in ., src)",
        "src/script.py:3: an import of this file calls main()",
        "src/broken.py:1: ",
        "old_pipeline.py:10: there is no 1 for number (looked in ., src)",
        "old_pipeline.py:13: the list ingest runs fetch twice",
        "old_pipeline.py:13: TOOL_MAP has no nobody, which is in the list ingest",
        "old_pipeline.py:14: TOOL_MAP has no 1, which is in the list number",
        "old_pipeline.py:15: the list empty has no tools",
    ):
        assert said in answer.out + answer.err, f"{said}\n{answer.text}"
    after = {
        path: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".orch" not in path.parts
    }
    assert after == before


def test_a_list_that_would_select_other_tools_is_said(project: Project, orch: Orch) -> None:
    text = "TOOL_MAP = {'a': 'src.a', 'b': 'src.b'}\nSTAGES = {'first': ['a', 'b']}\n"
    project({"old.py": text, "src/a.py": "AFTER = 'b'\n" + TOOL, "src/b.py": TOOL})
    answer = orch("adopt", "old.py", env={"COLUMNS": "300"})
    assert answer.code == 4, answer.text
    assert "old.py:2: orch run first would run b, a, which is not the list first" in answer.err


@pytest.mark.parametrize(
    "more",
    [
        "TOOL_MAP['b'] = 'src.b'",
        "TOOL_MAP.update(b='src.b')",
        "TOOL_MAP = TOOL_MAP | {'b': 'src.b'}",
        "if True:\n    TOOL_MAP = {}",
        "from other import TOOL_MAP",
        "def add():\n    del TOOL_MAP['a']",
        "STAGES['late'].append('a')",
    ],
)
def test_a_literal_that_is_changed_later_is_not_the_value(
    more: str, project: Project, orch: Orch
) -> None:
    text = f"TOOL_MAP = {{'a': 'src.a'}}\nSTAGES = {{'late': ['a']}}\nprint(TOOL_MAP.get('a'))\n{more}\n"
    root = project({"old.py": text, "src/a.py": TOOL})
    answer = orch("adopt", "old.py")
    assert answer.code == 4, answer.text
    assert f"{'STAGES' if 'STAGES' in more else 'TOOL_MAP'} is not written out" in answer.err
    assert "--import" in answer.err
    (root / "old.py").write_text(
        "TOOL_MAP = {'a': 'src.a'}\nSTAGES = {'late': ['a']}\nTOOL_MAP['a'].split('.')\n"
    )
    assert orch("adopt", "old.py").code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import missing_module\n", "old.py:1: the file cannot be imported: ModuleNotFoundError"),
        ("\n\nraise SystemExit(2)\n", "old.py:3: the file cannot be imported: SystemExit: 2"),
        ("import os\nos._exit(7)\n", "the file cannot be imported: its process ended with 7"),
        ("STAGES = {'a': ['b']}\n", "there is no TOOL_MAP, or it is empty"),
        ("TOOL_MAP = 3\n", "the file cannot be imported: TypeError"),
    ],
)
def test_a_file_that_cannot_be_asked_is_refused(
    text: str, said: str, project: Project, orch: Orch
) -> None:
    project({"old.py": text})
    answer = orch("adopt", "old.py", "--import", env={"COLUMNS": "300"})
    assert answer.code == 2, answer.text
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_file_that_is_no_orchestrator_is_refused(project: Project, orch: Orch) -> None:
    project({"a.py": "X = 1\n", "b.py": "X = (\n", "c.py": b"\xff\xfe"})
    for name, code, said in (
        ("a.py", 4, "a.py: this is a script"),
        ("b.py", 2, "b.py:1: not valid Python"),
        ("c.py", 2, "c.py:1: cannot be decoded"),
        ("d.py", 2, "does not exist"),
    ):
        answer = orch("adopt", name)
        assert answer.code == code, answer.text
        assert said in answer.err
        assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("for step in STEPS: step()", ""),
        ("for name, step in zip('ab', STEPS):\n    print(name.upper())\n    step()", ""),
        ("conn = get_connection()\nfor step in STEPS: step(conn)\nconn.close()", ""),
        ("with get_connection() as conn:\n    for one in STEPS: one(conn)", ""),
        ("args = parser.parse_args()\nfor step in STEPS: step(since=args.since)", ""),
        ("def go(one, conn):\n    one(conn)\nfor s in STEPS: go(s, get_connection())", ""),
        ("started = time.time()\nfor s in STEPS: s()\nprint(time.time() - started)", ""),
        ("for s in STEPS:\n    try: s()\n    except Exception: logging.exception('x')", ""),
        ("for step in STEPS: step(3)", "old.py:9: 3 is passed to each step"),
        ("for step in STEPS: step(*sys.argv[1:])", "*sys.argv[1:] is passed to each step"),
        ("config = load()\nfor s in STEPS: s(config)", "old.py:10: config is passed to each step"),
        ("x = 0\nfor s in STEPS: x = s(x)", "old.py:10: x is passed on in memory"),
        ("def go(f):\n    f(n=1)\nfor s in STEPS: go(s)", "old.py:10: 1 is passed to each step"),
        (
            "for s in STEPS: subprocess.run(['python', s, '--full'])",
            "--full is passed to each step",
        ),
        ("for s in STEPS: subprocess.run(['python', s], env=env)", "sets env for its steps"),
        ("for s in STEPS: os.system(f'python {s} -v')", "old.py:9: -v is passed to each step"),
        (
            "shutil.rmtree('out')\nfor s in STEPS: s()",
            "old.py:9: shutil.rmtree() is not part of a step",
        ),
        (
            "for s in STEPS:\n    s()\n    time.sleep(1)",
            '{"retries": 2} in a module tries its step again',
        ),
        ("conn = sqlite3.connect('a.db')\nfor s in STEPS: s(conn)", "put it into get_connection()"),
    ],
)
def test_only_the_connection_and_options_are_carried_over(
    body: str, said: str, project: Project, orch: Orch
) -> None:
    text = (
        "import argparse, logging, os, shutil, sqlite3, subprocess, sys, time\n"
        "from etl import a, b\n"
        "parser = argparse.ArgumentParser()\n"
        "STEPS = [a.run, b.run]\n"
        "def get_connection():\n"
        "    return sqlite3.connect('shop.db')\n\n"
        f"if __name__ == '__main__':\n{textwrap.indent(body, '    ')}\n"
    )
    root = project({"old.py": text, "etl/a.py": TOOL, "etl/b.py": TOOL})
    answer = orch("adopt", "old.py", "--write")
    assert answer.code == (4 if said else 0), answer.text
    assert said in answer.err
    assert (root / "pyproject.toml").exists() == (not said)


@pytest.mark.parametrize(
    "line",
    [
        "main()",
        "raise SystemExit(main())",
        "sys.exit(main())",
        "load()",
        "a.run()",
        "etl.a.run()",
        "for step in STEPS: step()",
        "subprocess.run([sys.executable, 'etl/a.py'])",
        "if len(sys.argv) > 1:\n    main()",
        "try:\n    main()\nfinally:\n    print('end')",
    ],
)
def test_a_file_whose_import_would_run_the_steps_is_not_imported(
    line: str, project: Project, orch: Orch
) -> None:
    text = (
        "import subprocess, sys\nimport etl.a\nfrom etl import a\nfrom etl.b import run as load\nSTEPS = [*(a.run, load)]\n"
        f"def main(): open('ran.txt', 'w')\n{line}\n"
    )
    tool = "def run(conn=None): open('ran.txt', 'w')\n"
    root = project({"old.py": text, "etl/a.py": tool, "etl/b.py": tool})
    shown = orch("adopt", "old.py", "STEPS")
    assert "--import" not in shown.err
    assert "an import of this file would run its steps" in shown.err
    refused = orch("adopt", "old.py", "STEPS", "--import")
    assert refused.code == 2, refused.text
    assert "old.py:" in refused.err
    assert not (root / "ran.txt").exists()
    (root / "old.py").write_text(text.removesuffix(f"{line}\n") + "print('only this')\n")
    answer = orch("adopt", "old.py", "STEPS", "--import")
    assert answer.code == 0, answer.text
    assert "only this" in answer.err


#: What runs the steps, and what is said of it; "" where orch does the same.
LOOPS = {
    "for n in JOBS: JOBS[n](conn)": "",
    "for n, job in JOBS.items(): job(conn)": "",
    "for i, job in enumerate(JOBS.values(), 1): print(i); job(conn)": "",
    "for n in args.jobs or list(JOBS): JOBS[n](conn)": "",
    "names = args.jobs or JOBS\nfor n in names: JOBS[n](conn)": "",
    "for n in ['a', 'b']: JOBS[n](conn)": "",
    "for n in JOBS:\n    if args.only and n != args.only: continue\n    JOBS[n](conn)": "",
    "for n in args.jobs:\n    if n not in JOBS: sys.exit(n)\n    JOBS[n](conn)": "",
    "for n in JOBS:\n    code = JOBS[n](conn)\n    if code: break": "`if code` decides by what a step returns, which orch ignores",
    "for n in JOBS:\n    if not JOBS[n](conn): sys.exit(1)": "decides by what a step returns",
    "for n in JOBS:\n    if JOBS[n](conn): print(n)": "",
    "if args.job: JOBS[args.job](conn)\nelse:\n    for job in JOBS.values(): job(conn)": "",
    "for n in sys.argv[1:] or JOBS: JOBS[n](conn)": "",
    "for n in ORDER: JOBS[n](conn)": "`ORDER` decides which steps run, and in which order",
    "for n in ['b', 'a']: JOBS[n](conn)": "`['b', 'a']` decides which",
    "for n in args.jobs or ORDER: JOBS[n](conn)": "decides which steps run",
    "for n in sorted(JOBS, reverse=True): JOBS[n](conn)": "`sorted(JOBS, reverse=True)` decides",
    "for n in reversed(JOBS): JOBS[n](conn)": "`reversed(JOBS)` decides",
    "for n in list(JOBS)[1:]: JOBS[n](conn)": "decides which steps run",
    "for n in [n for n in JOBS if n != 'b']: JOBS[n](conn)": "decides which steps run",
    "todo = [n for n in JOBS if n not in SKIP]\nfor n in todo: JOBS[n](conn)": "`todo` decides",
    "for n in JOBS:\n    if n == 'b': continue\n    JOBS[n](conn)": "`if n == 'b'` decides whether a step runs",
    "for n in JOBS:\n    if os.path.exists(n): continue\n    JOBS[n](conn)": "old.py:13: `if os.path.exists(n)` decides",
    "for n in JOBS:\n    if n not in SKIP: JOBS[n](conn)": "`if n not in SKIP` decides",
    "if time.localtime().tm_wday == 0:\n    for n in JOBS: JOBS[n](conn)": "decides whether a step runs",
    "while True:\n    for n in JOBS: JOBS[n](conn)": "`while True` runs the steps again",
    "for n in JOBS: JOBS[n](conn); conn.row_factory = None": "conn.row_factory = ... is not part of a step",
    "for n in JOBS: JOBS[n](conn, args)": "args has all options in one object",
    "for n in JOBS: JOBS[n](conn, **OPTS.get(n, {}))": "name each option of the command line here, as in run(conn, since",
    "for i in range(len(JOBS)): list(JOBS.values())[i](conn)": "",
    "for n in JOBS:\n    if hasattr(JOBS[n], 'go'): JOBS[n].go(conn)\n    else: JOBS[n](conn)": "",
    "for n in JOBS:\n    for attempt in range(3): JOBS[n](conn)": '{"retries": 2} in its module tries it again',
    "names = list(JOBS)\nnames.reverse()\nfor n in names: JOBS[n](conn)": "`names` decides",
    "names = list(JOBS)\nnames.remove('a')\nfor n in names: JOBS[n](conn)": "`names` decides",
    "names = list(JOBS)\nrandom.shuffle(names)\nfor n in names: JOBS[n](conn)": "`names` decides",
    "names = []\nfor n in SKIP: names.append(n)\nfor n in names: JOBS[n](conn)": "`names` decides",
    "for n in JOBS: JOBS[n](conn, n)": "n is passed to each step",
    "conn.execute('DELETE FROM t')\nfor n in JOBS: JOBS[n](conn)": "conn.execute() is not part of a step",
}


@pytest.mark.parametrize("body", LOOPS)
def test_what_decides_which_steps_run_is_refused_unless_orch_does_the_same(
    body: str, project: Project, orch: Orch
) -> None:
    text = (
        "import argparse, os, random, sqlite3, sys, time\n"
        "from etl import a, b\n"
        "JOBS = {'a': a.run, 'b': b.run}\n"
        "ORDER, SKIP, OPTS = ['b', 'a'], ['b'], {}\n"
        "def get_connection():\n"
        "    return sqlite3.connect('shop.db')\n\n"
        "if __name__ == '__main__':\n"
        "    parser = argparse.ArgumentParser()\n"
        "    args = parser.parse_args()\n"
        "    conn = get_connection()\n"
        f"{textwrap.indent(body, '    ')}\n"
        "    conn.close()\n"
    )
    root = project({"old.py": text, "etl/a.py": TOOL, "etl/b.py": TOOL})
    answer = orch("adopt", "old.py", "--write")
    said = LOOPS[body]
    assert answer.code == (4 if said else 0), answer.text
    assert said in answer.err, answer.err
    assert (root / "pyproject.toml").exists() == (not said)


#: How the file opens its connection, and what is said.
CONNECTIONS = {
    "def get_connection(db='x.db')": ("get_connection(args.db)", ""),
    "def get_connection(*, db='x.db')": ("get_connection(db=args.db or 'x.db')", ""),
    "def get_connection(db)": (
        "get_connection(args.db)",
        "old.py:4: get_connection() needs db, and",
    ),
    "def get_connection(db='y.db')": (
        "get_connection(args.db)",
        "old.py:11: get_connection() gets 'x.db'",
    ),
    "def get_connection(db='y.db', n=1)": (
        "get_connection(n=2)",
        "old.py:11: get_connection() gets 2",
    ),
}


@pytest.mark.parametrize("opening", CONNECTIONS)
def test_a_connection_that_needs_arguments_is_refused(
    opening: str, project: Project, orch: Orch
) -> None:
    call, said = CONNECTIONS[opening]
    text = (
        "import argparse, sqlite3\nfrom etl import a\nJOBS = {'a': a.run}\n"
        f"{opening}:\n    return sqlite3.connect('shop.db')\n\n"
        "if __name__ == '__main__':\n"
        "    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('--db', default='x.db')\n"
        "    args = parser.parse_args()\n"
        f"    conn = {call}\n"
        "    for job in JOBS.values(): job(conn)\n"
    )
    project({"old.py": text, "etl/a.py": TOOL})
    answer = orch("adopt", "old.py", "--write")
    assert answer.code == (4 if said else 0), answer.text
    assert said in answer.err, answer.err


MAIN = 'if __name__ == "__main__":\n    '
#: What follows `def main(n=1)` in a script, and what is said.
SCRIPTS = {
    f"{MAIN}main()": "",
    f"    print(n)\n{MAIN}sys.exit(main())": "",
    f"{MAIN}main(5)": "01_load.py:5: the script calls main(5), and orch would call main()",
    f"{MAIN}main()\n    open('done.txt', 'w')": "open('done.txt', 'w') is not part of main()",
    f"    return 3\n{MAIN}sys.exit(main())": "what main() returns is the exit code of the script",
    f"    return 3\n{MAIN}raise SystemExit(main())": "01_load.py:6: what main() returns is the exit",
}


@pytest.mark.parametrize("end", SCRIPTS)
def test_what_a_script_does_beside_main_is_refused(end: str, project: Project, orch: Orch) -> None:
    steps = "import subprocess, sys\nSTEPS = ['01_load.py']\n"
    loop = "for s in STEPS:\n    subprocess.run([sys.executable, s], check=True)\n"
    script = f"import sys\ndef main(n=1):\n    open('a.txt', 'w').write(str(n))\n{end}\n"
    root = project({"run_all.py": steps + loop, "01_load.py": script})
    answer = orch("adopt", "run_all.py", "--write")
    said = SCRIPTS[end]
    assert answer.code == (4 if said else 0), answer.text
    assert said in answer.err, answer.err
    assert (root / "pyproject.toml").exists() == (not said)


#: An option, the signature of the tool, what the step is called with, and what is said.
OPTIONS = [
    ('"--limit", type=int, default=500', "limit: int = 500", "limit=args.limit", ""),
    ('"--limit", default=LIMIT', "limit: int = 500", "limit=args.limit", ""),
    ('"--day", dest="since"', "since=None", "since=args.since", "--day is --since now"),
    ('"--since"', "day=None", "day=args.since", "--since is --day now"),
    ('"--since"', "day=None", "args.since", "--since has the name of the parameter now"),
    ('"--fast", action="store_true"', "*, fast=False", "fast=args.fast", ""),
    ('"--stage", choices=["a", "b"]', "", "", "no tool takes --stage: orch run --help shows"),
    (
        '"--limit", type=int, default=500',
        "limit=100",
        "limit=args.limit",
        "old.py:6: for --limit, the default is 500 here, and not in run() of etl/a.py\n  hint: write there: limit: int = 500",
    ),
    ('"--limit", type=int', "limit=None", "limit=args.limit", "the type is int here"),
    ('"--limit", type=parse', "limit=None", "limit=args.limit", "there is a type here"),
    ('"--kind", choices=["x", "y"]', "kind=None", "kind=args.kind", "the type is x|y here"),
    ('"names", nargs="*"', "names: str", "names=args.names", "the type is list[str] here"),
    ('"--since"', "**options", "since=args.since", "--since is passed as since, which is no param"),
]


@pytest.mark.parametrize(("option", "signature", "given", "said"), OPTIONS)
def test_an_option_loses_nothing(
    option: str, signature: str, given: str, said: str, project: Project, orch: Orch
) -> None:
    text = (
        "import argparse\n"
        "from etl import a\n"
        "STEPS = [a.run]\n"
        "LIMIT = 500\n"
        "parser = argparse.ArgumentParser()\n"
        f"parser.add_argument({option})\n"
        "if __name__ == '__main__':\n"
        "    args = parser.parse_args()\n"
        f"    for step in STEPS: step({given})\n"
    )
    root = project({"old.py": text, "etl/a.py": f"def run({signature}):\n    print('ran')\n"})
    answer = orch("adopt", "old.py", "--write", env={"COLUMNS": "200"})
    is_note = said.startswith(("--", "no tool")) and "no param" not in said
    assert answer.code == (4 if said and not is_note else 0), answer.text
    assert said in answer.out + answer.err, answer.text
    assert (root / "pyproject.toml").exists() == (answer.code == 0)


def test_a_connection_of_another_module_is_imported_from_there(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "run.py": """
                from lib.db import get_connection
                from etl import fetch
                STEPS = [("fetch", fetch)]
                with get_connection() as conn:
                    for name, module in STEPS:
                        module.run(conn)
                """,
            "lib/db.py": """
                import sqlite3
                from contextlib import contextmanager

                @contextmanager
                def get_connection():
                    conn = sqlite3.connect("shop.db")
                    yield conn
                    conn.close()
                """,
            "etl/fetch.py": "def run(conn):\n    conn.execute('CREATE TABLE raw (id)')\n",
            "fetch.py": "print('another module of this name')\n",
        }
    )
    answer = orch("adopt", "run.py", "--write")
    assert answer.code == 0, answer.text
    assert "so that file stays" not in answer.out
    assert (
        "from lib.db import get_connection as open_connection" in (root / "orchconf.py").read_text()
    )
    (root / "run.py").unlink()
    ran = orch("run")
    assert ran.code == 0, ran.text
    assert (root / "shop.db").stat().st_size > 0


def test_settings_that_exist_are_compared_and_not_changed(project: Project, orch: Orch) -> None:
    root = build(project, *SHAPES["typical"])
    settings = '[tool.orch]\nstages = ["render"]\n'
    project({"pyproject.toml": settings})
    answer = orch("adopt", "old_pipeline.py")
    assert answer.code == 4
    assert 'set there: [tool.orch] stages = ["ingest", "analyze", "render"]' in " ".join(
        answer.err.split()
    )
    assert (root / "pyproject.toml").read_text() == settings
    assert json.loads(orch("list", "--json").out)["tools"] == []


def test_a_project_without_tools_is_shown_the_way_from_its_orchestrator(
    project: Project, orch: Orch
) -> None:
    text = "import argparse\nTOOL_MAP: dict[str, str] = {\n    'fetch': 'src.fetch',\n}\n"
    for path in ("main.py", "src/main.py"):
        text = text if path == "main.py" else "STEPS = ['src.fetch']\n"
        root = project({path: text, "other.py": "print('no TOOL_MAP = {')\n"})
        for words in (("list",), ("list",), ("list", "-v"), ("run",), ("status",), ("check",)):
            answer = orch(*words)
            assert answer.code == 5, answer.text
            shown = " ".join(answer.err.split())
            assert shown.endswith(f"hint: orch adopt {path} shows how its steps become tools")
        (root / path).unlink()
    assert "orch adopt" not in orch("list").err
