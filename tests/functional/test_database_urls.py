"""Databases that orch opens itself, by a URL: PostgreSQL, DuckDB, and with SQLAlchemy any other."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

from discover_orch.databases import opening
from discover_orch.model.database_url import CannotOpen
from tests.conftest import Orch, Project
from tests.support.project_builder import Answer
from tests.support.running import wait_until

TOOL = """
import os
STAGE = "s"
AFTER = {after}
def run(conn, *, fails: str = ""):
    conn.execute("create table if not exists {name} (a int)")
    conn.execute("insert into {name} values (1)")
    conn.commit()
    if fails == "{name}":
        raise ValueError
"""
TWO_TOOLS = {
    "src/a.py": TOOL.format(name="a", after=()),
    "src/b.py": TOOL.format(name="b", after="'a'"),
}
# DuckDB commits each statement by itself: there is no transaction that this could commit.
WITHOUT_COMMIT = {path: text.replace("    conn.commit()\n", "") for path, text in TWO_TOOLS.items()}


def rows_of_postgres(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        found = conn.execute(
            "select table_name from information_schema.tables where table_schema = 'public' "
            "and table_name not like 'orch%'"
        ).fetchall()
        names = sorted(str(name) for (name,) in found)
        return [name for name in names for _ in conn.execute(f"select * from {name}".encode())]


def rows_of_duckdb(path: Path) -> list[str]:
    with closing(duckdb.connect(str(path), read_only=True)) as conn:
        shown = conn.execute("show tables").fetchall()
        names = [name for (name,) in shown if name != "orch_memory"]
        return [
            name for name in sorted(names) for _ in conn.execute(f"select * from {name}").fetchall()
        ]


def check_database(orch: Orch, url: str, rows: Callable[[], list[str]], **environment: str) -> None:
    """What a tool commits stays if it succeeds, and only then; what it uses is observed."""
    answer = orch("run", "--fails", "b", env={"DATABASE_URL": url, **environment})
    assert answer.code == 1, answer.text
    assert "ValueError" in answer.out
    assert rows() == ["a"]
    assert orch("run", "--database", url, env=environment).code == 0
    assert rows() == ["a", "a", "b"]
    again = orch("run", "--changed", env={"ORCH_DATABASE": url, **environment})
    assert "2 fresh" in again.out or "all 2 tools are fresh" in again.out, again.text
    shown = orch("status", "b", "-v", env={"DATABASE_URL": url, **environment})
    assert "table b" in shown.out, shown.text


@pytest.mark.slow
def test_a_postgresql_url_is_opened_and_its_commits_are_deferred(
    project: Project, orch: Orch, postgres: str
) -> None:
    root = project(TWO_TOOLS)
    check_database(orch, postgres, lambda: rows_of_postgres(postgres))
    assert not (root / "data.db").exists()


@pytest.mark.slow
def test_a_duckdb_url_is_opened(project: Project, orch: Orch) -> None:
    root = project(WITHOUT_COMMIT)
    check_database(orch, "duckdb:///d.duckdb", lambda: rows_of_duckdb(root / "d.duckdb"))
    (root / "d.duckdb").unlink()
    gone = orch("status", "--database", "duckdb:///d.duckdb")
    assert gone.out.count("stale") >= 2, gone.text


def test_any_other_url_is_opened_with_sqlalchemy(project: Project, orch: Orch) -> None:
    root = project(TWO_TOOLS)
    answer = orch("run", "--fails", "b", "--database", "sqlite+pysqlite:///x.db")
    assert answer.code == 1
    assert "ValueError" in answer.out
    with closing(sqlite3.connect(root / "x.db")) as conn:
        assert conn.execute(
            "select name from sqlite_master where name not like '%orch%'"
        ).fetchall() == [("a",)]


def change(url: str, **parts: str) -> str:
    """The URL of the test's server with another user, password, or database."""
    before, _, after = url.partition("://")
    place, _, query = after.partition("?")
    authority, _, database = place.partition("/")
    user, host = authority.rpartition("@")[0].partition(":")[0], authority.rpartition("@")[2]
    user = parts.get("user", user)
    password = f":{parts['password']}" if "password" in parts else ""
    return f"{before}://{user}{password}@{host}/{parts.get('database', database)}?{query}"


