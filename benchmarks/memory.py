"""What it costs to know: `orch run --changed`, `orch status` and `orch history`, each beside its yardstick.

    python benchmarks/memory.py
    python benchmarks/memory.py --tools 1000 --runs 1000 --rounds 9

Everything is run once first, and nothing changes after that. The rows of a table are measured in turn,
so that a machine that drifts does so for all of them. What a run costs with memory is in `run.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import table
import timing
from modules import Module, names_list
from projects import Project
from timing import Contestant

SMALL = 5  # tools of the project whose runs are kept
FILES = 3  # that each tool reads, for the status

# The least that a listing can be which remembers: click, a stat of each file, one cache, one write.
LIMIT_TEXT = '''\
"""A walk that stats each module, and a listing out of a cache."""

import marshal
import os
import sys

import click


def walk(folder):
    stack = [folder]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(".py"):
                    yield entry.path, entry.stat()
                elif name[0] != "." and name != "__pycache__" and entry.is_dir():
                    stack.append(entry.path)


def facts(path):
    import ast

    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "STAGE":
            return node.value.value, ast.get_docstring(tree).partition("\\n")[0]
    return None


try:
    with open("limit.cache", "rb") as file:
        old = marshal.loads(file.read())
except OSError:
    old = {}
new, is_other = {}, False
for path, found in walk("src"):
    known = old.get(path)
    if known is None or known[0] != found.st_mtime_ns or known[1] != found.st_size:
        known = (found.st_mtime_ns, found.st_size, facts(path))
        is_other = True
    new[path] = known
if is_other or len(new) != len(old):
    with open("limit.cache", "wb") as file:
        file.write(marshal.dumps(new))
stages = {}
for path, (_, _, found) in new.items():
    if found:
        stages.setdefault(found[0], []).append((path.rsplit("/", 1)[1][:-3], found[1]))
lines = []
for stage in sorted(stages):
    lines.append(stage)
    lines += [f"  {name:<24} {doc}" for name, doc in sorted(stages[stage])]
sys.stdout.write("\\n".join(lines) + "\\n")
'''
#: As in `projects`, and each tool depends on its module, so that a second run has nothing to do.
DODO_TEXT = """\
import importlib
import sys

TOOLS = {names}
sys.path.insert(0, "src")


def task_tools():
    for name in TOOLS:
        module = importlib.import_module(name)
        yield {{
            "basename": name.rpartition(".")[2],
            "actions": [module.run],
            "file_dep": [module.__file__],
            "doc": module.__doc__,
        }}
