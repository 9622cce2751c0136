"""The memory in the database: what a tool did and the record of it commit together, so a kill leaves nothing unknown,
and what is remembered is always that of the data."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

import discover_orch
from discover_orch.databases.postgres_database import PostgresDatabase
from discover_orch.model.success_record import Attempt
from discover_orch.state.journal import find_runs, read_record
from discover_orch.worker.protocol import Answer, Ask
from tests.conftest import Orch, Project
from tests.process.test_memory_kills import kill_after
from tests.support.driven_worker import DrivenWorker
from tests.support.editors import save
from tests.support.project_builder import run_orch, write_files
from tests.support.remembered import reasons, run_changed
from tests.support.running import DEADLINE, running, wait_until
from tests.support.watching import tool_text, watching

TOOLS = ["a", "b", "c", "d"]
TOOL = """
    import os, time
    STAGE = "s"
    AFTER = {after}
    def run(conn, *, since: str = ""):
        conn.execute("create table if not exists {name} (x text)")
        conn.execute("insert into {name} values ('" + since + "')")
        if os.path.exists("kill {name}"):
            os.kill(os.getppid(), 9)
            time.sleep(60)
    """


def files(url: str, tools: list[str] = TOOLS) -> dict[str, str]:
    return {
        "orch.toml": f"database = '{url}'\n",
        **{
            f"src/{name}.py": TOOL.format(name=name, after=repr(tuple(tools[:at][-1:])))
            for at, name in enumerate(tools)
        },
    }


def query(root: Path, url: str, sql: str) -> list[tuple[object, ...]]:
    """The rows; none where there is no such table."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(root / "data.db", timeout=DEADLINE)) as conn:
            known = {name for (name,) in conn.execute("select name from sqlite_master")}
            return (
                conn.execute(sql).fetchall() if sql.split(" from ")[1].split()[0] in known else []
            )
    if url.startswith("duckdb"):
        if not (root / "d.duckdb").exists():
            return []
        deadline = time.monotonic() + DEADLINE
        while True:
            try:  # a worker of a killed run may have it for a moment
                with closing(duckdb.connect(str(root / "d.duckdb"), read_only=True)) as one:
                    return one.execute(sql).fetchall()
            except duckdb.CatalogException:
                return []
            except duckdb.IOException:
                assert time.monotonic() < deadline
    with psycopg.connect(url) as other:
        try:
            return other.execute(sql.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


URLS = [
    "sqlite:///data.db",
    "postgres",
    pytest.param("duckdb:///d.duckdb", marks=pytest.mark.slow),
]


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, new_postgres: Callable[[], str]) -> str:
    return new_postgres() if request.param == "postgres" else str(request.param)


COMMITTED = "select tool, run from orch_memory where success <> '' order by run, tool"


def recorded(root: Path, url: str) -> list[tuple[object, ...]]:
    return query(root, url, COMMITTED)


@pytest.mark.slow
def test_after_a_kill_the_database_says_which_tools_were_committed(
    project: Project, orch: Orch, url: str
) -> None:
    """`a` passed and was recorded, or not yet; `b` was killed before its commit; neither is done twice or lost."""
    root = project({**files(url, ["a", "b"]), "kill b": ""})
    assert orch("run", "--since", "one").code == -9
    shown = orch("history", "1")
    assert "unknown" not in shown.out, shown.text
    assert "killed before its commit" in " ".join(shown.out.split()).replace("was ", "")
    said = " ".join(orch("status").out.split())
    assert "outcome unknown" not in said
    assert "b stale failed (run 1): it was killed before its commit" in said
    (root / "kill b").unlink()
    answer = orch("run", "--resume")
    assert answer.code == 0, answer.text
    assert "running 1 tool: b" in answer.out, answer.text
    assert query(root, url, "select x from a") == query(root, url, "select x from b") == [("one",)]
    assert recorded(root, url) == [("src.a", 1), ("src.b", 2)]
    shown = orch("status", "-v")
    assert "orch_memory" not in shown.text
    assert "orch_memory" not in orch("graph").text


def test_python_code_asks_the_database_too(project: Project, orch: Orch) -> None:
    root = project({**files("sqlite:///data.db", ["a", "b"]), "kill b": ""})
    assert orch("run", "--since", "one").code == -9
    found = {one.name: one.state for one in discover_orch.Project(root).status(since="one")}
    assert found["b"] == "failed"
    assert found["a"] != "unknown"  # whether or not its end was recorded in time


