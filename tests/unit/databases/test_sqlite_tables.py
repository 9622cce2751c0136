"""Which tables statements read and write, on orch's own connection and on a plain one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from discover_orch.databases.opening import open_sqlite
from discover_orch.databases.sqlite_base import ask, list_databases
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_tables import SqliteTableLog, find_file, observe_sqlite
from discover_orch.databases.transactions import choose_transaction
from discover_orch.model.observation import TableUse

SCHEMA = """
CREATE TABLE t(a, b);
CREATE TABLE u(a);
CREATE TABLE log(a);
CREATE VIEW v AS SELECT a FROM t;
CREATE TABLE watched(a);
CREATE TRIGGER g AFTER INSERT ON watched BEGIN INSERT INTO log VALUES (new.a); END;
INSERT INTO t VALUES (1, 2);
"""

READS_T_INSERTS_U = TableUse(tables_read=("t",), tables_written=("u",), tables_inserted=("u",))

Seen = tuple[list[str], list[str]]
Look = Callable[..., Seen]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a database with the schema: to make it is most of the work of a test."""
    path = tmp_path_factory.mktemp("made") / "data.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    return path.read_bytes()


@pytest.fixture(params=["own", "plain"])
def conn(
    request: pytest.FixtureRequest, tmp_path: Path, made: bytes
) -> Iterator[sqlite3.Connection]:
    path = str(tmp_path / "data.db")
    (tmp_path / "data.db").write_bytes(made)
    opened = open_sqlite(path) if request.param == "own" else sqlite3.connect(path)
    with closing(opened):
        yield opened


@pytest.fixture
def use(conn: sqlite3.Connection) -> Callable[..., TableUse]:
    """Run these statements as a step, those in a tuple with values; an error of SQLite is caught, as a tool may do."""
    tables = SqliteTableLog(conn)

    def run(*statements: str | tuple[str, object]) -> TableUse:
        tables.begin_step()
        for one in statements:
            with suppress(sqlite3.OperationalError):
                conn.execute(*((one,) if isinstance(one, str) else one)).fetchall()
        tables.resolve()
        conn.commit()
        return tables.drain()

    return run


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
        use = tables.drain()
        assert not use.is_unclear
        return [*use.tables_read], [*use.tables_written]

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


@pytest.mark.parametrize(
    ("call", "is_unclear"),
    [
        (lambda conn: sqlite3.Connection.execute(conn, "INSERT INTO u SELECT * FROM log"), True),
        (lambda conn: sqlite3.Cursor(conn).execute("CREATE TABLE x(a)"), True),
        (lambda conn: sqlite3.Cursor(conn).executescript("DELETE FROM t"), True),
        (lambda conn: sqlite3.Cursor(conn).execute("SELECT a FROM t"), False),
        (lambda conn: conn.cursor().executemany("INSERT INTO u VALUES (?)", [(1,)]), False),
        (lambda conn: conn.executescript("DROP TABLE t; CREATE TABLE t(a)"), False),
    ],
)
def test_a_write_past_the_methods_of_orch_is_unclear(
    tmp_path: Path, call: Callable[[sqlite3.Connection], object], is_unclear: bool
) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        call(conn)
        tables.resolve()
        assert tables.may_have_committed or not is_unclear
        assert tables.drain().is_unclear == is_unclear


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
            assert tables.drain() == TableUse(is_unclear=True)


