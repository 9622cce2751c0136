"""How each system is told of the little pipeline of `pipelines`, in its own idiom.

Where a table cannot be a dependency, a marker stands for it: a file that is written after the table. A
database that two tasks write can be a target in doit alone, which only asks whether it exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from pipelines import TASKS, Dialect, Parts

OLD_TITLE, NEW_TITLE = "Readings", "Readings of the year"

# ---- orch ----

ORCH = Dialect(
    parts={
        "fetch": Parts('\nSTAGE = "report"\n'),
        "parse": Parts('\nSTAGE = "report"\nAFTER = "fetch"\n'),
        "convert": Parts('\nSTAGE = "report"\nAFTER = "parse"\n'),
        "render": Parts('\nSTAGE = "report"\nAFTER = "convert"\n'),
    },
    files=dict,
    changed=("orch", "run", "--changed", "--title", "{title}"),
    everything=("orch", "run", "--title", "{title}"),
    fetch_alone=("orch", "run", "fetch"),
    distributions=("discover-orch",),
    driver={},
)

# ---- pytask: a file of its own stands for each table, holding the time at which it was written ----

PYTASK_IMPORTS = """\
from datetime import datetime
from pathlib import Path
from typing import Annotated
"""
PYTASK = Dialect(
    parts={
        "fetch": Parts(
            imports=PYTASK_IMPORTS + "from src.config import ROOT\nfrom src.database import call",
            tail="""

def task_fetch(
    source: Path = ROOT / "data" / "readings.csv",
) -> Annotated[str, ROOT / "fetch.done"]:
    call(run, source=source)
    return datetime.now().isoformat()
""",
        ),
        "parse": Parts(
            imports=PYTASK_IMPORTS + "from src.config import ROOT\nfrom src.database import call",
            tail="""

def task_parse(raw: Path = ROOT / "fetch.done") -> Annotated[str, ROOT / "parse.done"]:
    call(run)
    return datetime.now().isoformat()
""",
        ),
        "convert": Parts(
            imports=PYTASK_IMPORTS + "from src.config import ROOT\nfrom src.database import call",
            tail="""

def task_convert(records: Path = ROOT / "parse.done") -> Annotated[str, ROOT / "convert.done"]:
    call(run)
    return datetime.now().isoformat()
""",
        ),
        "render": Parts(
            imports="""\
from pathlib import Path
from typing import Annotated
from pytask import Product, PythonNode
from src.config import ROOT, TITLE
from src.database import call""",
            tail="""

def task_render(
    title: Annotated[str, PythonNode(value=TITLE, hash=True)],
    records: Path = ROOT / "convert.done",
    style: Path = ROOT / "data" / "style.txt",
    report: Annotated[Path, Product] = ROOT / "report.html",
) -> None:
    call(run, title=title)
""",
        ),
    },
    files=lambda: {
        "src/config.py": "from pathlib import Path\nROOT = Path(__file__).parent.parent\n"
        f'TITLE = "{OLD_TITLE}"\n',
        "pyproject.toml": '[tool.pytask.ini_options]\npaths = ["src"]\n',
    },
    changed=("pytask",),
    everything=("pytask", "build", "--force"),
    fetch_alone=("pytask", "build", "--force", "-k", "task_fetch"),
    distributions=("pytask",),
    driver={},
    title_file="src/config.py",
    prefix="task_",
)

# ---- doit: the same; and the database is a target, of which doit asks only whether it exists ----

DODO = f"""\
from datetime import datetime
from pathlib import Path

from doit import get_var
from doit.tools import config_changed

from src import convert, fetch, parse, render
from src.database import call

TITLE = get_var("title", "{OLD_TITLE}")


def mark(path):
    Path(path).write_text(datetime.now().isoformat())


def task_fetch():
    return {{
        "actions": [(call, [fetch.run]), (mark, ["fetch.done"])],
        "file_dep": ["data/readings.csv", "src/fetch.py"],
        "targets": ["data.db", "fetch.done"],
    }}


def task_parse():
    return {{
        "actions": [(call, [parse.run]), (mark, ["parse.done"])],
        "file_dep": ["fetch.done", "src/parse.py"],
        "targets": ["parse.done"],
    }}


