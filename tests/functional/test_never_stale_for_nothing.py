"""Fresh work is never called stale for nothing: what used to run again without need, one case a test."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import Orch, Project
from tests.functional.test_never_stale_fresh import (
    edit,
    migrate,
    needs_kernel_events,
    run_all,
    run_changed,
    write_from_outside,
)
from tests.support.marks import slow_but
from tests.support.remembered import change, ran, reasons, rows

# ---- paths and globs ----


@pytest.mark.parametrize("tag", ["", 'ORCH = {"outputs": ["out/report [2024].csv"]}'])
def test_a_path_with_the_characters_of_a_glob_is_a_path(
    tag: str, project: Project, orch: Orch
) -> None:
    root = project(
        {
            "out/": "",
            "src/a.py": f"STAGE = 's'\n{tag}\ndef run():\n    open('out/report [2024].csv', 'w').close()\n",
        }
    )
    run_all(orch)
    (root / "out/report [2024].csv").unlink()
    assert run_changed(orch) == ["a"]


def test_the_check_of_declared_outputs_is_no_listing_of_the_tool(
    project: Project, orch: Orch
) -> None:
    """Else the tools would be on a cycle, or `a` would come after `b`."""
    write = "STAGE = 's'\n{tag}\ndef run():\n    open('out/{name}.csv', 'w').close()\n"
    project(
        {
            "out/": "",
            "src/a.py": write.format(name="a", tag='ORCH = {"outputs": ["out/a*.csv"]}'),
            "src/b.py": write.format(name="b", tag=""),
        }
    )
    run_all(orch)
    run_all(orch)
    assert orch("list", "--json").json["stages"][0]["tools"] == ["a", "b"]
    tools = {tool["name"]: tool for tool in orch("status", "--json").json["tools"]}
    assert tools["a"]["reads"] == []


# ---- failures ----


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


@pytest.mark.parametrize("how", ["if_not_exists", "checked_first", "a_script"])
def test_who_only_creates_tables_that_are_not_there_is_not_their_first_writer(
    how: str, project: Project, orch: Orch
) -> None:
    """As `create_all` of SQLAlchemy in each loader."""
    create = {
        "if_not_exists": 'conn.execute(f"CREATE TABLE IF NOT EXISTS {name} (x)")',
        "checked_first": 'conn.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchall() or '
        'conn.execute(f"CREATE TABLE {name} (x)")',
        "a_script": 'conn.executescript(f"CREATE TABLE IF NOT EXISTS {name} (x)")',
    }
    load = """
        STAGE = "load"
        def run(conn):
            for name in "a", "b", "c":
                {create}
            conn.execute("DELETE FROM {name}")
            conn.execute("INSERT INTO {name} VALUES (1)")
        """
    report = "STAGE = 'report'\ndef run(conn): print(conn.execute('SELECT * FROM b').fetchall())\n"
    root = project(
        {
            "orch.toml": "stages = ['load', 'report']\n",
            **{f"src/{one}.py": load.format(create=create[how], name=one) for one in "abc"},
            "src/report.py": report,
        }
    )
    run_all(orch)
    change(root / "src/b.py", "VALUES (1)", "VALUES (2)")
    assert run_changed(orch) == ["b", "report"]
    edit(root, "c")
    assert run_changed(orch) == ["c"]
    rows(root, "DROP TABLE b")
    assert {"a", "b"} <= reasons(orch).keys()


@pytest.mark.slow
def test_one_edit_after_create_all_of_sqlalchemy_in_each_loader_makes_not_all_stale(
    project: Project, orch: Orch
) -> None:
    load = """
        import lib.models
        from sqlalchemy import text
        STAGE = "load"
        def run(conn):
            lib.models.Base.metadata.create_all(conn)
            conn.execute(text("DELETE FROM {name}"))
            conn.execute(text("INSERT INTO {name} VALUES (1)"))
        """
    models = ["from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column"]
    models += ["class Base(DeclarativeBase): pass"]
    for one in "abc":
        models += [f"class {one.upper()}(Base):", f"    __tablename__ = '{one}'"]
        models += ["    x: Mapped[int] = mapped_column(primary_key=True)"]
    root = project(
        {
            "orch.toml": "stages = ['load', 'report']\npythonpath = ['src']\n",
            "orchconf.py": "import sqlalchemy\ndef get_connection():\n"
            "    return sqlalchemy.create_engine('sqlite:///data.db').connect()\n",
            "src/lib/models.py": "\n".join(models),
            **{f"src/{one}.py": load.format(name=one) for one in "abc"},
            "src/report.py": "from sqlalchemy import text\nSTAGE = 'report'\n"
            "def run(conn): print(conn.execute(text('SELECT * FROM b')).fetchall())\n",
        }
    )
    run_all(orch)
    change(root / "src/b.py", "VALUES (1)", "VALUES (2)")
    assert run_changed(orch) == ["b", "report"]
    edit(root, "c")
    assert run_changed(orch) == ["c"]


# ---- what tools say about themselves ----


@pytest.mark.parametrize(
    ("make", "clean"),
    [
        ("os.makedirs(day, exist_ok=True)", "shutil.rmtree('lake')"),
        ("os.path.exists(day) or os.makedirs(day)", "os.rename('lake', 'lake.old')"),
        ("os.makedirs('new/' + day); os.rename('new/' + day, day)", "pass"),
    ],
    ids=["rmtree", "rename", "nothing"],
)
def test_folders_that_tools_make_and_remove_count_as_files_do(
    make: str, clean: str, project: Project, orch: Orch
) -> None:
    """Who lists only the names of folders is downstream of who makes them, and a later tool may remove them."""
    root = project(
        {
            "orch.toml": 'stages = ["make", "use", "clean"]\n',
            "days.txt": "1 2",
            "src/split.py": "import os, shutil\nSTAGE = 'make'\ndef run():\n"
            "    shutil.rmtree('new', ignore_errors=True)\n"
            "    shutil.rmtree('lake.old', ignore_errors=True)\n"
            "    os.makedirs('lake', exist_ok=True)\n"
            "    for n in open('days.txt').read().split():\n"
            f"        day = 'lake/day=' + n\n        if not os.path.exists(day): {make}\n"
            "        open(day + '/rows.csv', 'w').write(n)\n",
            "src/names.py": "import os\nSTAGE = 'use'\n"
            "def run(): open('names.txt', 'w').write(' '.join(sorted(os.listdir('lake'))))\n",
            "src/rows.py": "import pathlib\nSTAGE = 'use'\nAFTER = ()\n"
            "def run(): open('rows.txt', 'w').write(str(sorted(map(str, pathlib.Path('lake').rglob('*.csv')))))\n",
            "src/clean.py": "import os, shutil\nSTAGE = 'clean'\n"
            f"def run():\n    open('names.txt').close()\n    {clean}\n",
        }
    )
    run_all(orch)
    assert run_changed(orch) == []
    (root / "days.txt").write_text("1 2 3")
    assert run_changed(orch) == ["split", "names", "rows", "clean"]
    assert (root / "names.txt").read_text() == "day=1 day=2 day=3"
    assert run_changed(orch) == []


def test_a_value_that_was_typed_is_compared_as_a_value(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                from enum import Enum
                from pathlib import Path
                STAGE = "s"
                class Unit(Enum):
                    FAHRENHEIT = "fahrenheit"
                    CELSIUS = "celsius"
                def run(*, title: str = "Seattle", unit: Unit = Unit.FAHRENHEIT, source: Path = Path("x")):
                    open("a.txt", "w").write(title)
                """
        }
    )
    run_all(orch)
    for words in (
        ("--title", "Seattle"),
        ("--unit", "FAHRENHEIT"),
        ("--unit", "fahrenheit"),
        ("--source", "x"),
    ):
        assert reasons(orch, *words) == {}, words
    (reason,) = reasons(orch, "--title", "Oslo")["a"]
    assert reason.startswith("--title: ")
    assert reason.endswith(" → Oslo")
    assert orch("run", "--title", "Oslo").code == 0
    (reason,) = reasons(orch)["a"]
    assert reason.startswith("--title: Oslo → ")