def test_one_that_the_tool_sets_on_a_plain_connection_makes_it_unclear(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.executescript(SCHEMA)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        conn.execute("SELECT a FROM t")
        conn.set_authorizer(deny_log)
        tables.resolve()
        assert tables.drain() == TableUse(tables_read=("t",), is_unclear=True)


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
            use = tables.drain()
            assert (use.tables_read, use.tables_written) == (("t",), ("x",))


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
    assert tables.drain() == TableUse(tables_read=("t",), tables_written=("u",))
    tables.begin_step()
    tables.resolve()
    assert tables.drain().is_unclear


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
        assert tables.drain() == READS_T_INSERTS_U


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
        ("CREATE TABLE other.x(a)", ""),
        ("CREATE TABLE other.t(a PRIMARY KEY)", ""),
        ("CREATE VIEW other.x AS SELECT 1", ""),
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
    assert tables.peek() == TableUse()
    tables.resolve()
    assert tables.peek() == tables.drain() == READS_T_INSERTS_U
    assert tables.peek() == TableUse()


# Tables that are not there.


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM absent",
        "SELECT * FROM main.Absent",
        "SELECT count(*) FROM t JOIN absent USING (a)",
        "INSERT INTO absent VALUES (1)",
        "UPDATE absent SET a = 1",
        "DELETE FROM absent",
        "DROP TABLE absent",
        "DROP VIEW absent",
        "ALTER TABLE absent RENAME TO other",
        "CREATE INDEX i ON absent(a)",
        "PRAGMA table_info(absent)",
        "PRAGMA main.table_xinfo('absent')",
        "SELECT * FROM pragma_table_info('absent')",
        "PRAGMA table_list(absent)",
    ],
)
def test_a_table_that_is_looked_for_in_vain_is_missed(
    use: Callable[..., TableUse], sql: str
) -> None:
    assert use(sql).tables_missed == ("absent",)
    assert use("CREATE TABLE absent(a)", sql).tables_missed == ()


@pytest.mark.parametrize(
    "statements",
    [
        ["SELECT * FROM x", "CREATE TABLE x(a)"],
        ["SELECT * FROM x", "CREATE TABLE x(a)", "DROP TABLE x"],
        ["DROP TABLE IF EXISTS x", "CREATE TABLE x(a)", "INSERT INTO x VALUES (1)", "DROP TABLE x"],
        ["DROP TABLE t", "SELECT * FROM t"],
        ["SELECT * FROM x", "ALTER TABLE u RENAME TO x"],
        ["CREATE TEMP TABLE x(a)", "PRAGMA table_info(x)"],
        ["SELECT * FROM temp.x", "SELECT * FROM sqlite_stat1", "SELECT * FROM orch_ledger"],
        ["PRAGMA table_info(t)", "PRAGMA table_info(v)", "DROP TABLE IF EXISTS t"],
    ],
)
def test_a_table_that_is_there_or_that_the_tool_made_is_not_missed(
    use: Callable[..., TableUse], statements: list[str]
) -> None:
    found = use(*statements)
    assert (found.tables_missed, found.lists_tables) == ((), False)


def test_if_exists_in_vain_is_a_look_too_where_texts_are_seen(
    use: Callable[..., TableUse], conn: sqlite3.Connection
) -> None:
    expected = ("absent",) if isinstance(conn, Connection) else ()
    assert use("DROP TABLE IF EXISTS absent").tables_missed == expected
    assert use('drop /* old */ view if exists "main" . "Absent"').tables_missed == expected
    assert use("DROP TABLE IF EXISTS t", "CREATE TABLE t(a)").tables_missed == ()


def test_the_step_before_has_missed_its_own_tables(use: Callable[..., TableUse]) -> None:
    assert use("SELECT * FROM absent").tables_missed == ("absent",)
    assert use("SELECT * FROM t") == TableUse(tables_read=("t",))


def test_an_error_of_sqlite_stays_what_it_is(conn: sqlite3.Connection) -> None:
    SqliteTableLog(conn)
    with pytest.raises(sqlite3.OperationalError, match=r"^no such table: absent$") as caught:
        conn.execute("SELECT * FROM absent")
    assert caught.value.args == ("no such table: absent",)
    assert sqlite3.OperationalError("a", 1).args == ("a", 1)


# The list of tables.


