"""What a module does belongs to the tools that use it, to all of them and to no other: a full run is the tools one by
one. Seen through the command line, with one worker and with two."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import ran, reasons

JOBS = pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["one_worker", "two_workers"])


def tool(top: str, run: str, after: str = "AFTER = ()") -> str:
    return f'{top}\nSTAGE = "s"\n{after}\ndef run():\n    {run}\n'


def run_all(orch: Orch, *words: str) -> None:
    answer = orch("run", *words)
    assert answer.code == 0, answer.text


def said(orch: Orch, *names: str) -> dict[str, str]:
    return {name: orch("logs", name).out.strip().splitlines()[-1].strip() for name in names}


@JOBS
def test_the_env_file_of_a_shared_module_counts_for_its_users(
    project: Project, orch: Orch, jobs: tuple[str, ...]
) -> None:
    uses = tool("import os\nfrom src.lib import settings", "print(os.environ['COLOUR'])")
    other = tool("import os", "print(os.environ.get('COLOUR'))")
    root = project(
        {
            ".env": "COLOUR=red\n",
            "src/lib/settings.py": "from dotenv import load_dotenv\nload_dotenv('.env')\n",
            **{f"src/{name}.py": uses for name in "abc"},
            "src/other.py": other,
        }
    )
    run_all(orch, *jobs)
    assert said(orch, "a", "b", "c", "other") == dict.fromkeys("abc", "red") | {"other": "None"}
    assert reasons(orch) == {}
    (root / ".env").write_text("COLOUR=blue\n")
    assert reasons(orch) == {name: [".env changed"] for name in "abc"}
    assert ran(orch("run", "--changed", "--json", "b", *jobs)) == ["b"]
    assert [*reasons(orch)] == ["a", "c"]
    assert sorted(ran(orch("run", "--changed", "--json", *jobs))) == ["a", "c"]
    assert said(orch, "a", "b", "c", "other") == dict.fromkeys("abc", "blue") | {"other": "None"}


SETS = {
    "set": "os.environ['MODE'] = '{}'",
    "setdefault": "os.environ.setdefault('MODE', '{}')",
    "if_absent": "if 'MODE' not in os.environ: os.environ['MODE'] = '{}'",
    "dotenv": "from dotenv import load_dotenv; load_dotenv('{}.env')",
}


@pytest.mark.parametrize("how", SETS)
def test_two_modules_that_set_the_same_variable(project: Project, orch: Orch, how: str) -> None:
    show = "print(os.environ.get('MODE'))"
    project(
        {
            "one.env": "MODE=one\n",
            "two.env": "MODE=one\n",
            "src/lib/one.py": f"import os\n{SETS[how].format('one')}\n",
            "src/lib/two.py": f"import os\n{SETS[how].format('two')}\n",
            "src/a.py": tool("import os\nfrom src.lib import one, two", show),
            "src/b.py": tool("import os\nfrom src.lib import two", show),
            "src/c.py": tool("import os\nfrom src.lib import one", show),
            "src/d.py": tool("import os", show),
        }
    )
    run_all(orch)
    together = said(orch, *"abcd")
    alone: dict[str, str] = {}
    for name in "abcd":
        run_all(orch, name)
        alone |= said(orch, name)
    if how == "if_absent":  # its own value is not known where another module has set one
        together["b"] = alone["b"]
    assert together == alone


@JOBS
def test_logging_is_as_the_modules_of_the_tool_configure_it(
    project: Project, orch: Orch, jobs: tuple[str, ...]
) -> None:
    configure = "import logging, sys\nlogging.basicConfig(format='{}: %(message)s', level='INFO', stream=sys.stdout)\n"
    show = "print(len(logging.root.handlers)); logging.info('hello')"
    project(
        {
            "src/lib/one.py": configure.format("one"),
            "src/lib/two.py": configure.format("one")
            + "logging.getLogger('two').addHandler(logging.NullHandler())\n",
            "src/a.py": tool("import logging\nfrom src.lib import one, two", show),
            "src/b.py": tool("import logging\nfrom src.lib import two", show),
            "src/c.py": tool("import logging\nfrom src.lib import one", show),
            "src/d.py": tool(
                "import logging", "print(logging.root.handlers, logging.getLogger('two').handlers)"
            ),
        }
    )
    run_all(orch, *jobs)
    assert said(orch, *"abcd") == dict.fromkeys("abc", "one: hello") | {"d": "[] []"}
    for name in "abc":
        assert orch("logs", name).out.count("one: hello") == 1


def test_what_an_installed_package_sets_while_it_is_loaded_holds_for_all_tools(
    project: Project, orch: Orch
) -> None:
    show = "import installed; print(os.environ.get('OF_PACKAGE'), os.environ.get('OF_MODULE'))"
    project(
        {
            "orch.toml": 'pythonpath = [".", "lib/site-packages"]\n',
            "lib/site-packages/installed.py": "import os\nos.environ['OF_PACKAGE'] = '1'\n",
            "src/lib/shared.py": "import os, installed\nos.environ['OF_MODULE'] = '1'\n",
            "src/a.py": tool("import os\nfrom src.lib import shared", show),
            "src/b.py": tool("import os", show),
        }
    )
    run_all(orch)
    assert said(orch, *"ab") == {"a": "1 1", "b": "1 None"}


KEPT = {
    "sqlite3": """
        import sqlite3
        DB = sqlite3.connect("other.db")
        def read():
            return DB.execute("SELECT n FROM t").fetchall()
        def write(n):
            DB.execute("UPDATE t SET n = ?", (n,))
            DB.commit()
        """,
    "sqlalchemy": """
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import StaticPool
        ENGINE = create_engine("sqlite:///other.db", poolclass=StaticPool)
        def read():
            with ENGINE.connect() as conn:
                return [tuple(row) for row in conn.execute(text("SELECT n FROM t"))]
        def write(n):
            with ENGINE.begin() as conn:
                conn.execute(text("UPDATE t SET n = :n"), {"n": n})
        """,
    "lazy": """
        import sqlite3
        _DB = None
        def connect():
            global _DB
            if _DB is None:
                _DB = sqlite3.connect("other.db")
            return _DB
        def read():
            return connect().execute("SELECT n FROM t").fetchall()
        def write(n):
            connect().execute("UPDATE t SET n = ?", (n,))
            connect().commit()
        """,
}


def make_database(root: Path, n: int) -> None:
    with sqlite3.connect(root / "other.db") as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS t (n)")
        conn.execute("DELETE FROM t")
        conn.execute("INSERT INTO t VALUES (?)", (n,))
    conn.close()


@JOBS
@pytest.mark.parametrize("how", KEPT)
def test_a_connection_that_a_module_keeps_is_used_by_its_users(
    project: Project, orch: Orch, how: str, jobs: tuple[str, ...]
) -> None:
    if how == "sqlalchemy":
        pytest.importorskip("sqlalchemy")
    read = tool("from src.lib import db", "print(db.read())")
    root = project(
        {
            "src/lib/db.py": KEPT[how],
            **{f"src/{name}.py": read for name in "abc"},
            # Beside another tool, the kernel does not say who has opened the file.
            **({} if jobs else {"src/other.py": tool("", "print('other')")}),
        }
    )
    make_database(root, 1)
    run_all(orch, *jobs)
    assert reasons(orch) == {}
    make_database(root, 2)
    assert [*reasons(orch)] == ["a", "b", "c"]
    assert sorted(ran(orch("run", "--changed", "--json", *jobs))) == ["a", "b", "c"]
    assert said(orch, *"abc") == dict.fromkeys("abc", "[(2,)]")
    assert reasons(orch) == {}


@pytest.mark.parametrize("how", KEPT)
def test_what_is_written_by_a_connection_that_a_module_keeps_is_the_tools(
    project: Project, orch: Orch, how: str
) -> None:
    if how == "sqlalchemy":
        pytest.importorskip("sqlalchemy")
    root = project(
        {
            "orch.toml": "stages = ['one', 'two', 'three']\n",
            "src/lib/db.py": KEPT[how],
            "src/a.py": "from src.lib import db\nSTAGE = 'one'\ndef run(): print(db.read())\n",
            "src/b.py": "from src.lib import db\nSTAGE = 'two'\ndef run(): db.write(5)\n",
            "src/c.py": "from src.lib import db\nSTAGE = 'three'\ndef run(): print(db.read())\n",
        }
    )
    make_database(root, 1)
    run_all(orch)
    assert said(orch, "c") == {"c": "[(5,)]"}
    (root / "src/b.py").write_text(
        "from src.lib import db\nSTAGE = 'two'\ndef run(): db.write(6)\n"
    )
    assert ran(orch("run", "--changed", "--json"))[-2:] == ["b", "c"]
    assert said(orch, "c") == {"c": "[(6,)]"}


def test_what_a_kept_connection_has_not_committed_is_rolled_back(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/lib/db.py": "import sqlite3\nDB = sqlite3.connect('other.db')\n",
            "src/a.py": tool("from src.lib import db", "db.DB.execute('UPDATE t SET n = 9')"),
            "src/b.py": tool(
                "from src.lib import db", "print(db.DB.execute('SELECT n FROM t').fetchall())"
            ),
        }
    )
    make_database(root, 1)
    run_all(orch)
    assert said(orch, "b") == {"b": "[(1,)]"}


def test_what_a_resource_does_is_for_the_tools_that_take_it(project: Project, orch: Orch) -> None:
    root = project(
        {
            "rates.csv": "1",
            "orchconf.py": """
                import os, sqlite3
                from discover_orch import resource
                @resource
                def db():
                    os.environ["COLOUR"] = open("rates.csv").read()
                    conn = sqlite3.connect("other.db")
                    yield conn
                    conn.commit()
                    del os.environ["COLOUR"]
                """,
            "src/a.py": tool("import os", "print(os.environ.get('COLOUR'))"),
            "src/b.py": "import os\nSTAGE = 's'\nAFTER = ()\ndef run(db):\n"
            "    db.execute('UPDATE t SET n = n + 1'); print(os.environ['COLOUR'])\n",
            "src/c.py": "import os\nSTAGE = 's'\nAFTER = ()\ndef run(db):\n"
            "    db.execute('UPDATE t SET n = n + 1'); print(os.environ['COLOUR'])\n",
            "src/d.py": tool("import os", "print(os.environ.get('COLOUR'))"),
        }
    )
    make_database(root, 1)
    run_all(orch)
    assert said(orch, *"abcd") == {"a": "None", "b": "1", "c": "1", "d": "None"}
    with sqlite3.connect(root / "other.db") as conn:
        assert conn.execute("SELECT n FROM t").fetchall() == [(3,)]
    conn.close()
    (root / "rates.csv").write_text("2")
    assert {"b", "c"} == {
        name for name, found in reasons(orch).items() if "rates.csv changed" in found
    }


@JOBS
def test_scripts_that_extend_the_search_path(
    project: Project, orch: Orch, jobs: tuple[str, ...]
) -> None:
    top = """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "more"))
