"""What it costs that the transaction of a SQLite connection belongs to orch: the same tool on a plain connection.

    python benchmarks/transactions.py --rounds 5

Prints medians of the seconds from the start of `run()` to the end of the last commit, the largest memory of the
process, and their ratios. Both processes have imported everything before, and run in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.tool_events import ToolFinished
from discover_orch.worker.protocol import Finish, Prepare, RunStep

ROWS = 1_000_000
COMMITS = 100_000
NOTE_MEMORY = """
    import resource
    with open("memory.txt", "w") as file:
        file.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""
TOOLS: Mapping[str, str] = {
    "to_sql of 1,000,000 rows": f"""
import pandas
FRAME = pandas.DataFrame({{"a": range({ROWS}), "b": "text", "c": 1.5}})
def run(conn):
    FRAME.to_sql("t", conn, index=False)
""",
    "executemany of 1,000,000 rows": f"""
def run(conn):
    conn.execute("CREATE TABLE t (a, b, c)")
    conn.executemany("INSERT INTO t VALUES (?, ?, ?)", ((n, "text", 1.5) for n in range({ROWS})))
    conn.commit()
""",
    "100,000 statements in one transaction": f"""
def run(conn):
    conn.execute("CREATE TABLE t (a)")
    for n in range({COMMITS}):
        conn.execute("INSERT INTO t VALUES (?)", (n,))
    conn.commit()
""",
    "100,000 statements with a commit each": f"""
def run(conn):
    conn.execute("CREATE TABLE t (a)")
    for n in range({COMMITS}):
        conn.execute("INSERT INTO t VALUES (?)", (n,))
        conn.commit()
""",
}
PLAIN = """
import sqlite3, sys, time
import tool
conn = sqlite3.connect("data.db")
began = time.perf_counter()
tool.run(conn)
conn.commit()
print(time.perf_counter() - began)
"""


class Figures(NamedTuple):
    seconds: float
    memory: int  # of the process, in KB


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="5 without this")
    parser.add_argument("--only", nargs="+", default=[*TOOLS], choices=[*TOOLS], metavar="TOOL")
    parser.add_argument(
        "--folder", help="where the databases are made; else where files are temporary"
    )
    given = parser.parse_args()
    print(f"{'':40}{'plain':>10}{'orch':>10}{'ratio':>8}{'MB':>8}{'ratio':>8}")
    for name in given.only:
        plain: list[Figures] = []
        ours: list[Figures] = []
        for _ in range(given.rounds):
            for run, figures in ((run_plain, plain), (run_with_orch, ours)):
                with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                    root = Path(folder)
                    (root / "tool.py").write_text(TOOLS[name] + NOTE_MEMORY)
                    seconds = run(root)
                    figures.append(Figures(seconds, int((root / "memory.txt").read_text())))
        report(name, plain, ours)


def run_plain(root: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], cwd=root, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def run_with_orch(root: Path) -> float:
    """Seconds of the second step: the first one loads the modules and opens the connection."""
    (root / "first.py").write_text("def run(conn):\n    import tool\n")
    worker = Supervisor.start()
    worker.send(
        Prepare(
            root=str(root), pythonpath=(str(root),), database="sqlite:///data.db", observes=True
        )
    )
    for name in ("first", "tool"):
        worker.send(RunStep(module=name, name=name, path=f"{name}.py", resources=("conn",)))
    ended: list[ToolFinished] = []
    while len(ended) < 2:
        ended += [one for one in worker.events(60) if isinstance(one, ToolFinished)]
    worker.send(Finish())
    worker.close(60)
    assert all(one.status == "passed" for one in ended), ended[-1].error
    return ended[-1].duration


def report(name: str, plain: list[Figures], ours: list[Figures]) -> None:
    seconds = [median(one.seconds for one in figures) for figures in (plain, ours)]
    memory = [median(one.memory for one in figures) / 1024 for figures in (plain, ours)]
    print(
        f"{name:40}{seconds[0]:>9.2f}s{seconds[1]:>9.2f}s{seconds[1] / seconds[0]:>8.2f}"
        f"{memory[1]:>8.0f}{memory[1] / memory[0]:>8.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
