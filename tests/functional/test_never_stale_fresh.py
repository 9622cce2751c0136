"""Stale work is never called fresh: what used to slip through, one case a test, as a user would meet it."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.staleness.database_file import read_database
from tests.conftest import Orch, Project
from tests.support.environments import make_environment_with
from tests.support.marks import slow_but
from tests.support.project_builder import clean_environment
from tests.support.remembered import change, ran, reasons, rows

needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="files of native readers are seen on Linux only"
)


def run_all(orch: Orch, **how: object) -> None:
    answer = orch("run", **how)
    assert answer.code == 0, answer.text
    assert reasons(orch, **how) == {}


def run_changed(orch: Orch, **how: object) -> list[str]:
    """The tools that `run --changed` ran, after which nothing is stale."""
    answer = orch("run", "--changed", "--json", **how)
    assert answer.code == 0, answer.text
    assert reasons(orch, **how) == {}
    return ran(answer)


def settle(orch: Orch) -> None:
    """What one tool writes and another reads unseen may be found out by a second run."""
    assert orch("run").code == 0
    run_changed(orch)


def edit(root: Path, tool: str) -> None:
    """Change what its code means, and nothing that it does."""
    with (root / "src" / f"{tool}.py").open("a") as file:
        file.write("X = 1\n")


# ---- AFTER, where what is exchanged cannot be seen ----

MAKERS = {
    "a_native_library": """
        import duckdb
        STAGE = "s"
        def run():
            duckdb.sql("copy (select 1 as x) to 'mid.parquet'")
        """,
    "a_child_process": """
        import subprocess
        STAGE = "s"
        def run():
            subprocess.run("echo 1 > mid.parquet", shell=True, check=True)
        """,
}
USE = """
    STAGE = "s"
    AFTER = "make"
    def run():
        open("used.txt", "w").write(str(len(open("mid.parquet", "rb").read())))
    """


@pytest.mark.parametrize("how", MAKERS)
def test_who_comes_after_a_tool_that_ran_alone_is_stale(
    how: str, project: Project, orch: Orch
) -> None:
    root = project({"src/make.py": MAKERS[how], "src/use.py": USE})
    settle(orch)
    change(root / "src/make.py", " 1 ", " 2 ")
    assert orch("run", "make").code == 0
    assert [*reasons(orch)] == ["use"]
    assert run_changed(orch) == ["use"]


@pytest.mark.parametrize("how", slow_but({"a_child_process"}, MAKERS))
def test_who_comes_after_a_tool_is_stale_when_the_run_was_killed_between_them(
    how: str, project: Project, orch: Orch
) -> None:
    between = """
        import glob, os, signal, time
        STAGE = "s"
        AFTER = "make"
        def run():
            while os.path.exists("../kill"):  # until orch has heard of the end of `make`
                newest = max(glob.glob(".orch/runs/*/events.jsonl"), key=os.path.getctime)
                if any("tool_finished" in line and "make" in line for line in open(newest)):
                    os.kill(os.getppid(), signal.SIGKILL)
                    signal.pause()
                time.sleep(0.01)
            open("then.txt", "w").close()
        """
    root = project({"src/make.py": MAKERS[how], "src/then.py": between, "src/use.py": USE})
    settle(orch)
    change(root / "src/make.py", " 1 ", " 2 ")
    (root / "../kill").touch()
    assert orch("run", "--changed").code == -signal.SIGKILL
    (root / "../kill").unlink()
    assert [*reasons(orch)] == ["then", "use"]
    assert run_changed(orch) == ["then", "use"]


# ---- files that are not there yet ----


@pytest.mark.parametrize(
    "found",
    [
        "Path('raw').glob('*')",
        "Path('raw').rglob('*.csv')",
        "Path('.').glob('raw/*.csv')",
        "Path('raw/2024').glob('*')",
    ],
)
def test_files_in_a_folder_that_was_not_there_make_a_tool_stale(
    found: str, project: Project, orch: Orch
) -> None:
    text = f"from pathlib import Path\nSTAGE = 's'\ndef run():\n    print(sorted({found}))\n"
    root = project({"src/read.py": text})
    run_all(orch)
    (root / "raw/2024").mkdir(parents=True)
    (root / "raw/2024/a.csv").touch()
    (root / "raw/b.csv").touch()
    assert [*reasons(orch)] == ["read"]
    assert run_changed(orch) == ["read"]


# ---- a table or file that several tools write ----

LOADS = {
    "src/load_2023.py": """
        STAGE = "load"
        AMOUNT = 1
        def run(conn):
            conn.execute("DROP TABLE IF EXISTS sales")
            conn.execute("CREATE TABLE sales (year, amount)")
            conn.execute("INSERT INTO sales VALUES (2023, ?)", (AMOUNT,))
        """,
    "src/load_2024.py": """
        STAGE = "load"
        AMOUNT = 10
        def run(conn):
            conn.execute("INSERT INTO sales VALUES (2024, ?)", (AMOUNT,))
        """,
    "src/report.py": """
        STAGE = "show"
        def run(conn):
            conn.execute("CREATE TABLE IF NOT EXISTS total (x)")
            conn.execute("DELETE FROM total")
            conn.execute("INSERT INTO total SELECT sum(amount) FROM sales")
        """,
    "orch.toml": 'stages = ["load", "show"]\n',
}


def test_what_a_killed_second_writer_may_have_changed_is_made_anew(
    project: Project, orch: Orch
) -> None:
    second = """
        import glob, os, signal, time
        STAGE = "t"
        def run():
            while os.path.exists("../kill"):  # until orch has heard of the end of `first`
                newest = max(glob.glob(".orch/runs/*/events.jsonl"), key=os.path.getctime)
                if any("tool_finished" in line and "first" in line for line in open(newest)):
                    os.kill(os.getppid(), signal.SIGKILL)
                    signal.pause()
                time.sleep(0.01)
            open("both.txt", "a").write("2")
        """
    first = "STAGE = 's'\ndef run():\n    open('both.txt', 'w').write('1')\n"
    root = project({"src/first.py": first, "src/second.py": second})
    settle(orch)
    edit(root, "first")
    (root / "../kill").touch()
    assert orch("run", "--changed").code == -signal.SIGKILL
    (root / "../kill").unlink()
    assert run_changed(orch) == ["first", "second"]
    assert (root / "both.txt").read_text() == "12"


@pytest.mark.parametrize("how", ["a_table", "a_file"])
def test_a_tool_that_found_nothing_to_do_is_still_known_to_write(
    how: str, project: Project, orch: Orch
) -> None:
    """The reader has the first name, so that only what was observed puts the loader first."""
    load = {
        "a_table": """
            STAGE = "s"
            def run(conn):
                if not conn.execute("SELECT name FROM sqlite_master WHERE name = 'raw'").fetchall():
                    conn.execute("CREATE TABLE raw (id PRIMARY KEY, x)")
                for number, text in enumerate(open("in.txt")):
                    if conn.execute("SELECT 1 FROM raw WHERE (id, x) = (?, ?)", (number, text)).fetchone() is None:
                        conn.execute("DELETE FROM raw WHERE id = ?", (number,))
                        conn.execute("INSERT INTO raw VALUES (?, ?)", (number, text))
            """,
        "a_file": """
            STAGE = "s"
            def run():
                text = open("in.txt").read()
                try:
                    known = open("last.txt").read()
                except FileNotFoundError:
                    known = ""
                if text != known:
                    open("last.txt", "w").write(text)
                    open("raw.txt", "w").write(text)
            """,
    }
    read = {
        "a_table": "def run(conn): print(conn.execute('SELECT x FROM raw').fetchall()[-1:])\n",
        "a_file": "def run(): print([open('raw.txt').read()])\n",
    }
    root = project(
        {
            "in.txt": "1",
            "src/load.py": load[how],
            "src/a_read.py": "STAGE = 's'\n" + read[how],
        }
    )
    assert orch("run", "load", "a_read").code == 0
    for _ in range(2):
        assert ran(orch("run", "--json")) == ["load", "a_read"]
    (root / "in.txt").write_text("2")
    assert run_changed(orch) == ["load", "a_read"]
    assert "['2']" in orch("logs", "a_read").out or "[('2',)]" in orch("logs", "a_read").out


def test_a_kill_after_retries_counts_as_later_than_all_that_the_run_did(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/retried.py": """
                import os
                STAGE = "s"
                ORCH = {"retries": 2, "retry_delay": 0, "outputs": []}
                def run():
                    if os.path.exists("../fail"):
                        os.rename("../fail", "../failed")
                        raise OSError
                    if os.path.exists("../failed"):
                        os.remove("../failed")
                        raise OSError
                """,
            "src/total.py": """
                STAGE = "t"
                ADDED = 1
                def run():
                    open("total.txt", "w").write("1")
                """,
            "src/update.py": """
                import glob, os, signal, time
                STAGE = "u"
                def run():
                    total = int(open("total.txt").read())
                    open("total.txt", "w").write(str(total + 1))
                    while os.path.exists("../kill"):  # until orch has heard of the end of `total`
                        newest = max(glob.glob(".orch/runs/*/events.jsonl"), key=os.path.getctime)
                        if any("tool_finished" in line and "total" in line for line in open(newest)):
                            os.kill(os.getppid(), signal.SIGKILL)
                            signal.pause()
                        time.sleep(0.01)
                """,
        }
    )
    run_all(orch)
    (root / "../kill").touch()
    (root / "../fail").touch()
    assert orch("run").code == -signal.SIGKILL
    (root / "../kill").unlink()
    assert run_changed(orch) == ["total", "update"]
    assert (root / "total.txt").read_text() == "2"


@pytest.mark.parametrize("how", ["renamed", "disabled"])
def test_rows_of_a_tool_that_was_renamed_are_not_there_twice(
    project: Project, orch: Orch, how: str
) -> None:
    root = project(LOADS)
    run_all(orch)
    old, new = root / "src/load_2024.py", root / "src/load_24.py"
    new.write_text(old.read_text())
    if how == "renamed":
        old.unlink()
    else:
        change(old, 'STAGE = "load"', "STAGE = None")
    run_changed(orch)
    assert rows(root, "SELECT x FROM total") == [(11,)]


def test_two_tools_that_only_insert_are_not_downstream_of_each_other(
    project: Project, orch: Orch
) -> None:
    insert = """
        STAGE = "load"
        def run(conn):
            conn.execute("INSERT INTO seen VALUES (1)")
        """
    root = project({"src/a.py": insert, "src/b.py": insert})
    with closing(sqlite3.connect(root / "data.db")) as conn:
        conn.execute("CREATE TABLE seen (x)")
    run_all(orch)
    edit(root, "a")
    assert run_changed(orch) == ["a"]


# ---- code ----

IMPORTER = """
    from {package}.utils import X
    STAGE = "s"
    def run():
        open("{name}.txt", "w").write(str(X))
    """


def test_an_import_is_resolved_by_the_path_that_the_worker_used(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/myproj/__init__.py": "",
            "src/myproj/utils.py": "X = 1\n",
            "src/one.py": IMPORTER.format(package="myproj", name="one"),
            "src/two.py": IMPORTER.format(package="myproj", name="two"),
        }
    )
    path = os.pathsep.join([str(root / "src"), clean_environment()["PYTHONPATH"]])
    how = {"env": {"PYTHONPATH": path}}
    run_all(orch, **how)
    (root / "src/myproj/utils.py").write_text("X = 2\n")
    assert run_changed(orch, **how) == ["one", "two"]


def test_an_editable_package_outside_the_root_counts(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    project(
        {
            "orch.toml": "",
            "src/one.py": IMPORTER.format(package="shared", name="one"),
            "src/two.py": IMPORTER.format(package="shared", name="two"),
        }
    )
    python = make_environment_with(tmp_path / "shared_project", tmp_path / "venv")
    how = {"prefix": (python,), "env": {"PYTHONPATH": ""}}
    run_all(orch, **how)
    (tmp_path / "shared_project/shared/utils.py").write_text("X = 2\n")
    assert run_changed(orch, **how) == ["one", "two"]


@pytest.mark.parametrize("pythonpath", [".", "src"])
def test_a_module_counts_that_is_found_by_a_folder_that_code_adds_to_the_path(
    pythonpath: str, project: Project, orch: Orch
) -> None:
    """For each tool that imports it, also where another tool has loaded it."""
    here = "os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'vendor')"
    root = project(
        {
            "orch.toml": f'pythonpath = ["{pythonpath}"]\n',
            "src/a.py": f"import os, sys\nsys.path.insert(0, {here})\nfrom helper import X\n"
            "STAGE = 's'\ndef run(): open('a.txt', 'w').write(str(X))\n",
            "src/b.py": "import sys\nsys.path.append('vendor')\nSTAGE = 's'\ndef run():\n"
            "    import helper\n    open('b.txt', 'w').write(str(helper.X))\n",
            "src/c.py": "STAGE = 's'\ndef run(): open('c.txt', 'w').close()\n",
            "vendor/helper.py": "from deep.table import X\n",
            "vendor/deep/table.py": "X = 1\n",
        }
    )
    run_all(orch)
    (root / "vendor/deep/table.py").write_text("X = 2\n")
    assert run_changed(orch) == ["a", "b"]
    (root / "vendor/helper.py").write_text("import deep.table\nX = deep.table.X + 1\n")
    assert run_changed(orch) == ["a", "b"]
    assert (root / "b.txt").read_text() == "3"
    (root / "vendor/helper.py").write_text("# the same\nimport deep.table\nX = deep.table.X + 1\n")
    assert run_changed(orch) == []


def test_a_module_that_is_an_attribute_of_a_package_counts_though_another_tool_imports_it(
    project: Project, orch: Orch
) -> None:
    use = """
        STAGE = "s"
        AFTER = ()
        {top}
        def run():
            open("{name}.txt", "w").write(str({found}.X))
        """
    ways = {
        "by_attribute": ("import src.lib", "src.lib.plugin"),
        "by_package": ("from src import lib", "lib.plugin"),
        "by_alias": ("import src.lib as found", "found.plugin"),
        "by_relative": ("from . import lib as found", "found.plugin"),
    }
    root = project(
        {
            "src/__init__.py": "",
            "src/lib/__init__.py": "",
            "src/lib/plugin.py": "X = 1\n",
            "src/lib/unused.py": "X = 1\n",
            "src/a.py": "import src.lib.plugin, src.lib.unused\nSTAGE = 's'\ndef run(): open('a.txt', 'w').close()\n",
            **{
                f"src/{name}.py": use.format(name=name, top=top, found=found)
                for name, (top, found) in ways.items()
            },
        }
    )
    run_all(orch)
    (root / "src/lib/plugin.py").write_text("X = 2\n")
    changed = ["src/lib/plugin.py changed"]
    assert reasons(orch) == dict.fromkeys(sorted(["a", *ways]), changed)
    assert run_changed(orch) == sorted(["a", *ways])
    (root / "src/lib/unused.py").write_text("X = 2\n")
    assert [*reasons(orch)] == ["a"]
    assert all((root / f"{name}.txt").read_text() == "2" for name in ways)


def test_a_module_that_is_loaded_once_for_all_tools_counts_for_all(
    project: Project, orch: Orch
) -> None:
    use = """
        from src import lib, loaders
        STAGE = "s"
        def run():
            found = [loaders.by_name("cached"), loaders.by_path("kept"), loaders.in_sys("shown"), lib.lazy]
            open("{name}.txt", "w").write(str([one.X for one in found]))
        """
    root = project(
        {
            "src/loaders.py": """
                import functools, importlib, sys
                from importlib.util import module_from_spec, spec_from_file_location
                MODULES = {}

                @functools.cache
                def by_name(name):
                    return importlib.import_module(f"src.plugins.{name}")

                def by_path(name):
                    if name not in MODULES:
                        spec = spec_from_file_location(name, f"plugins/{name}.py")
                        MODULES[name] = module_from_spec(spec)
                        spec.loader.exec_module(MODULES[name])
                    return MODULES[name]

                def in_sys(name):
                    if name not in sys.modules:
                        spec = spec_from_file_location(name, f"plugins/{name}.py")
                        sys.modules[name] = module_from_spec(spec)
                        spec.loader.exec_module(sys.modules[name])
                    return sys.modules[name]
                """,
            "src/lib/__init__.py": """
                import importlib
                def __getattr__(name): return importlib.import_module(f".{name}", __name__)
                """,
            "src/plugins/__init__.py": "",
            "src/plugins/cached.py": "X = 1\n",
            "src/lib/lazy.py": "X = 1\n",
            "plugins/kept.py": "X = 1\n",
            "plugins/shown.py": "X = 1\n",
            "src/one.py": use.format(name="one"),
            "src/two.py": use.format(name="two"),
        }
    )
    run_all(orch)
    paths = "src/plugins/cached.py", "src/lib/lazy.py", "plugins/kept.py", "plugins/shown.py"
    for path in paths:
        # Python's own loader takes a file of the same size and second for the same one.
        (root / path).write_text("X = 2  # another size\n")
        assert run_changed(orch) == ["one", "two"], path
    assert (root / "two.txt").read_text() == "[2, 2, 2, 2]"


READ_RAW = """
    STAGE = "s"
    def run(conn):
        conn.execute("CREATE TABLE IF NOT EXISTS copied (x)")
        conn.execute("DELETE FROM copied")
        conn.execute("INSERT INTO copied SELECT x FROM raw")
    """


def test_a_database_that_was_removed_and_made_anew_is_another_one(
    project: Project, orch: Orch
) -> None:
    """The new file may have the inode of the old one, and then only its time of creation differs."""
    config = 'external_writes = "ignore"\n'
    root = project(
        {"orch.toml": config, "src/a.py": READ_RAW, "src/b.py": "STAGE = 's'\ndef run(conn): ...\n"}
    )
    migrate(root, 1)
    run_all(orch)
    before = read_database(str(root), "data.db")
    (root / "data.db").unlink()
    migrate(root)
    after = read_database(str(root), "data.db")
    assert before is not None
    assert after is not None
    assert after.counter > before.counter
    if after.birth:  # some file systems have none
        replaced = "the database sqlite:///data.db was replaced"
        assert reasons(orch) == {"a": [replaced], "b": [replaced]}
        assert run_changed(orch) == ["a", "b"]
    (root / "orch.toml").write_text("")
    assert orch("run").code == 0
    (root / "data.db").unlink()
    migrate(root)
    assert "a" in run_changed(orch)


def migrate(root: Path, commits: int = 30) -> None:
    """As a migration does it: many commits, so that the counter of the file is not lower than before."""
    with closing(sqlite3.connect(root / "data.db", isolation_level=None)) as conn:
        for number in range(commits):
            conn.execute(f"CREATE TABLE migration{number} (x)")
        conn.execute("CREATE TABLE raw (x)")


def write_from_outside(root: Path) -> None:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        conn.execute("INSERT INTO raw VALUES (2)")
        conn.commit()


def test_what_another_program_writes_to_the_database_makes_its_readers_stale(
    project: Project, orch: Orch
) -> None:
    root = project({"src/a.py": READ_RAW, "src/b.py": "STAGE = 's'\ndef run(): pass\n"})
    migrate(root)
    run_all(orch)
    write_from_outside(root)
    stale = reasons(orch)
    assert [*stale] == ["a"]
    assert 'external_writes = "ignore"' in stale["a"][0]
    assert "orch accept" in stale["a"][0]
    assert run_changed(orch) == ["a"]
    assert rows(root, "SELECT x FROM copied") == [(2,)]


@pytest.mark.parametrize("end", ["ends", "is_killed"])
def test_what_another_program_wrote_before_a_run_is_not_forgotten_by_it(
    project: Project, orch: Orch, end: str
) -> None:
    nothing = 'ORCH = {"inputs": [], "outputs": []}\n'
    root = project(
        {
            "orch.toml": "stages = ['s', 't']\n",
            "src/make.py": f"""
                STAGE = "s"
                {nothing}
                def run(conn):
                    conn.execute("DROP TABLE IF EXISTS raw")
                    conn.execute("CREATE TABLE raw (x)")
                """,
            "src/read.py": """
                STAGE = "t"
                def run(conn):
                    print(conn.execute("SELECT x FROM raw").fetchall())
                """,
            "src/other.py": f"""
                import os, signal
                STAGE = "t"
                {nothing}
                def run():
                    if os.path.exists("../kill"):
                        os.kill(os.getppid(), signal.SIGKILL)
                """,
        }
    )
    run_all(orch)
    rows(root, "DROP TABLE raw")
    if end == "is_killed":
        (root / "../kill").touch()
    assert orch("run", "other").code == (0 if end == "ends" else -signal.SIGKILL)
    (root / "../kill").unlink(missing_ok=True)
    stale = reasons(orch)
    assert stale["make"] == ["table raw is missing"]
    assert "another program wrote to the database" in stale["read"][0]
    assert {"make", "read"} <= {*run_changed(orch)}


@pytest.mark.parametrize("made", ["filled", "only_created"])
@pytest.mark.parametrize("how", ["read", "asked", "listed", "pandas"])
def test_who_missed_a_table_of_its_stage_runs_after_the_tool_that_makes_it(
    how: str, made: str, project: Project, orch: Orch
) -> None:
    """The reader has the first name, so that only what was observed puts it after the maker."""
    ask = {
        "read": """
            try:
                conn.execute("SELECT x FROM mart")
                found = True
            except sqlite3.OperationalError:
                found = False
        """,
        "asked": "found = conn.execute('SELECT 1 FROM sqlite_master WHERE name = ?', ('mart',)).fetchone()\n",
        "listed": "found = 'mart' in [one for one, in conn.execute('SELECT name FROM sqlite_master')]\n",
        "pandas": """
            import pandas
            try:
                pandas.read_sql("SELECT x FROM mart", conn)
                found = True
            except pandas.errors.DatabaseError:
                found = False
        """,
    }
    report = "import sqlite3\nSTAGE = 's'\ndef run(conn):\n"
    report += textwrap.indent(textwrap.dedent(ask[how]), "    ")
    report += "    open('out.txt', 'w').write('there' if found else 'no mart')\n"
    make = "STAGE = 's'\ndef run(conn):\n    conn.execute('CREATE TABLE IF NOT EXISTS mart (x)')\n"
    if made == "filled":
        make += "    conn.execute('DELETE FROM mart')\n    conn.execute('INSERT INTO mart VALUES (1)')\n"
    root = project({"src/a_report.py": report, "src/z_mart.py": make})
    assert ran(orch("run", "--json")) == ["a_report", "z_mart"]
    assert (root / "out.txt").read_text() == "no mart"
    assert [*reasons(orch)] == ["a_report"]
    assert run_changed(orch) == ["a_report"]
    assert (root / "out.txt").read_text() == "there"
    assert reasons(orch) == {}
    assert ran(orch("run", "--json")) == ["z_mart", "a_report"]
    assert reasons(orch) == {}


@pytest.mark.parametrize(
    "database", slow_but(["sqlite:///data.db"], ["sqlite:///data.db", "duckdb:///data.duckdb"])
)
def test_who_would_have_dropped_a_table_that_was_not_there_runs_before_its_maker(
    database: str, project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": f'database = "{database}"\n',
            "src/a_clean.py": "STAGE = 's'\ndef run(conn):\n    conn.execute('DROP TABLE IF EXISTS t')\n",
            "src/b_make.py": "STAGE = 's'\ndef run(conn):\n    conn.execute('CREATE TABLE t AS SELECT 1 AS x')\n",
        }
    )
    for _ in range(3):
        assert ran(orch("run", "--json")) == ["a_clean", "b_make"]


@pytest.mark.parametrize("edited_before", [False, True])
def test_a_loader_that_found_nothing_new_is_still_known_to_read_its_files(
    edited_before: bool, project: Project, orch: Orch
) -> None:
    root = project(
        {
            "inbox/a.txt": "1",
            "inbox/b.txt": "1",
            "src/load.py": """
                import os
                STAGE = "s"
                def run(conn):
                    conn.execute("CREATE TABLE IF NOT EXISTS seen (name)")
                    known = {name for name, in conn.execute("SELECT name FROM seen")}
                    for name in sorted(os.listdir("inbox")):
                        if name not in known:
                            open("inbox/" + name).read()
                            conn.execute("INSERT INTO seen VALUES (?)", (name,))
                """,
        }
    )
    run_all(orch)
    run_all(orch)
    assert reasons(orch) == {}
    for text in ("2", "3"):
        (root / "inbox/a.txt").write_text(text)
        assert reasons(orch) == {"load": ["inbox/a.txt changed"]}
        assert run_changed(orch) == ["load"]
        assert reasons(orch) == {}
        if edited_before:
            (root / "inbox/c.txt").write_text(text)
            assert run_changed(orch) == ["load"]
            (root / "inbox/c.txt").unlink()
            assert run_changed(orch) == ["load"]
            assert reasons(orch) == {}


@pytest.mark.parametrize("tag", ["", "ORCH = {'repeatable': True}"])
def test_what_a_tool_got_from_one_that_is_after_it_by_now_is_made_again(
    tag: str, project: Project, orch: Orch
) -> None:
    def stages(*names: str) -> dict[str, str]:
        return {"orch.toml": f"stages = {list(names)}\n"}

    def update(stage: str, value: str, more: str = "") -> str:
        return f"STAGE = '{stage}'\n{more}\ndef run(conn):\n    conn.execute('UPDATE t SET x = {value}')\n"

    root = project(
        stages("make", "multiply", "add", "use")
        | {
            "src/make.py": """
                STAGE = "make"
                def run(conn):
                    conn.executescript("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 1 AS x")
                """,
            "src/multiply.py": update("multiply", "x * 10"),
            "src/add.py": update("add", "max(x, 5)" if tag else "x + 5", tag),
            "src/use.py": """
                STAGE = "use"
                def run(conn):
                    text = str(conn.execute("SELECT x FROM t").fetchone()[0])
                    open("out.txt", "w").write(text)
                """,
        }
    )
    run_all(orch)
    project(stages("make", "add", "multiply", "use"))
    assert run_changed(orch) == ["make", "add", "multiply", "use"]
    assert (root / "out.txt").read_text() == ("50" if tag else "60")
    assert orch("accept", "full").code == 0
    assert reasons(orch) == {}
    project(stages("make", "use", "add", "multiply"))
    assert run_changed(orch) == ["make", "use", "add", "multiply"]
    assert (root / "out.txt").read_text() == "1"
    # What is accepted as it is stays fresh in this order.
    project(stages("make", "multiply", "add", "use"))
    assert orch("accept", "full").code == 0
    assert reasons(orch) == {}


# ---- files that Python does not open ----


def test_a_new_file_that_a_glob_of_a_duckdb_statement_matches_counts(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "database = 'duckdb:///d.duckdb'\n",
            "in/1.csv": "x\n1\n",
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    conn.execute("CREATE OR REPLACE TABLE t AS FROM 'in/*.csv'")
                """,
        }
    )
    run_all(orch)
    (root / "in/2.csv").write_text("x\n2\n")
    assert reasons(orch) == {"a": ["in/2.csv now exists"]}
    assert run_changed(orch) == ["a"]


