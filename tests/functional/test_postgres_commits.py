"""On PostgreSQL the transaction belongs to orch: what a tool commits is final when the tool has succeeded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.project_builder import Answer
from tests.support.remembered import reasons
from tests.support.running import running

pytestmark = pytest.mark.slow

PSYCOPG = (
    "import os, psycopg\ndef get_connection():\n    return psycopg.connect(os.environ['URL'])\n"
)
SQLALCHEMY = """
import os, sqlalchemy
def get_connection():
    url = os.environ["URL"].replace("postgresql", "postgresql+psycopg", 1)
    return sqlalchemy.create_engine(url).connect()
"""
CONFIG = '[tool.orch]\nstages = ["s1", "s2"]\n'
FAILS = "raise ValueError('no')"


@pytest.fixture
def run(orch: Orch, postgres: str) -> Callable[..., Answer]:
    """`orch` with the test's own database, in which there is a table `kept` with the row 0."""
    with psycopg.connect(postgres) as conn:
        conn.execute("create table kept (a int unique)")
        conn.execute("insert into kept values (0)")
    return lambda *words: orch(*words, env={"URL": postgres})


def tool(*lines: str, stage: str = "s1") -> str:
    body = "".join(f"    {line}\n" for line in "\n".join(lines).splitlines())
    return f'import psycopg\nSTAGE = "{stage}"\ndef run(conn):\n{body}'


def rows(url: str, query: str = "select a from kept order by a") -> list[Any]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute(query.encode())]


def tables(url: str) -> list[Any]:
    return rows(url, "select tablename from pg_tables where schemaname = 'public' order by 1")


WAYS = {
    "commit()": "conn.execute('insert into kept values (1)'); conn.commit()",
    "block": "with conn.transaction():\n    conn.execute('insert into kept values (1)')",
    "block, rollback": "with conn.transaction():\n    conn.execute('insert into kept values (1)')\nconn.rollback()",
    "blocks": "with conn.transaction(), conn.transaction():\n    conn.execute('insert into kept values (1)')",
    "autocommit": "conn.autocommit = True\nconn.execute('insert into kept values (1)')",
    "autocommit, block": "conn.autocommit = True\nwith conn.transaction():\n    conn.execute('insert into kept values (1)')",
    "copy": "conn.autocommit = True\nwith conn.cursor().copy('copy kept from stdin') as copy:\n    copy.write_row((1,))",
    "executemany": "conn.cursor().executemany('insert into kept values (%s)', [(1,)]); conn.commit()",
    "pipeline": "with conn.pipeline():\n    conn.execute('insert into kept values (1)')\n    conn.commit()",
    "with conn": "with conn:\n    conn.execute('insert into kept values (1)')",
    "close()": "conn.execute('insert into kept values (1)'); conn.commit(); conn.close()",
}


@pytest.mark.parametrize("way", slow_but({"commit()", "block, rollback"}, WAYS))
def test_what_a_tool_commits_stays_if_it_succeeds_and_is_undone_if_it_fails(
    project: Project, run: Callable[..., Answer], postgres: str, way: str
) -> None:
    reader = tool("conn.execute('select a from kept').fetchall()", stage="s2")
    good = {"src/a.py": tool(WAYS[way]), "src/b.py": reader}
    root = project({"pyproject.toml": CONFIG, "orchconf.py": PSYCOPG, **good})
    (root / "src" / "a.py").write_text(tool(WAYS[way], FAILS))
    answer = run("run", "a", "-v")
    assert answer.code == 1
    assert "ValueError: no" in answer.out
    assert rows(postgres) == [0]
    assert "committed by itself" not in answer.out
    project(good)
    answer = run("run", "-v")
    assert answer.code == 0, answer.text
    assert rows(postgres) == [0, 1]
    assert "committed by itself" not in answer.out
    assert reasons(run) == {}
    (root / "src" / "a.py").write_text(tool("conn.execute('delete from kept where a = 1')", "conn.commit()", FAILS))  # fmt: skip
    assert run("run", "a").code == 1
    assert rows(postgres) == [0, 1]
    project(good)
    found = reasons(run)
    assert found["a"] == ["failed (run 3)"]
    assert not any("rewritten" in why for why in found.get("b", []))


