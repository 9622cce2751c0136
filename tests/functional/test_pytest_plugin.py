"""The pytest plugin: tools run in the process of a test, with the resources and the tables that the test gives."""

from __future__ import annotations

import importlib
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.plugin import PLUGIN
from tests.support.project_builder import clean_environment, write_files

pytest_plugins = ["pytester"]
# Else `pytester` loads it again for each test, which ends the process.
importlib.import_module("duckdb")

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "report"]\nparams = {factor = 2}\n',
    "orchconf.py": """
        from discover_orch import resource
        CLOSED = []

        @resource
        def clock():
            return "the real clock"

        @resource
        async def log(conn, clock):
            yield [clock]
            CLOSED.append("log")
        """,
    "src/parse.py": """
        import asyncio
        from datetime import date
        from enum import Enum
        STAGE = "ingest"

        class Kind(Enum):
            NEW = "new"

        async def run(conn, log, *, since: date, kind: Kind = Kind.NEW, factor: int = 1):
            await asyncio.sleep(0)
            conn.execute("CREATE TABLE parsed AS SELECT id * ? AS id FROM raw", [factor])
            conn.commit()
            return {"since": since, "kind": kind, "log": log, "rows": 2}
        """,
    "src/show.py": """
        from pathlib import Path
        STAGE = "report"
        def run(conn, *, fails: bool = False):
            conn.execute("CREATE TABLE shown AS SELECT * FROM parsed")
            conn.commit()
            if fails:
                raise LookupError("no rows")
            Path("out.txt").write_text("done")
            return [row for (row,) in conn.execute("SELECT id FROM shown ORDER BY id")]
        """,
}