NATIVE_READS = {
    "a_native_library": """
        import duckdb
        text = str(duckdb.sql("select * from 'data/in.csv'").fetchall())
        """,
    "a_child_process": """
        import subprocess
        text = subprocess.run(["cat", "data/in.csv"], capture_output=True, check=True).stdout.decode()
        """,
    "a_process_pool": """
        from concurrent.futures import ProcessPoolExecutor
        from src.lib.reading import read
        with ProcessPoolExecutor(1) as pool:
            text = pool.submit(read, "data/in.csv").result()
        """,
}


@needs_kernel_events
@pytest.mark.parametrize("how", NATIVE_READS)
def test_a_file_that_python_does_not_open_counts_by_its_content(
    how: str, project: Project, orch: Orch
) -> None:
    lines = [line.strip() for line in NATIVE_READS[how].strip().splitlines()]
    body = "".join(f"    {'    ' * (line.startswith('text = pool'))}{line}\n" for line in lines)
    root = project(
        {
            "data/in.csv": "x\n1\n",
            "src/lib/__init__.py": "",
            "src/lib/reading.py": "def read(name):\n    return open(name).read()\n",
            "src/a.py": f"STAGE = 's'\ndef run():\n{body}    open('a.txt', 'w').write(text)\n",
            "src/b.py": "STAGE = 's'\ndef run():\n    open('b.txt', 'w').write('b')\n",
        }
    )
    run_all(orch)
    (root / "data/in.csv").touch()
    assert reasons(orch) == {}
    (root / "data/in.csv").write_text("x\n2\n")
    assert [*(found := reasons(orch))] == ["a"], found
    assert run_changed(orch) == ["a"]
    assert "2" in (root / "a.txt").read_text()