"""


@dataclass(frozen=True)
class Row:
    """A command, what is run in its project before it is measured, and its goal against the base."""

    contestant: Contestant
    before: Sequence[str] = ()
    times: int = 1
    goal: float = 0.0  # times the first row, at most; 0 is none
    share: float = 0.0  # or: of this row, the first is to take so much at most


def main() -> None:
    given = options().parse_args()
    orch, doit = table.find_script("orch"), table.find_script("doit")
    if orch is None or find_spec("click") is None:
        sys.exit("orch is not installed beside this Python: pip install -e .")
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors")
    print(", ".join(filter(None, map(table.name_version, ("orch", "doit")))), flush=True)
    if doit is None:
        print("not installed and left out: doit", flush=True)
    tools, runs = given.tools, given.runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = changed_rows(folder, orch, doit, tools)
        report(f"nothing changed in {tools:,} tools", rows, given)
        report(f"{tools:,} tools, each of {FILES} files", status_rows(folder, orch, tools), given)
        report(f"{runs:,} runs of {SMALL} tools", history_rows(folder, orch, runs), given)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    positive = table.positive
    parser.add_argument("--tools", type=positive, default=1000, metavar="N", help="1000")
    parser.add_argument("--runs", type=positive, default=1000, metavar="N", help="kept; 1000")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="5 without this")
    parser.add_argument(
        "--limit", type=positive, default=120, metavar="SECONDS", help="for one command; 120"
    )
    return parser


# ---- the three tables; the first row of each is the yardstick ----


def changed_rows(folder: Path, orch: str, doit: str | None, tools: int) -> list[Row]:
    project = Project(folder / "changed", "orch", tools)
    (project.root / "limit.py").write_text(LIMIT_TEXT, encoding="utf-8")
    last = Module(tools - 1, "tool").name
    limit = [sys.executable, "limit.py"]
    changed = Contestant(
        "orch run --changed", [orch, "run", "--changed"], project, must_print="nothing to run"
    )
    rows = [
        Row(Contestant("click_cache", limit, project, must_print=last), limit),
        Row(changed, [orch, "run"]),
    ]
    if doit is not None:
        other = Project(folder / "doit", "doit", tools)
        names = names_list([Module(number, "tool") for number in range(tools)])
        (other.root / "dodo.py").write_text(DODO_TEXT.format(names=names), encoding="utf-8")
        up_to_date = Contestant("doit, again", [doit], other, must_print=f"-- {last}")
        rows.append(Row(up_to_date, [doit], share=0.4))
    return rows


def status_rows(folder: Path, orch: str, tools: int) -> list[Row]:
    project = Project(folder / "status", "orch", tools)
    for number in range(tools):
        tool = Module(number, "tool")
        path = project.root / tool.path
        text = path.read_text(encoding="utf-8")
        reading = "".join(
            f'    Path("data/{tool.name}_{which}.txt").read_bytes()\n' for which in range(FILES)
        )
        head, back, tail = text.rpartition("    return {")
        path.write_text(head + reading + back + tail, encoding="utf-8")
        for which in range(FILES):
            data = project.root / "data" / f"{tool.name}_{which}.txt"
            data.parent.mkdir(exist_ok=True)
            data.write_text(f"{number} {which}\n", encoding="utf-8")
    status = Contestant("orch status", [orch, "status"], project, must_print=f"\n{tools:,} fresh")
    last = Module(tools - 1, "tool").name
    return [
        Row(Contestant("orch list", [orch, "list"], project, must_print=last), [orch, "run"]),
        Row(status, goal=2.5),
    ]


def history_rows(folder: Path, orch: str, runs: int) -> list[Row]:
    project = Project(folder / "history", "orch", SMALL)
    settings = project.root / "pyproject.toml"
    with settings.open("a", encoding="utf-8") as file:
        file.write(f"keep_runs = {runs}\n")
    history = Contestant("orch history", [orch, "history"], project, must_print=str(runs))
    last = Module(SMALL - 1, "tool").name
    return [
        Row(
            Contestant("orch list", [orch, "list"], project, must_print=last),
            [orch, "run", "-q"],
            times=runs,
        ),
        Row(history, goal=2.0),
    ]


# ---- measuring and telling ----


def report(title: str, rows: Sequence[Row], given: argparse.Namespace) -> None:
    """Prepares, measures and prints one table."""
    timing.tell(title)
    time.sleep(timing.SETTLED)
    for row in rows:
        for _ in range(row.times if row.before else 0):
            timing.run(replace(row.contestant, words=row.before), given.limit)
    for row in rows:
        said = timing.run(row.contestant, given.limit).output
        if row.contestant.must_print not in said:
            sys.exit(f"{row.contestant.label} does not do its work: {timing.ending(said)}")
    seconds: list[list[float]] = [[] for _ in rows]
    for number in range(given.rounds):
        order = [*range(number % len(rows), len(rows)), *range(number % len(rows))]
        for index in order:
            seconds[index].append(timing.run(rows[index].contestant, given.limit).seconds)
    medians = [median(each) for each in seconds]
    print(f"\n{title}; medians of {given.rounds}\n\n{in_columns(rows, medians)}", flush=True)


def in_columns(rows: Sequence[Row], medians: Sequence[float]) -> str:
    """Milliseconds, the ratio to the first row, and what it is to be."""
    width = max(len(row.contestant.label) for row in rows) + 2
    lines = [f"{'':{width}}{'ms':>8}{'ratio':>8}  goal"]
    subject = medians[1]
    for row, seconds in zip(rows, medians, strict=True):
        goal = ""
        if row.goal:
            goal = f"at most {row.goal} × {rows[0].contestant.label}"
        elif row.share:
            part = table.ratio(subject, seconds)
            goal = f"{rows[1].contestant.label} takes {part} of it: at most {row.share}"
        ratio = table.ratio(seconds, medians[0])
        label = row.contestant.label
        lines.append(f"{label:{width}}{seconds * 1000:>8,.0f}{ratio:>8}  {goal}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
