"""Which tables statements read and write, on orch's own connection and on a plain one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_tables import SqliteTableLog, find_file, observe_sqlite
from discover_orch.databases.transactions import open_sqlite

SCHEMA = """
CREATE TABLE t(a, b);
CREATE TABLE u(a);
CREATE TABLE log(a);
CREATE VIEW v AS SELECT a FROM t;
CREATE TABLE watched(a);
CREATE TRIGGER g AFTER INSERT ON watched BEGIN INSERT INTO log VALUES (new.a); END;
INSERT INTO t VALUES (1, 2);
"""

Seen = tuple[list[str], list[str]]
Look = Callable[..., Seen]


@pytest.fixture(params=["own", "plain"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = str(tmp_path / "data.db")
    with closing(sqlite3.connect(path)) as made:
        made.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    opened = open_sqlite(path) if request.param == "own" else sqlite3.connect(path)
    with closing(opened):
        yield opened


@pytest.fixture
def look(conn: sqlite3.Connection) -> Look:
    """Run these statements as a step; what it (read, wrote)."""
    tables = SqliteTableLog(conn)

    def run(*statements: str | Callable[[sqlite3.Connection], object]) -> Seen:
        tables.begin_step()
        for one in statements:
            if callable(one):
                one(conn)
            else:
                conn.execute(one).fetchall()
        tables.resolve()
        conn.commit()
        read, written, is_unclear = tables.drain()
        assert not is_unclear
        return [*read], [*written]

    return run


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT a FROM t", "t", ""),
        ('SELECT "A" FROM main."T"', "t", ""),
        ("SELECT count(*) FROM t", "t", ""),
        ("SELECT 1 FROM t, u", "t u", ""),
        ("SELECT b FROM t JOIN u ON t.a = u.a", "t u", ""),
        ("SELECT * FROM v", "t v", ""),
        ("SELECT * FROM t WHERE a IN (SELECT a FROM u)", "t u", ""),
        ("WITH c AS (SELECT a FROM t) SELECT * FROM c", "t", ""),
        ("WITH c AS (SELECT a FROM t) SELECT count(*) FROM c", "t", ""),
        ("WITH x AS (VALUES (1)) SELECT count(*) FROM x", "", ""),
        ("INSERT INTO u VALUES (1)", "", "u"),
        ("INSERT INTO u SELECT a FROM t", "t", "u"),
        ("REPLACE INTO u VALUES (1)", "", "u"),
        ("UPDATE t SET a = 1", "", "t"),
        ("UPDATE t SET a = b", "t", "t"),
        ("DELETE FROM t", "", "t"),
        ("DELETE FROM t WHERE a = 1", "t", "t"),
        ("INSERT INTO watched VALUES (1)", "watched", "log watched"),
        ("CREATE TABLE new(a)", "", "new"),
        ("CREATE TABLE new AS SELECT * FROM t", "t", "new"),
        ("CREATE TABLE IF NOT EXISTS new(a)", "", "new"),
        ("CREATE TABLE IF NOT EXISTS t(a)", "", ""),
        ("CREATE VIEW w AS SELECT * FROM t", "", "w"),
        ("CREATE VIEW IF NOT EXISTS v AS SELECT 1", "", ""),
        ("CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(a)", None, "f"),
        ("DROP TABLE t", "", "t"),
        ("DROP TABLE IF EXISTS absent", "", ""),
        ("DROP VIEW v", "", "v"),
        ("ALTER TABLE t ADD COLUMN c", "", "t"),
        ("ALTER TABLE t RENAME TO renamed", "", "renamed t"),
        ("ALTER TABLE t RENAME COLUMN b TO c", "", "t"),
        ("CREATE INDEX i ON t(a)", "", ""),
        ("CREATE INDEX i ON t(a + b) WHERE b > 1", "", ""),
        ("CREATE TRIGGER h AFTER INSERT ON t BEGIN DELETE FROM u; END", "", ""),
        ("DROP TRIGGER g", "", ""),
        ("ANALYZE", "", ""),
        ("REINDEX", "", ""),
        ("PRAGMA user_version = 3", "", ""),
        ("PRAGMA table_info(t)", "", ""),
        ("SELECT name FROM sqlite_master", "", ""),
        ("SELECT * FROM json_each('[1]')", "", ""),
        ("SELECT * FROM pragma_table_info('t')", "", ""),
        ("CREATE TEMP TABLE new(a)", "", ""),
        ("VACUUM", "", ""),
        ("EXPLAIN SELECT * FROM t", "t", ""),
    ],
)
def test_each_statement_has_its_tables(
    look: Look, sql: str, read: str | None, written: str
) -> None:
    seen_read, seen_written = look(sql)
    if read is None:  # a virtual table has tables of its own
        assert "f" in seen_written
        assert all(one.startswith("f") for one in seen_read + seen_written)
    else:
        assert (seen_read, seen_written) == (read.split(), written.split())


@pytest.mark.parametrize(
    ("statements", "read", "written"),
    [
        (["DROP TABLE t", "CREATE TABLE t(a)"], "", "t"),
        (["DROP TABLE t", "CREATE TABLE IF NOT EXISTS t(a)"], "", "t"),
        (["CREATE TABLE x(a)", "INSERT INTO x VALUES (1)", "SELECT * FROM x", "DROP TABLE x"], "", ""),
        (["CREATE TABLE x(a)", "INSERT INTO x SELECT a FROM t", "ALTER TABLE x RENAME TO y"], "t", "y"),
        (["CREATE TABLE x(a)", "DROP TABLE u", "ALTER TABLE x RENAME TO u"], "", "u"),
        (["CREATE TEMP TABLE x(a)", "INSERT INTO x SELECT a FROM t", "SELECT count(*) FROM x"], "t", ""),
        (["CREATE TEMP TABLE u(a)", "SELECT count(*) FROM u"], "", ""),
        (["CREATE INDEX i ON t(a)", "SELECT a FROM t"], "t", ""),
        (["CREATE TABLE IF NOT EXISTS t(a)", "UPDATE u SET a = 1"], "", "u"),
        (["CREATE TABLE IF NOT EXISTS t(a)", "DROP TABLE IF EXISTS u"], "", "u"),
        (["CREATE TABLE IF NOT EXISTS t(a)", "CREATE INDEX i ON u(a)"], "", ""),
        (["CREATE TABLE IF NOT EXISTS t(a)", "DROP VIEW v", "CREATE TABLE w(a UNIQUE)"], "", "v w"),
        (["CREATE VIEW IF NOT EXISTS v AS SELECT 1", "CREATE TABLE w AS SELECT a FROM u"], "u", "w"),
        (["CREATE TABLE x(a)", "SELECT count(*) FROM x", "SELECT count(*) FROM t"], "t x", "x"),
    ],
)  # fmt: skip
def test_uses_of_tables_by_several_statements(
    look: Look, statements: list[str], read: str, written: str
) -> None:
    assert look(*statements) == (read.split(), written.split())


def test_a_cached_statement_counts_in_each_step(look: Look) -> None:
    statements = ("SELECT a FROM t WHERE b = 1", "INSERT INTO u VALUES (1)")
    for _ in range(3):
        assert look(*statements) == (["t"], ["u"])
    assert look() == ([], [])


def test_a_statement_that_is_open_since_the_step_before_is_not_disturbed(
    look: Look, conn: sqlite3.Connection
) -> None:
    look("INSERT INTO t VALUES (2, 3)")
    cursor = conn.execute("SELECT a FROM t")
    assert cursor.fetchone() == (1,)
    look("SELECT * FROM u")
    assert cursor.fetchone() == (2,)


def test_many_open_statements_are_noted(look: Look) -> None:
    assert look(lambda conn: conn.executemany("INSERT INTO u VALUES (?)", [(1,), (2,)])) == (
        [],
        ["u"],
    )
    script = "INSERT INTO u SELECT a FROM t; CREATE TABLE new(a); DELETE FROM log;"
    assert look(lambda conn: conn.executescript(script)) == (["t"], ["log", "new", "u"])


def test_tables_of_attached_databases_have_their_name(look: Look, tmp_path: Path) -> None:
    def attach(conn: sqlite3.Connection) -> None:
        conn.commit()
        conn.execute("ATTACH ? AS Side", (str(tmp_path / "side.db"),))

    seen = look(
        attach,
        "CREATE TABLE side.q(a)",
        "INSERT INTO q VALUES (1)",
        "SELECT count(*) FROM q",
        "INSERT INTO u SELECT a FROM side.q",
    )
    assert seen == (["side.q"], ["side.q", "u"])
    assert look("CREATE TABLE IF NOT EXISTS side.q(a)", "SELECT a FROM q") == (["side.q"], [])


def test_what_the_tool_sets_on_its_connection_changes_nothing(look: Look) -> None:
    def set_all(conn: sqlite3.Connection) -> None:
        conn.row_factory = lambda cursor, row: {"row": row}
        conn.text_factory = bytes

    assert look(set_all, "SELECT count(*) FROM t", "CREATE TABLE x(a)") == (["t"], ["x"])
    assert look("SELECT count(*) FROM t", "ALTER TABLE x RENAME TO y") == (["t"], ["x", "y"])


# The tool's own authorizer.


def deny_log(action: int, one: str | None, *rest: object) -> int:
    return sqlite3.SQLITE_DENY if one == "log" else sqlite3.SQLITE_OK


def test_an_authorizer_of_the_tool_is_removed_after_it(tmp_path: Path) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.set_authorizer(lambda *asked: sqlite3.SQLITE_DENY)
        with pytest.raises(sqlite3.DatabaseError):
            conn.execute("SELECT 1")
        conn.reset()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_an_authorizer_of_a_plain_connection_stays_and_makes_it_unclear(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.executescript(SCHEMA)
        conn.set_authorizer(deny_log)
        tables = SqliteTableLog(conn)
        for _ in range(2):
            tables.begin_step()
            with pytest.raises(sqlite3.DatabaseError):
                conn.execute("SELECT * FROM log")
            tables.resolve()
            assert tables.drain() == ((), (), True)


def test_one_that_the_tool_sets_on_a_plain_connection_makes_it_unclear(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.executescript(SCHEMA)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        conn.execute("SELECT a FROM t")
        conn.set_authorizer(deny_log)
        tables.resolve()
        assert tables.drain() == (("t",), (), True)


def test_a_trace_of_the_tool_sees_no_statement_of_orch(tmp_path: Path) -> None:
    for opened in (open_sqlite(str(tmp_path / "a.db")), sqlite3.connect(tmp_path / "b.db")):
        with closing(opened) as conn:
            conn.executescript(SCHEMA)
            heard: list[str] = []
            tables = SqliteTableLog(conn)
            tables.begin_step()
            conn.set_trace_callback(heard.append)
            conn.execute("CREATE TABLE x(a)")
            conn.execute("SELECT count(*) FROM t")
            tables.resolve()
            conn.commit()
            assert [one for one in heard if "BEGIN" not in one and "COMMIT" not in one] == [
                "CREATE TABLE x(a)",
                "SELECT count(*) FROM t",
            ]
            assert tables.drain()[:2] == (("t",), ("x",))


# At the edges.


def test_a_connection_that_the_tool_closed_keeps_its_notes(tmp_path: Path) -> None:
    conn = open_sqlite(str(tmp_path / "data.db"))
    conn.executescript(SCHEMA)
    tables = SqliteTableLog(conn)
    tables.begin_step()
    conn.execute("SELECT count(*) FROM t")
    conn.execute("INSERT INTO u VALUES (1)")
    conn.close()
    tables.resolve()
    assert tables.drain() == (("t",), ("u",), False)
    tables.begin_step()
    tables.resolve()
    assert tables.drain()[2]


def test_reading_the_names_holds_no_lock_and_begins_no_transaction(tmp_path: Path) -> None:
    path = str(tmp_path / "data.db")
    with closing(open_sqlite(path)) as conn, closing(sqlite3.connect(path, timeout=0)) as other:
        conn.executescript(SCHEMA)
        SqliteTableLog(conn).begin_step()
        assert not conn.in_transaction
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO t VALUES (1, 1)")
        other.commit()


def test_an_open_transaction_is_not_queried(tmp_path: Path) -> None:
    path = str(tmp_path / "data.db")
    with closing(sqlite3.connect(path)) as conn, closing(sqlite3.connect(path, timeout=0)) as other:
        conn.executescript(SCHEMA + "PRAGMA journal_mode = WAL;")
        conn.execute("BEGIN")
        tables = SqliteTableLog(conn)
        tables.begin_step()
        other.execute("INSERT INTO t VALUES (5, 5)")
        other.commit()
        conn.execute("INSERT INTO u SELECT max(a) FROM t")  # it would fail on a snapshot of before
        conn.execute("SELECT count(*) FROM t")
        tables.resolve()
        assert tables.drain() == (("t",), ("u",), False)


def test_an_interrupt_while_a_statement_is_prepared_is_not_swallowed(tmp_path: Path) -> None:
    """SQLite turns whatever an authorizer raises into a refusal."""
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA)
        is_interrupted = False
        conn.is_interrupted = lambda: is_interrupted

        def interrupt(*asked: object) -> int:
            nonlocal is_interrupted
            is_interrupted = True
            raise KeyboardInterrupt

        conn.set_listener(interrupt)
        with pytest.raises(KeyboardInterrupt):
            conn.execute("SELECT 1")
        with pytest.raises(KeyboardInterrupt):
            conn.executemany("INSERT INTO t VALUES (?, ?)", [(1, 2)])
        with pytest.raises(KeyboardInterrupt):
            conn.executescript("SELECT 2;")


def test_only_sqlite3_connections_have_a_log() -> None:
    class Foreign:
        pass

    assert observe_sqlite(Foreign(), None) is None
    assert observe_sqlite(None, None) is None
    with closing(sqlite3.connect(":memory:")) as conn:
        assert isinstance(observe_sqlite(conn, None), SqliteTableLog)
        assert find_file(conn) == ""
    assert find_file(Foreign()) == ""


def test_the_file_of_a_connection_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "data.db")
    for conn in (open_sqlite(path), sqlite3.connect(path)):
        with closing(conn):
            conn.row_factory = sqlite3.Row
            assert find_file(conn) == path
        assert find_file(conn) == ""
    assert issubclass(Connection, sqlite3.Connection)


SKIPPED = "CREATE TABLE IF NOT EXISTS t(a)"


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("CREATE TEMP TABLE x(a)", ""),
        ("CREATE TEMP TABLE t(a)", ""),
        ("CREATE TEMP TABLE x AS SELECT 1", ""),
        ("CREATE TEMP TABLE x(a UNIQUE)", ""),
        ("CREATE TEMP VIEW x AS SELECT 1", ""),
        ("CREATE TEMP TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", ""),
        ("CREATE TRIGGER x AFTER INSERT ON u BEGIN SELECT 1; END", ""),
        ("CREATE INDEX x ON u(a)", ""),
        ("CREATE UNIQUE INDEX IF NOT EXISTS x ON t(a)", ""),
        ("CREATE TABLE new(a UNIQUE, b PRIMARY KEY)", "new"),
        ("CREATE VIEW new AS SELECT 1", "new"),
        ("CREATE TABLE other.x(a)", "other.x"),
        ("CREATE TABLE other.t(a PRIMARY KEY)", "other.t"),
        ("CREATE VIEW other.x AS SELECT 1", "other.x"),
        ("ALTER TABLE log RENAME TO log2", "log log2"),
        ("DROP TABLE log", "log"),
    ],
)
@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("skipped", [SKIPPED, "CREATE VIEW IF NOT EXISTS v AS SELECT 1"])
def test_a_table_that_is_there_already_is_not_written_by_what_is_made_next(
    look: Look, tmp_path: Path, statement: str, written: str, is_later: bool, skipped: str
) -> None:
    attach = f"ATTACH '{tmp_path / 'other.db'}' AS other"
    if is_later:
        assert look(attach, skipped) == ([], [])
        found = look(statement)
    else:
        found = look(attach, skipped, statement)
    assert set(found[1]) - {"log"} == set(written.split()) - {"log"}


@pytest.mark.parametrize(
    ("statements", "has_committed"),
    [
        (["INSERT INTO u VALUES (1)"], False),
        (["SELECT 1"], False),
        (["BEGIN", "INSERT INTO u VALUES (1)", "ROLLBACK"], False),
        (["BEGIN", "INSERT INTO u VALUES (1)", "COMMIT"], True),
        (["BEGIN", "INSERT INTO u VALUES (1)", "END"], True),
        (["SAVEPOINT x", "INSERT INTO u VALUES (1)", "ROLLBACK TO x"], False),
    ],
)
def test_a_commit_of_the_tool_is_noted(
    conn: sqlite3.Connection, statements: list[str], has_committed: bool
) -> None:
    tables = SqliteTableLog(conn)
    for _ in range(2):
        tables.begin_step()
        assert not tables.has_committed
        for one in statements:
            conn.execute(one)
        assert tables.has_committed == has_committed
        tables.resolve()
        conn.rollback()


def test_peek_shows_what_drain_returns(conn: sqlite3.Connection) -> None:
    tables = SqliteTableLog(conn)
    tables.begin_step()
    conn.execute("INSERT INTO u SELECT a FROM t")
    assert tables.peek() == ((), (), False)
    tables.resolve()
    assert tables.peek() == tables.drain() == (("t",), ("u",), False)
    assert tables.peek() == ((), (), False)
