"""What a tool costs beyond its own work: here, behind a command, and on a Dask cluster.

    python benchmarks/executors.py --tools 20 --rounds 5

The tools do nothing and run one after another. The time is that from the first start to the last end, by the events of
`orch run --json`, for one tool; the least of the rounds counts. Each tool elsewhere has a process of its own. A round
trip is that of an empty task of Dask.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from distributed import Client, LocalCluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    least: dict[str, float] = {}

    def note(name: str, seconds: float) -> None:
        least[name] = min(least.get(name, seconds), seconds)

    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        root = make(Path(folder), given.tools)
        for _ in range(given.rounds):
            note("local", measure(root, "local"))
            note("command", measure(root, "command"))
            note("dask", measure(root, f"dask={cluster.scheduler_address}"))
            note("round trip", round_trip(client, given.tools))
    for name, seconds in least.items():
        print(f"{name:14} {seconds * 1000:8.2f} ms a tool")


def make(root: Path, tools: int) -> Path:
    (root / "src").mkdir(parents=True)
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


def round_trip(client: Client, tasks: int) -> float:
    started = time.perf_counter()
    for number in range(tasks):
        client.submit(empty, number, pure=False).result()
    return (time.perf_counter() - started) / tasks


def empty(number: int) -> None:
    return None


if __name__ == "__main__":
    main()