import helpers
COLOUR = os.environ["COLOUR"]
"""
    root = project(
        {
            "orch.toml": 'packages = ["scripts"]\n',
            "rates.csv": "1",
            "scripts/more/helpers.py": "import os\nos.environ['COLOUR'] = 'red'\nRATES = open('rates.csv').read()\n",
            "scripts/a.py": tool(top, "print(COLOUR, helpers.RATES, sys.path[0].endswith('more'))"),
            "scripts/b.py": tool(top, "print(COLOUR, helpers.RATES, sys.path[0].endswith('more'))"),
            "scripts/c.py": tool(
                "import os, sys",
                "print(os.environ.get('COLOUR'), any(one.endswith('more') for one in sys.path))",
            ),
        }
    )
    run_all(orch, *jobs)
    assert said(orch, *"abc") == {"a": "red 1 True", "b": "red 1 True", "c": "None False"}
    assert reasons(orch) == {}
    (root / "rates.csv").write_text("2")
    assert [*reasons(orch)] == ["a", "b"]
    (root / "scripts/more/helpers.py").write_text(
        "import os\nos.environ['COLOUR'] = 'blue'\nRATES = open('rates.csv').read()\n"
    )
    assert sorted(ran(orch("run", "--changed", "--json", *jobs))) == ["a", "b"]
    assert said(orch, *"ab") == dict.fromkeys("ab", "blue 2 True")


def test_a_module_that_fails_each_time_it_is_loaded(project: Project, orch: Orch) -> None:
    use = """
