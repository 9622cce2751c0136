"""A question for one table is a question for that table, whichever library asks it, and by whichever way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import edit, ran, reasons, run_all, run_changed

pytestmark = pytest.mark.slow

#: Who gives the connection: orch, `get_connection()`, or the tool itself.
WAYS = {
    "sqlite": ("sqlite:///data.db", ""),
    "engine of orchconf": ("sqlite:///data.db", "get_connection"),
    "engine of the tool": ("sqlite:///data.db", "own"),
    "postgres": ("postgres", "get_connection"),
    "duckdb": ("duckdb:///data.duckdb", ""),
}
CONF = """from sqlalchemy import create_engine

def get_connection():
    with create_engine({url!r}).connect() as conn:
        yield conn
"""
OWN = "from sqlalchemy import create_engine\nENGINE = create_engine({url!r})\n"


@pytest.mark.parametrize("way", WAYS)
def test_tools_that_replace_tables_by_pandas_are_fresh_after_one_run_in_their_order(
    way: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url, how = WAYS[way]
    if url == "postgres":
        url = new_postgres()
    of_engine = url.replace("postgresql://", "postgresql+psycopg://")
    top = OWN.format(url=of_engine) if how == "own" else ""
    given, conn = ("", "ENGINE") if how == "own" else ("conn", "conn")

    def tool(stage: str, *lines: str) -> str:
        body = "".join(f"    {one}\n" for one in lines)
        return f"STAGE = {stage!r}\nimport pandas as pd\n{top}\n\ndef run({given}):\n{body}"

    def write(name: str, frame: str) -> str:
        return f"({frame}).to_sql({name!r}, {conn}, if_exists='replace')"

    names = ["zinc", "Iron", "copper", "Lead", "gold"]
    reads = "pd.read_sql_table({!r}, {})" if how else "pd.read_sql('select * from {}', {})"
    tools = {
        f"src/{place}_{name.lower()}.py".replace("src/", "src/load_"): tool(
            "load", write(name, f"pd.DataFrame({{'x': [{place}]}})")
        )
        for place, name in enumerate(names)
    }
    for name in names:
        read = reads.format(name, conn)
        tools[f"src/double_{name.lower()}.py"] = tool(
            "double", write(f"Double_{name}", f"{read}[['x']] * 2")
        )
    files = {"orch.toml": f"database = '{url}'\nstages = ['load', 'double']\n", **tools}
    if how == "get_connection":
        files["orchconf.py"] = CONF.format(url=of_engine)
    root = project(files)
    first = orch("run", "--json")
    assert first.code == 0, first.text
    assert reasons(orch) == {}
    second = orch("run", "--json")
    assert ran(second) == ran(first)
    assert reasons(orch) == {}
    edit(root, "load_0_zinc")
    assert run_changed(orch)[0] == "load_0_zinc"
    assert run_changed(orch) == []


IMPORTS = "from sqlalchemy import create_engine, inspect\nfrom sqlalchemy.pool import StaticPool"
ENGINE = "create_engine('postgresql+psycopg://', creator=lambda: conn, poolclass=StaticPool)"
ASKS = {
    "sqlite": [
        "conn.execute('select name from sqlite_master where name = ?', ('t',)).fetchall()",
        "conn.execute(\"select 1 from sqlite_master where type = 'table' and name = 't'\").fetchall()",
        "conn.execute(\"select exists(select 1 from sqlite_master where type='table' and name = ?)\", ('t',)).fetchall()",
        "conn.execute('select name from sqlite_master where name in (?, ?)', ('t', 'u')).fetchall()",
    ],
    "postgres": [
        "conn.execute(\"select table_name from information_schema.tables where table_name = 't'\").fetchall()",
        "conn.execute(\"select 1 from information_schema.tables where table_schema = 'public' and table_name = %s\", ('t',)).fetchall()",
        "conn.execute(\"select exists(select from pg_tables where schemaname = %s and tablename = %s)\", ('public', 't')).fetchall()",
        "conn.execute(\"select to_regclass('public.t')\").fetchall()",
        f"inspect({ENGINE}).has_table('t')",
        "conn.execute(\"select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = 'public' and relname = 't'\").fetchall()",
    ],
    "duckdb": [
        "[conn.execute('select 1 from duckdb_tables() where table_name = ?', [one]).fetchall() for one in ('u', 't')]",
        "conn.execute('select name from sqlite_master where name = ?', ['t']).fetchall()",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("database", "ask"), [(name, one) for name, asks in ASKS.items() for one in asks]
)
def test_who_asks_whether_one_table_is_there_depends_on_that_table(
    database: str, ask: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if database == "postgres" else f"{database}:///data.db"
    make = "STAGE = 'load'\n\ndef run(conn):\n    conn.execute('create table if not exists {} (x int)')\n"
    project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['load', 'show']\n",
            "src/first.py": make.format("other"),
            "src/asks.py": f"STAGE = 'show'\n{IMPORTS}\n\ndef run(conn):\n    open('asked.txt', 'w').write(str({ask}))\n",
        }
    )
    run_all(orch)
    project({"src/second.py": make.format("another")})
    assert run_changed(orch) == ["second"]
    project({"src/third.py": make.format("t")})
    assert run_changed(orch) == ["third", "asks"]


def test_who_asks_for_one_name_on_duckdb_may_ask_for_an_index(project: Project, orch: Orch) -> None:
    make = "STAGE = 'load'\n\ndef run(conn):\n    conn.execute('create {}')\n"
    ask = "conn.execute(\"select name from sqlite_master where name = 'by_x'\").fetchall()"
    project(
        {
            "orch.toml": "database = 'duckdb:///d.duckdb'\nstages = ['load', 'show']\n",
            "src/first.py": make.format("or replace table t (x int)"),
            "src/asks.py": f"STAGE = 'show'\n\ndef run(conn):\n    {ask}\n",
        }
    )
    run_all(orch)
    project({"src/second.py": make.format("index if not exists by_x on t (x)")})
    assert run_changed(orch) == ["second", "asks"]


def test_who_may_have_taken_more_from_the_list_depends_on_all_of_it(
    project: Project, orch: Orch, postgres: str
) -> None:
    ask = "select table_name from information_schema.tables where table_name = 't' or table_name like 'an%'"
    make = "STAGE = 'load'\n\ndef run(conn):\n    conn.execute('create table if not exists {} (x int)')\n"
    project(
        {
            "orch.toml": f"database = '{postgres}'\nstages = ['load', 'show']\n",
            "src/first.py": make.format("other"),
            "src/asks.py": f'STAGE = "show"\n\ndef run(conn):\n    conn.execute("""{ask}""")\n',
        }
    )
    run_all(orch)
    project({"src/second.py": make.format("another")})
    assert run_changed(orch) == ["second", "asks"]
