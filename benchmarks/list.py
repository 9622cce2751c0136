"""`orch list` beside the listings of other systems.

    python benchmarks/list.py --tools 10 100 1000
    python benchmarks/list.py --tools 100 --heavy pandas

With `--heavy` each system is measured twice: as it is, and with that import in every tool. Luigi
is not here, because it has no command that lists.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import table
import timing
from modules import STAGES, Module
from projects import Project

COMMANDS: Mapping[str, Sequence[str]] = {
    "orch": ("orch", "list"),
    "doit": ("doit", "list"),
    "snakemake": ("snakemake", "--list-rules"),
    "pytest": ("pytest", "--collect-only", "-q"),
    "pytask": ("pytask", "collect"),
    "kedro": ("kedro", "registry", "list"),
    "dagster": ("dg", "list", "defs"),
}


def main() -> None:
    parser = table.options(__doc__, COMMANDS, tools=(10, 100, 1000))
    parser.add_argument("--heavy", default="", metavar="MODULE", help="imported by every tool")
    given = parser.parse_args()
    if given.heavy and find_spec(given.heavy) is None:
        sys.exit(f"{given.heavy} is not installed beside this Python")
    systems = table.find_systems(COMMANDS, given.only)
    for tools in given.tools:
        with tempfile.TemporaryDirectory() as folder:
            contestants = [
                build(Path(folder), system, words, tools, heavy)
                for system, words in systems.items()
                for heavy in (("", given.heavy) if given.heavy else ("",))
            ]
            results = timing.measure(contestants, given.rounds, given.limit)
        table.report(f"listing {tools:,} tools", results, given.rounds)


def build(
    folder: Path, system: str, words: Sequence[str], tools: int, heavy: str
) -> timing.Contestant:
    project = Project(folder / f"{system}-{heavy}", system, tools, heavy)
    label = f"{system} + {heavy}" if heavy else system
    last = STAGES[-1] if system == "kedro" else Module(tools - 1, "tool").name
    return timing.Contestant(label, words, project, must_print=last)


if __name__ == "__main__":
    main()