STOPS = """
import os, time
from pathlib import Path
STAGE = "{stage}"
def run(conn, *, since: str = ""):
    conn.execute("create table if not exists {name} (x text)")
    conn.execute("insert into {name} values ('" + since + "')")
    Path("started {name}", str(os.getppid())).touch()
    while os.path.exists("wait {name}"):
        time.sleep(0.01)
"""


def kill_during(root: Path, tool: str, *words: str, commits: bool) -> str:
    """What was printed. With `commits`, the tool is committed while `orch` is stopped, and never recorded."""
    with running(root, "run", *words) as orch:
        started = root / f"started {tool}" / str(orch.pid)
        wait_until(started.exists, f"the start of {tool}")
        if commits:
            before = len(recorded(root, "sqlite:"))
            orch.send(signal.SIGSTOP)
            orch.wait_until_stopped()
            (root / f"wait {tool}").unlink()
            wait_until(lambda: len(recorded(root, "sqlite:")) > before, f"the commit of {tool}")
        orch.send(signal.SIGKILL)
        assert orch.wait() == -9
        return orch.text


@pytest.mark.slow
def test_no_later_resume_repeats_what_the_database_says_is_committed(
    project: Project, orch: Orch
) -> None:
    files = {
        f"src/{name}.py": STOPS.format(name=name, stage=stage)
        for name, stage in (("a", "one"), ("b", "two"))
    }
    root = project({"orch.toml": "stages = ['one', 'two']\n", **files})
    for name in ("a", "b"):
        (root / f"wait {name}").touch()
        (root / f"started {name}").mkdir()
    kill_during(root, "a", "--since", "first", commits=True)
    said = "1 tool passed; according to the database, a is committed"
    assert f"resuming run 1 (killed): {said}" in orch("run", "--resume", "-n").out
    assert "running 1 tool: b" in kill_during(root, "b", "--resume", commits=False)
    planned = orch("run", "--resume", "-n")
    assert f"resuming run 2 (killed): {said}" in planned.out, planned.text
    assert "would run 1 tool" in planned.out
    # What its commit says nothing about: other parameters, and another database.
    for other in (("--since", "other"), ("--database", "sqlite:///other.db")):
        planned = orch("run", "--resume", *other, "-n")
        assert "would run 2 tools" in planned.out, planned.text
        again = (
            "1 tool passed; runs again because it is stale: a (run 1 committed it and was killed"
        )
        assert again in " ".join(planned.out.split())
    code = (root / "src/a.py").read_text()
    (root / "src/a.py").write_text(code + "OTHER = 1\n")
    assert "would run 2 tools" in orch("run", "--resume", "-n").out
    (root / "src/a.py").write_text(code)

    assert "running 1 tool: b" in kill_during(root, "b", "--resume", commits=True)
    assert orch("run", "--resume").out.startswith("nothing to resume")
    rows = [query(root, "sqlite:", f"select x from {name}") for name in ("a", "b")]
    assert rows == [[("first",)]] * 2
    assert recorded(root, "sqlite:") == [("src.a", 1), ("src.b", 3)]
    assert "run 1 committed it and was killed" in " ".join(orch("status").out.split())


def test_numbers_of_runs_go_on_where_the_memory_was_deleted(project: Project, orch: Orch) -> None:
    url = "sqlite:///data.db"
    root = project(
        {
            **files(url, ["a"]),
            "pyproject.toml": "[project]\nname = 'penguins'\n[tool.orch]\n",
            "src/fails.py": "STAGE = 's'\ndef run(conn): raise ValueError\n",
            "src/alone.py": "STAGE = 's'\nORCH = {'transaction': 'none'}\ndef run(conn): pass\n",
        }
    )
    (root / "orch.toml").unlink()
    for number in (1, 2):
        assert orch("run", "a", "alone", "fails").code == 1
        assert recorded(root, url) == [("src.a", number)]
        os.rename(root / ".orch", root.parent / f"old {time.monotonic_ns()}")
        assert "a      fresh" in orch("status").out
    assert query(root, url, "select distinct project from orch_memory") == [("penguins",)]


