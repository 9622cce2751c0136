"""A shared connection gets back between tools, and between attempts, the settings that it had when it was opened."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Orch, Project

#: What a tool does to the settings, and what the next one and the next attempt print. SQLite is in
#: `tests/scenes/transactions.scene`.
POSTGRES = (
    "conn.execute('SET search_path TO s, public'); conn.execute(\"SET TIME ZONE 'Asia/Tokyo'\"); "
    "conn.execute(\"SELECT set_config('work_mem', '1MB', false)\"); conn.execute('SET ROLE orch_reader'); "
    "conn.execute('SET app.who TO one'); conn.row_factory = psycopg.rows.dict_row; conn.commit()",
    "conn.execute(\"SELECT current_setting('search_path'), current_setting('TimeZone'), "
    "current_setting('work_mem'), current_setting('role'), current_setting('app.who', true)\").fetchone()",
)
ALCHEMY = (
    "conn.execution_options(schema_translate_map={None: 's'}, stream_results=True)",
    "sorted(conn.get_execution_options()), conn.execute(sqlalchemy.text('SELECT 1')).scalar()",
)
DUCKDB = (
    "conn.execute('CREATE SCHEMA IF NOT EXISTS s'); conn.execute(\"SET search_path = 's'\"); "
    "conn.execute('SET preserve_insertion_order = false'); conn.execute('SET threads = 1')",
    "conn.execute(\"SELECT current_schema(), current_setting('preserve_insertion_order'), "
    "current_setting('threads')\").fetchone()",
)
TOOL = """
    import sqlite3, sys
    {top}
    STAGE = "s"
    ORCH = {options}
    attempts = []
    def run(conn{more}):
        print("{name}:", {look})
        {change}
        attempts.append(1)
        if "{name}" == "b" and len(attempts) < 2:
            raise ValueError("again")
    """


def run_three(
    project: Project, orch: Orch, how: tuple[str, str], conf: str = "", **words: str
) -> list[str]:
    """What `a` finds, `b` in both attempts, and `c`."""
    change, look = how
    given = {"top": "", "more": "", "options": '{"retries": 1, "retry_delay": 0}', **words}
    files = {
        f"src/{name}.py": TOOL.format(name=name, look=look, change=change, **given)
        for name in "abc"
    }
    project(
        {**files, **({"orchconf.py": conf} if conf else {}), "orch.toml": words.get("config", "")}
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    lines = [line.strip() for line in answer.out.splitlines()]
    found = [line[3:] for line in lines if line[:3] in ("a: ", "b: ", "c: ")]
    assert len(found) == 4, answer.text
    return found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="setconfig came with Python 3.12")
def test_what_a_method_of_sqlite_sets(project: Project, orch: Orch) -> None:
    change = "conn.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY, False)"
    look = "conn.execute('PRAGMA foreign_keys').fetchone()[0]"
    assert run_three(project, orch, (change, look)) == ["1"] * 4


CONNECT = """
    import psycopg
    from discover_orch import resource
    def get_connection():
        conn = psycopg.connect({url!r})
        conn.execute("SET work_mem = '7MB'")
        conn.commit()
        return conn
    @resource
    def zone(conn):
        conn.execute("SET TIME ZONE 'Europe/Oslo'")
        conn.commit()
        return "zone"
    """


@pytest.mark.parametrize("transaction", ["tool", "none"])
def test_postgres(project: Project, orch: Orch, postgres: str, transaction: str) -> None:
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA s")
        if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'orch_reader'").fetchone():
            conn.execute("CREATE ROLE orch_reader")
    found = run_three(
        project,
        orch,
        POSTGRES,
        CONNECT.format(url=postgres),
        config=f'transaction = "{transaction}"\n',
        top="import psycopg",
        more=", zone",
    )
    assert {one.replace("''", "None") for one in found} == {
        "('\"$user\", public', 'Europe/Oslo', '7MB', 'none', None)"
    }


def test_sqlalchemy(project: Project, orch: Orch) -> None:
    conf = """
        import sqlalchemy
        def get_connection():
            engine = sqlalchemy.create_engine("sqlite:///own.db")
            return engine.connect().execution_options(logging_token="orch")
        """
    found = run_three(project, orch, ALCHEMY, conf, top="import sqlalchemy")
    assert {*found} == {"['logging_token'] 1"}


def test_duckdb(project: Project, orch: Orch) -> None:
    conf = """
        import duckdb
        def get_connection():
            conn = duckdb.connect("own.duckdb")
            conn.execute("SET threads = 2")
            return conn
        """
    found = run_three(project, orch, DUCKDB, conf)
    assert {*found} == {"('main', True, 2)"}