def task_convert():
    return {{
        "actions": [(call, [convert.run]), (mark, ["convert.done"])],
        "file_dep": ["parse.done", "src/convert.py"],
        "targets": ["convert.done"],
    }}


def task_render():
    return {{
        "actions": [(call, [render.run], {{"title": TITLE}})],
        "file_dep": ["convert.done", "data/style.txt", "src/render.py"],
        "targets": ["report.html"],
        "uptodate": [config_changed({{"title": TITLE}})],
    }}
"""
DOIT = Dialect(
    parts={},
    files=lambda: {"dodo.py": DODO},
    changed=("doit", "run", "title={title}"),
    everything=("doit", "run", "-a", "title={title}"),
    fetch_alone=("doit", "run", "-a", "fetch"),
    distributions=("doit",),
    driver={},
)

# ---- Snakemake: files that only say that a table was written, as its documentation has them ----

SNAKEFILE = f"""\
rule render:
    input: "convert.done", "data/style.txt"
    output: "report.html"
    params: title=config.get("title", "{OLD_TITLE}")
    script: "src/render.py"

rule convert:
    input: "parse.done"
    output: touch("convert.done")
    script: "src/convert.py"

rule parse:
    input: "fetch.done"
    output: touch("parse.done")
    script: "src/parse.py"

rule fetch:
    input: "data/readings.csv"
    output: touch("fetch.done")
    script: "src/fetch.py"
"""
SNAKEMAKE = Dialect(
    parts={
        "fetch": Parts(
            imports="from src.database import call",
            tail="\n\ncall(run, source=snakemake.input[0])\n",
        ),
        "parse": Parts(imports="from src.database import call", tail="\n\ncall(run)\n"),
        "convert": Parts(imports="from src.database import call", tail="\n\ncall(run)\n"),
        "render": Parts(
            imports="from src.database import call",
            tail="\n\ncall(run, title=snakemake.params.title)\n",
        ),
    },
    files=lambda: {"Snakefile": SNAKEFILE},
    changed=("snakemake", "--cores", "1", "--config", "title={title}"),
    everything=("snakemake", "--cores", "1", "--forceall", "--config", "title={title}"),
    fetch_alone=("snakemake", "--cores", "1", "--force", "fetch.done"),
    distributions=("snakemake",),
    driver={},
)

# ---- Kedro: functions of frames, and a catalogue of what they are kept in ----

KEDRO_MODULES: Mapping[str, str] = {
    "src/fetch.py": """\
from src.noting import note


def run(readings):
    note("fetch")
    return readings
""",
    "src/parse.py": """\
import pandas

from src.cells import read_row
from src.noting import note


def run(raw):
    note("parse")
    records = [read_row(place, amount) for place, amount in raw.itertuples(index=False)]
    return pandas.DataFrame(records, columns=["place", "amount"])
""",
    "src/convert.py": """\
from src.noting import note


def run(records):
    note("convert")
    return records.assign(amount=records["amount"] * 100)
""",
    "src/render.py": """\
from src.noting import note


def run(converted, style, title):
    note("render")
    lines = [f"<style>{style}</style><h1>{title}</h1>"]
    for place, amount in converted.itertuples(index=False):
        lines.append(f"<p>{place}: {amount}</p>")
    return "\\n".join(lines)
""",
}
CATALOG = """\
readings:
  type: pandas.CSVDataset
  filepath: data/readings.csv
raw:
  type: pandas.SQLTableDataset
  table_name: raw
  credentials: database
  save_args: {if_exists: replace, index: false}
records:
  type: pandas.SQLTableDataset
  table_name: records
  credentials: database
  save_args: {if_exists: replace, index: false}
converted:
  type: pandas.SQLTableDataset
  table_name: converted
  credentials: database
  save_args: {if_exists: replace, index: false}
style:
  type: text.TextDataset
  filepath: data/style.txt
report:
  type: text.TextDataset
  filepath: report.html
"""
REGISTRY = """\
from kedro.pipeline import node, pipeline

from src import convert, fetch, parse, render


