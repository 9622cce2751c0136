"""What a tool has read and a module keeps counts for the tools of the same worker that find it there. Seen through the
command line."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import ran, reasons

#: Ways to keep what was read: the text of `lib/tax.py`, and an expression for what it keeps.
MEMOS = {
    "a_global_variable": (
        """
        _rates = None
        def rates():
            global _rates
            if _rates is None:
                with open("data/rates.csv") as file:
                    _rates = file.read()
            return _rates
        """,
        "tax.rates()",
    ),
    "a_dictionary": (
        """
        KEPT = {}
        def rates(name="rates"):
            if name not in KEPT:
                KEPT[name] = read(f"data/{name}.csv")
            return KEPT[name]
        def read(path):
            return open(path).read()
        """,
        "tax.rates()",
    ),
    "a_cached_property": (
        """
        from functools import cached_property
        class Tax:
            @cached_property
            def rates(self):
                return open("data/rates.csv").read()
        TAX = Tax()
        def rates():
            return TAX.rates
        """,
        "tax.rates()",
    ),
    "an_object_of_a_class_of_another_module": (
        """
        from src.lib.loading import Loader
        LOADER = Loader()
        def loader():
            return LOADER
        """,
        "tax.loader().text()",
    ),
    "an_attribute_of_a_class": (
        """
        class Tax:
            rates = None
            @classmethod
            def load(cls):
                if cls.rates is None:
                    cls.rates = open("data/rates.csv").read()
                return cls.rates
        """,
        "tax.Tax.load()",
    ),
    "a_decorator": (
        """
        def once(function):
            kept = []
            def call():
                if not kept:
                    kept.append(function())
                return kept[0]
            return call
        @once
        def rates():
            return open("data/rates.csv").read()
        """,
        "tax.rates()",
    ),
    "a_dictionary_in_an_object": (
        """
        class Tax:
            def __init__(self):
                self._kept = {}
            def rates(self, name):
                if name not in self._kept:
                    self._kept[name] = open(f"data/{name}.csv").read()
                return self._kept[name]
        TAX = Tax()
        """,
        "tax.TAX.rates('rates')",
    ),
    "a_default_value": (
        """
        def rates(name="rates", kept=[]):
            if not kept:
                kept.append(open(f"data/{name}.csv").read())
            return kept[0]
        """,
        "tax.rates()",
    ),
    "an_attribute_of_a_function": (
        """
        def rates():
            if not hasattr(rates, "kept"):
                rates.kept = open("data/rates.csv").read()
            return rates.kept
        """,
        "tax.rates()",
    ),
    "a_cached_factory": (
        """
        import functools
        class Tax:
            def __init__(self):
                self.text = open("data/rates.csv").read()
        @functools.cache
        def build():
            return Tax()
        """,
        "tax.build().text",
    ),
    "a_constructor_whose_object_is_kept": (
        """
        class Tax:
            def __init__(self):
                self.text = open("data/rates.csv").read()
        KEPT = {}
        def rates():
            if "tax" not in KEPT:
                KEPT["tax"] = Tax()
            return KEPT["tax"].text
        """,
        "tax.rates()",
    ),
    "a_variable_around_a_function": (
        """
        def make():
            kept = None
            def rates():
                nonlocal kept
                if kept is None:
                    kept = open("data/rates.csv").read()
                return kept
            return rates
        rates = make()
        """,
        "tax.rates()",
    ),
    "a_list_around_a_function": (
        """
        def make():
            kept = []
            def rates():
                if not kept:
                    kept.append(open("data/rates.csv").read())
                return kept[0]
            return rates
        rates = make()
        """,
        "tax.rates()",
    ),
    "a_dictionary_in_a_cached_object": (
        """
        import functools
        class Tax:
            def __init__(self):
                self._kept = {}
            def rates(self, name):
                if name not in self._kept:
                    self._kept[name] = open(f"data/{name}.csv").read()
                return self._kept[name]
        @functools.cache
        def build():
            return Tax()
        """,
        "tax.build().rates('rates')",
    ),
    "a_template_of_a_library": (
        """
        from pages_library import Environment
        PAGES = Environment()
        """,
        'tax.PAGES.get_page("rates.csv")',
    ),
}
LOADING = """
    class Loader:
        kept = None
        def text(self):
            if not self.kept:
                self.kept = open("data/rates.csv").read()
            return self.kept
    """
LIBRARY = """
    class Environment:
        def __init__(self):
            self.kept = {}
        def get_page(self, name):
            if name not in self.kept:
                self.kept[name] = open(f"data/{name}").read()
            return self.kept[name]
    """
USE = """
    from src.lib import {how}
    STAGE = "s"
    def run():
        open("{name}.txt", "w").write({use})
    """


def test_what_a_module_keeps_counts_for_every_tool_that_includes_it(
    project: Project, orch: Orch
) -> None:
    memos = {f"src/lib/{how}.py": text for how, (text, _) in MEMOS.items()}
    tools = {
        f"{name}_{how}": USE.format(name=f"{name}_{how}", how=how, use=use.replace("tax", how))
        for name in ("one", "two")
        for how, (_, use) in MEMOS.items()
    }
    root = project(
        {
            "data/rates.csv": "1",
            "src/lib/__init__.py": "",
            "orch.toml": 'pythonpath = [".", "lib/site-packages"]\n',
            "lib/site-packages/pages_library.py": LIBRARY,
            "src/lib/loading.py": LOADING,
            **memos,
            **{f"src/{name}.py": text for name, text in tools.items()},
            "src/other.py": "STAGE = 's'\ndef run():\n    open('other.txt', 'w').write('')\n",
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    (root / "data/rates.csv").write_text("2")
    answer = orch("run", "--changed", "--json")
    assert ran(answer) == sorted(tools), answer.text
    assert {name: (root / f"{name}.txt").read_text() for name in tools} == dict.fromkeys(tools, "2")
    assert reasons(orch) == {}


#: Helpers that read a file and keep nothing of it, though they name containers, objects and decorators.
PLAIN = {
    "a_constant_dictionary": """
        PATHS = {"one": "data/one.csv", "two": "data/two.csv"}
        def read(name):
            return open(PATHS[name]).read()
        """,
    "an_argument_of_a_library": """
        import csv
        FIELDS = ["a", "b"]
        def read(name):
            with open(f"data/{name}.csv") as file:
                rows = [*csv.DictReader(file, fieldnames=FIELDS)]
            found = {}
            found["rows"] = rows
            return found
        """,
    "a_decorator_that_keeps_nothing": """
        import functools, time
        def timed(function):
            @functools.wraps(function)
            def call(*args):
                began = time.perf_counter()
                try:
                    return function(*args)
                finally:
                    time.perf_counter() - began
            return call
        @timed
        def read(name):
            return open(f"data/{name}.csv").read()
        """,
    "a_context_manager": """
        from contextlib import contextmanager
        @contextmanager
        def opened(name):
            with open(f"data/{name}.csv") as file:
                yield file
        def read(name):
            with opened(name) as file:
                return file.read()
        """,
    "an_object_of_the_tool_itself": """
        class Table:
            COLUMNS = ["a"]
            def __init__(self, path):
                self.path = path
                self.text = open(path).read()
        def read(name):
            return Table(f"data/{name}.csv").text
        """,
    "settings": """
        import logging
        from pathlib import Path
        log = logging.getLogger(__name__)
        class Settings:
            folder = Path("data")
        SETTINGS = Settings()
        def read(name):
            log.info("reads %s", name)
            return (SETTINGS.folder / f"{name}.csv").read_text()
        """,
}


def test_what_a_helper_reads_and_does_not_keep_counts_for_its_caller_alone(
    project: Project, orch: Orch
) -> None:
    use = "from src.lib import {how}\nSTAGE = 's'\ndef run(): print({how}.read('{name}'))\n"
    root = project(
        {
            "data/one.csv": "1",
            "data/two.csv": "1",
            **{f"src/lib/{how}.py": text for how, text in PLAIN.items()},
            **{
                f"src/{name}_{how}.py": use.format(name=name, how=how)
                for name in ("one", "two")
                for how in PLAIN
            },
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    (root / "data/one.csv").write_text("2")
    assert sorted(reasons(orch)) == sorted(f"one_{how}" for how in PLAIN)


def test_what_a_module_keeps_counts_by_whatever_name_a_tool_gets_it(
    project: Project, orch: Orch
) -> None:
    decorated = MEMOS["a_decorator"][0]
    listed = "KEPT = []\n"
    ways = (
        (decorated, "from src.lib import m0 as tax", "tax.rates()"),
        (decorated, "import src.lib.m1 as tax", "tax.rates()"),
        (decorated, "from src.lib.m2 import rates as ask", "ask()"),
        (decorated, "from src.lib import m3\nASK = [m3.rates]", "ASK[0]()"),
        (listed, "from src.lib.m4 import KEPT as kept", "fill(kept)"),
        (listed, "import src.lib.m5 as tax", "fill(tax.KEPT)"),
    )
    fill = """
        def fill(kept):
            if not kept:
                kept.append(open("data/rates.csv").read())
            return kept[0]
        """
    root = project(
        {
            "data/rates.csv": "1",
            "src/lib/__init__.py": "",
            **{f"src/lib/m{number}.py": text for number, (text, *_) in enumerate(ways)},
            **{
                f"src/{name}{number}.py": f"{top}\nSTAGE = 's'\n{dedent(fill)}\n"
                f"def run():\n    print({use})\n"
                for name in ("one", "two")
                for number, (_, top, use) in enumerate(ways)
            },
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    (root / "data/rates.csv").write_text("2")
    names = [f"{name}{number}" for name in ("one", "two") for number in range(len(ways))]
    assert sorted(reasons(orch)) == names


TABLE_MEMOS = """
    from functools import cached_property, lru_cache
    QUERY = "SELECT n FROM t"
    _rows = None
    def in_a_global(conn):
        global _rows
        if _rows is None:
            _rows = conn.execute(QUERY + " -- 1").fetchall()
        return _rows
    KEPT = {}
    def in_a_dictionary(conn):
        if "t" not in KEPT:
            KEPT["t"] = conn.execute(QUERY + " -- 2").fetchall()
        return KEPT["t"]
    @lru_cache
    def in_a_cache(conn):
        return conn.execute(QUERY + " -- 3").fetchall()
    class Rows:
        conn = None
        @cached_property
        def all(self):
            return self.conn.execute(QUERY + " -- 4").fetchall()
    ROWS = Rows()
    def in_a_property(conn):
        ROWS.conn = conn
        return ROWS.all
    def not_kept(conn, table):
        return conn.execute(f"SELECT n FROM {table}").fetchall()
    """
MAKE = """
    STAGE = "make"
    def run(conn):
        conn.execute("CREATE TABLE IF NOT EXISTS {table} (n INTEGER)")
        conn.execute("DELETE FROM {table}")
        conn.execute("INSERT INTO {table} VALUES (1)")
    """
USE_TABLE = """
    from src.lib import rows
    STAGE = "{stage}"
    def run(conn):
        found = [{use}]
        open("{name}.txt", "w").write(str(found))
    """


@pytest.mark.parametrize("database", slow_but({"sqlite"}, ["sqlite", "duckdb"]))
def test_rows_that_a_module_keeps_count_for_every_tool_that_includes_it(
    database: str, project: Project, orch: Orch
) -> None:
    """Of DuckDB it is not known which of the tables that `first` reads is kept."""
    if database == "duckdb":
        pytest.importorskip("duckdb")
        pytest.importorskip("sqlglot")
    ways = ["in_a_global", "in_a_dictionary", "in_a_cache", "in_a_property"]
    uses = {way: f"rows.{way}(conn)" for way in ways}
    others = {"plain": "rows.not_kept(conn, 'u')"}
    root = project(
        {
            "orch.toml": f"""
                stages = ["make", "first", "later"]
                database = "{database}:///data.db"
                """,
            "src/lib/__init__.py": "",
            "src/lib/rows.py": TABLE_MEMOS,
            "src/make_t.py": MAKE.format(table="t"),
            "src/make_u.py": MAKE.format(table="u"),
            "src/first.py": USE_TABLE.format(
                name="first", stage="first", use=", ".join([*uses.values(), *others.values()])
            ),
            **{
                f"src/{name}.py": USE_TABLE.format(name=name, stage="later", use=use)
                for name, use in (uses | others).items()
            },
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    kept = [] if database == "sqlite" else ways
    for table, rest in (("t", [*ways, "plain"]), ("u", [*kept, "plain"])):
        maker = root / f"src/make_{table}.py"
        maker.write_text(maker.read_text().replace("(1)", "(2)"))
        answer = orch("run", "--changed", "--json")
        assert sorted(ran(answer)) == sorted([f"make_{table}", "first", *rest]), answer.text
        assert reasons(orch) == {}
    assert {(root / f"{way}.txt").read_text() for way in [*ways, "plain"]} == {"[[(2,)]]"}
