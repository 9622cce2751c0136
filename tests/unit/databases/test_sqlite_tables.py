"""Which tables statements read and write on SQLite: what SQLite says itself, and its texts where it says nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from discover_orch.databases.opening import open_sqlite
from discover_orch.databases.sqlite_connection import Connection
from discover_orch.databases.sqlite_tables import SqliteTableLog
from discover_orch.model.keys import is_object
from tests.support.seen import Seen, used_tables

SCHEMA = """
CREATE TABLE t(a, b);
CREATE TABLE u(a);
CREATE TABLE log(a);
CREATE VIEW v AS SELECT a FROM t;
CREATE TABLE watched(a);
CREATE TRIGGER g AFTER INSERT ON watched BEGIN INSERT INTO log VALUES (new.a); END;
INSERT INTO t VALUES (1, 2);
"""

Tables = tuple[list[str], list[str]]
Look = Callable[..., Tables]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a database with the schema: to make it is most of the work of a test."""
    path = tmp_path_factory.mktemp("made") / "data.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    return path.read_bytes()


@pytest.fixture
def conn(tmp_path: Path, made: bytes) -> Iterator[Connection]:
    (tmp_path / "data.db").write_bytes(made)
    with closing(open_sqlite(str(tmp_path / "data.db"))) as opened:
        yield opened


@pytest.fixture
def use(conn: Connection) -> Callable[..., Seen]:
    """Run these statements as a step, those in a tuple with values; an error of SQLite is caught, as a tool may do."""
    tables = SqliteTableLog(conn)

    def run(*statements: str | tuple[str, object]) -> Seen:
        tables.begin_step()
        for one in statements:
            with suppress(sqlite3.OperationalError):
                conn.execute(*((one,) if isinstance(one, str) else one)).fetchall()
        tables.resolve()
        conn.commit()
        return Seen(tables.drain())

    return run


@pytest.fixture
def look(conn: Connection) -> Look:
    """Run these statements as a step; what it (read, wrote)."""
    tables = SqliteTableLog(conn)

    def run(*statements: str | Callable[[Connection], object]) -> Tables:
        tables.begin_step()
        for one in statements:
            if callable(one):
                one(conn)
            else:
                conn.execute(one).fetchall()
        tables.resolve()
        conn.commit()
        use = Seen(tables.drain())
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
        ("CREATE INDEX i ON t(a)", "", "index i"),
        ("CREATE INDEX I ON t(a + b) WHERE b > 1", "", "index i"),
        ("CREATE UNIQUE INDEX i ON t(a)", "", "index i, trigger or index on t"),
        (
            "CREATE TRIGGER h AFTER INSERT ON t BEGIN DELETE FROM u; END",
            "",
            "trigger h, trigger or index on t",
        ),
        ("DROP TRIGGER g", "", "trigger g, trigger or index on watched"),
        ("DROP TABLE watched", "", "trigger g, trigger or index on watched, watched"),
        ("ANALYZE", "", ""),
        ("REINDEX", "", ""),
        ("PRAGMA user_version = 3", "", ""),
        ("PRAGMA table_info(t)", "t", ""),
        ("PRAGMA index_list(t)", "t", ""),
        ("SELECT sql FROM sqlite_master WHERE name = 't'", "t", ""),
        ("SELECT sql FROM sqlite_master", "*", ""),
        ("SELECT name FROM sqlite_master", "", ""),
        ("SELECT * FROM json_each('[1]')", "", ""),
        ("SELECT * FROM pragma_table_info('t')", "t", ""),
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
        names = written.split(", ") if ", " in written or "index" in written else written.split()
        assert (seen_read, seen_written) == (read.split(), names)


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
        (["CREATE INDEX i ON t(a)", "DROP INDEX i", "SELECT a FROM t"], "t", ""),
        (["CREATE TABLE IF NOT EXISTS t(a)", "UPDATE u SET a = 1"], "", "u"),
        (["CREATE TABLE IF NOT EXISTS t(a)", "DROP TABLE IF EXISTS u"], "", "u"),
        (["CREATE TABLE IF NOT EXISTS t(a)", "CREATE INDEX i ON u(a)", "DROP INDEX i"], "", ""),
        (["CREATE TABLE IF NOT EXISTS t(a)", "DROP VIEW v", "CREATE TABLE w(a UNIQUE)"], "", "v w"),
        (["CREATE VIEW IF NOT EXISTS v AS SELECT 1", "CREATE TABLE w AS SELECT a FROM u"], "u", "w"),
        (["CREATE TABLE x(a)", "SELECT count(*) FROM x", "SELECT count(*) FROM t"], "t x", "x"),
    ],
)  # fmt: skip
def test_uses_of_tables_by_several_statements(
    look: Look, statements: list[str], read: str, written: str
) -> None:
    assert look(*statements) == (read.split(), written.split())


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
    tmp_path: Path, call: Callable[[Connection], object], is_unclear: bool
) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA)
        tables = SqliteTableLog(conn)
        tables.begin_step()
        call(conn)
        tables.resolve()
        assert tables.may_have_committed or not is_unclear
        assert Seen(tables.drain()).is_unclear == is_unclear


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
    tables = {one for one in found[1] if not is_object(one)}
    assert tables - {"log"} == set(written.split()) - {"log"}


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
def test_a_table_that_is_looked_for_in_vain_is_missed(use: Callable[..., Seen], sql: str) -> None:
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
        ["SELECT * FROM temp.x", "SELECT * FROM sqlite_stat1", "SELECT * FROM orch_memory"],
        ["PRAGMA table_info(t)", "PRAGMA table_info(v)", "DROP TABLE IF EXISTS t"],
    ],
)
def test_a_table_that_is_there_or_that_the_tool_made_is_not_missed(
    use: Callable[..., Seen], statements: list[str]
) -> None:
    found = use(*statements)
    assert (found.tables_missed, found.lists_tables) == ((), False)