def register_pipelines():
    return {
        "__default__": pipeline(
            [
                node(fetch.run, "readings", "raw", name="fetch"),
                node(parse.run, "raw", "records", name="parse"),
                node(convert.run, "records", "converted", name="convert"),
                node(
                    render.run, ["converted", "style", "params:title"], "report", name="render"
                ),
            ]
        )
    }
"""
KEDRO = Dialect(
    parts={},
    files=lambda: {
        "pyproject.toml": '[tool.kedro]\npackage_name = "src"\nproject_name = "readings"\n'
        f'kedro_init_version = "{version("kedro")}"\nsource_dir = "."\n',
        "conf/base/catalog.yml": CATALOG,
        "conf/base/parameters.yml": f"title: {OLD_TITLE}\n",
        "conf/local/credentials.yml": "database:\n  con: sqlite:///data.db\n",
        "src/settings.py": "",
        "src/pipeline_registry.py": REGISTRY,
    },
    changed=("kedro", "run", "--only-missing-outputs", "--params", "title={title}"),
    everything=("kedro", "run", "--params", "title={title}"),
    fetch_alone=("kedro", "run", "--nodes", "fetch"),
    distributions=("kedro", "kedro-datasets"),
    driver={},
    functions=KEDRO_MODULES,
    is_in_place=False,
)

# ---- Dagster: assets; `unsynced.py` does what a person does in its web interface ----

DEFINITIONS = """\
import hashlib
from pathlib import Path

import dagster as dg

from src import convert, fetch, parse, render


@dg.observable_source_asset
def readings():
    content = Path("data/readings.csv").read_bytes()
    return dg.DataVersion(hashlib.sha256(content).hexdigest())


@dg.observable_source_asset
def style():
    content = Path("data/style.txt").read_bytes()
    return dg.DataVersion(hashlib.sha256(content).hexdigest())


defs = dg.Definitions(
    assets=[readings, style, fetch.fetch, parse.parse, convert.convert, render.render]
)
"""
DRIVER = '''\
"""Observes the sources, then materializes what is "unsynced" until nothing is; or what is named."""

import sys

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.observe import observe
from dagster._core.loader import LoadingContextForTest

import definitions

title, *names = sys.argv[1:]
defs = definitions.defs
sources = [getattr(definitions, name) for name in ("readings", "style") if hasattr(definitions, name)]
assets = {asset.key.to_user_string(): asset for asset in defs.assets if asset not in sources}
config = {"ops": {"render": {"config": {"title": title}}}}


def materialize(chosen):
    done = dg.materialize(
        [*sources, *assets.values()],
        selection=chosen,
        instance=instance,
        run_config=config if "render" in chosen else None,
    )
    assert done.success


def unsynced():
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    states = {name: resolver.get_status(asset.key) for name, asset in assets.items()}
    return [name for name, state in states.items() if state != StaleStatus.FRESH]


with dg.DagsterInstance.get() as instance:
    if sources:
        observe(sources, instance=instance)
    if names:
        materialize(names)
    else:
        while chosen := unsynced():
            materialize(chosen)
'''
DAGSTER_ASSET = """

@dg.asset(deps=[{deps}])
def {name}():
    call(run)
"""
DAGSTER_IMPORTS = "import dagster as dg\nfrom src.database import call"
DAGSTER = Dialect(
    parts={
        "fetch": Parts(
            imports=DAGSTER_IMPORTS, tail=DAGSTER_ASSET.format(name="fetch", deps='"readings"')
        ),
        "parse": Parts(
            imports=DAGSTER_IMPORTS, tail=DAGSTER_ASSET.format(name="parse", deps='"fetch"')
        ),
        "convert": Parts(
            imports=DAGSTER_IMPORTS, tail=DAGSTER_ASSET.format(name="convert", deps='"parse"')
        ),
        "render": Parts(
            imports=DAGSTER_IMPORTS,
            tail=f"""

class Heading(dg.Config):
    title: str = "{OLD_TITLE}"


@dg.asset(deps=["convert", "style"])
def render(config: Heading):
    call(run, title=config.title)
