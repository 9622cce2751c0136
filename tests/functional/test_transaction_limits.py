"""What a tool meets because the transaction belongs to orch: clear sentences, and nothing half done."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

MADE = "STAGE = 'one'\ndef run(conn): conn.execute('CREATE TABLE t (a UNIQUE)')\n"
STAGES = {"orch.toml": "stages = ['one', 'two']\n", "src/a.py": MADE}


def tool(*lines: str, top: str = "") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"import sqlite3, threading\n{top}\nSTAGE = 'two'\ndef run(conn):\n{body}"


def rows(root: Path) -> list[object]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return [row[0] for row in conn.execute("SELECT a FROM t ORDER BY a")]


INSERT = "conn.execute('INSERT INTO t VALUES (1)')"
COMMIT = "conn.commit()"
CATCH = [
    "try: conn.execute('INSERT OR ROLLBACK INTO t VALUES (1)')",
    "except sqlite3.IntegrityError: pass",
]


WAYS_TO_GO_WRONG = [
    ([INSERT, COMMIT, *CATCH], "SQLite ended the transaction before the tool had ended"),
    ([INSERT, *CATCH, "conn.execute('INSERT INTO t VALUES (2)')"], "UNIQUE constraint failed: t.a"),
    ([INSERT, COMMIT, "conn.execute('VACUUM')"], 'ORCH = {"transaction": "none"}'),
    ([INSERT, "conn.execute('PRAGMA foreign_keys = OFF')"], 'ORCH = {"transaction": "none"}'),
    ([INSERT, COMMIT, "conn.backup(sqlite3.connect(':memory:'))"], "backup() does not work now"),
    ([INSERT, "conn.close()"], "closed its connection before its writes were committed"),
    ([INSERT, COMMIT, "conn.close()", INSERT], "Cannot operate on a closed database"),
    ([INSERT, COMMIT, "conn.execute('COMMIT')"], "cannot commit - no transaction is active"),
    (["conn.execute('BEGIN')", INSERT, "conn.execute('BEGIN')"], "cannot start a transaction within"),
    ([INSERT, COMMIT, "conn.execute('RELEASE orch')"], "no such savepoint: orch"),
    (["with conn:", "    with conn: " + INSERT, "raise KeyError('no')"], "KeyError"),
    (
        ["conn.executescript('CREATE TABLE c (a REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED);"
         " INSERT INTO c VALUES (7); INSERT INTO t VALUES (3);')"],
        "FOREIGN KEY constraint failed",
    ),
    (
        [INSERT, COMMIT, "conn.execute('PRAGMA max_page_count = 8')",
         "conn.execute('INSERT INTO t VALUES (zeroblob(100000))')"],
        "free some disk space",
    ),
    (
        [INSERT, COMMIT, "other = sqlite3.connect('data.db', timeout=0)", "other.execute('DELETE FROM t')"],
        "conn has locked the database until the tool ends",
    ),
    (
        ["failed = []", "def use():", "    try: conn.execute('SELECT 1')",
         "    except sqlite3.ProgrammingError as error: failed.append(error)",
         "thread = threading.Thread(target=use)", "thread.start()", "thread.join()", INSERT, COMMIT,
         "raise failed[0]"],
        "can only be used in that same thread",
    ),
]  # fmt: skip


def test_each_way_to_go_wrong_fails_with_a_sentence_and_leaves_nothing(
    project: Project, orch: Orch
) -> None:
    """One after another, in one worker: none is in the way of the next."""
    named = {f"b{number:02}": one for number, one in enumerate(WAYS_TO_GO_WRONG)}
    tools = {f"src/{name}.py": tool(*body, top="AFTER = ()") for name, (body, _) in named.items()}
    root = project({**STAGES, **tools})
    answer = orch("run")
    assert answer.code == 1
    _, *parts = re.split(r"(?m)^\[\d+/\d+\] two › (\w+)$", answer.out.partition("\nFAILED ")[0])
    shown = dict(zip(parts[::2], parts[1::2], strict=True))
    assert [*shown] == [*named], answer.out
    for name, (_, said) in named.items():
        assert said in " ".join(shown[name].split()), (name, answer.out)
    assert f"{len(named)} failed, 1 passed" in answer.out
    assert rows(root) == []


@pytest.mark.parametrize(
    "body",
    [
        ["conn.execute('BEGIN')", INSERT, "conn.execute('COMMIT')", "conn.execute('SAVEPOINT orch')",
         "conn.execute('DELETE FROM t')", "conn.execute('ROLLBACK TO orch')", "conn.execute('RELEASE orch')"],
        [INSERT, "conn.isolation_level = None", "conn.execute('BEGIN')", "conn.execute('DELETE FROM t')",
         "conn.isolation_level = ''", "conn.execute('INSERT OR IGNORE INTO t VALUES (1)')"],
        ["with conn:", "    with conn:", "        " + INSERT, "    assert not conn.in_transaction"],
        ["def values():", "    yield (1,)", "    conn.commit()",
         "conn.executemany('INSERT INTO t VALUES (?)', values())"],
        [INSERT, COMMIT, "for row in conn.execute('SELECT a FROM t'):",
         "    conn.execute('UPDATE t SET a = a'); conn.commit()"],
        [INSERT, COMMIT, "conn.close()"],
        ["conn.execute('VACUUM')", "conn.execute('PRAGMA foreign_keys = OFF')",
         "conn.backup(sqlite3.connect(':memory:'))", INSERT],
    ],
)  # fmt: skip
def test_what_works_on_a_plain_connection_works(
    project: Project, orch: Orch, body: list[str]
) -> None:
    root = project({**STAGES, "src/b.py": tool(*body)})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert rows(root) == [1]


def test_temporary_tables_of_two_tools_do_not_meet(project: Project, orch: Orch) -> None:
    scratch = tool("conn.execute('CREATE TEMP TABLE scratch (a)')")
    conf = "import sqlite3\ndef get_connection(): return sqlite3.connect('own.db')\n"
    for files in ({}, {"orchconf.py": conf}):
        project({"src/a.py": scratch, "src/b.py": scratch, **files})
        answer = orch("run")
        assert answer.code == 0, answer.text


def test_a_second_connection_of_a_tool_that_has_committed_is_reported_once(
    project: Project, orch: Orch
) -> None:
    body = tool(
        "conn.execute('INSERT INTO t VALUES (?)', (__name__,))",
        COMMIT,
        "sqlite3.connect('data.db').close()",
    )
    project({**STAGES, "src/b.py": body, "src/c.py": body})
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert answer.err.count("a tool opened a second connection") == 1
    project(
        {
            "src/b.py": tool("sqlite3.connect('data.db').close()"),
            "src/c.py": MADE.replace("one", "zzz"),
        }
    )
    assert "second connection" not in orch("run", "b").err


def test_an_engine_cannot_be_rolled_back_and_the_run_says_so_once(
    project: Project, orch: Orch
) -> None:
    body = "from sqlalchemy import text\nSTAGE = 'two'\ndef run(conn):\n    with conn.begin() as inner: inner.execute(text('INSERT INTO t VALUES ({})'))\n"
    conf = "from sqlalchemy import create_engine\ndef get_connection(): return create_engine('sqlite:///data.db')\n"
    project(STAGES)
    assert orch("run").code == 0
    root = project(
        {
            "orchconf.py": conf,
            "src/b.py": body.format(1),
            "src/c.py": body.format(2) + "    1 / 0\n",
        }
    )
    answer = orch("run", "two")
    assert answer.code == 1
    assert answer.err.count("conn is an Engine, which has no commit() and rollback()") == 1
    assert "engine.connect()" in answer.err
    assert rows(root) == [1, 2]


def test_a_kill_leaves_nothing_of_what_was_committed(project: Project, orch: Orch) -> None:
    many = [
        "import os",
        INSERT,
        COMMIT,
        "conn.executescript('BEGIN; INSERT INTO t VALUES (2); COMMIT')",
    ]
    root = project({**STAGES, "src/b.py": tool(*many, "os.kill(os.getpid(), 9)")})
    answer = orch("run")
    assert answer.code == 1
    assert "SIGKILL" in answer.out
    assert rows(root) == []


def test_a_disk_that_fills_up_at_the_commit_fails_the_tool(project: Project, orch: Orch) -> None:
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))"
    large = "conn.execute('INSERT INTO t VALUES (zeroblob(300000))')"
    root = project({**STAGES, "src/b.py": tool(large, COMMIT, full, top="import resource")})
    answer = orch("run")
    assert answer.code == 1
    assert "1 failed, 1 passed" in answer.out
    assert "raised when orch committed" in answer.out or "free some disk space" in answer.out
    assert rows(root) == []
