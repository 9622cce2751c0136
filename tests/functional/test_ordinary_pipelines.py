"""Ordinary pipelines with the libraries that people use: what a change makes stale, and what runs again."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import ran, reasons

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what native code does is seen on Linux only"
)

POLARS = {
    "download": """
        from pathlib import Path
        STAGE = "{0}"
        def run():
            Path("data").mkdir(exist_ok=True)
            Path("data/raw.csv").write_text(Path("source.csv").read_text())
        """,
    "convert": """
        import polars
        STAGE = "{1}"
        def run(): polars.read_csv("data/raw.csv").write_parquet("data/raw.parquet")
        """,
    "features": """
        import polars, yaml
        STAGE = "{2}"
        def run():
            with open("settings.yml") as file: factor = yaml.safe_load(file)["factor"]
            rows = polars.read_parquet("data/raw.parquet")
            rows.with_columns(polars.col("x") * factor).write_parquet("data/features.parquet")
        """,
    "model": """
        import polars
        STAGE = "{3}"
        def run():
            rows = polars.read_parquet("data/features.parquet")
            with open("model.txt", "w") as file: file.write(str(rows["x"].sum()))
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize("stages", [("s", "s", "s", "s"), ("a", "b", "c", "d")])
def test_parquet_from_a_download_to_a_model(
    project: Project, orch: Orch, stages: tuple[str, ...]
) -> None:
    names = [f"t{number}_{name}" for number, name in enumerate(POLARS, 1)]
    root = project(
        {
            "orch.toml": 'stages = ["s", "a", "b", "c", "d"]\n',
            "source.csv": "x\n1\n2\n",
            "settings.yml": "factor: 10\n",
            **{
                f"src/{name}.py": text.format(*stages)
                for name, text in zip(names, POLARS.values(), strict=True)
            },
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "settings.yml").write_text("factor: 100\n")
    assert reasons(orch)[names[3]] == [f"upstream {names[2]} is stale (data/features.parquet)"]
    assert ran(orch("run", "--changed", "--json")) == names[2:]
    assert (root / "model.txt").read_text() == "300"
    assert reasons(orch) == {}
    (root / "source.csv").write_text("x\n1\n3\n")
    assert ran(orch("run", "--changed", "--json")) == names
    assert (root / "model.txt").read_text() == "400"
    assert reasons(orch) == {}
    (root / "data/raw.parquet").unlink()
    assert ran(orch("run", "--changed", "--json"))[:1] == names[1:2]
    assert reasons(orch) == {}


@pytest.mark.slow
def test_joblib_with_two_jobs(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/helper.py": "def read(path): return int(open(path).read())\n",
            "src/t.py": """
                from joblib import Parallel, delayed
                from src.helper import read
                STAGE = "s"
                def run():
                    found = Parallel(n_jobs=2)(delayed(read)(f"in/{n}.txt") for n in range(4))
                    with open("sum.txt", "w") as file: file.write(str(sum(found)))
                """,
            **{f"in/{n}.txt": str(n) for n in range(4)},
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "in/2.txt").write_text("20")
    assert reasons(orch) == {"t": ["in/2.txt changed"]}
    assert orch("run", "--changed").code == 0
    assert (root / "sum.txt").read_text() == "24"
    assert reasons(orch) == {}
    (root / "src/helper.py").write_text("def read(path): return -int(open(path).read())\n")
    assert reasons(orch) == {"t": ["src/helper.py changed"]}


MODELS = """
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
    class Base(DeclarativeBase): pass
    """ + "".join(
    f"""
    class T{n}(Base):
        __tablename__ = "t{n}"
        id: Mapped[int] = mapped_column(primary_key=True)
        x: Mapped[int]
    """
    for n in range(7)
)
LOADER = """
    from src.models import Base, T{0}
    from sqlalchemy.orm import Session
    STAGE = "load"
    def run(conn):
        Base.metadata.create_all(conn)
        with Session(conn) as session:
            for id, x in enumerate(open("in/{0}.txt").read().split()):
                session.merge(T{0}(id=id, x=int(x)))
            session.commit()
    """
MIGRATIONS = """
    from sqlalchemy import inspect, text
    STAGE = "migrate"
    def run(conn):
        if "t3" in inspect(conn).get_table_names():
            columns = [one["name"] for one in inspect(conn).get_columns("t3")]
            if "note" not in columns:
                conn.execute(text("ALTER TABLE t3 ADD COLUMN note TEXT"))
                conn.commit()
    """


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    "others", [{}, {"src/migrate.py": MIGRATIONS}], ids=["alone", "migrations"]
)
def test_models_of_sqlalchemy_that_seven_tools_share(
    project: Project,
    orch: Orch,
    database: str,
    others: dict[str, str],
    new_postgres: Callable[[], str],
) -> None:
    """Each tool has its own table and its own file. Who changes one file has one tool run."""
    url = "sqlite:///data.db"
    if database == "postgres":
        url = new_postgres().replace("postgresql://", "postgresql+psycopg://")
    root = project(
        {
            "orch.toml": 'stages = ["migrate", "load"]\n',
            "orchconf.py": f"""
                from sqlalchemy import create_engine
                def get_connection(): return create_engine({url!r}).connect()
                """,
            "src/models.py": MODELS,
            **others,
            **{f"src/load{n}.py": LOADER.format(n) for n in range(7)},
            **{f"in/{n}.txt": "1 2 3" for n in range(7)},
        }
    )
    for _ in range(3):
        answer = orch("run")
        assert answer.code == 0, answer.text
        assert reasons(orch) == {}
    (root / "in/3.txt").write_text("1 2 4")
    assert {*reasons(orch)} == {"load3"}
    assert ran(orch("run", "--changed", "--json")) == ["load3"]
    assert reasons(orch) == {}
    assert orch("run").code == 0
    assert reasons(orch) == {}


