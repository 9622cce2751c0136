"""The files of `orch init`: settings, two tools with a stage each, their data and a test."""

from __future__ import annotations

import glob
import os

from msgspec.structs import replace

from discover_orch.config.file import SHARED_FILE
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import is_skipped_file
from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.scaffold.files import FileChange, is_searched, read_file
from discover_orch.scaffold.toml_text import CannotEdit, add_settings, toml_table

_STAGES = ("ingest", "report")
#: Folders that usually hold no tools.
_NO_CODE = frozenset({"tests", "test", "docs"})
_IGNORED = ("data.db", "data.db-*", "output/", "__pycache__/")
_FILES = {
    "src/load.py": '''\
"""Load the orders from a CSV file into the database."""

import csv
from pathlib import Path
from sqlite3 import Connection

STAGE = "ingest"


def run(conn: Connection, *, source: Path = Path("data/orders.csv")) -> dict[str, int]:
    """Load the orders.

    Args:
        source: a CSV file with the columns day, customer and amount
    """
    with source.open(encoding="utf-8", newline="") as file:
        orders = [
            (row["day"], row["customer"], float(row["amount"]))
            for row in csv.DictReader(file)
        ]
    conn.execute("DROP TABLE IF EXISTS orders")
    conn.execute("CREATE TABLE orders (day TEXT, customer TEXT, amount REAL)")
    conn.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
    return {"orders": len(orders)}
''',
    "src/summarize.py": '''\
"""Write the revenue of each customer to a file."""

from datetime import date
from pathlib import Path
from sqlite3 import Connection

STAGE = "report"


def run(
    conn: Connection,
    *,
    since: date | None = None,
    target: Path = Path("output/revenue.txt"),
) -> dict[str, int]:
    """Write the revenue of each customer.

    Args:
        since: leave out the orders before this day
        target: the text file to write
    """
    rows = conn.execute(
        """
        SELECT customer, sum(amount) FROM orders
        WHERE day >= ? GROUP BY customer ORDER BY customer
        """,
        [since.isoformat() if since else ""],
    ).fetchall()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{name:<10} {total:8.2f}\\n" for name, total in rows))
    print(f"the revenue is in {target}")
    return {"customers": len(rows)}
''',
    "data/orders.csv": """\
day,customer,amount
2024-01-02,Ada,12.50
2024-01-05,Grace,80.00
2024-02-11,Ada,7.25
2024-02-20,Alan,31.00
""",
    "tests/test_pipeline.py": '''\
"""Tests of the tools. They run in this process, on an empty database in memory."""

from datetime import date
from pathlib import Path
from sqlite3 import Connection

from discover_orch.testing import OrchRun, OrchTables


def test_load_keeps_every_order(
    orch_run: OrchRun, orch_conn: Connection, tmp_path: Path
) -> None:
    source = tmp_path / "orders.csv"
    source.write_text("day,customer,amount\\n2024-01-02,Ada,12.5\\n2024-01-03,Ada,1\\n")

    assert orch_run("load", source=source) == {"orders": 2}
    total = orch_conn.execute("SELECT sum(amount) FROM orders").fetchone()
    assert total == (13.5,)


def test_summarize_leaves_out_older_orders(
    orch_run: OrchRun, orch_tables: OrchTables, tmp_path: Path
) -> None:
    orch_tables(
        orders=[
            {"day": "2024-01-31", "customer": "Grace", "amount": 1.0},
            {"day": "2024-02-01", "customer": "Ada", "amount": 2.0},
        ]
    )
    target = tmp_path / "revenue.txt"

    result = orch_run("summarize", since=date(2024, 2, 1), target=target)
    assert result == {"customers": 1}
    assert target.read_text() == "Ada            2.00\\n"
''',
}


def build_first_project(
    root: str, registry: Registry, code: list[str], packages: list[str]
) -> tuple[FileChange, ...]:
    """The files to create or to extend in the folder `root`, which has no configuration of orch. `code`: its folders
    with Python code: where there are some, no example is added. Files that exist stay as they are.

    Raises ProjectError if the settings cannot be added to the pyproject.toml that exists."""
    stages = [stage.name for stage in registry.stages] or ([] if code else list(_STAGES))
    table: dict[str, object] = {
        "packages": None if packages == ["src"] else packages,
        "stages": stages,
        "pythonpath": ["src"] if _has_src_layout(root) else None,
    }
    try:
        settings = add_settings(root, table)
    except CannotEdit as error:
        hint = "correct the file, or write the settings to orch.toml: stages = [...]"
        place = Location(path=SHARED_FILE)
        problem = Problem(code="toml", message=str(error), hint=hint, location=place)
        raise ProjectError(problem) from None
    if settings.is_new and (not code or os.path.isdir(os.path.join(root, "tests"))):
        tests = toml_table("tool.pytest.ini_options", {"testpaths": ["tests"]})
        settings = replace(settings, new=settings.new + f"\n{tests}".encode())
    found = [settings]
    for path, text in ({} if code else _FILES).items():
        if read_file(root, path) is None:
            found.append(FileChange(path=path, old=None, new=text.encode()))
    ignored = _ignore_file(root)
    return tuple(found) if ignored is None else (*found, ignored)


def find_code(root: str) -> list[str]:
    """The folders of `root` with Python code that is no test; only "." where modules stand in `root` itself."""
    folders = []
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        if entry.is_file() and _is_code(entry.name) and entry.name != "setup.py":
            return ["."]
        if entry.is_dir() and is_searched(entry.path) and entry.name not in _NO_CODE:
            for folder, inner, files in os.walk(entry.path):
                inner[:] = [one for one in inner if is_searched(os.path.join(folder, one))]
                if any(map(_is_code, files)):
                    folders.append(entry.name)
                    break
    return folders


def _is_code(name: str) -> bool:
    return name.endswith(".py") and not is_skipped_file(name)


def _has_src_layout(root: str) -> bool:
    """Whether `src` holds packages and is none itself, so that Python finds them with `src` on its path."""
    source = os.path.join(root, "src")
    packages = glob.iglob(os.path.join(glob.escape(source), "*", "__init__.py"))
    return not os.path.exists(os.path.join(source, "__init__.py")) and any(packages)


def _ignore_file(root: str) -> FileChange | None:
    """`.gitignore` with the lines that it does not have yet; None if it has them all."""
    old = read_file(root, ".gitignore")
    data = old or b""
    lines = {line.strip() for line in data.decode("utf-8", "replace").splitlines()}
    missing = [line for line in _IGNORED if line not in lines and line.strip("/") not in lines]
    if not missing:
        return None
    gap = b"" if not data or data.endswith(b"\n") else b"\n"
    added = "".join(f"{line}\n" for line in missing).encode()
    return FileChange(path=".gitignore", old=old, new=data + gap + added)