@pytest.mark.parametrize(
    ("statements", "is_listed"),
    [
        (["SELECT name FROM sqlite_master"], True),
        (["SELECT count(*) FROM sqlite_schema"], True),
        (["SELECT count(*) FROM Sqlite_Schema"], True),
        (["SELECT name FROM sqlite_master WHERE name LIKE 'raw%'"], True),
        (["SELECT name FROM sqlite_master", "CREATE TABLE x(a)"], True),
        (["SELECT name FROM sqlite_master", "ALTER TABLE u RENAME TO w"], True),
        (["CREATE TABLE x AS SELECT name FROM sqlite_master"], True),
        (["INSERT INTO u SELECT name FROM sqlite_master"], True),
        (["UPDATE u SET a = (SELECT count(*) FROM sqlite_master)"], True),
        (["SELECT 1 WHERE EXISTS (SELECT 1 FROM sqlite_master)"], True),
        (["WITH c AS (SELECT name FROM sqlite_master) SELECT * FROM c"], True),
        (["DROP TABLE u", "SELECT name FROM sqlite_master"], True),
        (["PRAGMA table_list"], True),
        (["SELECT * FROM pragma_table_list"], True),
        (["CREATE TABLE x(a UNIQUE)", "CREATE INDEX i ON x(a)", "DROP INDEX i", "DROP TABLE x"], False),
        (["CREATE VIEW x AS SELECT * FROM t", "DROP VIEW x", "SELECT * FROM t"], False),
        (["ALTER TABLE u RENAME TO w", "ALTER TABLE w ADD COLUMN c"], False),
        (["ALTER TABLE t RENAME COLUMN b TO c", "SELECT c FROM t"], False),
        (["ALTER TABLE t DROP COLUMN b", "SELECT a FROM t"], False),
        (["DROP TRIGGER g", "CREATE TABLE IF NOT EXISTS t(a)"], False),
        (["CREATE VIRTUAL TABLE f USING fts5(a)", "INSERT INTO f VALUES ('a')", "DROP TABLE f"], False),
        (["VACUUM", "ANALYZE", "REINDEX", "PRAGMA table_info(t)", "SELECT * FROM t"], False),
        (["SELECT name FROM sqlite_temp_master"], False),
        (["CREATE TEMP TABLE x(a)", "DROP TABLE temp.x"], False),
    ],
)  # fmt: skip
def test_who_reads_the_list_of_tables(
    use: Callable[..., TableUse], statements: list[str], is_listed: bool
) -> None:
    assert use(*statements).lists_tables is is_listed
    assert use("SELECT 1", "CREATE TABLE IF NOT EXISTS t(a)").lists_tables is False


PANDAS = """
    SELECT
        name
    FROM
        sqlite_master
    WHERE
        type IN ('table', 'view')
        AND name=?;
    """


@pytest.mark.parametrize(
    "asked",
    [
        (PANDAS, ["absent"]),
        ("SELECT 1 FROM sqlite_master WHERE name = :name", {"name": "Absent"}),
        ("select count(*) from main.sqlite_schema where type='table' and name='absent'", ()),
        ("SELECT name, sql FROM sqlite_master WHERE tbl_name == ? AND type = 'table' LIMIT 1", ("absent",)),
    ],
)  # fmt: skip
def test_who_asks_the_list_for_one_name_looks_for_that_table(
    use: Callable[..., TableUse], conn: sqlite3.Connection, asked: tuple[str, object]
) -> None:
    found = use(asked)
    if isinstance(conn, Connection):
        assert (found.tables_missed, found.lists_tables) == (("absent",), False)
    else:
        assert (found.tables_missed, found.lists_tables) == ((), True)


@pytest.mark.parametrize("is_own_cursor", [True, False])
def test_each_name_counts_that_one_statement_is_run_with(
    tmp_path: Path, is_own_cursor: bool
) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        cursor = conn.cursor() if is_own_cursor else conn.cursor(lambda own: sqlite3.Cursor(own))
        for name in ("t", "x", "y", "z"):
            cursor.execute(PANDAS, [name]).fetchall()
        conn.execute("CREATE TABLE y(a)")
        tables.resolve()
        use = tables.drain()
    assert use.tables_missed == (("x", "z") if is_own_cursor else ())
    assert use.lists_tables is not is_own_cursor


# How tables are written.


