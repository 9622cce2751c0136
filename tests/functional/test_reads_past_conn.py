"""What a tool does to the project's database past `conn`: on its own connections it is seen, else it reads all tables,
or is not known."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons

LOAD = """
    STAGE = "a"
    def run(conn):
        conn.execute("CREATE TABLE IF NOT EXISTS {table} (x)")
        conn.execute("DELETE FROM {table}")
        conn.execute("INSERT INTO {table} VALUES (x'01')")
    """
#: Each reads the table `one` on `conn`, and the table `two` in another way.
WAYS = {
    "copies": 'shutil.copy("data.db", "../copy.db")',
    "opens": 'open("data.db", "rb").read()',
    "links": 'os.path.exists("link.db") or os.symlink("data.db", "link.db"); open("link.db", "rb").read()',
    "serializes": "conn.serialize()",
    "backs_up": "conn.backup(sqlite3.connect(':memory:'))",
    "dumps": '"".join(conn.iterdump())',
    "opens_blob": 'conn.blobopen("two", "x", 1, readonly=True).read()',
    "vacuums": "conn.commit(); conn.execute(\"VACUUM INTO '../vacuumed.db'\"); os.remove('../vacuumed.db')",
    "starts": 'subprocess.run([sys.executable, "-c", CODE], check=True)',
}
READ = """
    import os, shutil, sqlite3, subprocess, sys
    STAGE = "b"
    AFTER = ()
    CODE = "import sqlite3; sqlite3.connect('data.db').execute('SELECT x FROM two').fetchall()"
    def run(conn):
        conn.execute("SELECT x FROM one").fetchall()
        {way}
    """
ALONE = """
    import subprocess, sys
    STAGE = "b"
    AFTER = ()
    CODE = "import sqlite3; sqlite3.connect('data.db').execute('SELECT x FROM two').fetchall()"
    def run():
        open("orch.toml").read()
        subprocess.run([sys.executable, "-c", CODE], check=True)
    """
needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="what a child process opens is seen on Linux only"
)


@needs_kernel_events
def test_who_reads_the_database_in_another_way_reads_all_of_its_tables(
    project: Project, orch: Orch
) -> None:
    readers = {f"src/{name}.py": READ.format(way=way) for name, way in WAYS.items()}
    root = project(
        {
            "src/one.py": LOAD.format(table="one"),
            "src/two.py": LOAD.format(table="two"),
            "src/alone.py": ALONE,
            "src/known.py": READ.format(way="pass"),
            **readers,
            "orch.toml": 'stages = ["a", "b"]\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert orch("run", "--changed").code == 0  # a process may have been the first to be followed
    assert reasons(orch) == {}
    change(root / "src/two.py", "x'01'", "x'02'")
    assert orch("run", "two").code == 0
    stale = reasons(orch)
    assert stale.keys() == {*WAYS, "alone"}
    assert all("two" in "".join(one) for one in stale.values()), stale
    assert {*ran(orch("run", "--changed", "--json"))} == {*WAYS, "alone"}
    assert reasons(orch) == {}
    shown = orch("status", "copies").out
    assert "reads       the database\n            table one\n" in shown


def test_what_a_process_of_a_tool_writes_to_the_database_is_a_write_of_the_tool(
    project: Project, orch: Orch
) -> None:
    write = READ.replace(
        "SELECT x FROM two').fetchall()", "UPDATE two SET x = 5').connection.commit()"
    )
    root = project(
        {
            "src/one.py": LOAD.format(table="one"),
            "src/two.py": LOAD.format(table="two"),
            "src/write.py": write.format(way=WAYS["starts"]),
            "src/show.py": READ.replace('"b"', '"c"').replace("one", "two").format(way="pass"),
            "orch.toml": 'stages = ["a", "b", "c"]\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    change(root / "src/write.py", "x = 5", "x = 6")
    assert orch("run", "write").code == 0
    assert reasons(orch)["show"] == [
        "write used the database in a way that cannot be observed (run 2)"
    ]
    assert "orch may not see all that write reads and writes" in orch("check").out
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}


OWN = """
    import sqlite3
    {kept}
    STAGE = "b"
    def run({takes}):
        own = {own}
        {does}
        open("{name}.txt", "w").write("done")
    """
OPEN = 'sqlite3.connect("data.db")'
READS = 'own.execute("SELECT x FROM one").fetchall(); own.close()'
WRITES = """with own:
            own.execute("CREATE TABLE IF NOT EXISTS fact (x)")
            own.execute("DELETE FROM fact")
            own.execute("INSERT INTO fact SELECT x FROM one")"""


def test_a_connection_that_a_tool_opens_itself_to_the_database_is_seen_as_conn_is(
    project: Project, orch: Orch
) -> None:
    """Who only reads makes nothing before it stale, and who writes is the writer of its tables, also where the
    connection is never closed, or was opened by a module."""
    own = {
        "reads": OWN.format(kept="", takes="", own=OPEN, does=READS, name="reads"),
        "keeps": OWN.format(kept=f"KEPT = {OPEN}", takes="", own="KEPT", does=READS.partition(";")[0], name="keeps"),
        "both": OWN.format(kept="", takes="conn", own=OPEN, does=READS + '; conn.execute("SELECT x FROM two").fetchall()', name="both"),
        "writes": OWN.format(kept="", takes="", own=OPEN, does=WRITES, name="writes"),
    }  # fmt: skip
    root = project(
        {
            "src/one.py": LOAD.format(table="one"),
            "src/two.py": LOAD.format(table="two"),
            **{f"src/{name}.py": text for name, text in own.items()},
            "src/show.py": READ.replace('"b"', '"c"').replace("one", "fact").format(way="pass"),
            "orch.toml": 'stages = ["a", "b", "c"]\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    flows = {
        one["name"]: (one["tables_read"], one["tables_written"], one["is_unclear"])
        for one in orch("status", "--json").json["tools"]
    }
    assert flows["reads"] == flows["keeps"] == (["one"], [], False)
    assert flows["both"] == (["one", "two"], [], False)
    assert flows["writes"] == (["one"], ["fact"], False)
    assert "may not see all" not in orch("check").out
    change(root / "src/reads.py", '"done"', '"again"')
    assert reasons(orch).keys() == {"reads"}
    assert orch("run", "--changed").code == 0
    change(root / "src/two.py", "x'01'", "x'02'")
    assert orch("run", "two").code == 0
    assert reasons(orch).keys() == {"both"}
    change(root / "src/writes.py", "SELECT x", "SELECT 2 * x")
    assert reasons(orch).keys() == {"both", "writes", "show"}
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}


def test_what_a_tool_commits_on_its_own_connection_stays_if_it_fails(
    project: Project, orch: Orch
) -> None:
    fails = OWN.format(kept="", takes="", own=OPEN, does=WRITES + "\n        FAILS", name="writes")
    root = project(
        {
            "src/one.py": LOAD.format(table="one"),
            "src/writes.py": fails.replace("FAILS", "pass"),
            "src/show.py": READ.replace('"b"', '"c"').replace("one", "fact").format(way="pass"),
            "orch.toml": 'stages = ["a", "b", "c"]\n',
        }
    )
    assert orch("run").code == 0
    change(root / "src/writes.py", "pass", "1 / 0")
    assert orch("run", "writes").code == 1
    assert reasons(orch)["show"] == ["table fact was rewritten by writes (run 2)"]


def test_what_a_tool_leaves_uncommitted_on_its_own_connection_is_undone(
    project: Project, orch: Orch
) -> None:
    """Else the database would stay locked for the next tool."""
    keeps = OWN.format(kept=f"KEPT = {OPEN}", takes="", own="KEPT", does='own.execute("INSERT INTO one VALUES (5)")', name="keeps")  # fmt: skip
    root = project(
        {
            "src/one.py": LOAD.format(table="one"),
            "src/keeps.py": keeps,
            "src/last.py": LOAD.format(table="two").replace('"a"', '"c"'),
            "orch.toml": 'stages = ["a", "b", "c"]\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    with closing(sqlite3.connect(root / "data.db")) as conn:
        assert conn.execute("SELECT count(*) FROM one").fetchone() == (1,)


WITH_LOG = """
    import sqlite3
    STAGE = "a"
    {kept}
    def run():
        conn = {conn}
        found = conn.execute("SELECT sum(x) FROM t").fetchone()
        open("{name}.txt", "w").write(str(found[0]))
        {end}
    """


def test_what_another_program_has_written_to_the_log_of_a_database_counts(
    project: Project, orch: Orch
) -> None:
    """The program keeps the database open, so that SQLite does not move it into the file of the database."""
    opens = 'sqlite3.connect("other.db")'
    root = project(
        {
            "src/closes.py": WITH_LOG.format(
                name="closes", kept="", conn=opens, end="conn.close()"
            ),
            "src/keeps.py": WITH_LOG.format(
                name="keeps", kept=f"KEPT = {opens}", conn="KEPT", end=""
            ),
        }
    )
    with closing(sqlite3.connect(root / "other.db")) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    assert orch("run").code == 0
    assert reasons(orch) == {}
    with closing(sqlite3.connect(root / "other.db")) as other:
        other.execute("INSERT INTO t VALUES (2)")
        other.commit()
        assert (root / "other.db-wal").stat().st_size
        assert sorted(reasons(orch)) == ["closes", "keeps"]
        answer = orch("run", "--changed")
        assert answer.code == 0, answer.text
    assert {(root / f"{name}.txt").read_text() for name in ("closes", "keeps")} == {"3"}