""",
        ),
    },
    files=lambda: {"definitions.py": DEFINITIONS},
    changed=("python", "unsynced.py", "{title}"),
    everything=("python", "unsynced.py", "{title}", *TASKS),
    fetch_alone=("python", "unsynced.py", OLD_TITLE, "fetch"),
    distributions=("dagster",),
    driver={"unsynced.py": DRIVER, "home/dagster.yaml": "telemetry:\n  enabled: false\n"},
)

# ---- SQLMesh: Python models, each of which returns the frame of its table; the CSV is a seed ----

SQLMESH_MODULES: Mapping[str, str] = {
    "models/fetch.py": """\
from src.noting import note


def run(context, **kwargs):
    note("fetch")
    return context.fetchdf(f"SELECT * FROM {context.resolve_table('db.readings')}")
""",
    "models/parse.py": """\
import pandas

from src.cells import read_row
from src.noting import note


def run(context, **kwargs):
    note("parse")
    raw = context.fetchdf(f"SELECT place, amount FROM {context.resolve_table('db.raw')}")
    records = [read_row(place, amount) for place, amount in raw.itertuples(index=False)]
    return pandas.DataFrame(records, columns=["place", "amount"])
""",
    "models/convert.py": """\
from src.noting import note


def run(context, **kwargs):
    note("convert")
    records = context.fetchdf(f"SELECT * FROM {context.resolve_table('db.records')}")
    return records.assign(amount=records["amount"] * 100)
""",
    "models/render.py": """\
import pandas

from src.noting import note
from src.style import read_style


def run(context, **kwargs):
    note("render")
    lines = [f"<style>{read_style()}</style><h1>{context.var('title')}</h1>"]
    converted = context.fetchdf(f"SELECT * FROM {context.resolve_table('db.converted')}")
    for place, amount in converted.itertuples(index=False):
        lines.append(f"<p>{place}: {amount}</p>")
    with open("report.html", "w") as file:
        file.write("\\n".join(lines))
    return pandas.DataFrame({"text": lines})
""",
}
SQLMESH_IMPORT = "from sqlmesh import model\n"
SQLMESH_MODEL = """\
@model(
    "db.{table}",
    kind="FULL",
    columns={{{columns}}},
    depends_on=["db.{upstream}"],
)
"""
RAW, RECORDS = '"place": "text", "amount": "text"', '"place": "text", "amount": "double"'
SQLMESH_CONFIG = f"""\
gateways:
  local:
    connection:
      type: duckdb
      database: data.db
default_gateway: local
model_defaults:
  dialect: duckdb
  start: 2024-01-01
variables:
  title: {OLD_TITLE}
"""
SEED = """\
MODEL (
  name db.readings,
  kind SEED (path '../data/readings.csv'),
  columns (place TEXT, amount TEXT)
);
"""
SQLMESH_OUTSIDE = """\
import duckdb
conn = duckdb.connect("data.db")
(name,) = conn.execute(
    "SELECT table_schema || '.' || table_name FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND table_name LIKE 'db__raw__%'"
).fetchone()
conn.execute(f"UPDATE {name} SET amount = '9.999'")
"""
APPLY = ("sqlmesh", "plan", "--auto-apply", "--no-prompts")
SQLMESH = Dialect(
    parts={
        task: Parts(
            imports=SQLMESH_IMPORT,
            head=SQLMESH_MODEL.format(table=table, columns=columns, upstream=upstream),
        )
        for task, table, columns, upstream in (
            ("fetch", "raw", RAW, "readings"),
            ("parse", "records", RECORDS, "raw"),
            ("convert", "converted", RECORDS, "records"),
            ("render", "report", '"text": "text"', "converted"),
        )
    },
    files=lambda: {"config.yaml": SQLMESH_CONFIG, "models/readings.sql": SEED},
    changed=APPLY,
    everything=APPLY,  # in a new project
    fetch_alone=(),  # a restatement runs what is downstream too, and takes up no changed file
    distributions=("sqlmesh",),
    driver={},
    title_file="config.yaml",
    folder="models",
    functions=SQLMESH_MODULES,
    is_in_place=False,
    outside=SQLMESH_OUTSIDE,
)

DIALECTS: Mapping[str, Dialect] = {
    "orch": ORCH,
    "pytask": PYTASK,
    "doit": DOIT,
    "Snakemake": SNAKEMAKE,
    "Kedro": KEDRO,
    "Dagster": DAGSTER,
    "SQLMesh": SQLMESH,
}