@pytest.mark.slow
def test_why_a_server_cannot_be_used_is_a_sentence_without_the_password(
    project: Project, orch: Orch, postgres: str
) -> None:
    project(TWO_TOOLS)
    secret = "correct-horse-battery"

    def run(url: str) -> Answer:
        answer = orch("run", env={"DATABASE_URL": url})
        assert secret not in answer.text
        assert "Traceback" not in answer.text
        return answer

    answer = run(change(postgres, password=secret, database="nowhere"))
    assert answer.code == 1
    assert 'database "nowhere" does not exist' in " ".join(answer.out.split())
    answer = run(change(postgres, user="nobody_here", password=secret))
    assert 'role "nobody_here" does not exist' in " ".join(answer.out.split())
    answer = run(f"postgresql://me:{secret}@localhost:1/db")
    assert "Connection refused" in " ".join(answer.out.split())
    assert "check the URL, and whether the server is running" in " ".join(answer.out.split())
    answer = run("postgresql:///db?host=/nowhere")
    assert "/nowhere: No such file or directory\n" in answer.out
    answer = run("postgresql://localhost:99999/db")
    assert "invalid port number" in answer.out


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("postgresql://h/d?connect_timeut=1", "connect_timeut", "check the URL"),
        ("postgresql://[::1/d", "end of string reached", "check the URL"),
        ("postgresql://u:horse%@h/d", 'invalid percent-encoded token: "***"', "check the URL"),
        ("postgresql://u:correct horse@h/d", 'unexpected spaces found in "***"', "check the URL"),
        ("duckdb:///d?thread=1", "options were not recognized: thread", "check the URL"),
        ("duckdb:///d?access_mode=ro", 'unrecognized value "RO"', "check the URL"),
        ("mysql://u:correct-horse@h/d", "no module named MySQLdb", "pip install mysqlclient"),
        ("postgresql+psycopg2://h/d", "no module named psycopg2", "pip install psycopg2-binary"),
        ("mysql+aiomysql://h/d", "asynchronous driver", "name a driver that is not"),
        ("nosuch://h/d", "unknown kind of database: nosuch://", "get_connection() of orchconf.py"),
    ],
)
def test_why_a_url_cannot_be_opened_is_known_before_anything_connects(
    url: str, message: str, hint: str
) -> None:
    with pytest.raises(CannotOpen) as told:
        opening.open_url(url, "")
    assert message in str(told.value)
    assert hint in told.value.hint
    said = f"{told.value} {told.value.hint}"
    assert all(secret not in said for secret in ("correct-horse", "horse%", "correct horse"))


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [("psycopg", "postgresql://h/d", "postgres"), ("duckdb", "duckdb:///d", "duckdb")],
)
def test_a_driver_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, extra: str
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    with pytest.raises(CannotOpen, match=f"no module named {module}") as told:
        opening.check_url(url)
    assert told.value.hint == f'pip install "discover-orch[{extra}]"'
    with pytest.raises(CannotOpen, match="unknown kind of database"):
        opening.check_url("mysql://h/d")


LOSES = """
import os, psycopg
STAGE = "s"
AFTER = {after}
def run(conn):
    conn.execute("create table if not exists {name} (a int)")
    print("backend", conn.info.backend_pid, flush=True)
    conn.commit()
"""


def test_a_connection_lost_between_two_tools_is_opened_anew(
    project: Project, orch: Orch, postgres: str
) -> None:
    """The tool in between takes no connection, and ends that of the others."""
    ends = """
import os, psycopg
STAGE = "s"
AFTER = "a"
def run():
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()")
"""
    project(
        {
            "src/a.py": LOSES.format(name="a", after=()),
            "src/ends.py": ends,
            "src/z.py": LOSES.format(name="z", after="'ends'"),
        }
    )
    answer = orch("run", env={"DATABASE_URL": postgres})
    assert answer.code == 0, answer.text
    first, second = (line.split()[-1] for line in answer.out.splitlines() if "backend" in line)
    assert first != second
    assert "ended the connection between two tools" in " ".join(answer.err.split())


def test_a_connection_lost_within_a_tool_fails_it_and_the_next_gets_a_new_one(
    project: Project, orch: Orch, postgres: str
) -> None:
    dies = LOSES.format(name="a", after=()) + (
        "    conn.execute('select pg_terminate_backend(pg_backend_pid())')\n"
    )
    project({"src/a.py": dies, "src/z.py": LOSES.format(name="z", after=())})
    answer = orch("run", env={"DATABASE_URL": postgres})
    assert (answer.code, "1 failed, 1 passed" in answer.out) == (1, True), answer.text
    assert "the database ended its connection; a new one is opened for the next" in answer.out
    with psycopg.connect(postgres) as conn:
        found = conn.execute(
            "select tablename from pg_tables where schemaname = 'public' and tablename <> 'orch_memory'"
        )
        assert found.fetchall() == [("z",)]


def test_the_password_is_no_part_of_what_a_database_is(
    project: Project, orch: Orch, postgres: str
) -> None:
    project(TWO_TOOLS)
    assert orch("run", env={"DATABASE_URL": postgres}).code == 0
    url = change(postgres, password="another-password")
    assert orch("status", "--exit-code", env={"DATABASE_URL": url}).code == 0
    other = change(postgres, database="another")
    answer = orch("status", "--exit-code", env={"DATABASE_URL": other})
    assert answer.code == 1, answer.text
    assert os.environ.get("DATABASE_URL") is None


def test_a_wrong_password_is_told_and_a_right_one_opens(
    project: Project, orch: Orch, postgres: str
) -> None:
    role, right, wrong = f"role_{os.getpid()}", "right-password", "wrong-password"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"create role {role} login password '{right}'".encode())
        [(file,)] = conn.execute("show hba_file").fetchall()
        rules = Path(file).read_text(encoding="utf-8")
        Path(file).write_text(f"local all {role} scram-sha-256\n{rules}", encoding="utf-8")
        conn.execute("select pg_reload_conf()")

    def is_refused() -> bool:
        try:
            psycopg.connect(change(postgres, user=role, password=wrong)).close()
        except psycopg.OperationalError:
            return True
        return False

    wait_until(is_refused, "the new rules of the server")
    project({"src/a.py": "STAGE = 's'\ndef run(conn):\n    conn.execute('select 1')\n"})
    answer = orch("run", env={"DATABASE_URL": change(postgres, user=role, password=wrong)})
    assert answer.code == 1
    assert "password authentication failed" in " ".join(answer.out.split())
    assert wrong not in answer.text
    answer = orch("run", env={"DATABASE_URL": change(postgres, user=role, password=right)})
    assert answer.code == 0, answer.text
    assert right not in answer.text