def test_a_tool_is_stale_when_its_success_is_older_than_max_age(
    project: Project, orch: Orch
) -> None:
    tool = "STAGE = 's'\nORCH = {{'max_age': {age!r}}}\ndef run():\n    open('{name}.txt', 'w').close()\n"
    project(
        {
            "src/a.py": tool.format(name="a", age=0.2),
            "src/b.py": tool.format(name="b", age="1d"),
            "src/c.py": tool.format(name="c", age="30m"),
        }
    )
    assert orch("run").code == 0
    deadline = time.monotonic() + 60
    while not (stale := reasons(orch)):
        assert time.monotonic() < deadline
    assert [*stale] == ["a"]
    assert ran(orch("run", "--changed", "--json")) == ["a"]


def test_writes_of_other_programs_can_be_ignored(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": 'external_writes = "ignore"\n',
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    open("a.txt", "w").write(str(conn.execute("SELECT x FROM raw").fetchall()))
                """,
        }
    )
    migrate(root)
    run_all(orch)
    write_from_outside(root)
    assert reasons(orch) == {}


def test_accept_settles_what_another_program_wrote(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    open("a.txt", "w").write(str(conn.execute("SELECT x FROM raw").fetchall()))
                """
        }
    )
    migrate(root)
    run_all(orch)
    write_from_outside(root)
    assert [*reasons(orch)] == ["a"]
    assert orch("accept", "a").code == 0
    assert reasons(orch) == {}