@pytest.mark.parametrize(("at", "status"), [("COMMIT", "failed"), ("SELECT type", "passed")])
def test_a_worker_that_is_killed_while_it_commits_leaves_nothing_unknown(
    project: Project, orch: Orch, at: str, status: str
) -> None:
    kill = f"""
STAGE = "s"
import os
def run(conn):
    conn.execute("create table if not exists t (x)")
    conn.execute("insert into t values (1)")
    seen = []
    def trace(sql):
        seen.append(sql)
        if sql.startswith("{at}") and any(one.startswith("COMMIT") for one in seen):
            os.kill(os.getpid(), 9)
    conn.set_trace_callback(trace)
"""
    root = project({"src/a.py": kill})
    answer = orch("run", "-v")
    assert f"1 {status}" in answer.out, answer.text
    has_committed = status == "passed"
    assert (answer.code == 0) == has_committed
    assert len(query(root, "sqlite:", "select * from t")) == has_committed
    assert len(recorded(root, "sqlite:")) == has_committed
    reasons = " ".join(orch("status").out.split())
    assert ("run 1 committed it and was killed" if has_committed else "failed (run 1)") in reasons


def test_an_attempt_that_is_committed_or_given_up_is_refused(project: Project, url: str) -> None:
    """As where a cluster starts it twice, or a worker of a killed run is still alive."""
    root = project(files(url, ["a", "b"]))
    with DrivenWorker(root, database=url, project="p") as worker:
        run = {"run": 1, "key": "k"}
        assert worker.run("src.a", "conn", **run).record == "k.1"
        again = worker.run("src.a", "conn", **run)
        assert again.status == "failed"
        assert again.error is not None
        assert "is already committed" in again.error.message
        tries = [Attempt(project="p", tool=f"src.{one}", run=1, key="k") for one in "ab"]
        for voids in ((), tuple(tries), ()):
            worker.supervisor.send(Ask(project="p", voids=voids))
            answer = worker.until(lambda event: isinstance(event, Answer))
            assert [one.success for one in answer.records] == ["k.1"], answer.problem
        late = worker.run("src.b", "conn", **run)  # it was found killed
        assert late.status == "failed"
        worker.finish()
    assert recorded(root, url) == [("src.a", 1)]
    assert query(root, url, "select * from b") == []


def test_a_table_of_the_user_with_that_name_is_never_touched(
    project: Project, orch: Orch, url: str
) -> None:
    make = """
    STAGE = "s"
    def run(conn):
        conn.execute("create table orch_memory (mine int)")
        conn.execute("insert into orch_memory values (1)")
        conn.execute("create table t (x int)")
    """
    root = project({"orch.toml": f"database = '{url}'\n", "src/make.py": make})
    answer = orch("run")
    assert answer.code == 1
    said = " ".join(answer.out.split())
    assert "the table orch_memory of the database is not the one in which orch keeps" in said
    assert 'set memory = "local"' in said
    assert query(root, url, "select * from orch_memory") == []
    project({"orch.toml": f"database = '{url}'\nmemory = 'local'\n"})
    assert orch("run").code == 0
    assert query(root, url, "select * from orch_memory") == [(1,)]


def test_a_copy_of_a_database_has_its_memory_where_both_are_known(
    project: Project, orch: Orch
) -> None:
    """The first one is known as before, too: looking at the other one forgets nothing."""
    root = project(files("sqlite:///data.db"))
    assert orch("run").code == 0
    shutil.copy(root / "data.db", root / "copy.db")
    for url in ("sqlite:///copy.db", "sqlite:///data.db"):
        shown = orch("status", "--exit-code", "--database", url)
        assert shown.code == 0, shown.text
        assert "all 4 tools are fresh" in orch("run", "--changed", "--database", url).out