# ---- files ----


def test_a_file_of_the_same_size_and_time_but_another_content_is_seen(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "data.txt": "one",
            "src/a.py": "STAGE = 's'\ndef run():\n    open('a.txt', 'w').write(open('data.txt').read())\n",
        }
    )
    run_all(orch)
    before = (root / "data.txt").stat()
    (root / "data.txt").write_text("two")
    os.utime(root / "data.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run_changed(orch) == ["a"]


def test_a_linked_folder_below_a_declared_input_is_followed(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/one.csv").write_text("1\n")
    root = project(
        {
            "data/": "",
            "src/a.py": "STAGE = 's'\nORCH = {'inputs': ['data/**/*.csv']}\ndef run():\n    open('a.txt', 'w').close()\n",
        }
    )
    (root / "data/linked").symlink_to(tmp_path / "store")
    run_all(orch)
    (tmp_path / "store/one.csv").write_text("2\n")
    assert run_changed(orch) == ["a"]


def test_a_success_gets_too_old_though_all_was_fresh_a_moment_ago(
    project: Project, orch: Orch
) -> None:
    project({"orch.toml": "", "src/a.py": "STAGE = 's'\nORCH = {'max_age': 1}\ndef run(): pass\n"})
    assert orch("run").code == 0
    deadline = time.monotonic() + 60
    while "fresh\n" in orch("status").out.splitlines(keepends=True)[1]:
        assert time.monotonic() < deadline
    assert reasons(orch) == {"a": ["the last success is older than 1s (max_age)"]}
    assert "1 passed" in orch("run", "--changed").out