def run_tests(pytester: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    """The test file, in the pipeline, in this process."""
    write_files(
        pytester.path,
        {name: one for name, one in PIPELINE.items() if not (pytester.path / name).exists()},
    )
    pytester.makepyfile(test_it=textwrap.dedent(text))
    return pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider", *options)


def test_tools_get_typed_arguments_tables_and_resources_and_give_what_they_return(
    pytester: pytest.Pytester,
) -> None:
    result = run_tests(
        pytester,
        """
        from datetime import date
        import sys

        import pytest

        def test_one_tool(orch_run, orch_tables, orch_conn):
            orch_tables(raw=[{"id": 1, "name": "a"}, {"id": 2}])
            got = orch_run("parse", since="2024-01-31", kind="new")
            assert got["since"] == date(2024, 1, 31)
            assert got["kind"] is sys.modules["src.parse"].Kind.NEW
            assert got["log"] == ["the real clock"]
            assert orch_conn.execute("SELECT id FROM parsed").fetchall() == [(2,), (4,)]

        def test_a_stage_and_its_database_is_empty_again(orch_run, orch_tables, tmp_path, monkeypatch):
            assert sys.modules["orchconf"].CLOSED == ["log"]
            monkeypatch.chdir(tmp_path)
            orch_tables(raw=[{"id": 5}, {"id": None}])
            both = orch_run("full", since=date(2024, 1, 1), factor=3)
            assert list(both) == ["parse", "show"]
            assert both["show"] == [None, 15.0]
            assert (tmp_path / "out.txt").exists()

        def test_a_tool_that_raises_leaves_nothing_of_its_own(orch_run, orch_tables, orch_conn):
            orch_tables(parsed=[{"id": 1}])
            with pytest.raises(LookupError, match="no rows"):
                orch_run("show", fails=True)
            assert orch_conn.execute("SELECT name FROM sqlite_master").fetchall() == [("parsed",)]
            orch_tables(parsed=[{"id": 7}])
            assert orch_run("show") == [7]

        def test_the_project(orch_project):
            assert orch_project.tools == ("parse", "show")
            assert orch_project.stages == {"ingest": ("parse",), "report": ("show",)}
            assert orch_project.select("show", "ingest") == ("show", "parse")
        """,
    )
    result.assert_outcomes(passed=4)
    assert (pytester.path / "out.txt").exists()


def test_a_test_gives_the_value_of_an_item_itself(pytester: pytest.Pytester) -> None:
    tool = """
        from datetime import date
        STAGE = "ingest"
        ORCH = {"each": "raw/{day}.csv"}
        def run(*, day: date):
            return day
        """
    write_files(pytester.path, {"src/clean.py": tool})
    result = run_tests(
        pytester,
        """
        from datetime import date

        def test_it(orch_run, orch_project):
            assert "clean" in orch_project.tools
            assert orch_run("clean", day="2026-01-13") == date(2026, 1, 13)
        """,
    )
    result.assert_outcomes(passed=1)


def test_a_fixture_with_the_name_of_a_resource_takes_its_place(pytester: pytest.Pytester) -> None:
    write_files(
        pytester.path, {"src/cached.py": "STAGE = 'ingest'\ndef run(cache): return cache\n"}
    )
    conf = (
        PIPELINE["orchconf.py"]
        + "\n        @resource\n        def cache():\n            return 'ours'\n"
    )
    write_files(pytester.path, {"orchconf.py": conf})
    result = run_tests(
        pytester,
        """
        import sqlite3
        import pytest

        @pytest.fixture
        def clock():
            return "a fake clock"

        def test_nested(orch_run, orch_tables):
            orch_tables(raw=[{"id": 1}])
            assert orch_run("parse", since="2024-01-31")["log"] == ["a fake clock"]

        def test_a_fixture_of_pytest_is_not_meant(orch_run):
            assert orch_run("cached") == "ours"

        class TestConnection:
            @pytest.fixture
            def conn(self):
                conn = sqlite3.connect(":memory:")
                conn.execute("CREATE TABLE parsed AS SELECT 3 AS id")
                yield conn
                conn.close()

            def test_conn(self, orch_run, conn):
                assert orch_run("show") == [3]
                assert conn.execute("SELECT id FROM shown").fetchone() == (3,)

            def test_tables_are_made_on_it(self, orch_run, orch_tables, conn):
                conn.execute("DROP TABLE parsed")
                orch_tables(parsed=[{"id": 4}])
                assert orch_run("show") == [4]
        """,
    )
    result.assert_outcomes(passed=4)


def test_a_mistake_fails_the_test_with_a_sentence(pytester: pytest.Pytester) -> None:
    result = run_tests(
        pytester,
        """
        def test_unknown_tool(orch_run):
            orch_run("prase")

        def test_unknown_argument(orch_run):
            orch_run("parse", sicne="2024-01-31")

        def test_wrong_value(orch_run):
            orch_run("parse", since="yesterday")
        """,
    )
    result.assert_outcomes(failed=3)
    text = result.stdout.str()
    for said in (
        'error: unknown target "prase"',
        'hint: did you mean "parse"?',
        'none of these tools takes the argument "sicne": parse',
        'hint: did you mean "since"?',
        'src/parse.py:10: parse requires the argument "since" (date)',
        "invalid since for parse: 'yesterday' is not a date",
    ):
        assert said in text
    assert "Traceback" not in text
    assert "During handling" not in text


@pytest.mark.slow
def test_what_is_no_table_and_what_has_params_is_said_in_a_sentence(
    pytester: pytest.Pytester,
) -> None:
    write_files(pytester.path, PIPELINE)
    text = """
        import asyncio, datetime, uuid
        import pandas as pd
        import pytest

        FRAME = pd.DataFrame({
            "id": pd.array([1, None], dtype="Int64"),
            "zone": pd.to_datetime(["2024-01-01", None]).tz_localize("UTC"),
            "kind": pd.Categorical(["x", None]),
        })

        def test_a_frame(orch_tables, orch_conn):
            orch_tables(raw=FRAME, more=[{"at": datetime.time(3, 4), "key": uuid.UUID(int=1)}])
            rows = orch_conn.execute("SELECT * FROM raw").fetchall()
            assert rows == [(1, "2024-01-01 00:00:00+00:00", "x"), (None, None, None)]
            assert orch_conn.execute("SELECT at FROM more").fetchone() == ("03:04:00",)

        @pytest.fixture(params=["one", "two"])
        def clock(request):
            return request.param

        def test_named(orch_run, orch_tables, clock):
            orch_tables(raw=[{"id": 1}])
            assert orch_run("parse", since="2024-01-31")["log"] == [clock]

        def test_a_dict(orch_tables):
            orch_tables(raw={"id": 1})

        def test_a_series(orch_tables):
            orch_tables(raw=pd.Series([1]))

        def test_no_rows(orch_tables):
            orch_tables(raw=[])

        """
    pytester.makepyfile(test_it=textwrap.dedent(text))
    result = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=3)
    for said in (
        "error: orch_tables: raw must be a list of dicts or a data frame, not dict",
        "error: orch_tables: the rows of raw must be dicts, not int",
        "error: orch_tables: raw has no rows, so its columns are not known",
    ):
        result.stdout.fnmatch_lines([f"*{said}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_configured_database_is_as_before_after_the_test(pytester: pytest.Pytester) -> None:
    conf = """
        import sqlite3
        def get_connection():
            return sqlite3.connect("own.db")
        """
    test = """
        def test_it(orch_run, orch_conn, orch_tables):
            orch_tables(parsed=[{"id": 8}])
            orch_conn.commit()
            assert orch_run("show") == [8]
        """
    for name, extra in (("data.db", {}), ("own.db", {"orchconf.py": conf})):
        write_files(
            pytester.path, {"pytest.ini": "[pytest]\norch_database = configured\n", **extra}
        )
        path = pytester.path / name
        conn = sqlite3.connect(path)
        conn.execute("CREATE TABLE parsed AS SELECT 1 AS id")
        conn.commit()
        conn.close()
        run_tests(pytester, test).assert_outcomes(passed=1)
        conn = sqlite3.connect(path)
        assert conn.execute("SELECT id FROM parsed").fetchall() == [(1,)]
        assert conn.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
        conn.close()


@pytest.mark.parametrize(
    "opened",
    ["sqlite3.connect('own.db', isolation_level=None)", "duckdb.connect('own.duckdb')"],
)
def test_a_connection_on_which_a_commit_is_final_is_refused(
    pytester: pytest.Pytester, opened: str
) -> None:
    conf = f"import duckdb, sqlite3\ndef get_connection():\n    return {opened}\n"
    ini = "[pytest]\norch_database = configured\n"
    write_files(pytester.path, {"pytest.ini": ini, "orchconf.py": conf})
    result = run_tests(pytester, "def test_it(orch_conn): ...\n")
    result.assert_outcomes(errors=1)
    assert "cannot be rolled back" in result.stdout.str()


def test_the_variables_of_the_env_file_are_there(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "orch.toml": 'env_file = ".env"\n',
            ".env": "REGION=north\nSHOP_TOKEN='open-sesame-4711'\nORCH_PARAM_LIMIT=7\n",
            "src/a.py": """
                import os
                STAGE = "s"
                def run(*, limit: int = 1):
                    print("a:", os.environ["REGION"], limit, os.environ["SHOP_TOKEN"])
                """,
            "tests/test_a.py": """
                def test_a(orch_run, capsys):
                    orch_run("a")
                    assert "a: north 7 open-sesame-4711" in capsys.readouterr().out
                """,
        },
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "tests")],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_orch_check_makes_discovery_errors_a_failed_test(pytester: pytest.Pytester) -> None:
    passes = "def test_it(): ...\n"
    run_tests(pytester, passes, "--orch-check").assert_outcomes(passed=2)
    write_files(
        pytester.path, {"src/broken.py": "STAGE = 'ingest'\n(", "src/near.py": "STAGE = 'report'\n"}
    )
    run_tests(pytester, passes).assert_outcomes(passed=1)
    result = run_tests(pytester, passes, "--orch-check")
    result.assert_outcomes(passed=1, failed=1)
    assert "error: src/broken.py:2:" in result.stdout.str()
    assert "src/near.py" not in result.stdout.str()


