"""One synthetic project in the dialect of each system: the same modules, another registration.

In: the name of a system, a number of tools, perhaps a heavy library. Out: the text of each file, by
its path; equal arguments give equal texts. `Project` puts them on disk and can take away everything
else again.

N tools stand beside N helpers, each a module of about 100 lines, 25 of each in a package. A tool
imports three helpers, a helper an earlier one. What a tool does is next to nothing, so that a run
measures the system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Template
from textwrap import dedent, indent

STAGES = ("ingest", "clean", "enrich", "analyze", "publish")
SUBJECTS = ("rivers", "glaciers", "harbours", "orchards", "quarries", "beehives", "lighthouses")
PER_PACKAGE = 25
Texts = dict[str, str]


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


# What the modules are filled with: each takes four of these, beginning with another one.

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
    filled = Template(dedent(end)).substitute(
        work=work.lstrip(), name=tool.name, digits=tool.name[-5:], stage=stage_of(tool, total)
    )
    return "".join(lines) + "\n\n" + filled


def stage_of(tool: Module, total: int) -> str:
    return STAGES[tool.number * len(STAGES) // total]


def names_list(tools: Sequence[Module]) -> str:
    """A Python list of the tools' modules, one a line."""
    return "[\n" + "".join(f'    "{tool.dotted}",\n' for tool in tools) + "]\n"


# The dialects. Each gives the end of a tool, imports of its own, and the files that register.


@dataclass(frozen=True)
class Dialect:
    end: str
    register: Callable[[Sequence[Module]], Texts]
    imports: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)  # {root} stands for the project


def register_orch(tools: Sequence[Module]) -> Texts:
    stages = ", ".join(f'"{stage}"' for stage in STAGES)
    return {"pyproject.toml": f'[tool.orch]\npythonpath = ["src"]\nstages = [{stages}]\n'}


def register_loop(tools: Sequence[Module]) -> Texts:
    text = f'''\
"""What it costs to import the tools and call them: no system at all."""

import importlib
import sqlite3
import sys

TOOLS = {names_list(tools)}
sys.path.insert(0, "src")
conn = sqlite3.connect("data.db")
for name in TOOLS:
    importlib.import_module(name).run(conn)
    conn.commit()
conn.close()
'''
    return {"loop.py": text}


def register_doit(tools: Sequence[Module]) -> Texts:
    text = f"""\
import importlib
import sys

TOOLS = {names_list(tools)}
sys.path.insert(0, "src")


def task_tools():
    for name in TOOLS:
        module = importlib.import_module(name)
        task = name.rpartition(".")[2]
        yield {{"basename": task, "actions": [module.run], "doc": module.__doc__}}
"""
    return {"dodo.py": text}


def register_pytask(tools: Sequence[Module]) -> Texts:
    table = '[tool.pytask.ini_options]\npaths = ["src"]\ntask_files = ["tool_*.py"]\n'
    return {"pyproject.toml": table}


def register_pytest(tools: Sequence[Module]) -> Texts:
    table = '[tool.pytest.ini_options]\ntestpaths = ["src"]\npythonpath = ["src"]\n'
    return {"pyproject.toml": table + 'python_files = ["tool_*.py"]\n'}


def register_snakemake(tools: Sequence[Module]) -> Texts:
    rules = [
        f'\n\nrule {tool.name}:\n    input:\n        "{tool.path}"\n'
        f'    output:\n        touch("done/{tool.name}")\n'
        f'    shell:\n        "PYTHONPATH=src {{PYTHON}} -m {tool.dotted}"\n'
        for tool in tools
    ]
    outputs = "".join(f'        "done/{tool.name}",\n' for tool in tools)
    head = f"import sys\n\nPYTHON = sys.executable\n\n\nrule everything:\n    input:\n{outputs}"
    return {"Snakefile": head + "".join(rules)}


def register_luigi(tools: Sequence[Module]) -> Texts:
    text = f"""\
import importlib

import luigi

TOOLS = {names_list(tools)}

def task_of(name):
    return getattr(importlib.import_module(name), "Tool" + name[-5:])


class Everything(luigi.WrapperTask):
    def requires(self):
        return [task_of(name)() for name in TOOLS]
"""
    return {"src/everything.py": text}