def test_tables_and_files_are_told_apart(project: Project, orch: Orch) -> None:
    project(
        {
            "raw": "1",
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    conn.execute("CREATE TABLE IF NOT EXISTS raw (x)")
                    conn.execute("DELETE FROM raw")
                    conn.execute("INSERT INTO raw VALUES (?)", (open("raw").read(),))
                """,
        }
    )
    run_all(orch)
    (tool,) = orch("status", "--json").json["tools"]
    assert {"file": "raw"} in tool["reads"]
    assert tool["writes"] == [{"table": "raw"}]


def test_events_have_times(project: Project, orch: Orch) -> None:
    project({"src/a.py": "STAGE = 's'\ndef run(): print('hello')\n"})
    events = orch("run", "--json").events
    times = [event["time"] for event in events]
    assert times == sorted(times)
    assert all(moment.endswith(("Z", "+00:00")) for moment in times)


# ---- files that orch itself reads ----

#: Reads its own file, and then runs on until orch has hashed the file of the tool before it.
FOLLOWED = """
    import os, subprocess, time
    STAGE = "s"
    ORCH = {{"inputs": [], "outputs": []}}
    def run():
        subprocess.run(["true"], check=True)
        end = time.monotonic() + 60
        while "src.{before}" not in os.listdir(".orch/tools") and time.monotonic() < end:
            time.sleep(0.01)
        open("{name}.bin", "rb").close()
    """


@needs_kernel_events
def test_a_file_that_orch_hashes_is_no_input_of_the_tool_that_runs_meanwhile(
    project: Project, orch: Orch
) -> None:
    """The kernel tells of all files that are opened while a tool with a child process runs."""
    root = project(
        {
            "one.bin": b"1" * 20_000_000,
            "two.bin": b"2",
            "three.bin": b"3",
            "src/one.py": "STAGE = 's'\ndef run():\n    open('one.bin').close()\n",
            "src/three.py": FOLLOWED.format(before="two", name="three"),
            "src/two.py": FOLLOWED.format(before="one", name="two"),
        }
    )
    answer = orch("run", "one", "two", "three", "--json")
    assert answer.code == 0, answer.text
    for name in ("one", "two", "three"):
        assert reasons(orch) == {}
        before = (root / f"{name}.bin").read_bytes()
        (root / f"{name}.bin").write_bytes(b"other")
        assert [*reasons(orch)] == [name]
        (root / f"{name}.bin").write_bytes(before)
