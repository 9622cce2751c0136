"""What orch sees of tools that work on PostgreSQL through psycopg, or through SQLAlchemy: a real server, real runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import Answer
from tests.support.remembered import reasons, tables_of

pytestmark = pytest.mark.slow

CONF = """
    import os
    import psycopg

    def get_connection():
        return psycopg.connect(os.environ["URL"])
    """
CONFIG = '[tool.orch]\nstages = ["s1", "s2", "s3"]\n'


@pytest.fixture
def run(orch: Orch, postgres: str) -> Callable[..., Answer]:
    """`orch` with the test's own database."""
    return lambda *words: orch(*words, env={"URL": postgres})


def tool(stage: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f'STAGE = "{stage}"\ndef run(conn):\n{body}'


def flows(run: Callable[..., Answer]) -> dict[str, tuple[list[str], list[str], bool]]:
    """Of each tool: tables read, tables written, whether that is all unclear."""
    answer = run("status", "--json")
    assert answer.code == 0, answer.text
    return {
        one["name"]: (tables_of(one["reads"]), tables_of(one["writes"]), one["is_unclear"])
        for one in answer.json["tools"]
    }


def flow_of(
    project: Project, run: Callable[..., Answer], url: str, *lines: str, before: str = ""
) -> tuple[list[str], list[str], bool]:
    """What was seen of one tool of these lines, in a database that `before` has prepared."""
    with psycopg.connect(url) as conn:
        conn.execute(before.encode())
    project({"pyproject.toml": CONFIG, "orchconf.py": CONF, "src/a.py": tool("s1", *lines)})
    answer = run("run")
    assert answer.code == 0, answer.text
    return flows(run)["a"]


PIPELINE: Mapping[str, str] = {
    "pyproject.toml": CONFIG,
    "orchconf.py": CONF,
    "src/fetch.py": tool(
        "s1",
        'conn.execute("create table if not exists raw (a int, b text)")',
        'conn.execute("delete from raw")',
        "with conn.cursor() as cursor:",
        '    cursor.executemany("insert into raw values (%s, %s)", [(1, "x"), (2, "y")])',
        '    with cursor.copy("copy raw (a, b) from stdin") as copy:',
        '        copy.write_row((3, "z"))',
    ),
    "src/parse.py": tool(
        "s2",
        'conn.execute("drop table if exists good")',
        'conn.execute("create table good as select * from raw where a > 1")',
    ),
    "src/report.py": tool(
        "s3",
        'with conn.cursor(name="rows") as cursor:',
        '    cursor.execute("select * from good where a > %s", (1,))',
        "    print(cursor.fetchall())",
    ),
    "src/alone.py": tool("s3", 'print(conn.execute("select 1").fetchall())'),
}


def test_tables_are_seen_and_the_reader_of_a_table_that_was_written_again_is_stale(
    project: Project, run: Callable[..., Answer]
) -> None:
    root = project(PIPELINE)
    answer = run("run")
    assert answer.code == 0, answer.text
    assert "[(2, 'y'), (3, 'z')]" in answer.out
    seen = flows(run)
    assert seen["fetch"] == ([], ["raw"], False)
    assert seen["parse"] == (["raw"], ["good"], False)
    assert seen["report"] == (["good"], [], False)
    assert reasons(run) == {}
    assert run("run", "fetch").code == 0
    assert reasons(run) == {}  # it has made the same table
    path = root / "src" / "fetch.py"
    path.write_text(path.read_text().replace('(1, "x")', '(4, "x")'))
    assert run("run", "fetch").code == 0
    found = reasons(run)
    assert found["parse"] == ["table raw was rewritten by fetch (run 3)"]
    assert found["report"] == ["upstream parse is stale (table good)"]
    assert run("run", "--changed").code == 0
    assert reasons(run) == {}


def test_a_failed_tool_that_was_rolled_back_has_written_nothing(
    project: Project, run: Callable[..., Answer]
) -> None:
    root = project(PIPELINE)
    assert run("run").code == 0
    path = root / "src" / "fetch.py"
    text = path.read_text()
    path.write_text(text + "    raise ValueError('no')\n")
    assert run("run", "fetch").code == 1
    path.write_text(text)
    assert reasons(run)["parse"] == ["upstream fetch is stale (table raw)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql", ["select * from absent", "selec 1", "insert into good values ('x')"]
)
def test_a_tool_that_failed_with_an_sql_error_has_written_nothing(
    project: Project, run: Callable[..., Answer], sql: str
) -> None:
    root = project(PIPELINE)
    assert run("run").code == 0
    path = root / "src" / "fetch.py"
    text = path.read_text()
    failing = f'    conn.execute("create table more (a int)")\n    conn.execute("""{sql}""")\n'
    path.write_text(text + failing)
    assert run("run", "fetch").code == 1
    path.write_text(text)
    assert reasons(run)["fetch"] == ["failed (run 2)"]
    assert run("accept", "fetch").code == 0
    assert reasons(run) == {}


BLOCK = """with conn.transaction():
        conn.execute("insert into raw values (4, NULL)")"""


@pytest.mark.slow
@pytest.mark.parametrize("commit", ["conn.commit()", 'conn.execute("commit")', BLOCK])
def test_a_failed_tool_that_committed_has_written_nothing(
    project: Project, run: Callable[..., Answer], commit: str
) -> None:
    root = project(PIPELINE)
    assert run("run").code == 0
    path = root / "src" / "fetch.py"
    text = path.read_text()
    path.write_text(text + f"    {commit}\n    raise ValueError('no')\n")
    assert run("run", "fetch").code == 1
    path.write_text(text)
    assert reasons(run)["parse"] == ["upstream fetch is stale (table raw)"]
    assert run("accept", "fetch").code == 0
    assert reasons(run) == {}


# What a statement means, asked of the real server.

VIEW = "create table t (a int); create view v as select * from t; create view w as select * from v"
PARTS = (
    "create table p (a int) partition by list (a); create table p1 partition of p for values in (1)"
)
FUNCTION = (
    "create table t (a int); create function f() returns int language sql as 'select max(a) from t'"
)
TRIGGER = (
    "create table t (a int); create table log (a int); create function g() returns trigger language plpgsql "
    "as 'begin insert into log values (1); return new; end'; "
    "create trigger x after insert on t for each row execute function g()"
)
CASCADE = (
    "create table t (a int primary key); create table u (b int references t on delete cascade)"
)
SCHEMAS = (
    "create schema one; create schema two; create table one.t (a int); create table two.t (a int)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "sql", "expected"),
    [
        (VIEW, "select * from w", (["t", "v", "w"], [], False)),
        (VIEW, "insert into v values (1)", ([], ["t", "v"], False)),
        (VIEW, "drop view w", ([], ["w"], False)),
        (PARTS, "select * from p", (["p", "p1"], [], False)),
        (PARTS, "insert into p values (1)", ([], ["p", "p1"], False)),
        (FUNCTION, "select f()", (["function f", "t"], [], False)),
        (TRIGGER, "insert into t values (1)", ([], ["log", "t"], False)),
        (TRIGGER, "select * from t", (["t"], [], False)),
        (CASCADE, "insert into t values (1); insert into u values (1); delete from t", (["t"], ["t", "u"], False)),
        (SCHEMAS, "insert into one.t select * from two.t", (["two.t"], ["one.t"], False)),
        (SCHEMAS, "set search_path = two; select * from t", (["two.t"], [], False)),
        ("create table t (a int)", "create table if not exists t (a int)", ([], [], False)),
        ("", "create table if not exists t (a int)", ([], ["t"], False)),
        ("", "create temp table x (a int) on commit drop", ([], [], False)),
        ('create table "T" (a int); create table t (a int)', 'select * from "T"', (["T"], [], False)),
        ("create table t (a int)", "select relname from pg_class", ([], [], False)),
        (
            "create table t (a int); create materialized view m as select * from t",
            "refresh materialized view m",
            (["t"], ["m"], False),
        ),
        (FUNCTION + "; create view v as select f()", "select * from v", (["function f", "t", "v"], [], False)),
        (FUNCTION + "; create table u (a int default f(), b int)", "insert into u (b) values (1)", (["function f", "t"], ["u"], False)),
        (VIEW, "drop table t cascade", ([], ["t", "v", "w"], False)),
        (CASCADE, "truncate t cascade", ([], ["t", "u"], False)),
        (SCHEMAS, "select set_config('search_path', 'two', false); select * from t", (["two.t"], [], False)),
        (SCHEMAS, "create table if not exists t (a int)", ([], ["t"], False)),
        ("create table t (a int)", "select * from t; create temp table t as select 1", (["t"], [], False)),
        (PARTS, "insert into p1 values (1)", ([], ["p", "p1"], False)),
        (PARTS, "create table p2 partition of p for values in (2)", ([], ["p", "p2"], False)),
        (FUNCTION + "; insert into t values (2)", "do $$ begin execute 'delete from ' || 't where a = 1'; end $$", (["t"], ["t"], False)),
        (FUNCTION, "do $$ begin perform f(); perform 1 / 0; exception when others then null; end $$", (["function f", "t"], [], False)),
        (FUNCTION, "prepare p as select f(); execute p", (["function f", "t"], [], False)),
        (VIEW, "savepoint a; select * from w; rollback to a", (["t"], [], True)),
        (VIEW, "delete from t", ([], ["t"], False)),
        (VIEW, "update t set a = 1", ([], ["t"], False)),
        ("create table t as select 1 as a", "update t set a = 1 where a = 2", (["t"], ["t"], False)),
        ("create table t as select 1 as a", "update t set a = 1", (["t"], ["t"], False)),
        ("create table t as select 1 as a", "delete from t", ([], ["t"], False)),
        (VIEW, "create index i on t (a)", ([], ["index i"], False)),
        (CASCADE, "create table more (a int references t)", (["more", "t"], ["more"], False)),
    ],
)  # fmt: skip
def test_what_statements_mean(
    project: Project,
    run: Callable[..., Answer],
    postgres: str,
    before: str,
    sql: str,
    expected: tuple[list[str], list[str], bool],
) -> None:
    assert flow_of(project, run, postgres, f"conn.execute({sql!r})", before=before) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["try: conn.execute('select * from absent')", "except Exception: conn.rollback()"], ([], [], False)),
        (["conn.execute('select * from w')", "try: conn.execute('select * from absent')", "except Exception: conn.rollback()"], ([], [], True)),
        (["conn.execute('select * from w')", "try:", "    with conn.transaction(): conn.execute('select * from absent')", "except Exception: pass"], (["t", "v", "w"], [], False)),
        (["try: conn.execute('select 1 / 0')", "except Exception: conn.rollback()"], ([], [], True)),
        (["conn.execute('select * from w')", "conn.rollback()", "conn.execute('insert into t values (1)')"], (["t", "v", "w"], ["t"], False)),
        (["conn.execute('insert into t values (1)')", "conn.rollback()"], ([], [], False)),
        (["with conn.transaction(force_rollback=True): conn.execute('select * from w')"], (["t", "v", "w"], [], False)),
        (["conn.execute('savepoint a')", "conn.execute('select * from w')", "conn.execute('rollback to a')"], (["t", "v", "w"], [], False)),
        (["conn.execute('insert into t values (1)'); conn.commit(); conn.close()"], ([], ["t"], False)),
        (["conn.execute('select * from w')", "conn.close()"], (["t", "v", "w"], [], False)),
        (["conn.autocommit = True", "conn.execute('select * from w')", "conn.execute('vacuum t')"], (["t", "v", "w"], [], True)),
        (["conn.autocommit = True", "conn.execute('select * from w')", "conn.execute('insert into t values (1)')"], (["t", "v", "w"], ["t"], False)),
        (["with conn.pipeline(): conn.execute('select * from w')"], (["t", "v", "w"], [], False)),
    ],
)  # fmt: skip
def test_what_is_known_of_what_was_undone(
    project: Project,
    run: Callable[..., Answer],
    postgres: str,
    lines: list[str],
    expected: tuple[list[str], list[str], bool],
) -> None:
    """The server forgets which tables a statement has used where it undoes it, so it is asked before."""
    assert flow_of(project, run, postgres, *lines, before=VIEW) == expected