@pytest.mark.parametrize(
    ("statements", "inserted"),
    [
        (["INSERT INTO u VALUES (1)"], "u"),
        (["INSERT INTO u SELECT replace('a', 'b', 'c') FROM t"], "u"),
        (["INSERT INTO u VALUES (1)", "INSERT INTO log SELECT * FROM u"], "log u"),
        (["INSERT INTO watched VALUES (1)"], "log watched"),  # and a trigger replaces rows of keyed
        (["INSERT INTO u VALUES (1)", "DELETE FROM u WHERE a = 2"], ""),
        (["INSERT INTO u VALUES (1)", "UPDATE u SET a = 2"], ""),
        (["INSERT INTO u VALUES (1)", "ALTER TABLE u ADD COLUMN b"], ""),
        (["CREATE TABLE x(a)", "INSERT INTO x VALUES (1)"], ""),
        (["DROP TABLE u"], ""),
        (["INSERT OR REPLACE INTO keyed VALUES (1)"], ""),
        (["INSERT OR IGNORE INTO keyed VALUES (1)"], ""),
        (["REPLACE INTO keyed VALUES (1)"], ""),
        (["INSERT INTO keyed VALUES (1) ON CONFLICT DO NOTHING"], ""),
        (["INSERT INTO keyed VALUES (1) ON CONFLICT (k) DO UPDATE SET k = 2"], ""),
        (["INSERT INTO resolving VALUES (1)"], ""),
    ],
)
def test_tables_into_which_rows_are_only_inserted(
    use: Callable[..., TableUse], conn: sqlite3.Connection, statements: list[str], inserted: str
) -> None:
    conn.execute("CREATE TABLE keyed(k INTEGER PRIMARY KEY)")
    conn.execute("CREATE TABLE resolving(a UNIQUE ON CONFLICT REPLACE)")
    conn.execute("CREATE VIRTUAL TABLE found USING fts5(a)")
    conn.execute(
        "CREATE TRIGGER upsert AFTER INSERT ON log BEGIN REPLACE INTO keyed VALUES (new.a); END"
    )
    assert use(*statements).tables_inserted == tuple(inserted.split())
    assert "found" not in use("INSERT INTO found VALUES ('a')").tables_inserted


@pytest.mark.parametrize(
    "table", ["a INTEGER PRIMARY KEY", "a, b UNIQUE", "a); CREATE UNIQUE INDEX i ON k(a"]
)
def test_where_no_text_is_seen_an_insert_may_replace_rows_of_a_table_with_unique_columns(
    use: Callable[..., TableUse], conn: sqlite3.Connection, table: str
) -> None:
    conn.executescript(f"CREATE TABLE k({table});")
    is_own = isinstance(conn, Connection)
    assert use("INSERT INTO k(a) VALUES (1)").tables_inserted == (("k",) if is_own else ())


def test_scripts_and_many_rows_are_read_like_single_statements(tmp_path: Path) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA + "CREATE TABLE k(a UNIQUE);")
        tables = SqliteTableLog(conn)

        def drain() -> TableUse:
            tables.resolve()
            use = tables.drain()
            tables.begin_step()
            return use

        tables.begin_step()
        conn.executemany("INSERT INTO k VALUES (?)", [(1,), (2,)])
        assert drain().tables_inserted == ("k",)
        conn.executemany("INSERT OR REPLACE INTO k VALUES (?)", [(1,), (2,)])
        assert drain().tables_inserted == ()
        conn.executescript(
            "DROP TABLE IF EXISTS absent; REPLACE INTO k VALUES (1); SELECT * FROM sqlite_master;"
        )
        use = drain()
        assert (use.tables_missed, use.tables_inserted, use.lists_tables) == (("absent",), (), True)


