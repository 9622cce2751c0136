"""Checks on servers, on DuckDB, in tests of tools, and at random kills. The rest is in `tests/scenes/checks.scene`."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.executors import new_mark
from tests.support.project_builder import Answer, run_orch, write_files
from tests.support.running import find_marked, running, wait_until

FULL, SLOW = 100, 10


def statuses(answer: Answer) -> dict[str, tuple[str, str]]:
    """Status and message of each check."""
    ends = [one for one in answer.events if one["event"] == "tool_finished"]
    return {
        check["name"]: (check["status"], check["message"])
        for end in ends
        for check in end["checks"]
    }


ON_POSTGRES = """
    STAGE = "s"
    def run(conn, *, n: int):
        execute(conn, "CREATE TABLE IF NOT EXISTS t (n int)")
        execute(conn, f"INSERT INTO t VALUES ({n})")
    def check_writes(conn):
        execute(conn, "INSERT INTO t VALUES (100)")
        conn.commit()
        execute(conn, "CREATE TABLE made (n int)")
    def check_fails(conn):
        try:
            execute(conn, "SELECT * FROM nowhere")
        except Exception:
            return True
    def warn_fails(conn):
        execute(conn, "SELECT * FROM nowhere")
    def check_rolls_back(conn):
        execute(conn, "DELETE FROM t")
        conn.rollback()
    def check_negative(conn):
        return execute(conn, "SELECT * FROM t WHERE n < 0 OR n = 100")
    """
PSYCOPG = """
    import os, psycopg
    def get_connection():
        return psycopg.connect(os.environ["URL"])
    """
SQLALCHEMY = """
    import os, sqlalchemy
    def get_connection():
        url = os.environ["URL"].replace("postgresql:", "postgresql+psycopg:")
        return sqlalchemy.create_engine(url).connect()
    """


@pytest.mark.slow
@pytest.mark.parametrize("conf", [PSYCOPG, SQLALCHEMY], ids=["psycopg", "sqlalchemy"])
def test_on_postgresql_each_check_leaves_nothing(
    project: Project, orch: Orch, postgres: str, conf: str
) -> None:
    how = "conn.execute(sql)" if conf is PSYCOPG else "conn.exec_driver_sql(sql)"
    execute = f"def execute(conn, sql): return {how}\n"
    project({"orchconf.py": conf, "src/lib.py": execute, "src/t.py": ON_POSTGRES.replace(
        'STAGE = "s"', 'from src.lib import execute\n    STAGE = "s"')})  # fmt: skip
    answer = orch("run", "--n", "1", "--json", env={"URL": postgres})
    assert answer.code == 0, answer.text
    found = statuses(answer)
    assert found.pop("warn_fails")[0] == "warned"
    assert {status for status, _ in found.values()} == {"passed"}
    failed = orch("run", "--n", "-1", "--json", env={"URL": postgres})
    assert failed.code == 1
    assert statuses(failed)["check_negative"] == ("failed", "1 row violates it")
    with psycopg.connect(postgres) as conn:
        assert conn.execute("SELECT * FROM t").fetchall() == [(1,)]
        assert conn.execute("SELECT to_regclass('made')").fetchall() == [(None,)]


@pytest.mark.slow
def test_on_duckdb_an_error_and_a_write_in_a_check_fail_the_tool(
    project: Project, orch: Orch
) -> None:
    write = "conn.execute('INSERT INTO t VALUES (9)')"
    tool = (
        'STAGE = "s"\ndef run(conn): conn.execute("CREATE TABLE IF NOT EXISTS t (n int)"); ' + write
    )
    root = project({"orch.toml": 'database = "duckdb:///d.duckdb"', "src/t.py": tool})

    def run(*checks: str) -> dict[str, tuple[str, str]]:
        (root / "src/t.py").write_text("\n".join((tool, *checks)))
        answer = orch("run", "--json")
        return {"t": (answer.events[-1]["status"], ""), **statuses(answer)}

    passes = "def check_rows(conn): return conn.execute('SELECT * FROM t WHERE n > 9')"
    assert run(passes) == {"t": ("passed", ""), "check_rows": ("passed", "")}
    found = run("def check_rows(conn): return conn.sql('SELECT n, n + 1 AS more FROM t')")
    assert found["check_rows"] == ("failed", "2 rows violate it")
    found = run("def warn_fails(conn): conn.execute('SELECT * FROM nowhere')", passes)
    assert found["warn_fails"][0] == "failed"
    assert "DuckDB discards all writes of the tool" in found["warn_fails"][1]
    found = run(f"def warn_writes(conn): {write}")
    assert found["warn_writes"] == (
        "failed",
        "it wrote to the database, and without savepoints that cannot be undone",
    )
    assert orch("run", "--no-checks").code == 0
    with duckdb.connect(str(root / "d.duckdb"), read_only=True) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


SLEEPS = """
    import time
    STAGE = "s"
    def run(conn):
        conn.execute("CREATE TABLE half (n)")
        conn.commit()
        conn.execute("INSERT INTO half VALUES (1)")
    def check_first(conn):
        conn.execute("INSERT INTO half VALUES (2)")
        conn.commit()
        print("a check runs", flush=True)
        time.sleep({seconds})
    def check_second(conn):
        conn.execute("DELETE FROM half")
        time.sleep(60)
    """


def kill_in_a_check(seed: int, root: Path) -> None:
    """One run that is killed while its checks run, or its worker is; then nothing of it is there."""
    chance = random.Random(seed)
    write_files(root, {"src/t.py": SLEEPS.format(seconds=round(chance.uniform(0, 0.05), 3))})
    mark = new_mark()
    with running(root, "run", "--output", "live", **{mark: "1"}) as orch:
        orch.wait_for("a check runs")
        time.sleep(chance.uniform(0, 0.1))  # a random moment
        orch.send(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
        orch.wait()
    wait_until(lambda: not find_marked(mark), "the end of all processes")
    with closing(sqlite3.connect(root / "data.db")) as conn:
        assert conn.execute("SELECT * FROM sqlite_master").fetchall() == [], f"seed {seed}"
    [tool] = run_orch(root, "status", "--json").json["tools"]
    assert tool["state"] != "fresh", f"seed {seed}"


@pytest.mark.slow
def test_a_kill_in_a_check_leaves_nothing(tmp_path: Path) -> None:
    for seed in range(SLOW):
        kill_in_a_check(seed, tmp_path / str(seed))


@pytest.mark.full
def test_no_kill_in_a_check_leaves_anything(tmp_path: Path) -> None:
    for seed in range(SLOW, SLOW + FULL):
        kill_in_a_check(seed, tmp_path / str(seed))
