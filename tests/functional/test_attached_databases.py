"""SQLite files that tools attach: each counts as a file, by its content, whatever the name under which it was attached."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons

LOAD = """
    STAGE = "a"
    VALUE = 1
    def run(conn):
        conn.execute("ATTACH 'other.db' AS s")
        conn.execute("DROP TABLE IF EXISTS s.t")
        conn.execute("CREATE TABLE s.t (x)")
        conn.execute("INSERT INTO s.t VALUES (?)", (VALUE,))
        conn.commit()
        conn.execute("DETACH s")
    """
#: Each reads the table `t` of the file, and prints what it has found.
READERS = {
    "same": """
        def run(conn):
            conn.execute("ATTACH 'other.db' AS s")
            found = conn.execute("SELECT x FROM s.t").fetchall()
        """,
    "other": """
        def run(conn):
            conn.execute("ATTACH ? AS Side", ("./other.db",))
            found = conn.execute("SELECT x FROM t").fetchall()
        """,
    "uri": """
        import pathlib, sqlite3
        def run():
            own = sqlite3.connect("file:own.db?mode=memory", uri=True)
            own.execute(f"ATTACH 'file:{pathlib.Path('other.db').absolute()}?mode=ro' AS s")
            found = own.execute("SELECT x FROM s.t").fetchall()
        """,
    "factory": """
        import sqlite3
        class Own(sqlite3.Connection): ...
        def run():
            own = sqlite3.connect(":memory:", factory=Own)
            own.execute("ATTACH 'other.db' AS s")
            found = own.execute("SELECT x FROM s.t").fetchall()
        """,
    "own": """
        import sqlite3
        def run():
            own = sqlite3.connect("other.db")
            found = own.execute("SELECT x FROM t").fetchall()
            own.close()
        """,
}


@pytest.fixture
def root(project: Project, orch: Orch) -> Path:
    files = {
        f"src/{name}.py": f'    STAGE = "b"\n{text}    print(found)\n'.replace(
            "\n        ", "\n    "
        )
        for name, text in READERS.items()
    }
    root = project(
        {
            **files,
            "src/load.py": LOAD,
            "orch.toml": 'stages = ["a", "b"]\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    return root


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute(sql).fetchall()
        conn.commit()
    return found


def test_who_reads_an_attached_file_is_stale_when_its_maker_has_changed_it(
    root: Path, orch: Orch
) -> None:
    (status,) = (one for one in orch("status", "--json").json["tools"] if one["name"] == "load")
    assert status["writes"] == [{"file": "other.db"}]
    change(root / "src/load.py", "VALUE = 1", "VALUE = 2")
    assert orch("run", "load").code == 0
    found = reasons(orch)
    assert found.keys() == READERS.keys()
    assert {*map(tuple, found.values())} == {("other.db was rewritten by load (run 2)",)}
    answer = orch("run", "--changed", "--json")
    assert {*ran(answer)} == READERS.keys(), answer.text
    assert answer.out.count("(2,)") == len(READERS)
    assert reasons(orch) == {}


def test_an_outsider_who_changes_or_deletes_the_file_makes_its_readers_stale(
    root: Path, orch: Orch
) -> None:
    query(root / "other.db", "UPDATE t SET x = 9")
    found = reasons(orch)
    assert found.keys() >= READERS.keys()
    assert found["other"] == ["other.db changed"]
    assert orch("accept", "full").code == 0
    assert reasons(orch) == {}
    (root / "other.db").unlink()
    found = reasons(orch)
    assert found.keys() == {*READERS, "load"}
    assert found["other"] == ["other.db is missing"]
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}


FILL = """
    STAGE = "a"
    FILES = {{"s": "one.db", "z": "two.db"}}
    def run(conn):
        for name, file in FILES.items():
            conn.execute(f"ATTACH ? AS {{name}}", (file,))
            conn.execute(f"CREATE TABLE IF NOT EXISTS {{name}}.t (x)")
            conn.execute(f"INSERT INTO {{name}}.t VALUES (1)")
            conn.commit()
            conn.execute(f"DETACH {detached}")
    """


def test_a_name_that_waits_for_the_commit_cannot_be_given_again(
    project: Project, orch: Orch
) -> None:
    text = FILL.format(detached="s").replace('f"ATTACH ? AS {name}"', '"ATTACH ? AS s"')
    root = project({"src/fill.py": text.replace("{name}.t", "s.t")})
    answer = orch("run")
    assert answer.code == 1
    assert "database s is already in use" in answer.out
    assert 'ORCH = {"transaction": "none"}' in answer.out
    assert query(root / "one.db", "SELECT name FROM sqlite_master") == []  # nothing half done


SHARED = {
    "orchconf.py": """
        import sqlite3
        def get_connection():
            conn = sqlite3.connect("data.db")
            conn.execute("ATTACH 'other.db' AS ref")
            conn.execute("PRAGMA ref.journal_mode = wal").fetchone()
            return conn
        """,
    "src/load.py": """
        STAGE = "a"
        VALUE = 1
        def run(conn):
            conn.execute("CREATE TABLE IF NOT EXISTS ref.t (x)")
            conn.execute("DELETE FROM ref.t")
            conn.execute("INSERT INTO ref.t VALUES (?)", (VALUE,))
            if VALUE == 3:
                conn.commit()
                raise ValueError("three")
        """,
    "src/same.py": """
        STAGE = "b"
        def run(conn):
            print(conn.execute("SELECT x FROM t").fetchall())
        """,
    "src/own.py": """
        import sqlite3
        from contextlib import closing
        STAGE = "b"
        def run():
            with closing(sqlite3.connect("other.db")) as own:
                print(own.execute("SELECT x FROM t").fetchall())
        """,
    "src/plain.py": """
        STAGE = "b"
        def run():
            print("plain")
        """,
    "src/missing.py": """
        import sqlite3
        STAGE = "a"
        def run(conn):
            try:
                conn.execute("ATTACH 'file:third.db?mode=ro' AS third")
            except sqlite3.OperationalError:
                print("no third")
        """,
    "orch.toml": 'stages = ["a", "b"]\n',
}


def test_a_file_that_get_connection_attaches_is_used_by_each_tool_that_takes_conn(
    project: Project, orch: Orch
) -> None:
    root = project(SHARED)
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (plain,) = (one for one in orch("status", "--json").json["tools"] if one["name"] == "plain")
    assert plain["reads"] == []
    change(root / "src/load.py", "VALUE = 1", "VALUE = 2")
    found = reasons(orch)
    assert found["load"] == ["src/load.py changed"]
    assert found["same"] == ["upstream load is stale (other.db)"]
    answer = orch("run", "--changed")
    assert answer.out.count("[(2,)]") == 2, answer.text
    assert reasons(orch) == {}
    change(root / "src/load.py", "VALUE = 2", "VALUE = 3")
    assert orch("run", "load").code == 1
    assert query(root / "other.db", "SELECT x FROM t") == [(2,)]  # rolled back in both files
    (root / "third.db").touch()
    assert "third.db now exists" in reasons(orch)["missing"]


MEMORY = {
    "orchconf.py": """
        import sqlite3
        def get_connection():
            conn = sqlite3.connect("data.db")
            conn.execute("ATTACH {file} AS cache")
            return conn
        """,
    "src/fill.py": """
        STAGE = "a"
        VALUE = 1
        def run(conn):
            conn.execute("DROP TABLE IF EXISTS {base}.t")
            conn.execute("CREATE TABLE {base}.t AS SELECT ? AS x", (VALUE,))
        """,
    "src/take.py": """
        STAGE = "b"
        def run(conn):
            print(conn.execute("SELECT x FROM cache.t").fetchall())
        """,
    "orch.toml": 'stages = ["a", "b"]\n',
}


@pytest.mark.parametrize(("file", "base"), [("':memory:'", "cache"), ("'data.db'", "main")])
def test_what_a_database_in_memory_or_the_own_one_under_another_name_passes_on_is_not_known(
    project: Project, orch: Orch, file: str, base: str
) -> None:
    conf = MEMORY["orchconf.py"].replace("{file}", file)
    fill = MEMORY["src/fill.py"].replace("{base}", base)
    root = project({**MEMORY, "orchconf.py": conf, "src/fill.py": fill})
    assert orch("run").code == 0
    by_name = {one["name"]: one["is_unclear"] for one in orch("status", "--json").json["tools"]}
    assert by_name == {"fill": True, "take": True}
    change(root / "src/fill.py", "VALUE = 1", "VALUE = 2")
    assert reasons(orch).keys() == {"fill", "take"}