def test_a_rollback_returns_to_the_last_commit(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute("insert into kept values (1)")
conn.commit()
conn.execute("insert into kept values (2)")
conn.rollback()
try:
    conn.execute("insert into kept values (3), (1)")
except psycopg.errors.UniqueViolation:
    conn.rollback()
conn.execute("insert into kept values (4)")
print("status", conn.info.transaction_status.name)
"""
    project({"orchconf.py": PSYCOPG, "src/a.py": tool(body)})
    answer = run("run")
    assert answer.code == 0, answer.text
    assert "status INTRANS" in answer.out
    assert rows(postgres) == [0, 1, 4]


SQLALCHEMY_WAYS = {
    "commit()": "conn.execute(sa.text('insert into kept values (1)')); conn.commit()",
    "begin()": "with conn.begin():\n    conn.execute(sa.text('insert into kept values (1)'))",
    "Core": "t = sa.Table('kept', sa.MetaData(), autoload_with=conn)\nconn.execute(t.insert(), [{'a': 1}]); conn.commit()",
    "AUTOCOMMIT": "conn.execution_options(isolation_level='AUTOCOMMIT').execute(sa.text('insert into kept values (1)'))",
    "ORM": "with orm.Session(conn) as session:\n    session.execute(sa.text('insert into kept values (1)')); session.commit()",
    "nested": "with conn.begin(), conn.begin_nested():\n    conn.execute(sa.text('insert into kept values (1)'))",
    "pandas": "pandas.DataFrame({'a': [1]}).to_sql('kept', conn, if_exists='append', index=False); conn.commit()",
    "close()": "conn.execute(sa.text('insert into kept values (1)')); conn.commit(); conn.close()",
    "Engine": "conn.execute(sa.text('insert into kept values (1)')); conn.commit(); conn.close(); conn.engine.connect().close()",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", slow_but({"commit()", "pandas"}, SQLALCHEMY_WAYS))
def test_so_it_is_through_sqlalchemy(
    project: Project, run: Callable[..., Answer], postgres: str, way: str
) -> None:
    if way == "pandas":
        pytest.importorskip("pandas")
    imports = "import sqlalchemy as sa; from sqlalchemy import orm\n" + ("import pandas\n" * (way == "pandas"))  # fmt: skip
    root = project(
        {"orchconf.py": SQLALCHEMY, "src/a.py": imports + tool(SQLALCHEMY_WAYS[way], FAILS)}
    )
    answer = run("run", "-v")
    assert answer.code == 1
    assert "ValueError: no" in answer.out
    assert rows(postgres) == [0]
    (root / "src" / "a.py").write_text(imports + tool(SQLALCHEMY_WAYS[way]))
    answer = run("run", "-v")
    assert answer.code == 0, answer.text
    assert rows(postgres) == [0, 1]
    assert "committed by itself" not in answer.out


def test_a_table_that_pandas_replaces_is_the_old_one_after_a_failure(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    pytest.importorskip("pandas")
    lines = "pandas.DataFrame({'b': ['x']}).to_sql('kept', conn, if_exists='replace', index=False)"
    project(
        {
            "orchconf.py": SQLALCHEMY,
            "src/a.py": "import pandas\n" + tool(lines, "conn.commit()", FAILS),
        }
    )
    assert run("run").code == 1
    assert rows(postgres) == [0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql", ["vacuum kept", "create index concurrently i on kept (a)", "create database more"]
)
def test_what_works_in_no_transaction_works_before_the_first_write_and_is_refused_after_it(
    project: Project, run: Callable[..., Answer], postgres: str, sql: str
) -> None:
    sql = sql.replace("more", f"more_{os.getpid()}_{abs(hash(postgres))}")
    before = (
        f"conn.execute('select 1'); conn.commit(); conn.autocommit = True; conn.execute('{sql}')"
    )
    insert = "conn.execute('insert into kept values (1)')"
    root = project({"orchconf.py": PSYCOPG, "src/a.py": tool(before, insert)})
    answer = run("run")
    assert answer.code == 0, answer.text
    assert rows(postgres) == [0, 1]
    after = tool("conn.autocommit = True", "conn.execute('insert into kept values (2)')", f"conn.execute('{sql}')")  # fmt: skip
    (root / "src" / "a.py").write_text(after)
    answer = run("run")
    assert answer.code == 1
    assert "cannot run inside a transaction block" in answer.out
    assert '"transaction": "none"' in answer.out
    assert rows(postgres) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "conn.execute('prepare transaction \\'x\\'')",
        "conn.tpc_begin(conn.xid(1, 'x', 'y'))",
        "conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE; conn.execute('select 1')",
        "conn.autocommit = True; conn.execute('begin isolation level serializable')",
        "conn.autocommit = True; conn.execute('call commits()')",
    ],
)
def test_what_one_transaction_cannot_do_is_an_error_that_names_the_way_out(
    project: Project, run: Callable[..., Answer], postgres: str, line: str
) -> None:
    with psycopg.connect(postgres) as conn:
        conn.execute("create procedure commits() language plpgsql as 'begin commit; end'")
    body = ("conn.execute('insert into kept values (1)')", "conn.commit()", line)
    project({"orchconf.py": PSYCOPG, "src/a.py": tool(*body)})
    answer = run("run")
    assert answer.code == 1
    assert '"transaction": "none"' in answer.out
    assert rows(postgres) == [0]


@pytest.mark.parametrize(
    ("line", "message", "left"),
    [
        ("conn.execute('COMMIT')", "call conn.commit()", [0]),
        ("conn.execute(b'select 1; /* /* nested */ */ rollback and chain')", "call conn.commit()", [0]),
        ("conn.cursor().executemany('commit', [()])", "call conn.commit()", [0]),
        ("conn.execute('do $$ begin commit; end $$')", "invalid transaction termination", [0]),
        ("conn.execute('create function f() returns int begin atomic select 1; end; commit')", "has ended orch's transaction", [0, 1]),
    ],
)  # fmt: skip
def test_a_commit_as_text_fails_the_tool(
    project: Project, run: Callable[..., Answer], postgres: str, line: str, message: str, left: list[int]
) -> None:  # fmt: skip
    """One that orch cannot see in the text has happened, and fails the tool too."""
    body = f"""
conn.execute('insert into kept values (1)')
try:
    {line}
finally:
    conn.execute('insert into kept values (2)')
"""
    project({"orchconf.py": PSYCOPG, "src/a.py": tool(body)})
    answer = run("run")
    assert answer.code == 1
    assert message in " ".join(answer.out.split())
    assert rows(postgres)[: len(left)] == left
    assert 2 not in rows(postgres)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "try: conn.execute('create function f() returns int begin atomic select 1; end; commit')\n"
            "except psycopg.Error: pass",
            "ended orch's transaction with a statement",
        ),
        (
            "try: conn.execute('selec 1')\nexcept psycopg.Error: conn.close()",
            "closed its connection before its writes were committed",
        ),
    ],
)
def test_a_tool_that_catches_the_error_has_failed_all_the_same(
    project: Project, run: Callable[..., Answer], lines: str, message: str
) -> None:
    body = tool("conn.execute('insert into kept values (1)')", lines)
    project({"orchconf.py": PSYCOPG, "src/a.py": body})
    answer = run("run")
    assert answer.code == 1
    assert message in " ".join(answer.out.split())


def test_nothing_leaves_the_transaction_before_the_tool_has_succeeded(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    notifies = "conn.execute('notify news'); conn.commit()"
    root = project({"orchconf.py": PSYCOPG, "src/a.py": tool(notifies, FAILS)})
    with psycopg.connect(postgres, autocommit=True) as listener:
        listener.execute("listen news")
        assert run("run").code == 1
        assert [*listener.notifies(timeout=0)] == []
        (root / "src" / "a.py").write_text(tool(notifies))
        assert run("run").code == 0
        listener.execute("select 1")
        assert [one.channel for one in listener.notifies(timeout=5, stop_after=1)] == ["news"]


def test_a_constraint_that_is_deferred_fails_the_tool_at_its_end(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute("create table child (a int references kept (a) deferrable initially deferred)")
conn.execute("insert into child values (7)")
conn.commit()
print("committed")
"""
    project({"orchconf.py": PSYCOPG, "src/a.py": tool(body)})
    answer = run("run")
    assert answer.code == 1
    assert "committed" in answer.out
    assert "violates foreign key constraint" in answer.out
    assert tables(postgres) == ["kept"]


@pytest.mark.parametrize("end", ["conn.commit()", ""])
def test_a_tool_whose_connection_the_server_ends_has_failed_though_it_returned(
    project: Project, run: Callable[..., Answer], postgres: str, end: str
) -> None:
    body = f"""
conn.execute("insert into kept values (1)")
{end}
try:
    conn.execute("select pg_terminate_backend(pg_backend_pid())")
except psycopg.OperationalError:
    pass
"""
    project({"orchconf.py": PSYCOPG, "src/a.py": tool(body)})
    answer = run("run")
    assert answer.code == 1
    assert "lost its connection to the database" in answer.out
    assert rows(postgres) == [0]


def test_so_it_is_below_sqlalchemy(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute(text("insert into kept values (1)"))
conn.commit()
try:
    conn.execute(text("select pg_terminate_backend(pg_backend_pid())"))
except Exception:
    conn.rollback()
"""
    project({"orchconf.py": SQLALCHEMY, "src/a.py": "from sqlalchemy import text\n" + tool(body)})
    answer = run("run")
    assert answer.code == 1
    assert "lost its connection to the database" in answer.out
    assert rows(postgres) == [0]


def test_kill_9_of_the_worker_leaves_nothing_that_was_committed(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute("insert into kept values (1)")
conn.commit()
print("pid", os.getpid(), flush=True)
time.sleep(60)
"""
    root = project({"orchconf.py": PSYCOPG, "src/a.py": "import os, time\n" + tool(body)})
    with running(root, "run", URL=postgres) as orch:
        pid = int(orch.wait_for(r"pid (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        assert orch.wait() == 1
    assert rows(postgres) == [0]


def test_an_interrupt_leaves_nothing_that_was_committed(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute("insert into kept values (1)")
conn.commit()
print("it sleeps", flush=True)
conn.execute("select pg_sleep(60)")
"""
    root = project({"orchconf.py": PSYCOPG, "src/a.py": tool(body)})
    with running(root, "run", URL=postgres) as orch:
        orch.wait_for("it sleeps")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    assert rows(postgres) == [0]


def test_each_tool_finds_no_temporary_tables_and_the_settings_that_the_user_chose(
    project: Project, run: Callable[..., Answer]
) -> None:
    body = (
        "assert not conn.autocommit",
        "conn.autocommit = True",
        "conn.execute('create temp table scratch as select a from kept')",
        "conn.execute('create temp view seen as select a from scratch')",
        "conn.execute('select a from from_resource, seen')",
    )
    conf = PSYCOPG + "from discover_orch import resource\n@resource\ndef table(conn):\n    conn.execute('create temp table from_resource (b int)')\n"  # fmt: skip
    text = tool(*body).replace("run(conn)", "run(conn, table)")
    project({"orchconf.py": conf, "src/a.py": text, "src/b.py": text})
    answer = run("run")
    assert answer.code == 0, answer.text


def test_a_second_connection_commits_by_itself(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
with psycopg.connect(os.environ["URL"]) as other:
    other.execute("insert into kept values (5)")
raise ValueError
"""
    reader = tool("conn.execute('select a from kept').fetchall()", stage="s2")
    files = {"src/a.py": "import os\n" + tool("conn.execute('insert into kept values (9)')"), "src/b.py": reader}  # fmt: skip
    root: Path = project({"pyproject.toml": CONFIG, "orchconf.py": PSYCOPG, **files})
    assert run("run").code == 0
    (root / "src" / "a.py").write_text("import os\n" + tool(body))
    answer = run("run", "a", "-v")
    assert answer.code == 1
    assert "used a second connection to the database" in answer.out
    assert rows(postgres) == [0, 5, 9]
    assert "a used the database in a way that cannot be observed (run 2)" in reasons(run)["b"]


def test_a_second_connection_that_waits_for_the_first_fails_with_the_words_of_the_driver(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    body = """
conn.execute("update kept set a = 1")
conn.commit()
with psycopg.connect(os.environ["URL"], options="-clock_timeout=50ms") as other:
    other.execute("update kept set a = 2")
"""
    project({"orchconf.py": PSYCOPG, "src/a.py": "import os\n" + tool(body)})
    answer = run("run")
    assert answer.code == 1
    assert "LockNotAvailable: canceling statement due to lock timeout" in " ".join(
        answer.out.split()
    )
    assert rows(postgres) == [0]
