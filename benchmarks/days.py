"""The pipeline of `items`: a file a day, which is cleaned, turned into features, and added up, in the dialect of each
system. The plain functions are the same for all. What a system needs beyond them is counted as its declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The variable that names the file in which tasks note that they ran.
LOG = "ITEMS_LOG"
SHARED: Mapping[str, str] = {
    "src/__init__.py": "",
    "src/noting.py": f'''\
import os


def note(task):
    """Says, outside of the project, that the task ran."""
    with open(os.environ["{LOG}"], "a") as file:
        file.write(task + "\\n")
''',
}
CLEAN = """\
import csv
from datetime import date
from pathlib import Path
from src.noting import note


def run(*, day: date):
    note(f"clean {day}")
    with open(f"raw/{day}.csv", newline="") as file:
        rows = sorted({(row["shop"], int(row["amount"])) for row in csv.DictReader(file)})
    Path("clean").mkdir(exist_ok=True)
    with open(f"clean/{day}.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
"""
FEATURES = """\
import csv
from datetime import date
from pathlib import Path
from src.noting import note


def run(*, day: date):
    note(f"features {day}")
    with open(f"clean/{day}.csv", newline="") as file:
        amounts = [int(amount) for shop, amount in csv.reader(file)]
    Path("features").mkdir(exist_ok=True)
    Path(f"features/{day}.txt").write_text(f"{amounts[0]} {sum(amounts)}")
"""
TOTAL = """\
from pathlib import Path
from src.noting import note


def run(PARAMETERS):
    note("total all")
    lines = [path.read_text() for path in sorted(PATHS)]
    Path("total.txt").write_text("\\n".join(lines))
"""
TASKS = ("clean", "features", "total")


@dataclass(frozen=True)
class Days:
    """How a system is told of the pipeline, and what is typed."""

    files: Mapping[str, str]  # of its own: each line in them is a declaration
    changed: tuple[str, ...]
    distributions: tuple[str, ...]
    heads: Mapping[str, str]  # above the function of a task
    tails: Mapping[str, str]  # below it
    driver: Mapping[str, str]  # what a person would click and not write: neither plain nor counted
    prefix: str = ""
    tidy: tuple[str, ...] = ()  # removes what is left over
    finds_features: bool = False  # the function itself lists the folder

    @property
    def lines(self) -> int:
        texts = (*self.files.values(), *self.heads.values(), *self.tails.values())
        return sum(bool(line.strip()) for text in texts for line in text.splitlines())

    def path(self, task: str) -> str:
        return f"src/{self.prefix}{task}.py"

    def texts(self) -> dict[str, str]:
        """All files of the project but those of the days."""
        words = ("", 'Path("features").glob("*.txt")') if self.finds_features else ("paths",) * 2
        total = TOTAL.replace("PARAMETERS", words[0]).replace("PATHS", words[1])
        found = {**SHARED, **self.files, **self.driver}
        for task, text in zip(TASKS, (CLEAN, FEATURES, total), strict=True):
            above, name, below = text.partition("\n\n\ndef run(")
            head = self.heads.get(task, "")
            found[self.path(task)] = f"{above}\n{head}{name[1:]}{below}{self.tails.get(task, '')}"
        return found


ORCH = Days(
    files={"orch.toml": 'stages = ["clean", "features", "report"]\n'},
    changed=("orch", "run", "--changed"),
    distributions=("discover-orch",),
    heads={
        "clean": 'STAGE = "clean"\nORCH = {"each": "raw/{day}.csv"}\n',
        "features": 'STAGE = "features"\nORCH = {"each": "clean"}\n',
        "total": 'STAGE = "report"\n',
    },
    tails={},
    driver={},
    tidy=("orch", "clean", "--yes"),
    finds_features=True,
)

SNAKEFILE = """\
DAYS = glob_wildcards("raw/{day}.csv").day

rule total:
    input: expand("features/{day}.txt", day=DAYS)
    output: "total.txt"
    script: "src/total.py"

rule features:
    input: "clean/{day}.csv"
    output: "features/{day}.txt"
    script: "src/features.py"

rule clean:
    input: "raw/{day}.csv"
    output: "clean/{day}.csv"
    script: "src/clean.py"
"""
SNAKEMAKE = Days(
    files={"Snakefile": SNAKEFILE},
    changed=("snakemake", "--cores", "2", "--keep-going", "--quiet"),
    distributions=("snakemake",),
    heads={},
    tails={
        "clean": "\n\nrun(day=snakemake.wildcards.day)\n",
        "features": "\n\nrun(day=snakemake.wildcards.day)\n",
        "total": "\n\nrun(map(Path, snakemake.input))\n",
    },
    driver={},
)

PYTASK_DAY = """\


for day in DAYS:

    @task(id=day)
    def task_NAME(
        day: str = day,
        source: Path = ROOT / "FROM" / f"{day}.csv",
        made: Annotated[Path, Product] = ROOT / "TO",
    ) -> None:
        run(day=day)
"""
PYTASK_IMPORTS = """\
from typing import Annotated
from pytask import Product, task
from src.config import DAYS, ROOT
"""
PYTASK = Days(
    files={
        "src/config.py": """\
from pathlib import Path
ROOT = Path(__file__).parent.parent
DAYS = sorted(path.stem for path in ROOT.glob("raw/*.csv"))
""",
        "pyproject.toml": '[tool.pytask.ini_options]\npaths = ["src"]\n',
    },
    changed=("pytask",),
    distributions=("pytask",),
    heads={
        "clean": PYTASK_IMPORTS,
        "features": PYTASK_IMPORTS,
        "total": PYTASK_IMPORTS.replace("Product, task", "Product"),
    },
    tails={
        "clean": PYTASK_DAY.replace("NAME", "clean")
        .replace("FROM", "raw")
        .replace('"TO"', '"clean" / f"{day}.csv"'),
        "features": PYTASK_DAY.replace("NAME", "features")
        .replace("FROM", "clean")
        .replace('"TO"', '"features" / f"{day}.txt"'),
        "total": """\


def task_total(
    paths: list[Path] = [ROOT / "features" / f"{day}.txt" for day in DAYS],
    made: Annotated[Path, Product] = ROOT / "total.txt",
) -> None:
    run(paths)
""",
    },
    driver={},
    prefix="task_",
)

LUIGI_TASKS = """\
from pathlib import Path
import luigi
from src import clean, features, total

class Clean(luigi.Task):
    day = luigi.Parameter()
    def output(self):
        return luigi.LocalTarget(f"clean/{self.day}.csv")
    def run(self):
        clean.run(day=self.day)

class Features(luigi.Task):
    day = luigi.Parameter()
    def requires(self):
        return Clean(self.day)
    def output(self):
        return luigi.LocalTarget(f"features/{self.day}.txt")
    def run(self):
        features.run(day=self.day)

class Total(luigi.Task):
    def requires(self):
        return [Features(path.stem) for path in Path("raw").glob("*.csv")]
    def output(self):
        return luigi.LocalTarget("total.txt")
    def run(self):
        total.run([Path(one.path) for one in self.input()])
"""
LUIGI = Days(
    files={"days.py": LUIGI_TASKS},
    changed=("luigi", "--module", "days", "Total", "--local-scheduler"),
    distributions=("luigi",),
    heads={},
    tails={},
    driver={},
)

DAGSTER_TASKS = """\
import hashlib
from pathlib import Path
import dagster as dg
from src import clean as cleaning, features as making, total as adding
days = dg.StaticPartitionsDefinition(sorted(path.stem for path in Path("raw").glob("*.csv")))

@dg.observable_source_asset(partitions_def=days)
def raw():
    found = {path.stem: path.read_bytes() for path in Path("raw").glob("*.csv")}
    versions = {day: hashlib.sha256(text).hexdigest() for day, text in found.items()}
    return dg.DataVersionsByPartition(versions)

@dg.asset(partitions_def=days, deps=[raw])
def clean(context: dg.AssetExecutionContext):
    cleaning.run(day=context.partition_key)

@dg.asset(partitions_def=days, deps=[clean])
def features(context: dg.AssetExecutionContext):
    making.run(day=context.partition_key)

@dg.asset(deps=[features])
def total():
    adding.run([Path(f"features/{day}.txt") for day in days.get_partition_keys()])

defs = dg.Definitions(assets=[raw, clean, features, total])
"""
DAGSTER_DRIVER = '''\
"""Observes the files, then materializes each partition that is "unsynced", and then the total if it is."""

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.observe import observe
from dagster._core.loader import LoadingContextForTest

from definitions import clean, days, defs, features, raw, total

has_failed = set()


def run(asset, day=None):
    assets = [raw, clean, features, total]
    done = dg.materialize(
        assets, selection=[asset], instance=instance, partition_key=day, raise_on_error=False
    )
    if not done.success:
        has_failed.add(day)


def unsynced(asset, keys):
    resolver = CachingStaleStatusResolver(
        instance, defs.resolve_asset_graph(), LoadingContextForTest(instance)
    )
    return [key for key in keys if resolver.get_status(asset.key, key) != StaleStatus.FRESH]


with dg.DagsterInstance.get() as instance:
    observe([raw], instance=instance)
    for asset in (clean, features):
        for day in unsynced(asset, days.get_partition_keys()):
            if day not in has_failed:
                run(asset, day)
    if not has_failed and unsynced(total, [None]):
        run(total)
'''
DAGSTER = Days(
    files={"definitions.py": DAGSTER_TASKS},
    changed=("python", "unsynced.py"),
    distributions=("dagster",),
    heads={},
    tails={},
    driver={"unsynced.py": DAGSTER_DRIVER, "home/dagster.yaml": "telemetry:\n  enabled: false\n"},
)

SYSTEMS: Mapping[str, Days] = {
    "orch": ORCH,
    "Snakemake": SNAKEMAKE,
    "pytask": PYTASK,
    "Dagster": DAGSTER,
    "Luigi": LUIGI,
}
