"""`orch run` beside the runs of other systems.

    python benchmarks/run.py --tools 5 100 1000

The tools do next to nothing, so that what is left is the system. The plain loop imports them and
calls them: less is not possible. Every system runs every tool each time, one after the other, and
prints what it prints by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import table
import timing
from projects import Project

COMMANDS: Mapping[str, Sequence[str]] = {
    "orch": ("orch", "run"),
    "loop": ("python", "loop.py"),
    "doit": ("doit",),
    "pytest": ("pytest", "-q"),
    "luigi": ("luigi", "--module", "everything", "Everything", "--local-scheduler"),
    "pytask": ("pytask", "build", "--force"),
    "kedro": ("kedro", "run"),
    "snakemake": ("snakemake", "--cores", "1", "--forceall"),
    "dagster": ("dg", "launch", "--assets", "*"),
}
LABELS = {"loop": "plain loop"}


def main() -> None:
    given = table.options(__doc__, COMMANDS, tools=(5, 100, 1000)).parse_args()
    systems = table.find_systems(COMMANDS, given.only)
    for tools in given.tools:
        with tempfile.TemporaryDirectory() as folder:
            contestants = [
                timing.Contestant(
                    LABELS.get(system, system),
                    words,
                    Project(Path(folder) / system, system, tools),
                    must_run=tools,
                )
                for system, words in systems.items()
            ]
            results = timing.measure(contestants, given.rounds, given.limit)
        table.report(f"running {tools:,} tools", results, given.rounds)


if __name__ == "__main__":
    main()