def register_kedro(tools: Sequence[Module]) -> Texts:
    texts = {
        "pyproject.toml": '[tool.kedro]\npackage_name = "bench"\nproject_name = "bench"\n'
        f'kedro_init_version = "{version("kedro")}"\nsource_dir = "src"\n',
        "conf/base/catalog.yml": "",
        "conf/base/parameters.yml": "",
        "conf/local/.gitkeep": "",
        "src/bench/__init__.py": "",
        "src/bench/settings.py": "",
        "src/bench/pipelines/__init__.py": "",
        "src/bench/pipeline_registry.py": dedent("""\
            from kedro.framework.project import find_pipelines


            def register_pipelines():
                pipelines = find_pipelines()
                pipelines["__default__"] = sum(pipelines.values())
                return pipelines
            """),
    }
    for stage in STAGES:
        own = [tool for tool in tools if stage_of(tool, len(tools)) == stage]
        folder = f"src/bench/pipelines/{stage}"
        texts[f"{folder}/__init__.py"] = "from .pipeline import create_pipeline\n"
        texts[f"{folder}/pipeline.py"] = f"""\
import importlib

from kedro.pipeline import node, pipeline

TOOLS = {names_list(own)}

def create_pipeline(**kwargs):
    nodes = []
    for name in TOOLS:
        tool = name.rpartition(".")[2]
        run = importlib.import_module(name).run
        nodes.append(node(run, None, "from_" + tool, name=tool))
    return pipeline(nodes)
"""
    return texts


def register_dagster(tools: Sequence[Module]) -> Texts:
    project = """\
        [project]
        name = "bench"
        version = "0"

        [tool.dg]
        directory_type = "project"

        [tool.dg.project]
        root_module = "bench"
        """
    definitions = f"""\
import importlib

import dagster as dg

TOOLS = {names_list(tools)}
modules = [importlib.import_module(name) for name in TOOLS]
defs = dg.Definitions(
    assets=dg.load_assets_from_modules(modules), executor=dg.in_process_executor
)
"""
    return {
        "pyproject.toml": dedent(project),
        "home/dagster.yaml": "telemetry:\n  enabled: false\n",
        "src/bench/__init__.py": "",
        "src/bench/defs/__init__.py": "",
        "src/bench/definitions.py": definitions,
    }


FUNCTION = '''\
def run() -> None:
    """Run this tool."""
    ${work}
'''
TAGGED = '''\
STAGE = "${stage}"


def run(conn, *, since: date | None = None, limit: int = 100):
    """Run this tool.

    Args:
        since: only readings from this day on.
        limit: at most so many of them.
    """
    ${work}
    return {"weight": weight}
'''
LUIGI = '''\
class Tool${digits}(luigi.Task):
    """Run this tool, whether it ran before or not."""

    is_done = False

    def complete(self):
        return self.is_done

    def run(self):
        ${work}
        self.is_done = True
'''
ASSET = '@dg.asset(group_name="${stage}")\n' + FUNCTION.replace("run()", "${name}()")
MAIN = FUNCTION + '\n\nif __name__ == "__main__":\n    run()\n'
RETURNING = FUNCTION.replace("None", "int") + "    return weight\n"

SRC = {"PYTHONPATH": "src"}
DAGSTER = {**SRC, "DAGSTER_HOME": "{root}/home"}
DIALECTS: Mapping[str, Dialect] = {
    "orch": Dialect(TAGGED, register_orch),
    "loop": Dialect(TAGGED, register_loop),
    "doit": Dialect(FUNCTION, register_doit),
    "pytask": Dialect(FUNCTION.replace("run()", "task_${name}()"), register_pytask, "", SRC),
    "pytest": Dialect(FUNCTION.replace("run()", "test_${name}()"), register_pytest),
    "snakemake": Dialect(MAIN, register_snakemake),
    "luigi": Dialect(LUIGI, register_luigi, "\nimport luigi\n", SRC),
    "kedro": Dialect(RETURNING, register_kedro),
    "dagster": Dialect(ASSET, register_dagster, "\nimport dagster as dg\n", DAGSTER),
}


def project_texts(system: str, tools: int, heavy: str = "") -> Texts:
    """All files of the project; `heavy` is a library that every tool imports."""
    dialect = DIALECTS[system]
    imports = dialect.imports + (f"\nimport {heavy}\n" if heavy else "")
    modules = [Module(number, "tool") for number in range(tools)]
    texts = {"src/proof.py": PROOF}
    for tool in modules:
        helper = Module(tool.number, "helper")
        texts[f"{Path(tool.path).parent}/__init__.py"] = ""
        texts[tool.path] = tool_text(tool, tools, dialect.end, imports)
        texts[helper.path] = helper_text(helper)
    return texts | dialect.register(modules)


class Project:
    """The files on disk. Whatever else is found among them later is state or bytecode."""

    def __init__(self, root: Path, system: str, tools: int, heavy: str = "") -> None:
        self.root = root
        self.system = system
        self.tools = tools
        named = DIALECTS[system].environment.items()
        self.environment = {name: text.format(root=root) for name, text in named}
        self._own: set[str] = set()
        for name, text in project_texts(system, tools, heavy).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self._own.add(str(path))
            self._own.update(str(parent) for parent in path.parents)

    def reset(self) -> None:
        """Take away all that was not written here."""
        for folder, folders, files in os.walk(self.root):
            for name in list(folders):
                path = os.path.join(folder, name)
                if path not in self._own:
                    shutil.rmtree(path)
                    folders.remove(name)
            for name in files:
                path = os.path.join(folder, name)
                if path not in self._own:
                    os.unlink(path)
