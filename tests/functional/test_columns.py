"""Who asks what columns a table has has read the table, in whatever way it asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, run_all, run_changed, tables_of

LOAD = """
STAGE = "load"
COLUMNS = "v int"
def run(conn):
    ask(conn, "DROP TABLE IF EXISTS {0}")
    ask(conn, f"CREATE TABLE {0} ({{COLUMNS}})")
"""
SHOW = """
import sqlalchemy as sa
STAGE = "show"
def run(conn):
    open("out/{0}.txt", "w").write(repr({1}))
"""
#: Checks before a write. They say whether a table is there.
WRITE = """
import pandas, sqlalchemy as sa
STAGE = "write"
def run(conn):
    connection = {0}
    assert sa.inspect(connection).has_table("raw")
    pandas.DataFrame({{"x": [1]}}).to_sql("mart", connection, if_exists="replace", index=False)
    sa.MetaData().create_all(connection)
    table = sa.Table("kept", sa.MetaData(), sa.Column("x", sa.Integer))
    table.create(connection, checkfirst=True)
    {1}
"""
ENGINE = 'sa.create_engine("sqlite:///data.db", poolclass=sa.NullPool)'
#: By database: those that name the table, and those where no name can be told.
NAMED = {
    "sqlite": {
        "pragma": 'ask(conn, "PRAGMA table_info(raw)")',
        "pragma_in_schema": "ask(conn, \"PRAGMA main.table_xinfo('raw')\")",
        "function": "ask(conn, \"SELECT name FROM pragma_table_info('raw')\")",
        "definition": "ask(conn, \"SELECT sql FROM sqlite_master WHERE name = 'raw'\")",
        "inspected": f"[one['name'] for one in sa.inspect({ENGINE}).get_columns('raw')]",
        "loaded": f"sa.Table('raw', sa.MetaData(), autoload_with={ENGINE}).columns.keys()",
    },
    "duckdb": {
        "described": 'ask(conn, "DESCRIBE raw")',
        "query": 'ask(conn, "DESCRIBE SELECT * FROM raw")',
        "shown": 'ask(conn, "SHOW raw")',
        "pragma": "ask(conn, \"PRAGMA table_info('raw')\")",
        "function": "ask(conn, \"SELECT name FROM pragma_table_info('raw')\")",
        "standard": 'ask(conn, "SELECT column_name FROM information_schema.columns '
        "WHERE table_name = 'raw'\")",
    },
    "postgres": {
        "standard": 'ask(conn, "SELECT column_name FROM information_schema.columns '
        "WHERE table_schema = 'public' AND table_name = 'raw'\")",
        "attributes": 'ask(conn, "SELECT attname FROM pg_attribute '
        "WHERE attrelid = 'public.raw'::regclass AND attnum > 0\")",
        "parameter": 'ask(conn, "SELECT attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid '
        'WHERE relname = %s AND attnum > 0", ("raw",))',
        "inspected": "[one['name'] for one in sa.inspect(conn).get_columns('raw')]",
        "loaded": "sa.Table('raw', sa.MetaData(), autoload_with=conn).columns.keys()",
    },
}
UNNAMED = {
    "sqlite": {"all_definitions": 'ask(conn, "SELECT sql FROM sqlite_master ORDER BY name")'},
    "duckdb": {
        "all_columns": 'ask(conn, "SELECT column_name FROM duckdb_columns() WHERE NOT internal")'
    },
    "postgres": {
        "all_columns": 'ask(conn, "SELECT column_name FROM information_schema.columns '
        "WHERE table_schema = 'public'\")"
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "duckdb", "postgres"])
def test_who_asks_for_the_columns_of_a_table_has_read_it(
    database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    ask = "def ask(conn, *asked): return [*map(tuple, conn.execute(*asked).fetchall())]\n"
    files = {"orch.toml": "stages = ['load', 'write', 'show']\n", "out/": ""}
    if database == "duckdb":
        files["orch.toml"] += 'database = "duckdb:///w.duckdb"\n'
    if database == "postgres":
        url = new_postgres().replace("postgresql:", "postgresql+psycopg:")
        files["orchconf.py"] = (
            "import sqlalchemy\n"
            f"def get_connection(): return sqlalchemy.create_engine({url!r}).connect()\n"
        )
        ask = (
            "def ask(conn, *asked):\n"
            "    found = conn.exec_driver_sql(*asked)\n"
            "    return [*map(tuple, found)] if found.returns_rows else []\n"
        )
    named, unnamed = NAMED[database], UNNAMED[database]
    for name in "raw", "other":
        files[f"src/{name}.py"] = ask + LOAD.format(name)
    for name, value in {**named, **unnamed}.items():
        files[f"src/{name}.py"] = ask + SHOW.format(name, value)
    if database == "sqlite":
        files["src/write.py"] = WRITE.format(ENGINE, "connection.dispose()")
    elif database == "postgres":
        files["src/write.py"] = WRITE.format("conn", "conn.commit()")
    # On PostgreSQL pandas lists all tables before it writes, and `raw` is another one each time.
    rewritten = {"write"} if database == "postgres" else set()
    root = project(files)
    run_all(orch)
    assert run_changed(orch) == []
    tools = {tool["name"]: tool for tool in orch("status", "--json").json["tools"]}
    assert {one: tables_of(tools[one]["reads"]) for one in named} == {one: ["raw"] for one in named}
    assert "write" not in tools or tables_of(tools["write"]["reads"]) == []
    change(root / "src/raw.py", "v int", "v int, added int")
    assert {*run_changed(orch)} - rewritten == {"raw", *named, *unnamed}
    for name in (*named, *unnamed):
        assert "added" in (root / f"out/{name}.txt").read_text(), name
    assert run_changed(orch) == []
    change(root / "src/other.py", "v int", "v int, more int")
    assert {*run_changed(orch)} - rewritten == {"other", *unnamed}
