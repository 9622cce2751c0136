"""What a tool costs beyond its own work: here, behind a command, in a pool, and on a Dask cluster of this machine.

    python benchmarks/executors.py --tools 200 --rounds 5

The tools do nothing and run one after another. The time is that from the first start to the last end, by the events of
`orch run --json`, for one tool; the least of the rounds counts. Dask's round trip is that of an empty task.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

POOLS = """
from concurrent.futures import ThreadPoolExecutor


def threads():
    return ThreadPoolExecutor(1)
"""
SLOW = ("command", "pools:threads")  # they start a process for each tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    least: dict[str, float] = {}

    def note(name: str, seconds: float) -> None:
        least[name] = min(least.get(name, seconds), seconds)

    with tempfile.TemporaryDirectory() as folder:
        few, many = make(Path(folder) / "few", 20), make(Path(folder) / "many", given.tools)
        for _ in range(given.rounds):
            note("local", measure(many, "local"))
            note("dask", measure(many, "dask"))
            note("round trip", round_trip(given.tools))
            for name in SLOW:
                note(name, measure(few, name))
    local, trip = least["local"], least["round trip"]
    for name, seconds in least.items():
        print(f"{name:14} {seconds * 1000:8.2f} ms a tool")
    beyond = least["dask"] - trip
    print(f"dask beyond its round trip ÷ local: {beyond / local:.2f}")


def make(root: Path, tools: int) -> Path:
    (root / "src").mkdir(parents=True)
    (root / "pools.py").write_text(POOLS)
    for number in range(tools):
        path = root / "src" / f"t{number:04}.py"
        path.write_text('STAGE = "one"\nAFTER = ()\n\n\ndef run():\n    pass\n')
    return root


def measure(root: Path, executor: str) -> float:
    """Seconds for each tool."""
    words = ["orch", "-C", str(root), "run", "--json", "--executor", executor]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    starts = [when(one) for one in events if one["event"] == "tool_started"]
    ends = [when(one) for one in events if one["event"] == "tool_finished"]
    return (ends[-1] - starts[0]) / len(ends)


def when(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def round_trip(tasks: int) -> float:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for number in range(20):
            client.submit(empty, -number, pure=False).result()
        started = time.perf_counter()
        for number in range(tasks):
            client.submit(empty, number, pure=False).result()
        return (time.perf_counter() - started) / tasks


def empty(number: int) -> None:
    return None


if __name__ == "__main__":
    main()
