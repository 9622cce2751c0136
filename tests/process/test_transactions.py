"""What a failed tool wrote is gone, what a good one wrote is there, whatever way it wrote it."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.tool_events import RunNote, ToolFinished
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

pytestmark = pytest.mark.usefixtures("forked_workers")


def tool(body: str, fails: bool = False) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"def run(conn):\n{lines}" + ("    raise ValueError('no')\n" if fails else "    pass\n")


def rows(root: Path, query: str = "SELECT * FROM t ORDER BY 1") -> list[object]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] if len(row) == 1 else row for row in conn.execute(query)]


def tables(root: Path) -> list[object]:
    return rows(root, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")


def run_all(root: Path, *modules: str, **prepare: Any) -> list[ToolFinished]:
    with DrivenWorker(root, **prepare) as worker:
        ended = [worker.run(module, "conn") for module in modules]
        worker.finish()
        assert not worker.messages(RunNote)
    return ended


def test_a_tool_that_succeeds_is_committed_before_the_next_begins(project: Project) -> None:
    root = project(
        {
            "one.py": tool(
                "conn.execute('CREATE TABLE t (a)')\nconn.execute('INSERT INTO t VALUES (1)')"
            ),
            "two.py": "import os\n" + tool("conn.execute('INSERT INTO t VALUES (2)')\nos._exit(3)"),
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("one", "conn").status == "passed"
        assert rows(root) == [1]
        worker.send("two", "conn")
        worker.until_over()
    assert rows(root) == [1]


def test_a_tool_finds_an_ordinary_connection(project: Project) -> None:
    root = project(
        {
            "look.py": """
            import sqlite3
            def run(conn):
                assert isinstance(conn, sqlite3.Connection)
                assert conn.isolation_level == "", conn.isolation_level
                assert not conn.in_transaction
                conn.execute("VACUUM")
                conn.execute("ATTACH ':memory:' AS m")
                conn.execute("DETACH m")
                conn.execute("PRAGMA foreign_keys = OFF")
                assert conn.execute("PRAGMA foreign_keys").fetchone() == (0,)
                conn.row_factory = sqlite3.Row
                conn.text_factory = bytes
                conn.isolation_level = "IMMEDIATE"
                cursor = conn.execute("SELECT 1 AS one")
                assert type(cursor).__mro__[-2] is sqlite3.Cursor and cursor.connection is conn
                assert cursor.fetchone()["one"] == 1
            """,
            "after.py": """
            def run(conn):
                assert conn.execute("PRAGMA foreign_keys").fetchone() == (1,)
                assert conn.execute("SELECT 'x'").fetchone() == ("x",)
                assert conn.isolation_level == ""
            """,
        }
    )
    for ended in run_all(root, "look", "after"):
        assert ended.status == "passed", ended.error


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit came with Python 3.12")
def test_the_autocommit_attribute_of_newer_pythons_is_put_back(project: Project) -> None:
    root = project(
        {
            "on.py": tool("conn.autocommit = True\nconn.execute('CREATE TABLE t (a)')", fails=True),
            "off.py": tool("conn.autocommit = False\nconn.execute('CREATE TABLE u (a)')"),
            "bad.py": tool("conn.execute('CREATE TABLE v (a)')", fails=True),
        }
    )
    on, off, bad = run_all(root, "on", "off", "bad")
    assert [one.status for one in (on, off, bad)] == ["failed", "passed", "failed"]
    assert tables(root) == ["u"]


def test_a_select_left_open_does_not_keep_the_commit_from_happening(project: Project) -> None:
    root = project(
        {
            "open.py": """
            LEFT = []
            def run(conn):
                conn.execute("CREATE TABLE t (a)")
                conn.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
                LEFT.append(conn.execute("SELECT * FROM t"))
                LEFT[0].fetchone()
            """,
            "next.py": tool("conn.execute('INSERT INTO t VALUES (-1)')", fails=True),
        }
    )
    with DrivenWorker(root) as worker:
        assert worker.run("open", "conn").status == "passed"
        assert len(rows(root)) == 1000
        assert worker.run("next", "conn").error.message == "no"
        worker.finish()
    assert len(rows(root)) == 1000


def test_a_commit_that_is_refused_fails_the_tool(project: Project) -> None:
    root = project(
        {
            "deferred.py": tool(
                "conn.execute('CREATE TABLE p (id INTEGER PRIMARY KEY)')\n"
                "conn.execute('CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)')\n"
                "conn.execute('INSERT INTO c VALUES (1)')"
            ),
            "next.py": tool("conn.execute('CREATE TABLE t (a)')"),
        }
    )
    refused, after = run_all(root, "deferred", "next")
    assert refused.status == "failed"
    assert refused.error is not None
    assert (refused.error.type, refused.error.path) == ("IntegrityError", "deferred.py")
    assert "commit" in refused.error.hint
    assert after.status == "passed"
    assert tables(root) == ["t"]


def test_a_locked_database_fails_the_tool_with_a_hint(project: Project) -> None:
    root = project(
        {
            "write.py": tool(
                "conn.execute('PRAGMA busy_timeout = 50')\nconn.execute('CREATE TABLE t (a)')"
            )
        }
    )
    with closing(sqlite3.connect(root / "data.db")) as other, DrivenWorker(root) as worker:
        other.execute("BEGIN IMMEDIATE")
        ended = worker.run("write", "conn")
        assert ended.error is not None
        assert ended.error.type == "OperationalError"
        assert "another connection" in ended.error.hint
        other.rollback()
        assert worker.run("write", "conn").status == "passed"
        worker.finish()


def test_a_tool_that_closes_the_connection_on_uncommitted_writes_has_failed(
    project: Project,
) -> None:
    root = project(
        {
            "lost.py": tool(
                "conn.execute('BEGIN')\nconn.execute('CREATE TABLE t (a)')\nconn.close()"
            ),
            "kept.py": tool("conn.execute('CREATE TABLE u (a)')\nconn.commit()\nconn.close()"),
            "none.py": tool("conn.execute('CREATE TABLE IF NOT EXISTS u (a)')\nconn.close()"),
            "next.py": tool("conn.execute('INSERT INTO u VALUES (1)')"),
        }
    )
    lost, kept, none, after = run_all(root, "lost", "kept", "none", "next")
    assert lost.status == "failed"
    assert lost.error is not None
    assert "closed its connection" in lost.error.message
    assert [one.status for one in (kept, none, after)] == ["passed"] * 3
    assert any("closed its connection" in note for note in kept.notes)
    assert tables(root) == ["u"]
    assert rows(root, "SELECT * FROM u") == [1]


def test_transaction_none_keeps_its_hands_off(project: Project) -> None:
    root = project(
        {
            "open.py": tool(
                "conn.execute('CREATE TABLE t (a)')\nconn.execute('INSERT INTO t VALUES (1)')\nassert conn.in_transaction",
                fails=True,
            ),
            "more.py": tool(
                "assert conn.in_transaction\nconn.execute('INSERT INTO t VALUES (2)')\nconn.commit()"
            ),
        }
    )
    first, second = run_all(root, "open", "more", transaction="none")
    assert (first.status, second.status) == ("failed", "passed"), second.error
    assert first.notes == second.notes == ()
    assert rows(root) == [1, 2]


SQLITE_CONF = """
import sqlite3
def get_connection():
    return sqlite3.connect("data.db"{options})