def test_who_does_not_use_the_plugin_imports_nothing_of_orch(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert 'discover_orch_pytest' in sys.modules\n"
        "    assert [one for one in sys.modules if one.startswith('discover_orch.')] == []\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGIN],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


TYPED = """
    import datetime, decimal

    def test_it(orch_run, orch_conn, orch_tables):
        rows = [
            {"n": 1, "x": 0.5, "flag": True, "word": "a", "day": datetime.date(2024, 1, 31), "d": decimal.Decimal("1.5")},
            {"n": None, "x": None, "flag": None, "word": None, "day": None, "d": None},
        ]
        orch_tables(source=rows, kept=[{"id": 7}])
        assert orch_run("copy") == {"rows": 2}
        found = orch_conn.execute("SELECT n, x, flag, word, day, d FROM copied WHERE n IS NOT NULL")
        assert found.fetchone() == tuple(rows[0].values())
        assert orch_conn.execute("SELECT id FROM kept").fetchall() == [(7,)]
    """
COPY = """
    STAGE = "report"
    def run(conn):
        conn.execute("CREATE TABLE copied AS SELECT * FROM source")
        conn.commit()
        return {"rows": conn.execute("SELECT count(*) FROM copied").fetchone()[0]}
    """


def check_driver(pytester: pytest.Pytester, conf: str, connect: Callable[[], Any]) -> None:
    """Rows keep their types in a table of this database, and nothing of the test stays in it."""
    connection = connect()
    connection.execute("CREATE TABLE kept (id int)")
    connection.execute("INSERT INTO kept VALUES (1)")
    # The database does not find this one by its name alone.
    connection.execute("CREATE SCHEMA elsewhere")
    connection.execute("CREATE TABLE elsewhere.source (other int)")
    connection.commit()
    connection.close()
    ini = "[pytest]\norch_database = configured\n"
    write_files(pytester.path, {"pytest.ini": ini, "orchconf.py": conf, "src/copy.py": COPY})
    run_tests(pytester, TYPED).assert_outcomes(passed=1)
    connection = connect()
    assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]
    tables = "SELECT table_schema FROM information_schema.tables WHERE table_name IN ('source', 'copied')"
    assert connection.execute(tables).fetchall() == [("elsewhere",)]
    connection.close()


