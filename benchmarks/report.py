"""What pages and pictures cost: the report page, the graph as SVG, and a run that writes its page (`report = true`).

    python benchmarks/report.py
    python benchmarks/report.py --tools 1000 --rounds 9

Each tool makes a table and reads two earlier ones, so that 1,000 tools have about 3,000 edges. A run with the page and
one without alternate in one project, which has a history of ten runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
from pathlib import Path
from statistics import median

import table
import timing
from projects import Project
from timing import Contestant

STAGES = 8
TOOL = '''\
"""Tool number {number}."""

STAGE = "stage_{stage}"


def run(conn, *, limit: int = 5):
{reads}    conn.execute("create table if not exists t_{number} (a)")
    conn.execute("insert into t_{number} values (1)")
    print("wrote table {number}")
    return {{"rows": {number}}}
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    positive = table.positive
    parser.add_argument("--tools", type=positive, default=1000, metavar="N", help="1000")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="5")
    parser.add_argument("--limit", type=positive, default=300, metavar="SECONDS", help="300")
    given = parser.parse_args()
    orch = table.find_script("orch")
    if orch is None:
        sys.exit("orch is not installed beside this Python: pip install -e .")
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name) / "report", "orch", 1)
        write_tools(project.root, given.tools)
        measure(orch, project, given)


def write_tools(root: Path, tools: int) -> None:
    chance = random.Random(3)
    stages = ", ".join(f'"stage_{stage}"' for stage in range(STAGES))
    (root / "pyproject.toml").write_text(
        f'[tool.orch]\npackages = ["made"]\nstages = [{stages}]\n', encoding="utf-8"
    )
    (root / "made").mkdir()
    for number in range(tools):
        earlier = range(max(0, number - 300), number)
        reads = "".join(
            f'    conn.execute("select count(*) from t_{one}").fetchall()\n'
            for one in sorted(chance.sample(earlier, min(2, len(earlier))))
        )
        text = TOOL.format(number=number, stage=number * STAGES // tools, reads=reads)
        (root / "made" / f"tool_{number:05}.py").write_text(text, encoding="utf-8")


def measure(orch: str, project: Project, given: argparse.Namespace) -> None:
    run = Contestant("orch run", [orch, "run", "-q"], project)
    report = Contestant("orch report", [orch, "report"], project, must_print="report.html")
    graph = Contestant("orch graph", [orch, "graph", "-o", "graph.svg"], project)
    for _ in range(10):
        timing.run(run, given.limit)
    seconds: dict[str, list[float]] = {"run": [], "with": [], "report": [], "graph": []}
    for number in range(given.rounds):
        for kind in ("run", "with") if number % 2 else ("with", "run"):
            more = {"ORCH_REPORT": "true"} if kind == "with" else {}
            seconds[kind].append(timing.run(run, given.limit, more).seconds)
        seconds["report"].append(timing.run(report, given.limit).seconds)
        seconds["graph"].append(timing.run(graph, given.limit).seconds)
    medians = {kind: median(found) for kind, found in seconds.items()}
    more = medians["with"] / medians["run"] - 1
    least = min(seconds["with"]) / min(seconds["run"]) - 1
    page = max(project.root.glob(".orch/runs/*/report.html"), key=os.path.getmtime)
    print(f"\n{given.tools:,} tools; medians of {given.rounds}\n")
    print(f"orch run                  {medians['run']:8.2f} s")
    change = f"{more:+.1%} (of the fastest {least:+.1%}); goal: at most 3 %"
    print(f"with report = true        {medians['with']:8.2f} s   {change}")
    print(f"orch report               {medians['report']:8.2f} s   goal: at most 0.5 s")
    print(f"orch graph -o graph.svg   {medians['graph']:8.2f} s   goal: at most 1 s")
    print(f"the page                  {page.stat().st_size / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
