"""Ten tasks in the dialect of each system, for `staleness`: two at a time call one of five helpers in one module."""

from __future__ import annotations

from pipelines import SHARED, Dialect, Project, Texts
from pipelines import TASKS as FOUR

TASKS = tuple(f"t{number}" for number in range(10))
CONCERNED = ("t4", "t5")
HELPERS = "\n\n".join(
    f"def help_{number}(n):\n    return n + {number}\n" for number in range(len(TASKS) // 2)
)
EDIT = ("return n + 2", "return n + 20")

ORCH = """\
from src.helpers import {helper}
from src.noting import note

STAGE = "ten"


def run():
    note("{task}")
    with open("{task}.txt", "w") as file:
        file.write(str({helper}(1)))
"""
PLAIN = ORCH.replace('STAGE = "ten"\n\n\n', "\n")
PYTASK = """\
from pathlib import Path
from typing import Annotated

from pytask import Product
from src.helpers import {helper}
from src.noting import note


def task_{task}(path: Annotated[Path, Product] = Path(__file__).parent.parent / "{task}.txt"):
    note("{task}")
    path.write_text(str({helper}(1)))
"""
VALUE = """\
from src.helpers import {helper}
from src.noting import note


def run():
    note("{task}")
    return str({helper}(1))
"""
DAGSTER = VALUE.replace("from src.h", "import dagster as dg\nfrom src.h").replace(
    "def run(", "@dg.asset\ndef {task}("
)
SQLMESH = """\
import pandas
from sqlmesh import model

from src.helpers import {helper}
from src.noting import note


@model("db.{task}", kind="FULL", columns={{"n": "int"}})
def run(context, **kwargs):
    note("{task}")
    return pandas.DataFrame({{"n": [{helper}(1)]}})
"""
DODO = f"""\
from importlib import import_module


def task_ten():
    for name in {TASKS}:
        yield {{
            "name": name,
            "actions": [import_module("src." + name).run],
            "file_dep": [f"src/{{name}}.py"],
            "targets": [f"{{name}}.txt"],
        }}
"""
SNAKEFILE = f"""\
rule all:
    input: {", ".join(f'"{task}.txt"' for task in TASKS)}
""" + "".join(
    f'\nrule {task}:\n    output: "{task}.txt"\n    script: "src/{task}.py"\n' for task in TASKS
)
REGISTRY = f"""\
from importlib import import_module

from kedro.pipeline import node, pipeline


def register_pipelines():
    nodes = [node(import_module(f"src.{{one}}").run, None, one, name=one) for one in {TASKS}]
    return {{"__default__": pipeline(nodes)}}
"""
DEFINITIONS = f"""\
from importlib import import_module

import dagster as dg

defs = dg.Definitions(assets=[getattr(import_module(f"src.{{one}}"), one) for one in {TASKS}])
"""


def modules(text: str, path: str = "src/{task}.py") -> Texts:
    return {
        path.format(task=task): text.format(task=task, helper=f"help_{number // 2}")
        for number, task in enumerate(TASKS)
    }


def own_texts(system: str) -> Texts:
    """What one system has besides the helpers."""
    match system:
        case "orch":
            return modules(ORCH)
        case "pytask":
            settings = '[tool.pytask.ini_options]\npaths = ["src"]\n'
            return modules(PYTASK, "src/task_{task}.py") | {"pyproject.toml": settings}
        case "doit":
            return modules(PLAIN) | {"dodo.py": DODO}
        case "Snakemake":
            return modules(f"{PLAIN}\n\nrun()\n") | {"Snakefile": SNAKEFILE}
        case "Kedro":
            entry = "{task}:\n  type: text.TextDataset\n  filepath: {task}.txt\n"
            return modules(VALUE) | {
                "src/pipeline_registry.py": REGISTRY,
                "conf/base/catalog.yml": "".join(entry.format(task=task) for task in TASKS),
            }
        case "Dagster":
            return modules(DAGSTER) | {"definitions.py": DEFINITIONS}
    return modules(SQLMESH, "models/{task}.py")


def project(system: str, dialect: Dialect) -> Project:
    """With the settings of the other pipeline, and what is typed there."""
    kept = ("pyproject.toml", "src/settings.py", "config.yaml", "conf/base/parameters.yml")
    kept += ("conf/local/credentials.yml",)  # Kedro wants the folder
    files = {name: text for name, text in dialect.files().items() if name in kept}
    files |= {name: SHARED[name] for name in ("src/__init__.py", "src/noting.py")}
    files |= {"src/helpers.py": HELPERS, **dialect.driver, **own_texts(system)}
    if system == "orch":  # which refuses a parameter that no tool takes
        return Project(files, TASKS, ("orch", "run", "--changed"), ("orch", "run"))
    everything = tuple(word for word in dialect.everything if word not in FOUR)
    named = TASKS if everything != dialect.everything else ()
    return Project(files, TASKS, dialect.changed, (*everything, *named))