def test_a_configured_postgres_is_as_before_after_the_test(
    pytester: pytest.Pytester, postgres: str
) -> None:
    import psycopg

    conf = f"import psycopg\ndef get_connection():\n    return psycopg.connect({postgres!r})\n"
    check_driver(pytester, conf, lambda: psycopg.connect(postgres))


def test_a_check_that_fails_fails_the_test_with_what_it_found(pytester: pytest.Pytester) -> None:
    checked = """
        STAGE = "ingest"
        def run(conn, *, lowest: int = 1):
            conn.execute("CREATE TABLE sales (amount)")
            conn.execute("INSERT INTO sales VALUES (?)", (lowest,))
            return [lowest]
        def check_positive(conn, clock, lowest):
            conn.execute("CREATE TABLE gone (n)")
            return conn.execute("SELECT amount, ? AS lowest FROM sales WHERE amount < 0", (lowest,))
        def warn_few(result, previous):
            assert len(result) > 3, previous
        """
    write_files(pytester.path, {"src/checked.py": checked})
    result = run_tests(
        pytester,
        """
        import pytest

        def test_passes(orch_run, orch_conn):
            with pytest.warns(UserWarning, match=r"warn_few  src/checked.py:11  None"):
                assert orch_run("checked") == [1]
            names = orch_conn.execute("SELECT name FROM sqlite_master").fetchall()
            assert names == [("sales",)]

        @pytest.mark.filterwarnings("ignore:warning. warn_few")
        def test_fails(orch_run, orch_conn):
            with pytest.raises(AssertionError, match="check_positive"):
                orch_run("checked", lowest=-2)
            assert orch_conn.execute("SELECT * FROM sqlite_master").fetchall() == []
            orch_run("checked", lowest=-1)
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            '>       orch_run("checked", lowest=-1)',
            "E       AssertionError: check_positive  src/checked.py:7  1 row violates it",
            "E           amount  lowest",
            "E           -1      -1",
        ]
    )