@pytest.mark.slow
def test_four_pandas_tools_side_by_side(project: Project, orch: Orch) -> None:
    """Each reads its own file with pandas and writes its own. Of what only the kernel saw it is not known whose it was
    until each has run alone once."""
    tool = """
        import pandas
        STAGE = "s"
        AFTER = ()
        def run():
            rows = pandas.read_csv("in/{0}.csv")
            rows.to_csv("out/{0}.csv")
        """
    root = project(
        {
            "out/": "",
            **{f"src/t{n}.py": tool.format(n) for n in range(4)},
            **{f"in/{n}.csv": "x\n1\n" for n in range(4)},
        }
    )
    for words in (("--jobs", "4"), ("--jobs", "4"), (), ("--jobs", "4")):
        answer = orch("run", *words)
        assert answer.code == 0, answer.text
        assert "ran at the same time" not in answer.text
        assert reasons(orch) == {}
    for n in range(4):
        (root / f"in/{n}.csv").write_text("x\n2\n")
        assert {*reasons(orch)} == {f"t{n}"}
        assert ran(orch("run", "--changed", "--json", "--jobs", "4")) == [f"t{n}"]
        assert reasons(orch) == {}
    (root / "out/1.csv").unlink()
    assert {*reasons(orch)} == {"t1"}


GROWING = """
import sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), stop.append(1))).start()
stop = []
with open("in.log", "a") as file:
    while not stop:
        file.write("x")
        file.flush()
"""


@pytest.mark.parametrize("declares", slow_but({""}, ["", 'ORCH = {"inputs": ["*.log"]}']))
def test_a_file_that_grows_during_the_run_is_a_change(
    project: Project, orch: Orch, declares: str
) -> None:
    """Its size is another one each time that orch hashes it."""
    root = project(
        {
            "in.log": "x" * 1_000_000,
            "src/t.py": f"""
                STAGE = "s"
                {declares}
                def run():
                    with open("size.txt", "w") as file: file.write(str(len(open("in.log").read())))
                """,
        }
    )
    with subprocess.Popen(
        [sys.executable, "-c", GROWING], cwd=root, stdin=subprocess.PIPE
    ) as grows:
        for words in ((), ("--changed",)):
            assert ran(orch("run", "--json", *words)) == ["t"]
            assert [*reasons(orch)] == ["t"]
        assert grows.stdin is not None
        grows.stdin.close()
    assert [*reasons(orch)] == ["t"]
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}
    assert int((root / "size.txt").read_text()) == (root / "in.log").stat().st_size


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address, and the file that is served there."""
    file = tmp_path / "site" / "page.txt"
    file.parent.mkdir()
    file.write_text("1 2 3")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/page.txt", file
        server.shutdown()


@pytest.mark.parametrize(
    "declares",
    slow_but({'"always": True'}, ['"always": True, "outputs": ["raw.txt"]', '"always": True']),
)
def test_a_download_that_brings_the_same_file_reruns_nothing(
    project: Project, orch: Orch, page: tuple[str, Path], declares: str
) -> None:
    address, file = page
    root = project(
        {
            "orch.toml": 'stages = ["a", "b", "c"]\n',
            "src/fetch.py": f"""
                import urllib.request
                STAGE = "a"
                ORCH = {{{declares}}}
                def run():
                    with urllib.request.urlopen("{address}") as page, open("raw.txt", "wb") as file:
                        file.write(page.read())
                """,
            "src/parse.py": """
                STAGE = "b"
                def run(conn):
                    conn.execute("CREATE TABLE IF NOT EXISTS raw (x)")
                    conn.execute("DELETE FROM raw")
                    conn.executemany("INSERT INTO raw VALUES (?)", [[x] for x in open("raw.txt").read().split()])
                """,
            "src/report.py": """
                STAGE = "c"
                def run(conn):
                    with open("report.txt", "w") as file:
                        file.write(str(conn.execute("SELECT count(*) FROM raw").fetchone()[0]))
                """,
        }
    )
    assert orch("run").code == 0
    for _ in range(2):
        assert ran(orch("run", "--changed", "--json")) == ["fetch"]
    file.write_text("1 2 3 4")
    assert ran(orch("run", "--changed", "--json")) == ["fetch", "parse", "report"]
    assert (root / "report.txt").read_text() == "4"
    assert reasons(orch)["fetch"] == ['"always" is set']


@pytest.mark.slow
def test_a_download_that_brings_the_same_rows_reruns_nothing(
    project: Project, orch: Orch, page: tuple[str, Path]
) -> None:
    address, file = page
    root = project(
        {
            "orch.toml": 'stages = ["a", "b"]\n',
            "src/fetch.py": f"""
                import urllib.request
                STAGE = "a"
                ORCH = {{"always": True}}
                def run(conn):
                    with urllib.request.urlopen("{address}") as page:
                        rows = page.read().decode().split()
                    conn.execute("CREATE TABLE IF NOT EXISTS raw (x)")
                    conn.execute("DELETE FROM raw")
                    conn.executemany("INSERT INTO raw VALUES (?)", [[x] for x in rows])
                """,
            "src/report.py": """
                STAGE = "b"
                def run(conn):
                    with open("report.txt", "w") as file:
                        file.write(str(conn.execute("SELECT count(*) FROM raw").fetchone()[0]))
                """,
        }
    )
    assert orch("run").code == 0
    for _ in range(2):
        assert ran(orch("run", "--changed", "--json")) == ["fetch"]
    file.write_text("1 2 3 4")
    assert ran(orch("run", "--changed", "--json")) == ["fetch", "report"]
    assert (root / "report.txt").read_text() == "4"
    assert reasons(orch)["fetch"] == ['"always" is set']
