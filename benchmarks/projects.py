"""One synthetic project in the dialect of each system: the same modules, another registration.

In: the name of a system, a number of tools, perhaps a heavy library. Out: the text of each file, by
its path. `Project` puts them on disk and can take away everything else again.

N tools stand beside N helpers, 25 of each in a package.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

from modules import (
    PROOF,
    STAGES,
    Module,
    helper_text,
    names_list,
    stage_of,
    tool_text,
)

Texts = dict[str, str]


@dataclass(frozen=True)
class Dialect:
    """How a tool ends, which files register the tools, what a tool imports for it."""

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