"""


@pytest.mark.parametrize(
    "body",
    [
        "conn.execute('CREATE TABLE t (a)')",
        "conn.execute('CREATE TABLE t (a)')\nconn.execute('INSERT INTO t VALUES (1)')",
        "conn.cursor().execute('CREATE TABLE t (a)')",
    ],
)
def test_a_sqlite_connection_of_the_users_own_is_begun_for_ddl_too(
    project: Project, body: str
) -> None:
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=""),
            "bad.py": tool(body, fails=True),
            "good.py": tool(body),
        }
    )
    (ended,) = run_all(root, "bad", has_connection=True)
    assert (ended.status, ended.notes) == ("failed", ())
    assert tables(root) == []
    (ended,) = run_all(root, "good", has_connection=True)
    assert (ended.status, ended.notes) == ("passed", ())
    assert tables(root) == ["t"]


@pytest.mark.parametrize("fails", [True, False])
def test_a_commit_on_the_users_own_connection_is_final_only_with_the_tool(
    project: Project, fails: bool
) -> None:
    body = "with conn:\n    conn.execute('CREATE TABLE t (a)')\n    conn.execute('INSERT INTO t VALUES (1)')"
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=""),
            "own.py": tool(f"{body}\nconn.commit()", fails=fails),
        }
    )
    (ended,) = run_all(root, "own", has_connection=True)
    assert ended.notes == ()
    assert tables(root) == ([] if fails else ["t"])


def test_a_class_of_the_users_own_stays_what_it_is(project: Project) -> None:
    conf = """
        import sqlite3
        class Own(sqlite3.Connection):
            def insert(self, value):
                with self:
                    self.execute("INSERT INTO t VALUES (?)", (value,))
        def get_connection():
            made = Own("data.db")
            made.execute("CREATE TABLE IF NOT EXISTS t (a)")
            return made
    """
    root = project(
        {
            "orchconf.py": conf,
            "good.py": tool("conn.insert(1)"),
            "bad.py": tool("conn.insert(2)", fails=True),
        }
    )
    good, bad = run_all(root, "good", "bad", has_connection=True)
    assert (good.status, bad.error and bad.error.message) == ("passed", "no")
    assert rows(root) == [1]


def test_a_connection_that_the_class_itself_has_made_is_one_like_others(project: Project) -> None:
    root = project(
        {
            "orchconf.py": "import sqlite3\ndef get_connection(): return sqlite3.Connection('data.db')\n",
            "bad.py": tool("conn.execute('CREATE TABLE t (a)')\nconn.commit()", fails=True),
            "own.py": tool("conn.execute('CREATE TABLE u (a)')\nconn.commit()"),
        }
    )
    bad, own = run_all(root, "bad", "own", has_connection=True)
    assert (bad.notes, own.notes) == ((), ())
    assert tables(root) == ["u"]


AUTOCOMMIT = [", isolation_level=None"]
if sys.version_info >= (3, 12):
    AUTOCOMMIT.append(", autocommit=True")


@pytest.mark.parametrize("options", AUTOCOMMIT)
def test_a_connection_in_autocommit_mode_is_left_alone_and_a_note_says_so(
    project: Project, options: str
) -> None:
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=options),
            "bad.py": tool("conn.execute('CREATE TABLE t (a)')", fails=True),
        }
    )
    (ended,) = run_all(root, "bad", has_connection=True)
    assert "autocommit" in ended.notes[0]
    assert tables(root) == ["t"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit came with Python 3.12")
def test_a_connection_with_autocommit_off_is_committed_and_rolled_back(project: Project) -> None:
    root = project(
        {
            "orchconf.py": SQLITE_CONF.format(options=", autocommit=False"),
            "good.py": tool("conn.execute('CREATE TABLE t (a)')"),
            "bad.py": tool("conn.execute('CREATE TABLE u (a)')", fails=True),
        }
    )
    good, bad = run_all(root, "good", "bad", has_connection=True)
    assert good.notes == bad.notes == ()
    assert tables(root) == ["t"]


TOY_CONF = """
LOG = open("log.txt", "a", buffering=1)
class Toy:
    autocommit = {autocommit}
    closed = False
    def commit(self): print("commit", file=LOG)
    def rollback(self): print("rollback", file=LOG)
    def close(self):
        self.closed = True
        print("close", file=LOG)
def get_connection():
    print("open", file=LOG)
    return Toy()
"""


def test_any_other_driver_is_committed_rolled_back_and_closed_once(project: Project) -> None:
    root = project(
        {
            "orchconf.py": TOY_CONF.format(autocommit=False),
            "good.py": tool(""),
            "bad.py": tool("", fails=True),
            "closes.py": tool("conn.close()"),
        }
    )
    run_all(root, "good", "bad", "closes", "good", has_connection=True)
    log = (root / "log.txt").read_text().split()
    assert log == ["open", "commit", "rollback", "close", "open", "commit", "close"]


def test_any_other_driver_in_autocommit_mode_is_left_alone(project: Project) -> None:
    root = project({"orchconf.py": TOY_CONF.format(autocommit=True), "good.py": tool("")})
    (ended,) = run_all(root, "good", has_connection=True)
    assert "autocommit" in ended.notes[0]
    assert (root / "log.txt").read_text().split() == ["open", "close"]
