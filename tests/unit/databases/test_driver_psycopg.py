"""What is heard of psycopg, and what PostgreSQL says of a database: a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from discover_orch.databases.statement_log import find_driver, observe_statements
from discover_orch.model.observation import TableUse
from tests.support.driver_listener import attach, read_catalog


@pytest.fixture(scope="module")
def url(new_postgres: Callable[[], str]) -> str:
    url = new_postgres()
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a int)")
    return url


@pytest.fixture
def pg(url: str) -> Iterator[psycopg.Connection]:
    """What a test does on it is rolled back."""
    with psycopg.connect(url) as conn:
        driver = find_driver(conn)
        assert driver is not None
        yield conn
        driver.listener = None
        conn.rollback()


def read_in_parts(conn: psycopg.Connection, query: str) -> None:
    with conn.cursor(name="x") as cursor:
        cursor.execute(query.encode())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.execute("SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: c.execute(query=b"SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: c.execute("SELECT a % 2 FROM t"), "SELECT a % 2 FROM t"),
        (lambda c: c.execute("SELECT a %% 2, %s, %(b)s FROM t".replace("%s, ", ""), {"b": 1}), "SELECT a % 2, '?' FROM t"),
        (lambda c: c.execute("SELECT %b::int4 FROM t", (1,)), "SELECT '?'::int4 FROM t"),
        (lambda c: c.execute(sql.SQL("SELECT a FROM {}").format(sql.Identifier("t"))), 'SELECT a FROM "t"'),
        (lambda c: c.cursor().executemany("INSERT INTO u VALUES (%s)", [(1,)]), "INSERT INTO u VALUES ('?')"),
        (lambda c: [*c.cursor().stream("SELECT a FROM t")], "SELECT a FROM t"),
        (lambda c: read_in_parts(c, "SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: psycopg.ClientCursor(c).execute("SELECT a FROM t"), "SELECT a FROM t"),
    ],
)  # fmt: skip
def test_statements_of_psycopg_are_reported(
    pg: psycopg.Connection, call: Callable[[Any], object], text: str
) -> None:
    listener = attach(pg)
    call(pg)
    assert (listener.texts, listener.others) == ([text], [])


def test_copy_is_reported_in_both_directions(pg: psycopg.Connection) -> None:
    listener = attach(pg)
    with pg.cursor().copy("COPY u FROM STDIN") as copy:
        copy.write_row((1,))
    with pg.cursor().copy("COPY t TO STDOUT") as copy:
        assert [*copy.rows()] == [("1",)]
    assert listener.texts == ["COPY u FROM STDIN", "COPY t TO STDOUT"]


def test_ends_of_transactions_of_psycopg_are_reported(pg: psycopg.Connection) -> None:
    listener = attach(pg)
    with pg.transaction():
        with pg.transaction():
            pg.execute("SELECT 1")
        assert listener.others == []
    assert listener.others == ["commit"]
    pg.commit()
    assert listener.others == ["commit", "commit"]
    with pytest.raises(ZeroDivisionError), pg.transaction():
        _ = 1 / 0
    pg.rollback()
    assert listener.texts == ["SELECT 1", "ROLLBACK", "ROLLBACK"]


def test_a_call_on_another_connection_of_psycopg_is_reported(
    pg: psycopg.Connection, url: str
) -> None:
    listener = attach(pg)
    with psycopg.connect(url) as other:
        other.execute("SELECT a FROM t")
    assert listener.others == ["other connection", "commit"]
    listener = attach(pg)
    with psycopg.connect(url, options="-csearch_path=s") as other:
        other.execute("SELECT 1")
    assert "unknown" in listener.others


BUILD = """
CREATE SCHEMA s;
CREATE TABLE s.x (a int);
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW m AS SELECT v.a FROM v, s.x;
CREATE TEMP TABLE z (a int);
CREATE TABLE p (a int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE k (a int PRIMARY KEY);
CREATE TABLE gone (a int REFERENCES k ON DELETE CASCADE);
CREATE TABLE kept (a int REFERENCES k);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT max(a) FROM t';
CREATE FUNCTION pure(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
CREATE VIEW opaque AS SELECT f();
CREATE TABLE lazy (a int DEFAULT f(), b int);
CREATE TABLE checked (a int CHECK (a > f()));
CREATE TABLE ruled (a int);
CREATE RULE r AS ON INSERT TO ruled DO ALSO DELETE FROM t;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE watched (a int);
CREATE TRIGGER w AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION g();
SET search_path = s, public;
"""


def search_path(found: Iterable[tuple[str, str, str]]) -> set[str]:
    return {name if schema == "public" else f"{schema}.{name}" for _, schema, name in found}


def test_the_catalog_of_postgresql(pg: psycopg.Connection) -> None:
    pg.execute(BUILD.encode())
    listener = attach(pg)
    catalog = read_catalog(pg)
    [temporary] = catalog.temporary
    read_with = {name: search_path(others) for (_, _, name), others in catalog.read_with.items()}
    written_with = {
        name: search_path(others) for (_, _, name), others in catalog.written_with.items()
    }
    assert {"t", "u", "s.x", "v", "m", "p", "p1"} <= search_path(catalog.tables)
    assert temporary[2] == "z"
    assert read_with == {"v": {"t"}, "m": {"v", "s.x"}, "p": {"p1"}}
    assert written_with == {"v": {"t"}, "p": {"p1"}, "k": {"gone"}}
    assert search_path(catalog.truncated_with["", "public", "k"]) == {"gone", "kept"}
    assert search_path(catalog.active) == {"lazy", "checked", "ruled", "watched"}
    assert search_path(catalog.opaque) == {"opaque"}
    assert catalog.routines == {"f", "g", "total"}
    assert catalog.current_schema == ("", "s")
    assert [one for _, one in catalog.search_path if not one.startswith("pg_")] == ["s", "public"]
    assert catalog.find(("z",)) == temporary
    assert listener.texts == []  # what orch asks is no tool's


def test_the_catalog_is_read_whatever_the_tool_has_set(pg: psycopg.Connection) -> None:
    class Shout(psycopg.types.string.TextLoader):
        def load(self, data: Any) -> Any:
            return f"{data!r}!"

    pg.row_factory = dict_row  # type: ignore[assignment]
    pg.adapters.register_loader("text", Shout)
    pg.execute("SET client_encoding = 'SQL_ASCII'")
    assert search_path(read_catalog(pg).tables) == {"t", "u"}


def test_reading_the_catalog_keeps_the_transaction(pg: psycopg.Connection) -> None:
    def status() -> str:
        return pg.info.transaction_status.name

    read_catalog(pg)
    assert status() == "IDLE"
    pg.execute("INSERT INTO u VALUES (1)")
    read_catalog(pg)
    assert status() == "INTRANS"
    pg.execute("SET LOCAL statement_timeout = 1")
    with pytest.raises(psycopg.Error):
        _ = [read_catalog(pg) for _ in range(100)]
    assert status() == "INTRANS"
    assert pg.execute("SELECT a FROM u").fetchall() == [(1,)]
    with pytest.raises(psycopg.Error):
        pg.execute("nonsense")
    with pytest.raises(LookupError):
        read_catalog(pg)
    assert status() == "INERROR"


# How tables are used.

HAS_TABLE = """
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class
JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace
WHERE pg_catalog.pg_class.relname = %(table_name)s::VARCHAR
  AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm'])
  AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid)
"""


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (["SELECT * FROM absent"], TableUse(tables_missed=("absent",))),
        (["INSERT INTO absent VALUES (1)"], TableUse(tables_missed=("absent",))),
        (["DROP TABLE absent"], TableUse(tables_missed=("absent",))),
        (
            ["DROP TABLE IF EXISTS absent, s.absent"],
            TableUse(tables_missed=("absent", "s.absent"), tables_kept=("absent", "s.absent")),
        ),
        (["ALTER TABLE IF EXISTS absent ADD COLUMN b int"], TableUse(tables_missed=("absent",))),
        (["SELECT to_regclass('absent')"], TableUse(tables_missed=("absent",))),
        (["SELECT to_regclass('public.t')"], TableUse()),
        (["SELECT EXISTS (SELECT FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'absent')"], TableUse(tables_missed=("absent",))),
        ([(HAS_TABLE, {"table_name": "absent"})], TableUse(tables_missed=("absent",))),
        ([(HAS_TABLE, {"table_name": "t"})], TableUse()),
        ([("SELECT 1 FROM pg_tables WHERE tablename = %s", ["absent"])], TableUse(tables_missed=("absent",))),
        (["SELECT tablename FROM pg_tables"], TableUse(lists_tables=True)),
        (["SELECT relname FROM pg_class WHERE relname LIKE 'raw%'"], TableUse(lists_tables=True)),
        (["SELECT relname FROM pg_class WHERE relname = 'a' OR relname = 'b'"], TableUse(lists_tables=True)),
        (["SELECT table_name FROM information_schema.columns"], TableUse(lists_tables=True)),
        (["INSERT INTO u VALUES (1)"], TableUse(tables_written=("u",), tables_inserted=("u",))),
        (["INSERT INTO u VALUES (1) ON CONFLICT DO NOTHING"], TableUse(tables_written=("u",))),
        (["INSERT INTO u VALUES (1)", "UPDATE u SET a = 1"], TableUse(tables_written=("u",))),
        (["INSERT INTO u VALUES (1)", "TRUNCATE u"], TableUse(tables_written=("u",))),
        (
            ["CREATE TABLE n (a int)"],
            TableUse(tables_written=("n",), tables_created=("n",), tables_kept=("n",)),
        ),
        (["SELECT * FROM n", "CREATE TABLE n (a int)", "DROP TABLE n"], TableUse()),
        (["DROP TABLE u"], TableUse(tables_written=("u",), tables_dropped=("u",))),
        (["ALTER TABLE u RENAME TO w"], TableUse(tables_written=("u", "w"), tables_created=("w",), tables_dropped=("u",))),
        (["CREATE TABLE IF NOT EXISTS t (a int)"], TableUse(tables_kept=("t",))),
        (["CREATE TABLE t (a int)"], TableUse(tables_kept=("t",))),
        (["CREATE INDEX IF NOT EXISTS i ON t (a)"], TableUse(tables_kept=("t",))),
        (["SELEC 1", "SELECT a FROM t"], TableUse(tables_read=("t",), is_unclear=True)),
    ],
)  # fmt: skip
def test_how_tables_are_used_in_postgresql(
    pg: psycopg.Connection, does: list[str | tuple[str, Any]], expected: TableUse
) -> None:
    statements = observe_statements(pg, lambda *_: None)
    assert statements is not None
    pg.execute("SELECT 1")  # so that each block below is a savepoint
    statements.begin_step()
    for one in does:
        with suppress(psycopg.Error), pg.transaction():  # as a tool may do
            text, *values = (one,) if isinstance(one, str) else one
            pg.execute(text.encode(), *values)
    statements.resolve()
    assert statements.drain() == expected


def test_what_is_done_with_the_connection_of_libpq_is_unknown(pg: psycopg.Connection) -> None:
    listener = attach(pg)
    pg.execute("SELECT 1").fetchall()
    assert pg.info.dbname
    assert listener.others == []
    assert pg.pgconn.exec_(b"SELECT a FROM t").ntuples == 1
    assert listener.others == ["unknown"]
    other = psycopg.connect(pg.info.dsn)
    assert other.pgconn.status == psycopg.pq.ConnStatus.OK
    other.close()
    assert listener.others == ["unknown"]
