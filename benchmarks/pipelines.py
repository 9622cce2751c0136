"""One little pipeline in the dialect of each system, for `staleness`: a CSV, two tables, a report.

`fetch` copies the CSV into the table `raw`, `parse` makes `records` of it with a helper that has a
helper, `convert` updates `records` in place, and `render` writes `report.html` with a style that a
child process reads. The plain functions are the same for all but Kedro and SQLMesh, where they return
frames and `convert` makes a table of its own. What a system needs beyond them is counted as its
declarations. Each task notes that it ran in a file outside of the project.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TASKS = ("fetch", "parse", "convert", "render")
#: The variable that names the file in which tasks note that they ran.
LOG = "STALENESS_LOG"

Texts = dict[str, str]

SHARED: Mapping[str, str] = {
    "data/readings.csv": "place,amount\nharbour,3.141\nquarry,2.718\nglacier,1.414\n",
    "data/style.txt": "p { color: navy }\n",
    "src/__init__.py": "",
    "src/noting.py": f'''\
import os


def note(task):
    """Says, outside of the project, that the task ran."""
    with open(os.environ["{LOG}"], "a") as file:
        file.write(task + "\\n")
''',
    "src/cells.py": """\
from src.numbers import read_number


def read_row(place, amount):
    return place.strip(), read_number(amount)
""",
    "src/style.py": """\
import subprocess


def read_style():
    \"\"\"Another program opens the file, as native libraries do.\"\"\"
    command = ["cat", "data/style.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
""",
    "src/numbers.py": """\
def read_number(text):
    return round(float(text), 2)
""",
}
#: What a system without connections of its own calls the plain functions by.
CALL = '''\
import sqlite3


def call(run, **arguments):
    """The function on a connection of its own, committed."""
    conn = sqlite3.connect("data.db")
    with conn:
        run(conn, **arguments)
    conn.close()
'''
FETCH = """\
import csv
{imports}
from src.noting import note
{head}

def run(conn, source="data/readings.csv"):
    note("fetch")
    with open(source, newline="") as file:
        rows = [(row["place"], row["amount"]) for row in csv.DictReader(file)]
    conn.execute("DROP TABLE IF EXISTS raw")
    conn.execute("CREATE TABLE raw (place TEXT, amount TEXT)")
    conn.executemany("INSERT INTO raw VALUES (?, ?)", rows)
{tail}"""
PARSE = """\
{imports}
from src.cells import read_row
from src.noting import note
{head}

def run(conn):
    note("parse")
    rows = conn.execute("SELECT place, amount FROM raw").fetchall()
    records = [read_row(*row) for row in rows]
    conn.execute("DROP TABLE IF EXISTS records")
    conn.execute("CREATE TABLE records (place TEXT, amount REAL)")
    conn.executemany("INSERT INTO records VALUES (?, ?)", records)
{tail}"""
CONVERT = """\
{imports}
from src.noting import note
{head}

def run(conn):
    note("convert")
    conn.execute("UPDATE records SET amount = amount * 100")
{tail}"""
RENDER = """\
{imports}
from src.noting import note
from src.style import read_style
{head}

def run(conn, title="Readings"):
    note("render")
    lines = [f"<style>{{read_style()}}</style><h1>{{title}}</h1>"]
    for place, amount in conn.execute("SELECT place, amount FROM records"):
        lines.append(f"<p>{{place}}: {{amount}}</p>")
    with open("report.html", "w") as file:
        file.write("\\n".join(lines))
{tail}"""
MODULES = {"fetch": FETCH, "parse": PARSE, "convert": CONVERT, "render": RENDER}
#: What another program does to the database.
OUTSIDE = """\
import sqlite3
conn = sqlite3.connect("data.db")
with conn:
    conn.execute("UPDATE raw SET amount = '9.999'")
conn.close()
"""


@dataclass(frozen=True)
class Parts:
    """What is put into the module of a task, before and behind its function."""

    head: str = ""
    tail: str = ""
    imports: str = ""


@dataclass(frozen=True)
class Dialect:
    """How a system is told of the pipeline, and what is typed."""

    parts: Mapping[str, Parts]
    files: Callable[[], Texts]  # of its own: each line in them is a declaration
    changed: tuple[str, ...]  # runs what it thinks must run; {title} is the parameter
    everything: tuple[str, ...]
    fetch_alone: tuple[str, ...]  # empty where no command runs one task
    distributions: tuple[str, ...]
    #: What a person would click and not write: neither plain nor counted.
    driver: Mapping[str, str]
    #: The parameter has its value here and not on the command line.
    title_file: str = ""
    prefix: str = ""
    folder: str = "src"
    #: `convert` updates the table that `parse` makes; else it makes a table of its own.
    is_in_place: bool = True
    outside: str = OUTSIDE
    #: The functions in the system's own way; without any they are those above. Only `parts` count.
    functions: Mapping[str, str] = field(default_factory=dict)

    def path(self, task: str) -> str:
        return f"{self.folder}/{self.prefix}{task}.py"


@dataclass(frozen=True)
class Project:
    """A pipeline of one system: its files, its tasks in their order, and what is typed."""

    files: Texts
    tasks: tuple[str, ...]
    changed: tuple[str, ...]
    everything: tuple[str, ...]


def texts(dialect: Dialect) -> Texts:
    """All files of the project."""
    found = dict(SHARED) | {"src/database.py": CALL} | dict(dialect.driver) | dialect.files()
    for task, text in MODULES.items():
        name = dialect.path(task)
        parts = dialect.parts.get(task, Parts())
        if dialect.functions:
            text = dialect.functions[name].replace("\ndef run(", f"\n{parts.head}def run(")
            found[name] = f"{parts.imports}{text}"
        else:
            text = text.format(head=parts.head, tail=parts.tail, imports=parts.imports)
            found[name] = text.lstrip("\n")
    return found


def declarations(dialect: Dialect) -> int:
    """Lines that are neither blank nor in the plain functions."""
    own = sum(len(lines_of(text)) for text in dialect.files().values())
    whole = texts(dialect)
    for task, text in MODULES.items():
        name = dialect.path(task)
        plain = dialect.functions.get(name) or text.format(head="", tail="", imports="")
        own += (Counter(lines_of(whole[name])) - Counter(lines_of(plain))).total()
    return own


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def write(root: Path, files: Texts) -> None:
    """The project on the disk."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
