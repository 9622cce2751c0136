"""The rules of staleness that tables follow, on PostgreSQL and DuckDB, where statements are parsed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import change, edit, ran, reasons, run_all, run_changed

pytestmark = pytest.mark.slow


def tool(stage: str, *lines: str, top: str = "") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"STAGE = {stage!r}\n{top}\ndef run(conn):\n{body}"


def show(name: str, query: str) -> str:
    return tool("show", f'open("{name}.txt", "w").write(str(conn.execute("{query}").fetchall()))')


LISTED = "select table_name from information_schema.tables where table_schema in ('public', 'main') order by 1"
SALES = {
    "src/load_2023.py": tool(
        "load",
        'conn.execute("drop table if exists sales")',
        'conn.execute("create table sales (year int, amount float)")',
        'conn.execute(f"insert into sales values (2023, {AMOUNT})")',
        top="AMOUNT = 1",
    ),
    "src/load_2024.py": tool(
        "load", 'conn.execute(f"insert into sales values (2024, {AMOUNT})")', top="AMOUNT = 10"
    ),
    "src/raise_all.py": tool(
        "load", 'conn.execute(f"update sales set amount = amount * {FACTOR}")', top="FACTOR = 2"
    ),
    "src/report.py": show("total", "select sum(amount) from sales"),
    "src/tables.py": show("tables", LISTED),
}


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres", "duckdb"])
def test_tables_of_a_parsed_database_follow_the_rules_of_those_of_sqlite(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else "duckdb:///w.duckdb"
    config = f"database = '{url}'\nstages = ['load', 'show']\n"
    root = project({"orch.toml": config, **SALES})
    run_all(orch)
    all_of_sales = ["load_2023", "load_2024", "raise_all", "report"]
    for name, then, now, total in (
        ("load_2023", "AMOUNT = 1\n", "AMOUNT = 2\n", 24),
        ("load_2024", "AMOUNT = 10", "AMOUNT = 20", 44),
        ("raise_all", "FACTOR = 2", "FACTOR = 3", 66),
    ):
        change(root / f"src/{name}.py", then, now)
        assert {*all_of_sales} <= {*run_changed(orch)}
        assert (root / "total.txt").read_text() == f"[({total}.0,)]"
    assert orch("run", "raise_all").code == 0
    assert run_changed(orch) == all_of_sales[:-1]  # the sales are as the report has seen them
    assert (root / "total.txt").read_text() == "[(66.0,)]"

    # A new table makes stale who lists the tables, and who looked for it in vain.
    project(
        {
            "src/tries.py": tool(
                "show",
                "found = None",
                "try:",
                '    with conn.transaction() if hasattr(conn, "transaction") else nullcontext():',
                '        found = conn.execute("select x from extra").fetchall()',
                "except Exception:",
                "    pass",
                'open("tries.txt", "w").write(str(found))',
                top="from contextlib import nullcontext",
            )
        }
    )
    run_changed(orch)
    assert (root / "tries.txt").read_text() == "None"
    project(
        {"src/makes.py": tool("load", 'conn.execute("create table if not exists extra (x int)")')}
    )
    assert orch("run", "makes").code == 0
    assert [*reasons(orch)] == ["tables", "tries"]
    assert run_changed(orch) == ["tables", "tries"]
    assert (root / "tries.txt").read_text() == "[]"
    assert "extra" in (root / "tables.txt").read_text()

    # What a later tool drops is not missing, and is made again for that tool.
    project(
        {
            "src/scratch.py": tool("load", 'conn.execute("create table scratch as select 1 as x")'),
            "src/uses.py": tool(
                "show",
                'conn.execute("drop table if exists kept")',
                'conn.execute("create table kept as select x from scratch")',
                'conn.execute("drop table scratch")',
            ),
        }
    )
    # Only its first run tells that the tool which lists the tables comes after one that changes which there are.
    assert orch("run", "--changed").code == 0
    run_changed(orch)
    edit(root, "uses")
    assert {"scratch", "uses"} <= {*run_changed(orch)}


@pytest.mark.parametrize("database", ["sqlite", "postgres", "duckdb"])
def test_each_column_counts_whatever_its_name_is(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else f"{database}:///w.db"
    columns = ["t", "rows", "one", "c0", 'say "a"', "price"]
    quoted = [f'"{one.replace(chr(34), 2 * chr(34))}"' for one in columns]
    definitions = ", ".join(f"{one} int" for one in quoted)
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['load', 'show']\n",
            "src/load.py": tool(
                "load",
                "conn.execute('drop table if exists prices')",
                f"conn.execute({f'create table prices ({definitions})'!r})",
                "conn.execute(f'insert into prices values ({NUMBERS})')",
                top=f"NUMBERS = '{', '.join('0' for _ in columns)}'",
            ),
            "src/show.py": show("prices", "select * from prices"),
        }
    )
    run_all(orch)
    for place in map(columns.index, ["price", "t", 'say "a"']):
        numbers = ["0"] * len(columns)
        numbers[place] = "1"
        text = (root / "src/load.py").read_text()
        (root / "src/load.py").write_text(
            re.sub("NUMBERS = '.*'", f"NUMBERS = '{', '.join(numbers)}'", text)
        )
        assert run_changed(orch) == ["load", "show"], columns[place]
        assert (root / "prices.txt").read_text() == f"[({', '.join(numbers)})]"


FILLS = {
    "insert": "conn.execute('insert into prices values (1)')",
    "copy": "with conn.cursor().copy('copy prices from stdin') as copy: copy.write('1\\n')",
    "to_sql": "pd.DataFrame({'x': [1]}).to_sql('prices', create_engine(URL), if_exists='append', index=False)",
}  # fmt: skip


@pytest.mark.parametrize(
    ("database", "fill"),
    [*((one, "insert") for one in ("sqlite", "postgres", "duckdb")), ("postgres", "copy"), ("postgres", "to_sql")],
)  # fmt: skip
def test_a_table_that_is_made_anew_is_filled_again_by_the_tool_that_fills_it(
    database: str, fill: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else f"{database}:///w.db"
    top = ""
    if fill == "to_sql":
        of_sqlalchemy = url.replace("postgresql://", "postgresql+psycopg://")
        top = f"import pandas as pd\nfrom sqlalchemy import create_engine\nURL = {of_sqlalchemy!r}"
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['set_up', 'load', 'show']\n",
            "src/set_up.py": tool(
                "set_up",
                "conn.execute('drop table if exists prices')",
                "conn.execute('create table prices (x int)')",
            ),
            "src/load.py": tool("load", FILLS[fill], top=top),
            "src/show.py": show("prices", "select * from prices"),
        }
    )
    run_all(orch)
    edit(root, "set_up")
    ran_then = run_changed(orch)
    assert ran_then[:2] == ["set_up", "load"]
    if fill != "to_sql":  # which uses a connection of its own
        assert ran_then[2:] == []  # the table is as it was
    assert (root / "prices.txt").read_text() == "[(1,)]"
    assert orch("run", "set_up").code == 0
    assert {*reasons(orch)} == {"load", "show"}
    assert run_changed(orch)[0] == "load"
    assert (root / "prices.txt").read_text() == "[(1,)]"


EXISTS = "select 1 from information_schema.tables where table_name = \\'prices\\'"
IN_SQLITE = "select name from sqlite_master where name = \\'prices\\'"
CREATE, DROP = "conn.execute('create table prices (x int)')", "conn.execute('drop table prices')"
MAKES_ANEW = {
    "drop": ["conn.execute('drop table if exists prices')", "conn.execute('create table prices (x int)')"],
    "delete": ["conn.execute('create table if not exists prices (x int)')", "conn.execute('delete from prices')"],
    "truncate": ["conn.execute('create table if not exists prices (x int)')", "conn.execute('truncate prices')"],
    "ask": [
        f"if conn.execute('{EXISTS}').fetchall(): {DROP}",
        CREATE,
    ],
    "ask SQLite": [f"if conn.execute('{IN_SQLITE}').fetchall(): {DROP}", CREATE],
    "list": [
        "names = [one for (one,) in conn.execute('select table_name from information_schema.tables').fetchall()]",
        f"if 'prices' in names: {DROP}",
        CREATE,
    ],
    "list SQLite": [
        "names = [one for (one,) in conn.execute('select name from sqlite_master').fetchall()]",
        f"if 'prices' in names: {DROP}",
        CREATE,
    ],
    "try": ["import sqlite3", f"try: {DROP}", "except sqlite3.OperationalError: pass", CREATE],
}  # fmt: skip


@pytest.mark.parametrize(
    ("database", "how"),
    [
        *((one, how) for one in ("postgres", "duckdb") for how in ("drop", "delete", "truncate", "ask", "list")),
        *(("sqlite", how) for how in ("drop", "delete", "ask SQLite", "list SQLite", "try")),
    ],
)  # fmt: skip
def test_who_would_empty_a_table_makes_it_anew_for_its_filler_after_a_first_run_too(
    database: str, how: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else f"{database}:///w.db"
    load = tool("load", "conn.execute(f'insert into prices values ({PRICE})')", top="PRICE = 1")
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['set_up', 'load', 'show']\n",
            "src/set_up.py": tool("set_up", *MAKES_ANEW[how]),
            "src/load.py": load,
            "src/show.py": show("prices", "select * from prices"),
        }
    )
    run_all(orch)
    project({"src/load.py": load.replace("PRICE = 1", "PRICE = 2")})
    assert run_changed(orch) == ["set_up", "load", "show"]
    assert (root / "prices.txt").read_text() == "[(2,)]"


WRITES = "import duckdb; conn = duckdb.connect('w.duckdb'); conn.execute('{}'); conn.close()"


def test_what_another_program_writes_to_a_duckdb_file_makes_its_readers_stale(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "database = 'duckdb:///w.duckdb'\n",
            "src/a.py": show("a", "select count(*) from raw"),
        }
    )

    def write(statement: str) -> None:
        code = WRITES.format(statement)
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True)

    write("create table raw as select 1 as x")
    run_all(orch)
    write("insert into raw values (2)")
    (reason,) = reasons(orch)["a"]
    assert reason.startswith("another program wrote to the database")
    (root / "w.duckdb").unlink()
    write("create table raw as select 1 as x")
    assert reasons(orch) == {"a": ["the database duckdb:///w.duckdb was replaced"]}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["url", "get_connection"])
def test_a_table_or_view_that_was_dropped_is_missed_when_a_run_starts(
    how: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    conf = f"import psycopg\ndef get_connection(): return psycopg.connect({url!r})\n"
    root = project(
        {
            "orch.toml": (f"database = '{url}'\n" if how == "url" else "")
            + "stages = ['load', 'show']\n",
            **({"orchconf.py": conf} if how == "get_connection" else {}),
            "src/load.py": tool(
                "load", 'conn.execute("create table if not exists raw as select 1 as x")'
            ),
            "src/views.py": tool(
                "load",
                'conn.execute("create or replace view latest as select 1 as x")',
                top='AFTER = "load"',
            ),
            "src/report.py": show("latest", "select * from latest"),
        }
    )
    run_all(orch)
    assert ran(orch("run", "--changed", "--json")) == []
    for kind, name, maker in (("view", "latest", "views"), ("table", "raw", "load")):
        with psycopg.connect(url) as conn:
            conn.execute(f"drop {kind} {name}".encode())
        # Only a run calls code of the user, so a command that looks says that it does not know.
        shown, is_known = orch("status"), how == "url"
        said = (
            f"\n3 fresh\nas of run {1 + (kind == 'table')}: status does not call get_connection()"
        )
        assert (said in shown.out) is not is_known, shown.text
        assert (" stale" in shown.out) is is_known, shown.text
        assert ("as_of" in orch("status", "--json").json) is not is_known
        assert run_changed(orch)[0] == maker
        assert reasons(orch) == {}
        assert ran(orch("run", "--changed", "--json")) == []
    assert (root / "latest.txt").read_text() == "[(1,)]"


@pytest.mark.slow
def test_a_left_over_table_makes_its_reader_stale_until_it_is_dropped(
    project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['load', 'show']\n",
            "src/load.py": tool("load", 'conn.execute("create table orders as select 1 as x")'),
            "src/report.py": show("orders", "select * from orders"),
        }
    )
    run_all(orch)
    text = (root / "src/load.py").read_text()
    (root / "src/load.py").unlink()
    (root / "src/sales.py").write_text(text.replace("orders", "sales"))
    reason = "reads table orders of src.load, which is no longer a tool"
    assert ran(orch("run", "--changed", "--json")) == ["sales", "report"]
    assert reasons(orch) == {"report": [reason]}
    assert ran(orch("run", "--changed", "--json")) == ["report"]
    assert reasons(orch) == {"report": [reason]}
    with psycopg.connect(url) as conn:
        conn.execute("drop table orders")
    answer = orch("run", "--changed", "-q")
    assert answer.code == 1, answer.text
    assert reasons(orch)["report"][-1] == "table orders is missing"
    (root / "src/report.py").write_text(
        (root / "src/report.py").read_text().replace("from orders", "from sales")
    )
    assert run_changed(orch) == ["report"]
    assert reasons(orch) == {}
    assert orch("check").out == "2 tools, no problems found\n"


def test_who_replaces_a_table_by_one_without_rows_is_its_first_writer(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "database = 'duckdb:///w.duckdb'\nstages = ['make', 'load']\n",
            "src/make.py": tool("make", 'conn.execute("create or replace table t (x int)")'),
            "src/load.py": tool("load", 'conn.execute("insert into t values (1)")'),
        }
    )
    run_all(orch)
    edit(root, "load")
    assert run_changed(orch) == ["make", "load"]


@pytest.mark.parametrize("database", slow_but({"postgres"}, ["postgres", "duckdb"]))
def test_a_statement_that_fails_makes_no_other_tool_stale(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else "w.duckdb"
    driver = "psycopg" if database == "postgres" else "duckdb"
    make = """
        STAGE = "s"
        def run(conn):
            conn.execute("CREATE TABLE IF NOT EXISTS {name} (x int)")
            conn.execute("DELETE FROM {name}")
            conn.execute("INSERT INTO {name} VALUES (1)")
        """
    root = project(
        {
            "orchconf.py": f"import {driver}\ndef get_connection(): return {driver}.connect({url!r})\n",
            "src/a.py": make.format(name="t"),
            "src/b.py": make.format(name="u"),
            "src/c.py": make.format(name="v").replace("VALUES (1)", "SELECT x FROM t"),
        }
    )
    run_all(orch)
    before = (root / "src/c.py").read_text()
    # What it had written before would be made anew if it were not known that all was undone.
    failing = (
        '    conn.execute("DELETE FROM t")\n    conn.execute("INSERT INTO nothing VALUES (1)")\n'
    )
    (root / "src/c.py").write_text(before + failing)
    assert orch("run", "c").code == 1
    assert [*reasons(orch)] == ["c"]
    (root / "src/c.py").write_text(before)
    assert run_changed(orch) == ["c"]


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres", "duckdb"])
def test_a_table_that_is_made_again_with_the_same_rows_makes_nothing_stale(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else "duckdb:///w.duckdb"
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['load', 'show']\n",
            "src/load.py": tool(
                "load",
                'conn.execute("drop table if exists t")',
                'conn.execute("create table t (n int, name text)")',
                "for one in range(300):",
                "    conn.execute(f\"insert into t values ({one}, '{one}')\")",
            ),
            "src/use.py": show("out", "select * from t"),
        }
    )
    run_all(orch)
    edit(root, "load")
    assert run_changed(orch)[0] == "load"
    change(root / "src/load.py", "range(300)", "range(1, 301)")
    assert run_changed(orch) == ["load", "use"]
    change(root / "src/load.py", "name text", "label text")
    assert run_changed(orch) == ["load", "use"]