def test_a_tool_whose_transaction_broke_has_failed_though_it_went_on(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    """COMMIT is a ROLLBACK then, and PostgreSQL does not say so."""
    lines = (
        'conn.execute("create table t (a int)")',
        "try:",
        '    conn.execute("select nonsense")',
        "except Exception:",
        "    pass",
    )
    project({"orchconf.py": CONF, "src/a.py": tool("s1", *lines)})
    answer = run("run")
    assert answer.code == 1
    assert "continued after a failed statement" in answer.out
    assert "error ignored" not in answer.text  # by psycopg, of what orch asked
    with psycopg.connect(postgres) as conn:
        assert conn.execute("select to_regclass('t')").fetchall() == [(None,)]


def test_autocommit_is_left_alone_and_not_seen(
    project: Project, run: Callable[..., Answer]
) -> None:
    conf = CONF.replace('["URL"])', '["URL"], autocommit=True)')
    root = project({**PIPELINE, "orchconf.py": conf})
    answer = run("run", "fetch", "parse")
    assert answer.code == 0, answer.text
    assert flows(run)["parse"] == ([], [], True)
    path: Path = root / "src" / "fetch.py"
    path.write_text(path.read_text() + "    raise ValueError('no')\n")
    assert run("run", "fetch").code == 1
    assert reasons(run)["parse"] == [
        "fetch used the database in a way that cannot be observed (run 2)"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql+psycopg", "sqlite"])
def test_below_a_connection_of_sqlalchemy_the_drivers_is_seen(
    project: Project, run: Callable[..., Answer], postgres: str, url: str
) -> None:
    where = (
        "'sqlite:///mine.db'"
        if url == "sqlite"
        else "os.environ['URL'].replace('postgresql', 'postgresql+psycopg', 1)"
    )
    conf = f"""
        import os
        import sqlalchemy

        def get_connection():
            return sqlalchemy.create_engine({where}).connect()
        """
    text = "from sqlalchemy import text"
    project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": conf,
            "src/one.py": tool(
                "s1",
                text,
                'conn.execute(text("create table if not exists raw (a int)"))',
                'conn.execute(text("insert into raw values (:a)"), [{"a": 1}, {"a": 2}])',
            ),
            "src/two.py": tool("s2", text, 'print(conn.execute(text("select a from raw")).all())'),
        }
    )
    answer = run("run")
    assert answer.code == 0, answer.text
    assert "[(1,), (2,)]" in answer.out
    seen = flows(run)
    assert seen["one"] == ([], ["raw"], False)
    assert seen["two"] == (["raw"], [], False)
    assert run("run", "one").code == 0
    assert reasons(run)["two"][0] == "table raw was rewritten by one (run 2)"