def test_if_exists_in_vain_is_a_look_too(use: Callable[..., Seen]) -> None:
    assert use("DROP TABLE IF EXISTS absent").tables_missed == ("absent",)
    assert use('drop /* old */ view if exists "main" . "Absent"').tables_missed == ("absent",)
    assert use("DROP TABLE IF EXISTS t", "CREATE TABLE t(a)").tables_missed == ()


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
        (["SELECT * FROM listed"], True),
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
    use: Callable[..., Seen], conn: Connection, statements: list[str], is_listed: bool
) -> None:
    conn.execute("CREATE VIEW listed AS SELECT name FROM sqlite_master")
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
    use: Callable[..., Seen], asked: tuple[str, object]
) -> None:
    found = use(asked)
    assert (found.tables_missed, found.lists_tables) == (("absent",), False)


# How tables are written.


@pytest.mark.parametrize(
    ("statements", "inserted"),
    [
        (["INSERT INTO u VALUES (1)"], "u"),
        (["INSERT INTO u SELECT replace('a', 'b', 'c') FROM t"], "u"),
        (["INSERT INTO u VALUES (1)", "INSERT INTO log SELECT * FROM u"], "log u"),
        (["INSERT INTO watched VALUES (1)"], "watched"),  # a trigger may replace rows
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
    use: Callable[..., Seen], conn: Connection, statements: list[str], inserted: str
) -> None:
    conn.execute("CREATE TABLE keyed(k INTEGER PRIMARY KEY)")
    conn.execute("CREATE TABLE resolving(a UNIQUE ON CONFLICT REPLACE)")
    conn.execute("CREATE VIRTUAL TABLE found USING fts5(a)")
    conn.execute(
        "CREATE TRIGGER upsert AFTER INSERT ON log BEGIN REPLACE INTO keyed VALUES (new.a); END"
    )
    assert use(*statements).tables_inserted == tuple(inserted.split())
    assert "found" not in use("INSERT INTO found VALUES ('a')").tables_inserted


def test_scripts_and_many_rows_are_read_like_single_statements(tmp_path: Path) -> None:
    with closing(open_sqlite(str(tmp_path / "data.db"))) as conn:
        conn.executescript(SCHEMA + "CREATE TABLE k(a UNIQUE);")
        tables = SqliteTableLog(conn)

        def drain() -> Seen:
            tables.resolve()
            use = Seen(tables.drain())
            conn.commit()
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
        (["CREATE TABLE orch_memory(a)", "INSERT INTO orch_memory VALUES (1)", "ANALYZE"], "", "", ""),
    ],
)  # fmt: skip
def test_tables_that_are_created_dropped_or_kept(
    use: Callable[..., Seen],
    statements: list[str],
    created: str,
    dropped: str,
    kept: str,
) -> None:
    found = use(*statements)
    assert found.tables_created == tuple(created.split())
    assert found.tables_dropped == tuple(dropped.split())
    assert found.tables_kept == tuple(kept.split())
    assert {*found.tables_created, *found.tables_dropped} <= {*found.tables_written}
    assert "orch_memory" not in found.tables_written


@pytest.mark.parametrize(
    "sql",
    ["CREATE INDEX IF NOT EXISTS i ON t(a)", 'create unique index if not exists main.i on "T" (a)'],
)
def test_an_index_that_is_there_keeps_its_table(
    use: Callable[..., Seen], conn: Connection, sql: str
) -> None:
    conn.execute("CREATE INDEX i ON t(a)")
    assert use(sql) == used_tables(tables_kept=("t", "index i"))