NONE = 'ORCH = {"transaction": "none"}'
ENDINGS = {
    "commits": ("", "conn.commit(); conn.execute('insert into t values (2)')"),
    "closes": ("", "conn.commit(); conn.close()"),
    "none": (NONE, "conn.commit()"),
    "none, closes": (NONE, "conn.commit(); conn.close()"),
    "none, goes on": (NONE, "conn.commit(); begin(conn)"),
    "autocommit": ("", ""),
}
CONNECT = {
    "sqlite": "import sqlite3; return sqlite3.connect('data.db', isolation_level=None)",
    "postgres": "import psycopg; return psycopg.connect('{}', autocommit=True)",
    "duckdb": "import duckdb; return duckdb.connect('d.duckdb')",
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "duckdb"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tool_that_commits_by_itself_is_remembered_too(
    project: Project, tmp_path: Path, new_postgres: Callable[[], str], kind: str, ending: str
) -> None:
    """What another checkout has made of its table since is not taken for its own."""
    url = {"sqlite": "sqlite:///data.db", "duckdb": "duckdb:///d.duckdb"}.get(
        kind
    ) or new_postgres()
    tag, end = ENDINGS[ending]
    make = f"""
    STAGE = "s"
    {tag}
    def begin(conn):
        if {kind == "duckdb"}:
            conn.begin()
        conn.execute("insert into t values (3)")
    def run(conn):
        conn.execute("drop table if exists t")
        conn.execute("create table t as select 1 as x")
        {end}
    """
    settings = f"database = '{url}'\nproject = 'p'\ntable_version_rows = 0\n"
    files = {"orch.toml": settings, "src/make.py": make}
    if ending == "autocommit":
        connect = CONNECT[kind].format(url)
        files["orchconf.py"] = f"def get_connection(): {connect}\n"
        files["orch.toml"] = settings.partition("\n")[2]
    root = project(files)
    assert run_orch(root, "run").code == 0
    made = query(root, url, "select x from t")
    assert recorded(root, url) == [("src.make", 1)]
    memory = tmp_path / "memory of the first checkout"
    shutil.move(root / ".orch", memory)
    shown = run_orch(root, "run", "--changed")
    assert ending == "autocommit" or "nothing to run" in shown.out, shown.text
    write_files(root, {"src/make.py": make.replace("select 1", "select 9")})
    assert run_orch(root, "run", "--changed").code == 0
    assert query(root, url, "select x from t")[0] == (9,)
    shutil.rmtree(root / ".orch")
    shutil.move(memory, root / ".orch")
    write_files(root, {"src/make.py": make})
    shown = run_orch(root, "run", "--changed")
    assert "1 passed" in shown.out, shown.text
    assert query(root, url, "select x from t") == made


def test_a_checkout_that_has_fewer_runs_makes_anew_what_was_changed_by_hand(
    project: Project, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    make = """
    STAGE = "s"
    def run(conn):
        conn.execute("drop table if exists t")
        conn.execute("create table t as select 1 as x")
    """
    root = project({"orch.toml": f"database = '{url}'\nproject = 'p'\n", "src/make.py": make})
    clone = tmp_path / "clone"
    shutil.copytree(root, clone)
    for words in (("run",), ("run",), ("run", "--changed")):
        assert run_orch(root, *words).code == 0
        assert run_orch(clone, "status", "--exit-code").code == 0
        with psycopg.connect(url) as conn:
            conn.execute("update t set x = 2")
        shown = run_orch(clone, "run", "--changed")
        assert "1 passed" in shown.out, shown.text
        assert query(root, url, "select * from t") == [(1,)]
        shutil.rmtree(clone / ".orch")


def test_a_renamed_tool_takes_over_its_memory_on_a_server_too(
    project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    root = project(files(new_postgres(), ["a", "b"]))
    assert orch("run").code == 0
    (root / "src/b.py").rename(root / "src/other.py")
    for _ in range(2):
        shown = orch("status", "--exit-code")
        assert shown.code == 0, shown.text
    assert "all 2 tools are fresh" in orch("run", "--changed").out


def test_a_row_that_orch_cannot_have_written_is_none(project: Project, orch: Orch) -> None:
    root = project(files("sqlite:///data.db", ["a"]))
    assert orch("run").code == 0
    with closing(sqlite3.connect(root / "data.db")) as conn:
        for tool, run in (("../../evil", "run"), ("src.b", str(2**63 - 1)), ("src.c", "-1")):
            conn.execute(
                "insert into orch_memory select project, ?, item, 'x', "
                f"{run}, committed_at, '', '', void from orch_memory where tool = 'src.a'",
                (tool,),
            )
        conn.commit()
    assert orch("status").code == 0
    assert not (root / "evil").exists()
    assert orch("run").code == 0
    assert find_runs(str(root)) == ["2", "1"]


def test_a_watch_that_starts_while_another_checkout_runs_waits_for_it(
    project: Project, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    root = project({**files(url, ["a"]), "orch.toml": f"database = '{url}'\nproject = 'p'\n"})
    assert run_orch(root, "run").code == 0
    with psycopg.connect(url) as conn:
        PostgresDatabase(conn).lock("p", "another checkout", waits=False)
        with running(root, "watch") as watch:
            watch.wait_for("another run is in progress .another checkout.*waiting for it to end")
            conn.close()
            watch.wait_for("1 passed")


def test_a_run_of_a_watch_knows_what_another_program_has_changed(
    project: Project, orch: Orch, url: str
) -> None:
    makes = (
        'conn.execute("drop table if exists t")\nconn.execute("create table t as select 1 as x")'
    )
    shows = 'open("t.txt", "w").write(str(conn.execute("select x from t").fetchall()))'
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['a', 'b', 'zz_sentinel']\n",
            "src/makes.py": tool_text(takes="conn", body=makes, stage="a"),
            "src/shows.py": tool_text(takes="conn", body=shows, stage="b"),
        }
    )
    with watching(root, "--scope", "tool") as watch:
        change = "update t set x = 2"
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(root / "data.db")) as one:
                one.execute(change)
                one.commit()
        elif url.startswith("duckdb"):
            with closing(duckdb.connect(str(root / "d.duckdb"))) as two:
                two.execute(change)
        else:
            with psycopg.connect(url) as three:
                three.execute(change)
        save(root / "src/shows.py", tool_text(1, takes="conn", body=shows, stage="b"))
        assert watch.next_run().tools == ("shows",)
        assert (root / "t.txt").read_text() == "[(2,)]"
    said = "table t was changed by another program after makes made it"
    assert reasons(orch)["makes"] == [said]
    assert {"makes", "shows"} <= {*run_changed(orch)}
    assert (root / "t.txt").read_text() == "[(1,)]"


def test_status_says_that_another_checkout_runs(
    project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    project({**files(url, ["a"]), "orch.toml": f"database = '{url}'\nproject = 'p'\n"})
    assert orch("run").code == 0
    with psycopg.connect(url) as conn:
        PostgresDatabase(conn).lock("p", "another checkout", waits=False)
        shown = orch("status", "--exit-code")
        assert "warning: another run is in progress (another checkout, since " in shown.err
        assert (shown.code, shown.err.count("warning")) == (0, 1), shown.text
    assert orch("status", "--exit-code").err == ""


def test_a_document_that_cannot_be_read_is_not_said_to_be_of_a_kill(
    project: Project, orch: Orch
) -> None:
    root = project(files("sqlite:///data.db", ["a"]))
    assert orch("run").code == 0
    with closing(sqlite3.connect(root / "data.db")) as conn:
        conn.execute("update orch_memory set success = 'other.1', document = 'damaged'")
        conn.commit()
    said = " ".join(orch("status").out.split())
    assert "a stale run 1 committed it, and what the database has of it cannot be read" in said


@pytest.mark.parametrize("is_server", [False, True], ids=["sqlite", "postgres"])
def test_what_is_remembered_is_kept_though_the_last_tool_closes_its_connection(
    project: Project, orch: Orch, is_server: bool, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres() if is_server else "sqlite:///data.db"
    makes = (
        'conn.execute("drop table if exists t")\nconn.execute("create table t as select 1 as x")'
    )
    adds = 'conn.execute("insert into t values (2)")\nconn.commit()\nconn.close()'
    root = project(
        {
            "orch.toml": f"database = '{url}'\nstages = ['a', 'b']\n",
            "src/makes.py": tool_text(takes="conn", body=makes, stage="a"),
            "src/adds.py": tool_text(takes="conn", body=adds, stage="b"),
        }
    )
    assert orch("run").code == 0
    shutil.rmtree(root / ".orch")
    assert "2 fresh" in orch("status").out


def test_a_tool_that_is_renamed_again_and_again_keeps_its_memory(
    project: Project, orch: Orch, new_postgres: Callable[[], str]
) -> None:
    """Another tool was committed in the same run, and has the same name of its success."""
    url = new_postgres()
    tools = {
        f"src/{one}.py": tool_text(
            takes="conn",
            body=f"conn.execute('create table if not exists {one} (x int)')",
            stage="a",
        )
        for one in "abc"
    }
    root = project({"orch.toml": f"database = '{url}'\nstages = ['a']\n", **tools})
    former = "b"
    for name in "bxyz":
        if name != "b":
            (root / f"src/{former}.py").rename(root / f"src/{name}.py")
        assert orch("run", "--changed").code == 0
        assert "3 fresh" in orch("status").out
        former = name
        names = query(root, url, "select tool from orch_memory where success <> '' order by tool")
        assert names == [("src.a",), *sorted([("src.c",), (f"src.{name}",)])]


def kill_many(root: Path, url: str, kills: int) -> int:
    """How many kills came in time."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    write_files(root, files(url))
    longest = 0.0
    for number in range(2):
        started = time.monotonic()
        assert run_orch(root, "run", "--since", f"timed {number}").code == 0
        longest = time.monotonic() - started
    in_time = 0
    for number in range(kills):
        mark = f"mark {number}"
        moment = longest * chance.uniform(0.3, 1.0)
        in_time += kill_after(root, moment, "run", "--since", mark)
        check(root, url, mark, chance.choice(("history", "status", "")))
    return in_time


def check(root: Path, url: str, mark: str, look: str) -> None:
    """After a kill: each tool is committed once, no status is unknown, and a resume repeats nothing."""
    if look:
        shown = run_orch(root, look)
        assert (shown.code, shown.err) == (0, ""), shown.text
        assert "unknown" not in shown.out, shown.text
    killed = read_record(str(root), find_runs(str(root))[0])
    is_this_run = killed is not None and killed.params["since"].texts == (mark,)
    answer = run_orch(root, "run", "--resume") if is_this_run else None
    assert answer is None or (answer.code, answer.err) == (0, ""), answer.text
    for run in find_runs(str(root)):
        record = read_record(str(root), run)
        assert record is None or all(one.status != "unknown" for one in record.tools), record
    assert len(recorded(root, url)) == len(TOOLS)
    for name in TOOLS:
        found = query(root, url, f"select x from {name}")
        assert found.count((mark,)) == is_this_run, (name, mark, found)


def test_another_program_that_writes_after_a_kill_was_looked_at_is_noticed(
    project: Project, orch: Orch
) -> None:
    """Of a table without a version by content, only the number of commits says so, and the killed run has added some."""
    committed = """
        import os, time
        STAGE = "two"
        def run(conn):
            while not has_ended("src.c"):
                time.sleep(0.01)
            conn.execute("create table b (x)")
            seen = []
            def trace(sql):
                if any(one.startswith("COMMIT") for one in seen):
                    os.kill(os.getppid(), 9)
                    time.sleep(60)
                seen.append(sql)
            conn.set_trace_callback(trace)
        def has_ended(module):  # this tool starts before the end of that one is recorded
            with open(".orch/runs/1/events.jsonl") as file:
                return any("tool_finished" in line and module in line for line in file)
        """
    made = """
        STAGE = "one"
        def run(conn): conn.execute("create table a as select 1 as x")
        """
    read = """
        STAGE = "one"
        AFTER = "a"
        def run(conn): conn.execute("select * from a").fetchall()
        """
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\ntable_version_rows = 0\n',
            "src/a.py": made,
            "src/c.py": read,
            "src/b.py": committed,
        }
    )
    assert orch("run").code == -signal.SIGKILL
    assert "2 fresh, 1 stale" in orch("status").out
    with closing(sqlite3.connect(root / "data.db", timeout=DEADLINE)) as conn, conn:
        conn.execute("insert into a values (2)")
    write_files(root, {"src/b.py": "STAGE = 'two'\ndef run(): pass\n"})
    ran = orch("run", "--changed", "--json")
    assert "c" in [one["name"] for one in ran.events if one["event"] == "tool_started"], ran.text


@pytest.mark.slow
def test_after_kill_9_at_random_moments_each_tool_is_committed_once(tmp_path: Path) -> None:
    assert kill_many(tmp_path, "sqlite:///data.db", 3) >= 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_after_ten_kills_too(tmp_path: Path, kind: str, new_postgres: Callable[[], str]) -> None:
    urls = {"sqlite": "sqlite:///data.db", "duckdb": "duckdb:///d.duckdb"}
    assert kill_many(tmp_path, urls.get(kind) or new_postgres(), 10) > 0


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_after_200_kills_on_postgresql_too(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    assert kill_many(tmp_path, new_postgres(), 200) > 100
