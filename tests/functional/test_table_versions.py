"""A table that is made again with the same content makes nothing downstream stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import change, ran, reasons

LOAD = """
    STAGE = "load"
    RUN = 0
    def run(conn):
        execute = conn.execute
        execute("DROP TABLE IF EXISTS t")
        {made}
    """
USE = """
    STAGE = "use"
    def run(conn):
        open("out.txt", "w").write(str(len(conn.execute("SELECT * FROM t").fetchall())))
    """
FILL = """execute('CREATE TABLE t (n int, name text)')
        many = conn.executemany if hasattr(conn, "executemany") else conn.cursor().executemany
        many('INSERT INTO t VALUES ({}, {})', {})"""
ROWS = "[(one, str(one)) for one in range({})]"


def load_and_use(project: Project, made: str, url: str = "", more: str = "") -> Path:
    config = 'stages = ["load", "use"]\n' + (f"database = '{url}'\n" if url else "") + more
    return project({"orch.toml": config, "src/load.py": LOAD.format(made=made), "src/use.py": USE})


def load_again(orch: Orch, root: Path) -> list[str]:
    """The tools that run when the code of the loader was edited without effect."""
    change(root / "src/load.py", "RUN = 0", "RUN = 1")
    found = ran(orch("run", "--changed", "--json"))
    change(root / "src/load.py", "RUN = 1", "RUN = 0")
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}
    return found


def filled(mark: str, count: int | str) -> str:
    return FILL.format(mark, mark, ROWS.format(count))


@pytest.mark.parametrize("database", slow_but({"sqlite"}, ["sqlite", "postgres", "duckdb"]))
def test_the_same_rows_are_the_same_table(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = {"sqlite": "", "postgres": "", "duckdb": "duckdb:///w.duckdb"}[database]
    url = new_postgres() if database == "postgres" else url
    root = load_and_use(project, filled("%s" if database == "postgres" else "?", 300), url)
    assert orch("run").code == 0
    assert load_again(orch, root) == ["load"]
    change(root / "src/load.py", "range(300)", "range(1, 301)")
    assert ran(orch("run", "--changed", "--json")) == ["load", "use"]
    change(root / "src/load.py", "name text", "label text")
    assert ran(orch("run", "--changed", "--json")) == ["load", "use"]
    assert reasons(orch) == {}


@pytest.mark.parametrize("more", ["", "table_version_rows = 200\n", "table_version_rows = 0\n"])
def test_of_a_larger_table_its_last_writer_decides(more: str, project: Project, orch: Orch) -> None:
    small = int(more.split()[-1]) if more else 20_000
    root = load_and_use(project, filled("?", small or 1), more=more)
    assert orch("run").code == 0
    assert load_again(orch, root) == (["load"] if small else ["load", "use"])
    change(root / "src/load.py", f"range({small or 1})", f"range({small + 1})")
    assert orch("run", "--changed").code == 0
    assert load_again(orch, root) == ["load", "use"]


@pytest.mark.parametrize(
    "made",
    [
        "execute('CREATE TABLE t (a BLOB)'); execute('INSERT INTO t VALUES (?)', (bytes(range(256)),))",
        "execute('CREATE TABLE t (a)'); execute('INSERT INTO t VALUES (NULL), (?)', (float('nan'),))",
        "execute('CREATE TABLE t (a, b AS (a + 1), c AS (a * 2) STORED)'); execute('INSERT INTO t VALUES (1)')",
        "execute('CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID'); execute('INSERT INTO t VALUES (2, 1), (1, 2)')",
        "execute('CREATE TABLE t (\"a b\", [select])'); execute('INSERT INTO t VALUES (1, 2)')",
        "execute('CREATE TABLE t (at TIMESTAMP)'); execute('INSERT INTO t VALUES (1e300)')",
    ],
)
def test_what_a_table_of_sqlite_may_hold_has_a_version(
    made: str, project: Project, orch: Orch
) -> None:
    root = load_and_use(project, made)
    assert orch("run").code == 0
    assert load_again(orch, root) == ["load"]


def test_text_that_is_not_utf_8_has_no_version(project: Project, orch: Orch) -> None:
    made = "execute('CREATE TABLE t (a)'); execute(\"INSERT INTO t VALUES (CAST(x'ff' AS TEXT))\")"
    root = load_and_use(project, made)
    change(root / "src/use.py", "SELECT *", "SELECT 1")
    assert orch("run").code == 0
    assert load_again(orch, root) == ["load", "use"]


def test_what_another_program_may_have_changed_is_not_the_same(
    project: Project, orch: Orch
) -> None:
    """The reader has seen the rows of the other program, and not those of the loader."""
    import sqlite3

    root = load_and_use(project, filled("?", 300))
    assert orch("run").code == 0
    with sqlite3.connect(root / "data.db") as conn:
        conn.execute("DELETE FROM t")
    conn.close()
    assert orch("run", "use").code == 0
    assert (root / "out.txt").read_text() == "0"
    change(root / "src/load.py", "RUN = 0", "RUN = 1")
    assert ran(orch("run", "--changed", "--json")) == ["load", "use"]
    assert (root / "out.txt").read_text() == "300"
