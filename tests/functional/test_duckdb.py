"""What orch sees of tools that work on DuckDB, and what it does around them: real files, real runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import reasons, tables_of

CONF = """
    import duckdb

    def get_connection():
        return duckdb.connect("w.duckdb")
    """
MADE = """
    import duckdb

    def get_connection():
        conn = duckdb.connect("w.duckdb")
        conn.execute("create table if not exists t (a int)")
        return conn
    """
CONFIG = '[tool.orch]\nstages = ["s1", "s2", "s3"]\n'


def tool(stage: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f'STAGE = "{stage}"\ndef run(conn):\n{body}'


def flows(orch: Orch) -> dict[str, tuple[list[str], list[str], bool]]:
    """Of each tool: what it reads and what it writes, tables and files, and whether that is all unclear."""
    answer = orch("status", "--json")
    assert answer.code == 0, answer.text
    return {
        one["name"]: (names(one["reads"]), names(one["writes"]), one["is_unclear"])
        for one in answer.json["tools"]
    }


def names(used: list[dict[str, str]]) -> list[str]:
    return sorted(name for one in used for name in one.values())


def rows(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(root / "w.duckdb"), read_only=True) as conn:
        return conn.execute(sql).fetchall()


PIPELINE: Mapping[str, str] = {
    "pyproject.toml": CONFIG,
    "orchconf.py": CONF,
    "in/a.csv": "a,b\n1,x\n2,y\n",
    "src/fetch.py": tool("s1", "conn.execute(\"create or replace table raw as from 'in/a.csv'\")"),
    "src/parse.py": tool(
        "s2", 'conn.execute("create or replace view good as select * from raw where a > 1")'
    ),
    "src/report.py": tool("s3", "conn.sql('select * from good').write_csv('out.csv')"),
}


def test_tables_views_and_files_are_seen(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert flows(orch) == {
        "fetch": (["in/a.csv"], ["raw"], False),
        "parse": (["raw"], ["good"], False),
        "report": (["good", "raw"], ["out.csv"], False),
    }
    assert reasons(orch) == {}
    (root / "in" / "a.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    assert reasons(orch)["fetch"] == ["in/a.csv changed"]
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}
    assert (root / "out.csv").read_text() == "a,b\n2,y\n3,z\n"
    (root / "out.csv").unlink()
    assert reasons(orch).keys() == {"report"}
    assert orch("run", "fetch").code == 0
    assert reasons(orch).keys() == {"report"}  # fetch has made the same table
    (root / "in" / "a.csv").write_text("a,b\n1,x\n")
    assert orch("run", "fetch").code == 0
    assert reasons(orch)["parse"] == ["table raw was rewritten by fetch (run 4)"]


@pytest.mark.slow
@pytest.mark.parametrize("is_same_name", [True, False])
def test_another_file_makes_all_stale(project: Project, orch: Orch, is_same_name: bool) -> None:
    root = project(PIPELINE)
    assert orch("run").code == 0
    path = root / "w.duckdb"
    path.unlink()
    assert reasons(orch).keys() == {"fetch", "parse", "report"}
    if is_same_name:  # it may well get the same inode
        with duckdb.connect(str(path)) as conn:
            conn.execute("create table other (a int)")
        assert reasons(orch).keys() == {"fetch", "parse", "report"}
    assert orch("run").code == 0
    assert reasons(orch) == {}


def test_a_tool_that_fails_leaves_nothing_behind(project: Project, orch: Orch) -> None:
    failing = (
        "conn.execute(\"insert into raw values (3, 'z')\")",
        'conn.execute("create table more (a int)")',
        "raise ValueError('no')",
    )
    root = project(PIPELINE)
    assert orch("run").code == 0
    project({"src/parse.py": tool("s2", *failing)})
    assert orch("run", "parse").code == 1
    assert rows(root, "select count(*) from raw") == [(2,)]
    assert rows(root, "select count(*) from duckdb_tables() where table_name = 'more'") == [(0,)]
    project({"src/parse.py": PIPELINE["src/parse.py"]})
    assert reasons(orch).keys() == {"parse", "report"}


@pytest.mark.slow
@pytest.mark.parametrize("sql", ["from absent", "selec 1", "insert into raw values ('x', 'y')"])
def test_a_tool_that_failed_with_an_sql_error_has_written_nothing(
    project: Project, orch: Orch, sql: str
) -> None:
    root = project(PIPELINE)
    assert orch("run").code == 0
    failing = ("conn.execute('create table more (a int)')", f'conn.execute("{sql}")')
    project({"src/parse.py": tool("s2", *failing)})
    assert orch("run", "parse").code == 1
    assert rows(root, "select count(*) from duckdb_tables() where table_name = 'more'") == [(0,)]
    project({"src/parse.py": PIPELINE["src/parse.py"]})
    assert reasons(orch)["parse"] == ["failed (run 2)"]
    assert orch("accept", "parse").code == 0
    assert reasons(orch) == {}


INSERT = "conn.execute('insert into t values (1)')"
WRITES = {
    "execute": (INSERT,),
    "executemany": ("conn.executemany('insert into t values (?)', [[1]])",),
    "relation": ("conn.sql('select 1 as a').insert_into('t')",),
    "sql": ("conn.sql('insert into t values (1)')",),
    "checkpoint before": ("conn.execute('checkpoint')", INSERT),
    "arrays": ("print(conn.execute('select 1').fetchnumpy())", INSERT),
}


@pytest.mark.parametrize("way", slow_but({"execute", "arrays"}, WRITES))
def test_what_a_tool_writes_stays_if_it_succeeds_and_is_undone_if_it_fails(
    project: Project, orch: Orch, way: str
) -> None:
    failing = tool("s1", *WRITES[way], "raise ValueError('no')")
    root = project({"pyproject.toml": CONFIG, "orchconf.py": MADE, "src/a.py": failing})
    answer = orch("run", "-v")
    assert answer.code == 1
    assert "ValueError: no" in answer.out
    assert rows(root, "from t") == []
    project({"src/a.py": tool("s1", *WRITES[way]), "src/b.py": tool("s2", "conn.sql('from t').fetchall()")})  # fmt: skip
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert "by itself" not in answer.out
    assert rows(root, "from t") == [(1,)]
    assert reasons(orch) == {}


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        ((INSERT, "conn.commit()"), "committed by itself"),
        ((INSERT, "conn.execute('commit; begin')"), "committed by itself"),
        (("conn.rollback()", INSERT), "ended its transaction by itself"),
    ],
)
def test_what_a_tool_commits_by_itself_stays_and_the_run_says_so(
    project: Project, orch: Orch, lines: tuple[str, ...], note: str
) -> None:
    """DuckDB has no savepoints, so orch cannot hold it back."""
    root = project({"orchconf.py": MADE, "src/a.py": tool("s1", *lines)})
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert note in answer.out
    assert rows(root, "from t") == [(1,)]
    project({"src/a.py": tool("s1", *lines, "raise ValueError('no')")})
    answer = orch("run", "-v")
    assert answer.code == 1
    assert note in answer.out
    assert rows(root, "from t") == [(1,), (1,)]
    assert note in orch("history", "2").out
    (status,) = orch("status", "--json").json["tools"]
    assert tables_of(status["writes"]) == ["t"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("conn.begin()",), "leave out BEGIN and COMMIT"),
        ((INSERT, "conn.execute('begin')"), "leave out BEGIN and COMMIT"),
        ((INSERT, "conn.execute('checkpoint')"), "CHECKPOINT before the first write"),
        (("conn.execute(\"attach ':memory:' as m\")", INSERT, "conn.execute('create table m.x (a int)')"), "write to one database"),
        ((INSERT, "try: conn.execute('selec x')", "except Exception: pass", INSERT), "avoid the failure"),
        (("try: conn.execute('create table u (a int); selec x')", "except Exception: pass", INSERT), "avoid the failure"),
        ((INSERT, "conn.close()"), "closed its connection before its writes were committed"),
        ((INSERT, "conn.close()", INSERT), "Connection already closed"),
    ],
)  # fmt: skip
def test_what_one_transaction_without_savepoints_cannot_do_fails_the_tool(
    project: Project, orch: Orch, lines: tuple[str, ...], message: str
) -> None:
    root = project({"orchconf.py": MADE, "src/a.py": tool("s1", *lines)})
    answer = orch("run", "-v")
    assert answer.code == 1
    assert message in answer.out
    assert "clos" in message or '"transaction": "none"' in answer.out
    assert rows(root, "from t") == []


def test_before_its_first_write_a_tool_may_fail(project: Project, orch: Orch) -> None:
    lines = (
        "for sql in 'from absent', 'insert into absent values (1)', 'create table t (b int)':",
        "    try: conn.execute(sql)",
        "    except Exception as error: print(type(error).__name__)",
        "conn.execute('checkpoint')",
        "conn.execute('insert into t values (1)')",
    )
    root = project({"orchconf.py": MADE, "src/a.py": tool("s1", *lines)})
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert answer.out.count("CatalogException") == 3
    assert "by itself" not in answer.out
    assert rows(root, "from t") == [(1,)]


def test_a_cursor_of_duckdb_is_a_second_connection_and_the_run_says_so(
    project: Project, orch: Orch
) -> None:
    lines = (
        "import duckdb",
        "cursor = conn.cursor()",
        "assert isinstance(cursor, duckdb.DuckDBPyConnection)",
        "cursor.execute('insert into t values (1)')",
        "print(cursor.execute('from t').fetchnumpy())",
        "conn.execute('create table u as select 1 as b')",
    )
    root = project({"orchconf.py": MADE, "src/a.py": tool("s1", *lines, "raise ValueError('no')")})
    answer = orch("run", "-v")
    assert "ValueError: no" in answer.out
    assert "used a second connection" in answer.out
    assert rows(root, "from t") == [(1,)]
    assert rows(root, "select table_name from duckdb_tables()") == [("t",)]
    project({"src/a.py": tool("s1", *lines)})
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert "used a second connection" in answer.out
    assert rows(root, "from t union all from u") == [(1,), (1,), (1,)]


def test_what_get_connection_has_made_stays_though_a_resource_fails(
    project: Project, orch: Orch
) -> None:
    conf = """
        import duckdb
        from discover_orch import resource

        def get_connection():
            conn = duckdb.connect("w.duckdb")
            conn.execute("create temp table seed as select 7 as a")
            conn.execute("attach ':memory:' as side")
            return conn

        @resource
        def broken():
            raise ValueError("no")

        @resource
        def made(conn):
            conn.execute("create temp table more as select 8 as a")
            return 1
        """
    free = "AFTER = ()\n"
    scratch = "conn.execute('create temp table x as select 1')"
    shows = "print(conn.sql('from seed union all from more').fetchall())"
    writes = "conn.execute('create table side.y as select 1')"
    project(
        {
            "orchconf.py": conf,
            "src/a.py": free + 'STAGE = "s1"\ndef run(conn, broken): pass\n',
            "src/b.py": free + tool("s1", scratch, writes, shows).replace("(conn)", "(made, conn)"),
            "src/c.py": free + tool("s1", scratch, shows),
        }
    )
    answer = orch("run")
    assert answer.out.count("[(7,), (8,)]") == 2, answer.text
    assert "1 failed, 2 passed" in answer.out


@pytest.mark.slow
def test_a_file_that_duckdb_attaches_counts_as_a_file(project: Project, orch: Orch) -> None:
    conf = """
        import duckdb

        def get_connection():
            conn = duckdb.connect("w.duckdb")
            conn.execute("attach 'kept.duckdb' as kept")
            return conn
        """
    makes = "conn.execute('create or replace table {}.t as select 1 a')"
    shows = "print(conn.execute('from {}.t').fetchall())"
    root = project(
        {
            "orchconf.py": conf,
            "src/a.py": tool("s1", "conn.execute(\"attach 'o.duckdb' as s\")", makes.format("s")),
            "src/k.py": tool("s1", makes.format("kept")),
            "src/b.py": tool("s2", "conn.execute(\"-- it\\nattach './o.duckdb' as other\")", shows.format("other")),
            "src/d.py": tool("s2", shows.format("kept")),
            "orch.toml": 'stages = ["s1", "s2"]\n',
        }
    )  # fmt: skip
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    found = flows(orch)
    assert "o.duckdb" in found["a"][1]
    assert "o.duckdb" in found["b"][0]
    assert ("kept.duckdb" in found["k"][1], "kept.duckdb" in found["d"][0]) == (True, True)
    edited = makes.format("s").replace("1 a", "2 a")
    project({"src/a.py": tool("s1", "conn.execute(\"attach 'o.duckdb' as s\")", edited)})
    assert orch("run", "a").code == 0
    assert reasons(orch) == {"b": ["o.duckdb was rewritten by a (run 2)"]}
    assert "[(2,)]" in orch("run", "--changed").out
    with duckdb.connect(str(root / "kept.duckdb")) as conn:
        conn.execute("update t set a = 3")
    assert "kept.duckdb changed" in reasons(orch)["d"]


@pytest.mark.slow
def test_temporary_tables_of_a_tool_are_gone_for_the_next(project: Project, orch: Orch) -> None:
    text = tool("s1", "conn.execute('create temp table x as select 1')", "conn.execute('create temp view y as from x')")  # fmt: skip
    project({"orchconf.py": CONF, "src/a.py": text, "src/b.py": text})
    answer = orch("run")
    assert answer.code == 0, answer.text


@pytest.mark.slow
def test_a_tool_whose_transaction_broke_has_failed_though_it_went_on(
    project: Project, orch: Orch
) -> None:
    """COMMIT is a ROLLBACK then, and DuckDB does not say so."""
    lines = (
        'conn.execute("create table t (a int primary key)")',
        'conn.execute("insert into t values (1)")',
        "try:",
        '    conn.execute("insert into t values (1)")',
        "except Exception:",
        "    pass",
    )
    root = project({"orchconf.py": CONF, "src/a.py": tool("s1", *lines)})
    answer = orch("run")
    assert answer.code == 1
    assert "continued after a failed statement" in answer.out
    assert rows(root, "select count(*) from duckdb_tables()") == [(0,)]
    project({"src/a.py": tool("s1", *lines, "    conn.rollback()")})
    assert orch("run").code == 0


def test_a_tool_that_closes_its_connection_leaves_a_new_one_to_the_next(
    project: Project, orch: Orch
) -> None:
    project(
        {
            **PIPELINE,
            "src/fetch.py": tool(
                "s1",
                "conn.execute('create table raw as select 2 as a')",
                "conn.commit()",
                "conn.close()",
            ),
        }
    )
    answer = orch("run", "-v")
    assert answer.code == 0, answer.text
    assert "closed its connection" in answer.out
    assert flows(orch)["parse"] == (["raw"], ["good"], False)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["conn.sql", "conn.execute", "duckdb.sql"])
def test_duckdb_finds_a_variable_of_the_tool(project: Project, orch: Orch, call: str) -> None:
    """A relation stands for a data frame: it is no table that anybody writes."""
    more = ", connection=conn" if call == "duckdb.sql" else ""
    project(
        {
            "orchconf.py": CONF,
            "src/a.py": tool(
                "s1",
                "import duckdb",
                "frame = conn.sql('select 7 as a')",
                f"print({call}('from frame'{more}).fetchall())",
                "conn.execute('create table t as from frame')",
            ),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "[(7,)]" in answer.out
    assert flows(orch)["a"] == ([], ["t"], False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conf", "opens"),
    [
        ("duckdb", "duckdb.connect('w.duckdb')"),
        ("sqlite3", "sqlite3.connect('w.db')"),
    ],
)
@pytest.mark.parametrize(
    ("lines", "is_lost"),
    [
        (("conn.execute('create table t (a int)')", "conn.execute('insert into t values (1)')", "conn.close()"), True),
        (("conn.execute('create table t (a int)')", "conn.commit()", "conn.close()"), False),
        (("conn.execute('select 1')", "conn.close()"), False),
    ],
)  # fmt: skip
def test_a_tool_that_closes_its_connection_on_what_it_wrote_has_failed(
    project: Project, orch: Orch, conf: str, opens: str, lines: tuple[str, ...], is_lost: bool
) -> None:
    project(
        {
            "orchconf.py": f"import {conf}\ndef get_connection():\n    return {opens}\n",
            "src/a.py": tool("s1", *lines),
        }
    )
    answer = orch("run")
    assert answer.code == is_lost, answer.text
    lost = "closed its connection before its writes were committed" in answer.out
    assert lost == is_lost, answer.text


def test_a_query_is_cancelled_at_the_timeout(project: Project, orch: Orch) -> None:
    slow = tool(
        "s1", "conn.sql('select sum(i * j) from range(10000000) a(i), range(10000000) b(j)').show()"
    )
    root = project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": CONF,
            "src/a.py": f'ORCH = {{"timeout": 0.5}}\n{slow}',
        }
    )
    answer = orch("run")
    assert "  timed out after 0.5 s\n" in answer.out, answer.text
    assert "killed" not in answer.out
    assert not (root / "w.duckdb").exists() or rows(root, "show tables") == []


@pytest.mark.parametrize("opens", slow_but(["database"], ["database", "get_connection()"]))
def test_side_by_side_tools_with_conn_take_turns_and_others_run_beside_them(
    project: Project, orch: Orch, opens: str
) -> None:
    free = "AFTER = ()\nimport os\nimport time\nfrom pathlib import Path\n"
    meets = "    Path('{0}').touch()\n    while not os.access.__wrapped__('{1}', os.F_OK): time.sleep(0.01)\n"
    writes = tool("s1", "conn.execute('create table {0} as select 1 as a')")
    files = {f"src/{name}.py": free + writes.format(name) for name in "bc"}
    root = project(
        {
            "orch.toml": "stages = ['s1', 's2']\ndatabase = 'duckdb:///w.duckdb'\n",
            **({"orchconf.py": CONF} if opens != "database" else {}),
            **files,
            "src/a.py": free + 'ORCH = {"transaction": "none"}\n' + writes.format("a") + meets.format("a has conn", "d runs"),
            "src/d.py": free + 'STAGE = "s1"\ndef run():\n' + meets.format("d runs", "a has conn"),
            "src/e.py": tool("s2", "print(conn.sql('from a union all from b union all from c').fetchall())"),
        }
    )  # fmt: skip
    answer = orch("run", "--jobs", "3")
    assert answer.code == 0, answer.text
    assert "[(1,), (1,), (1,)]" in answer.out
    assert reasons(orch) == {}
    assert rows(root, "select count(*) from duckdb_tables()") == [(3,)]