def test_nothing_of_a_statement_is_kept(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    """Texts hold users' data: only names of tables leave the worker, and the first rows that are in them at the end."""
    root = project(
        {
            "orchconf.py": CONF,
            "src/a.py": tool(
                "s1",
                'conn.execute("create table t (a text)")',
                "conn.execute(\"insert into t values ('hush-hush')\")",
                "conn.execute(\"delete from t where a = 'hush-hush'\")",
            ),
        }
    )
    assert run("run").code == 0
    kept: list[Any] = [path for path in (root / ".orch").rglob("*") if path.is_file()]
    assert kept
    assert all(b"hush-hush" not in path.read_bytes() for path in kept)


@pytest.mark.parametrize(
    ("end", "is_lost"), [("conn.close()", True), ("conn.commit(); conn.close()", False)]
)
def test_a_tool_that_closes_its_connection_on_what_it_wrote_has_failed(
    project: Project, run: Callable[..., Answer], end: str, is_lost: bool
) -> None:
    project(
        {"orchconf.py": CONF, "src/a.py": tool("s1", 'conn.execute("create table t (a int)")', end)}
    )
    answer = run("run")
    assert answer.code == is_lost, answer.text
    assert ("closed its connection before" in answer.out) == is_lost


def test_a_block_of_the_connection_commits_and_closes(
    project: Project, run: Callable[..., Answer]
) -> None:
    lines = ("with conn:", '    conn.execute("create table t (a int)")')
    project({"orchconf.py": CONF, "src/a.py": tool("s1", *lines)})
    answer = run("run")
    assert answer.code == 0, answer.text


def test_a_query_is_cancelled_at_the_timeout(
    project: Project, run: Callable[..., Answer], postgres: str
) -> None:
    slow = tool(
        "s1", "conn.execute('create table t (x int)')", "conn.execute('select pg_sleep(60)')"
    )
    project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": CONF,
            "src/a.py": f'ORCH = {{"timeout": 0.5}}\n{slow}',
        }
    )
    answer = run("run")
    assert "  timed out after 0.5 s\n" in answer.out, answer.text
    assert "killed" not in answer.out
    with psycopg.connect(postgres) as conn:
        found = conn.execute("select query from pg_stat_activity where query like '%pg_sleep(60)'")
        assert found.fetchall() == []
        assert conn.execute("select to_regclass('t')").fetchone() == (None,)
