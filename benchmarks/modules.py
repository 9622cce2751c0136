"""The text of the synthetic project's modules: tools and helpers of about 100 lines.

Equal arguments give equal texts. A tool imports three helpers, a helper an earlier one. What a tool
does is next to nothing. How it is declared is its end, which each dialect in `projects` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from textwrap import indent

STAGES = ("ingest", "clean", "enrich", "analyze", "publish")
SUBJECTS = ("rivers", "glaciers", "harbours", "orchards", "quarries", "beehives", "lighthouses")
PER_PACKAGE = 25


@dataclass(frozen=True)
class Module:
    """A tool or a helper by its number; what is not its own follows from that."""

    number: int
    kind: str  # "tool" or "helper"

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.number:05d}"

    @property
    def dotted(self) -> str:
        return f"part_{self.number // PER_PACKAGE:03d}.{self.name}"

    @property
    def path(self) -> str:
        return f"src/{self.dotted.replace('.', '/')}.py"

    @property
    def subject(self) -> str:
        return SUBJECTS[self.number % len(SUBJECTS)]


# What modules are filled with: each takes four of the sections, beginning with another one.

TOP = """\
import csv
import json
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
"""

SECTIONS = (
    '''
@dataclass
class Reading:
    """One measurement at one place."""

    place: str
    day: date
    amount: float
    remark: str = ""

    def is_plausible(self) -> bool:
        """Whether the amount is within what $subject have ever shown."""
        return -$low <= self.amount <= $high

    def in_season(self) -> str:
        """The name of the quarter in which it was taken."""
        quarter = (self.day.month - 1) // 3
        return ("winter", "spring", "summer", "autumn")[quarter]
''',
    '''
def read_readings(path: Path, separator: str = ";") -> list[dict[str, str]]:
    """The rows of a file about $subject; empty cells are left out."""
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter=separator):
            row = {key.strip().lower(): cell.strip() for key, cell in line.items() if cell}
            if row.get("place") and not row["place"].startswith("#"):
                rows.append(row)
    return rows


def read_day(text: str) -> date:
    """A day as it stands in the field books, or as ISO 8601 has it."""
    if "." in text:
        return datetime.strptime(text, "%d.%m.%Y").date()
    return date.fromisoformat(text[:10])
''',
    '''
AMOUNT = re.compile(r"(?P<amount>[-+]?[0-9]+(?:[.,][0-9]+)?) *(?P<unit>[a-z%]*)")
UNITS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "": 1.0}


def read_amount(text: str) -> float | None:
    """An amount in metres, or None where the field book says nothing."""
    match = AMOUNT.fullmatch(text.strip().lower())
    if match is None:
        return None
    factor = UNITS.get(match["unit"])
    if factor is None:
        return None
    amount = float(match["amount"].replace(",", ".")) * factor
    return round(amount, $digits)


def has_doubt(remark: str) -> bool:
    """Whether the observer put a question mark or a bracket."""
    return remark.endswith("?") or "[" in remark
''',
    '''
def store_readings(conn: sqlite3.Connection, rows: list[tuple[str, str, float]]) -> int:
    """Put the rows into the table of $subject, in the place of older ones."""
    conn.execute(
        "CREATE TABLE IF NOT EXISTS $subject ("
        "place TEXT NOT NULL, day TEXT NOT NULL, amount REAL, PRIMARY KEY (place, day))"
    )
    before = conn.total_changes
    for start in range(0, len(rows), $high):
        chunk = rows[start : start + $high]
        conn.executemany("INSERT OR REPLACE INTO $subject VALUES (?, ?, ?)", chunk)
    return conn.total_changes - before


def known_places(conn: sqlite3.Connection) -> set[str]:
    """All places of which anything is stored."""
    return {place for (place,) in conn.execute("SELECT DISTINCT place FROM $subject")}
''',
    '''
def yearly_means(rows: list[tuple[str, float]]) -> dict[str, float]:
    """The mean of each year that has at least $digits readings."""
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for day, amount in rows:
        year = day[:4]
        sums[year] += amount
        counts[year] += 1
    return {year: sums[year] / counts[year] for year in sorted(sums) if counts[year] >= $digits}


def largest_step(means: dict[str, float]) -> tuple[str, float]:
    """The year that differs most from the one before, and by how much."""
    years = list(means)
    steps = [(after, means[after] - means[year]) for year, after in zip(years, years[1:])]
    return max(steps, key=lambda step: abs(step[1]), default=("", 0.0))
''',
    '''
SETTINGS = {
    "subject": "$subject",
    "lowest": -$low,
    "highest": $high,
    "digits": $digits,
    "columns": ["place", "day", "amount", "remark"],
}


def read_settings(folder: Path) -> dict[str, object]:
    """The settings above, less what the folder's own file says otherwise."""
    settings = dict(SETTINGS)
    path = folder / "$subject.json"
    if path.is_file():
        own = json.loads(path.read_text(encoding="utf-8"))
        unknown = own.keys() - settings.keys()
        if unknown:
            raise ValueError(f"{path}: unknown settings: {', '.join(sorted(unknown))}")
        settings.update(own)
    return settings