import os
before = os.environ.get("COLOUR")
try:
    from src.lib import broken
except RuntimeError:
    pass
"""
    root = project(
        {
            "rates.csv": "1",
            "src/lib/broken.py": """
                import os
                os.environ["COLOUR"] = open("rates.csv").read()
                raise RuntimeError
                """,
            "src/a.py": tool(use, "print(before, os.environ['COLOUR'])"),
            "src/b.py": tool(use, "print(before, os.environ['COLOUR'])"),
            "src/c.py": tool("import os", "print(os.environ.get('COLOUR'))"),
        }
    )
    run_all(orch)
    assert said(orch, *"abc") == {"a": "None 1", "b": "None 1", "c": "None"}
    (root / "rates.csv").write_text("2")
    assert [*reasons(orch)] == ["a", "b"]


@pytest.mark.parametrize("is_loaded", [False, True], ids=["first", "after_another_tool"])
def test_a_module_that_run_loads_by_its_name(
    project: Project, orch: Orch, *, is_loaded: bool
) -> None:
    by_name = (
        "import importlib; names = ['{}']; importlib.import_module(f'src.plugins.{{names[0]}}');"
        " print(os.environ['COLOUR'])"
    )
    first = "from src.lib import settings" if is_loaded else ""
    root = project(
        {
            "orch.toml": "stages = ['first', 's']\n",
            "rates.csv": "1",
            "src/lib/settings.py": "import os\nos.environ['COLOUR'] = open('rates.csv').read()\nclass Colour: ...\n",
            "src/plugins/red.py": "from src.lib import settings\n",
            "src/plugins/blue.py": "from src.lib.settings import Colour\n",
            "src/first.py": f"{first}\nSTAGE = 'first'\ndef run(): ...\n",
            "src/a.py": tool("import os", by_name.format("red")),
            "src/b.py": tool("import os", by_name.format("blue")),
            "src/c.py": tool("import os", by_name.format("red")),
            "src/d.py": tool("import os", "print(os.environ.get('COLOUR'))"),
        }
    )
    run_all(orch)
    assert said(orch, *"abcd") == {"a": "1", "b": "1", "c": "1", "d": "None"}
    assert reasons(orch) == {}
    (root / "rates.csv").write_text("2")
    stale = [name for name, found in reasons(orch).items() if "rates.csv changed" in found]
    assert sorted(stale) == [*"abc", *["first"] * is_loaded]
    assert orch("run", "--changed").code == 0
    assert said(orch, *"abc") == dict.fromkeys("abc", "2")


def test_a_module_that_changes_the_working_directory(project: Project, orch: Orch) -> None:
    by_name = "names = ['moved']; importlib.import_module(f'src.lib.{names[0]}');"
    show = "print(open('rates.csv').read())"
    root = project(
        {
            "rates.csv": "root",
            "data/rates.csv": "data",
            "src/lib/moved.py": "import os\nos.chdir('data')\n",
            "src/a.py": tool("from src.lib import moved", show),
            "src/b.py": tool("from src.lib import moved", show),
            "src/c.py": tool("", show),
            "src/d.py": tool("import importlib", f"open('rates.csv').read(); {by_name} {show}"),
        }
    )
    run_all(orch)
    assert said(orch, *"abcd") == {"a": "data", "b": "data", "c": "root", "d": "data"}
    (root / "data/rates.csv").write_text("data 2")
    assert [*reasons(orch)] == ["a", "b", "d"]
    (root / "rates.csv").write_text("root 2")
    assert {*reasons(orch)["d"]} == {"rates.csv changed", "data/rates.csv changed"}


def test_a_module_that_starts_a_thread_and_changes_the_locale(project: Project, orch: Orch) -> None:
    show = "print(time.strftime('%Z'), locale.setlocale(locale.LC_NUMERIC), len(threading.enumerate()))"
    top = "import locale, threading, time"
    project(
        {
            "src/lib/shared.py": """
                import locale, os, threading, time
                os.environ["TZ"] = "XYZ-3"
                time.tzset()
                locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
                threading.Thread(target=threading.Event().wait, daemon=True).start()
                """,
            "src/a.py": tool(f"{top}\nfrom src.lib import shared", show),
            "src/b.py": tool(f"{top}\nfrom src.lib import shared", show),
            "src/c.py": tool(top, show),
        }
    )
    run_all(orch)
    found = said(orch, *"abc")
    assert found["a"] == found["b"] == "XYZ C.UTF-8 2"
    assert found["c"].split()[1:] == ["C", "2"]
    assert found["c"].split()[0] != "XYZ"


def test_a_class_of_the_project_in_a_pickle_of_another_tool(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/lib/shapes.py": "class Shape:\n    name = 'round'\n",
            "src/a.py": tool(
                "import pickle\nfrom src.lib.shapes import Shape",
                "pickle.dump(Shape(), open('shape.pkl', 'wb'))",
            ),
            "src/b.py": tool(
                "import pickle", "print(pickle.load(open('shape.pkl', 'rb')).name)", "AFTER = 'a'"
            ),
        }
    )
    run_all(orch)
    (root / "src/lib/shapes.py").write_text("class Shape:\n    name = 'square'\n")
    assert ran(orch("run", "--changed", "--json")) == ["a", "b"]
    assert said(orch, "b") == {"b": "square"}
    assert reasons(orch) == {}
