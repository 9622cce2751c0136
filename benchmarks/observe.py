"""What it costs a tool to be observed: in a worker of `orch`, and called by a plain Python process, turn by turn.

    python benchmarks/observe.py --rounds 7

Prints medians and their ratio. Files are stated once at the end of a step, so a tool that does nothing but
open 10,000 files of the project pays for a look at each; one that opens a few again and again does not. Where native
code is loaded or a process started, the kernel is asked about each file. That needs polars, pandas and scikit-learn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.tool_events import ToolFinished
from discover_orch.worker.protocol import Finish, Prepare, RunStep

FILES = 10_000
STATEMENTS = 100_000
TOOLS: Mapping[str, str] = {
    "nothing": "def run(): pass\n",
    "one statement 100,000 times": f"""
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
    for number in range({STATEMENTS}):
        conn.execute("INSERT INTO t VALUES (?)", (number,))
    conn.rollback()
""",
    "100,000 different statements": f"""
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
    for number in range({STATEMENTS}):
        conn.execute(f"SELECT a FROM t WHERE a = {{number}}")
""",
    "10,000 files, one after another": f"""
def run():
    for number in range({FILES}):
        with open(f"in/{{number}}.txt") as file:
            file.read()
""",
    "10,000 files by a shared helper": f"""
from helper import read
def run():
    for number in range({FILES}):
        read(f"in/{{number}}.txt")
""",
    "one file 10,000 times": f"""
def run():
    for number in range({FILES}):
        with open("in/0.txt") as file:
            file.read()
""",
    "exists() of one path 100,000 times": f"""
import os
def run():
    for number in range({STATEMENTS}):
        os.path.exists("in/0.txt")
""",
    "exists() of 100,000 paths": f"""
import os
def run():
    for number in range({STATEMENTS}):
        os.path.exists(f"in/{{number}}.txt")
""",
    "statements and files": f"""
def run(conn):
    conn.execute("CREATE TABLE IF NOT EXISTS t(a)")
    for number in range({STATEMENTS}):
        conn.execute("INSERT INTO t VALUES (?)", (number,))
    conn.rollback()
    for number in range({FILES}):
        with open(f"in/{{number}}.txt") as file:
            file.read()
""",
    "10,000 files, polars is loaded": f"""
def run():
    import polars
    for number in range({FILES}):
        with open(f"in/{{number}}.txt") as file:
            file.read()
""",
    "200 child processes": """
import subprocess
def run():
    for _ in range(200):
        subprocess.run(["true"], check=True)
""",
    "import of pandas and sklearn": """
def run():
    import pandas, sklearn.linear_model
""",
    "10,000 new files": f"""
import os
def run():
    os.makedirs("out", exist_ok=True)
    for number in range({FILES}):
        with open(f"out/{{number}}.txt", "w") as file:
            file.write("text")
""",
}
HELPER = """
def read(path):
    with open(path) as file:
        return file.read()
"""
EMPTY = "nothing"
EMPTY_STEPS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="5 without this")
    parser.add_argument("--only", nargs="+", default=[*TOOLS], choices=[*TOOLS], metavar="TOOL")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        for number in range(FILES):
            (root / "in" / f"{number}.txt").write_text("text")
        (root / "helper.py").write_text(HELPER)
        for number, source in enumerate(TOOLS.values()):
            (root / f"tool{number}.py").write_text(source)
        print(f"{'':34}{'without':>10}{'with':>10}{'ratio':>8}")
        for number, name in enumerate(TOOLS):
            if name in given.only:
                report(name, measure(root, f"tool{number}", name, given.rounds))


#: Calls the tool in a process that observes nothing, and prints the seconds of a call.
PLAIN = """
import importlib, sqlite3, sys, time
tool, steps, takes_conn = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "conn"
run = importlib.import_module(tool).run
given = [sqlite3.connect("data.db")] if takes_conn else []
began = time.perf_counter()
for _ in range(steps):
    run(*given)
print((time.perf_counter() - began) / steps)
"""


def measure(root: Path, tool: str, name: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of a step without, and with."""
    plain: list[float] = []
    observed: list[float] = []
    takes_conn, steps = "(conn)" in TOOLS[name], EMPTY_STEPS if name == EMPTY else 1
    for _ in range(rounds):
        plain.append(call_plainly(root, tool, steps, takes_conn=takes_conn))
        observed.append(run(root, tool, steps, takes_conn=takes_conn))
    return plain, observed


def call_plainly(root: Path, tool: str, steps: int, *, takes_conn: bool) -> float:
    words = [sys.executable, "-c", PLAIN, tool, str(steps), "conn" if takes_conn else ""]
    return float(subprocess.run(words, cwd=root, check=True, capture_output=True).stdout)


def run(root: Path, tool: str, steps: int, *, takes_conn: bool) -> float:
    worker = Supervisor.start()
    worker.send(Prepare(root=str(root), pythonpath=(str(root),), database="sqlite:///data.db"))
    step = RunStep(
        module=tool, name=tool, path=f"{tool}.py", resources=("conn",) if takes_conn else ()
    )
    ended: list[ToolFinished] = []
    began = time.perf_counter()
    while len(ended) < steps:  # the next one is sent when the one before has ended
        worker.send(step)
        expected = len(ended) + 1
        while len(ended) < expected:
            ended += [one for one in worker.events(60) if isinstance(one, ToolFinished)]
    seconds = time.perf_counter() - began
    worker.send(Finish())
    worker.close(60)
    assert all(one.status == "passed" for one in ended), ended[-1].error
    return seconds / steps if steps > 1 else ended[0].duration


def report(name: str, measured: tuple[Sequence[float], Sequence[float]]) -> None:
    without, observed = (median(times) for times in measured)
    unit, factor = ("us", 1e6) if without < 1e-2 else ("ms", 1e3)
    print(
        f"{name:34}{without * factor:>8.1f}{unit}{observed * factor:>8.1f}{unit}"
        f"{observed / without:>8.2f}"
    )


if __name__ == "__main__":
    main()