''',
)

PROOF = '''\
"""Lets the benchmark see, outside the timed rounds, that every tool really ran."""

import os

FILE = os.environ.get("BENCHMARK_PROOF")


def prove(tool: str) -> None:
    if FILE:
        with open(FILE, "a", encoding="utf-8") as file:
            file.write(tool + "\\n")
'''


def filling(module: Module) -> str:
    """About 80 lines of ordinary code."""
    number = module.number
    chosen = [SECTIONS[(number + step) % len(SECTIONS)] for step in range(4)]
    numbers = {"low": 5 + number % 90, "high": 100 + number % 900, "digits": 2 + number % 4}
    return Template("\n".join(chosen)).substitute(numbers, subject=module.subject)


def helper_text(helper: Module) -> str:
    number = helper.number
    lines = [f'"""Shared by the tools: what is known of {helper.subject}."""\n\n', TOP]
    value = f"{number}"
    if number:
        parent = Module((number - 1) // 2, "helper")
        lines.append(f"\nfrom {parent.dotted} import weigh_{parent.number}\n")
        value += f" + weigh_{parent.number}()"
    lines += ["\n", filling(helper), f"\n\ndef weigh_{number}() -> int:\n    return {value}\n"]
    return "".join(lines)


def tool_text(tool: Module, total: int, end: str, imports: str = "") -> str:
    """`end` is what the dialect is about: it holds ${work} where the tool does its work."""
    helpers = sorted({tool.number, (7 * tool.number + 3) % total, (13 * tool.number + 5) % total})
    names = [f"weigh_{number}" for number in helpers]
    body = f'weight = {" + ".join(f"{name}()" for name in names)}\nprove("{tool.name}")'
    lines = [f'"""Take stock of the {tool.subject}, part {tool.number}."""\n\n', TOP, imports, "\n"]
    for number, name in zip(helpers, names, strict=True):
        lines.append(f"from {Module(number, 'helper').dotted} import {name}\n")
    lines.append("from proof import prove\n\n")
    lines.append(filling(tool))
    work = indent(body, "        " if end.startswith("class") else "    ")
    filled = Template(end).substitute(
        work=work.lstrip(), name=tool.name, digits=tool.name[-5:], stage=stage_of(tool, total)
    )
    return "".join(lines) + "\n\n" + filled


def stage_of(tool: Module, total: int) -> str:
    return STAGES[tool.number * len(STAGES) // total]


def names_list(tools: Sequence[Module]) -> str:
    """A Python list of the tools' modules, one a line."""
    return "[\n" + "".join(f'    "{tool.dotted}",\n' for tool in tools) + "]\n"
