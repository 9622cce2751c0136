"""What the benchmarks have in common on the terminal: options, what is installed, the table.

The table gives medians, and their ratios to the first row, which is orch.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import sysconfig
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from timing import Result

#: The distribution of a system, where it is named differently.
DISTRIBUTIONS = {"orch": "discover-orch"}


def options(
    purpose: str | None, systems: Collection[str], tools: Sequence[int]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(purpose or "").partition("\n")[0])
    parser.add_argument(
        "--tools", type=positive, nargs="+", default=tools, metavar="N", help="one table for each"
    )
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="5 without this")
    parser.add_argument(
        "--limit", type=positive, default=60, metavar="SECONDS", help="for one command; 60"
    )
    parser.add_argument(
        "--only", nargs="+", choices=sorted(systems), metavar="SYSTEM", help=", ".join(systems)
    )
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def find_systems(
    commands: Mapping[str, Sequence[str]], only: Sequence[str] | None
) -> dict[str, Sequence[str]]:
    """The commands of the systems that are installed, with their full path; says which are not."""
    found: dict[str, Sequence[str]] = {}
    missing = []
    for system, (name, *words) in commands.items():
        script = sys.executable if name == "python" else find_script(name)
        if only and system not in (*only, "orch"):
            continue
        if script is None:
            missing.append(system)
        else:
            found[system] = [script, *words]
    if "orch" in missing:
        sys.exit("orch is not installed beside this Python: pip install -e .")
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors")
    print(", ".join(filter(None, map(name_version, found))), flush=True)
    if missing:
        print(f"not installed and left out: {', '.join(missing)}", flush=True)
    return found


def find_script(name: str) -> str | None:
    """The command of that name beside the Python that runs this, or None."""
    path = Path(sysconfig.get_path("scripts")) / name
    return str(path) if path.is_file() else None


def name_version(system: str) -> str:
    """As in "doit 0.37.0"; empty for what is no distribution."""
    try:
        return f"{system} {version(DISTRIBUTIONS.get(system, system))}"
    except PackageNotFoundError:
        return ""


def report(title: str, results: Sequence[Result], rounds: int) -> None:
    """Print a table; without a figure of orch's own there are no ratios."""
    if results[0].note:
        sys.exit(f"{results[0].label}: {results[0].note}")
    of = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    print(f"\n{title}; {of}\n\n{table(results)}", flush=True)


def table(results: Sequence[Result]) -> str:
    """Medians and their ratios to the first result, which must be there."""
    width = max(len(result.label) for result in results) + 2
    head = f"{'ms':>8}{'ratio':>7}{'MB':>6}{'ratio':>7}"
    lines = [
        f"{'':{width}}{'first time':>28}{'second time':>30}",
        f"{'':{width}}{head}  {head}",
    ]
    base = results[0]
    for result in results:
        if result.note:
            lines.append(f"{result.label:{width}}  {result.note}")
            continue
        first = half(result.first, base.first, result.first_memory, base.first_memory)
        second = half(result.second, base.second, result.second_memory, base.second_memory)
        lines.append(f"{result.label:{width}}{first}  {second}")
    return "\n".join(lines)


def half(times: list[float], base: list[float], memory: int, base_memory: int) -> str:
    seconds = median(times)
    text = f"{seconds * 1000:>8,.0f}{ratio(seconds, median(base)):>7}"
    if not memory or not base_memory:
        return text + f"{'-':>6}{'-':>7}"
    return text + f"{memory / 1e6:>6,.0f}{ratio(memory, base_memory):>7}"


def ratio(value: float, base: float) -> str:
    number = value / base
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f}"