@pytest.mark.parametrize(
    ("statements", "created", "dropped", "kept"),
    [
        (["CREATE TABLE x(a)"], "x", "", "x"),
        (["CREATE TABLE x AS SELECT 1"], "x", "", ""),
        (["DROP TABLE IF EXISTS x", "CREATE TABLE x(a)"], "x", "", ""),
        (["CREATE TABLE IF NOT EXISTS x(a)", "INSERT INTO x VALUES (1)"], "x", "", ""),
        (["CREATE VIEW x AS SELECT * FROM t"], "x", "", ""),
        (["CREATE TABLE x(a)", "ALTER TABLE x RENAME TO y"], "y", "", ""),
        (["CREATE TABLE x(a)", "DROP TABLE x"], "", "", ""),
        (["DROP TABLE t"], "", "t", ""),
        (["DROP VIEW v"], "", "v", ""),
        (["DROP TABLE t", "CREATE TABLE t(a)"], "", "", ""),
        (["DROP TABLE t", "CREATE TABLE t(a)", "DROP TABLE t"], "", "t", ""),
        (["ALTER TABLE t RENAME TO x"], "x", "t", ""),
        (["ALTER TABLE t ADD COLUMN c"], "", "", ""),
        (["INSERT INTO u VALUES (1)"], "", "", ""),
        (["CREATE TABLE IF NOT EXISTS t(a)"], "", "", "t"),
        (["CREATE TABLE IF NOT EXISTS t(a)", "CREATE TABLE IF NOT EXISTS u(a)"], "", "", "t u"),
        (["CREATE TABLE t(a)"], "", "", "t"),  # the tool may catch the error
        (["CREATE TABLE IF NOT EXISTS t(a)", "INSERT INTO t VALUES (1, 1)"], "", "", ""),
        (["CREATE VIEW IF NOT EXISTS v AS SELECT 1"], "", "", "v"),
        (["CREATE INDEX i ON t(a)"], "", "", "t"),
        (["CREATE INDEX i ON t(a)", "DROP INDEX i"], "", "", "t"),
        (["CREATE TABLE x(a UNIQUE)", "CREATE INDEX i ON x(a)"], "x", "", "x"),
        (["CREATE TEMP TABLE t(a)", "CREATE TEMP TABLE IF NOT EXISTS t(a)"], "", "", ""),
        (["CREATE TABLE x(a, a)"], "", "", ""),
        (["CREATE TABLE orch_ledger(a)", "INSERT INTO orch_ledger VALUES (1)", "ANALYZE"], "", "", ""),
    ],
)  # fmt: skip
def test_tables_that_are_created_dropped_or_kept(
    use: Callable[..., TableUse],
    conn: sqlite3.Connection,
    statements: list[str],
    created: str,
    dropped: str,
    kept: str,
) -> None:
    found = use(*statements)
    assert found.tables_created == tuple(created.split())
    assert found.tables_dropped == tuple(dropped.split())
    # Without the texts it is not known that a table was to be dropped first.
    unknown = () if isinstance(conn, Connection) else found.tables_created
    assert found.tables_kept == tuple(name for name in kept.split() if name not in unknown)
    assert {*found.tables_created, *found.tables_dropped} <= {*found.tables_written}
    assert "orch_ledger" not in found.tables_written


@pytest.mark.parametrize(
    "sql",
    ["CREATE INDEX IF NOT EXISTS i ON t(a)", 'create unique index if not exists main.i on "T" (a)'],
)
def test_an_index_that_is_there_keeps_its_table_where_texts_are_seen(
    use: Callable[..., TableUse], conn: sqlite3.Connection, sql: str
) -> None:
    conn.execute("CREATE INDEX i ON t(a)")
    expected = ("t",) if isinstance(conn, Connection) else ()
    assert use(sql) == TableUse(tables_kept=expected)


def test_tables_are_created_and_dropped_though_the_names_of_before_are_unknown(
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.executescript(SCHEMA + "BEGIN;")
        tables = SqliteTableLog(conn)
        tables.begin_step()  # within a transaction
        conn.execute("DROP TABLE t")
        conn.execute("CREATE TABLE x(a)")
        conn.execute("CREATE TABLE y(a)")
        conn.execute("DROP TABLE y")
        tables.resolve()
        use = tables.drain()
    assert (use.tables_created, use.tables_dropped) == (("x",), ("t",))


def test_between_steps_without_statements_what_others_leave_is_found_and_removed(
    tmp_path: Path,
) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        transaction = choose_transaction(conn, "tool")
        tables = SqliteTableLog(conn)

        def step(*statements: str) -> TableUse:
            tables.begin_step()
            transaction.begin()
            for one in statements:
                conn.execute(one).fetchall()
            tables.resolve()
            transaction.end(keep=True)
            transaction.restore_connection()
            return tables.drain()

        for statements in (
            (),
            (f"ATTACH '{tmp_path}/other.db' AS other", "CREATE TEMP TABLE x(a)"),
            (),
        ):
            step(*statements)
            assert isinstance(conn, Connection)
            assert conn.has_run == bool(statements)
        assert step("SELECT name FROM sqlite_temp_master").lists_tables is False
        assert [name for name, _ in list_databases(conn) if name != "temp"] == ["main"]
        assert ask(conn, "SELECT name FROM sqlite_temp_master") == []
        step()
        with closing(sqlite3.connect(tmp_path / "data.db")) as another:
            another.execute("CREATE TABLE new(a)")
        step()
        assert tables.names == {"new"}
        assert step("DROP TABLE IF EXISTS old", "SELECT a FROM new") == TableUse(
            tables_read=("new",), tables_missed=("old",), tables_kept=("old",)
        )
