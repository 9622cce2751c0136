"""Which tables a tool used on PostgreSQL, in all that it may do to a connection: a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql

from discover_orch.databases.drivers import find_database
from tests.support.seen import Seen, used_tables


@pytest.fixture(scope="module")
def url(new_postgres: Callable[[], str]) -> str:
    url = new_postgres()
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a int)")
        conn.execute("CREATE SCHEMA other")
    return url


@pytest.fixture
def pg(url: str) -> Iterator[psycopg.Connection]:
    """What a test does on it is rolled back."""
    with psycopg.connect(url) as conn:
        yield conn


def read_elsewhere(url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT a FROM t")


def read_in_parts(conn: psycopg.Connection, query: str) -> None:
    with conn.cursor(name="x") as cursor:
        cursor.execute(query.encode())


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
        (["SELECT * FROM absent"], used_tables(tables_missed=("absent",))),
        (["INSERT INTO absent VALUES (1)"], used_tables(tables_missed=("absent",))),
        (["DROP TABLE absent"], used_tables(tables_missed=("absent",))),
        (
            ["DROP TABLE IF EXISTS absent, other.absent"],
            used_tables(tables_missed=("absent", "other.absent"), tables_kept=("absent", "other.absent")),
        ),
        (["ALTER TABLE IF EXISTS absent ADD COLUMN b int"], used_tables(tables_missed=("absent",))),
        (["SELECT to_regclass('absent')"], used_tables(tables_missed=("absent",))),
        (["SELECT to_regclass('public.t')"], used_tables(tables_found=("t",))),
        (["SELECT EXISTS (SELECT FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'absent')"], used_tables(tables_missed=("absent",))),
        (["SELECT 1 FROM pg_tables WHERE schemaname = 'other' AND tablename = 't'"], used_tables(tables_missed=("other.t",))),
        (["SELECT 1 FROM pg_tables WHERE schemaname = any(array['other']) AND tablename = 't'"], used_tables(lists_tables=True)),
        ([(HAS_TABLE, {"table_name": "absent"})], used_tables(tables_missed=("absent",))),
        ([(HAS_TABLE, {"table_name": "t"})], used_tables(tables_found=("t",))),
        ([("SELECT 1 FROM pg_tables WHERE tablename = %s", ["absent"])], used_tables(tables_missed=("absent",))),
        (["SELECT tablename FROM pg_tables"], used_tables(lists_tables=True)),
        (["SELECT relname FROM pg_class WHERE relname LIKE 'raw%'"], used_tables(lists_tables=True)),
        (["SELECT relname FROM pg_class WHERE relname = 'a' OR relname LIKE 't%'"], used_tables(lists_tables=True)),
        (["SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"], used_tables(tables_read=("t",), tables_found=("t",))),
        (["SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('t')"], used_tables(tables_read=("t",), tables_found=("t",))),
        (["SELECT attrelid = 't'::regclass FROM pg_attribute"], used_tables(tables_read=("*",), lists_tables=True)),
        (["SELECT table_name FROM information_schema.columns"], used_tables(tables_read=("*",), lists_tables=True)),
        (["INSERT INTO u VALUES (1)"], used_tables(tables_written=("u",), tables_inserted=("u",))),
        (["INSERT INTO u VALUES (1) ON CONFLICT DO NOTHING"], used_tables(tables_written=("u",))),
        (["INSERT INTO u VALUES (1)", "UPDATE u SET a = 1"], used_tables(tables_read=("u",), tables_written=("u",))),
        (["INSERT INTO u VALUES (1)", "TRUNCATE u"], used_tables(tables_written=("u",))),
        (
            ["CREATE TABLE n (a int)"],
            used_tables(tables_written=("n",), tables_created=("n",), tables_kept=("n",)),
        ),
        (["SELECT * FROM n", "CREATE TABLE n (a int)", "DROP TABLE n"], used_tables(tables_missed=("n",))),
        (["DROP TABLE u"], used_tables(tables_written=("u",), tables_dropped=("u",))),
        (["ALTER TABLE u RENAME TO w"], used_tables(tables_written=("u", "w"), tables_created=("w",), tables_dropped=("u",))),
        (["CREATE TABLE IF NOT EXISTS t (a int)"], used_tables(tables_kept=("t",))),
        (["CREATE TABLE t (a int)"], used_tables(is_unclear=True)),
        (["CREATE INDEX IF NOT EXISTS i ON t (a)"], used_tables(tables_kept=("t",), tables_written=("index i",))),
        (["SELEC 1", "SELECT a FROM t"], used_tables(tables_read=("t",), is_unclear=True)),
        ([("SELECT a %% 2 FROM t WHERE a = %s", [1])], used_tables(tables_read=("t",))),
        ([sql.SQL("SELECT a FROM {}").format(sql.Identifier("t"))], used_tables(tables_read=("t",))),
        ([lambda c: c.cursor().executemany("INSERT INTO u VALUES (%s)", [(1,)])], used_tables(tables_written=("u",), tables_inserted=("u",))),
        ([lambda c: [*c.cursor().stream("SELECT a FROM t")]], used_tables(tables_read=("t",))),
        ([lambda c: read_in_parts(c, "SELECT a FROM t")], used_tables(tables_read=("t",))),
        ([lambda c: psycopg.ClientCursor(c).execute("SELECT a FROM t")], used_tables(tables_read=("t",))),
        ([lambda c: c.pgconn.exec_(b"SELECT a FROM t")], used_tables(tables_read=("t",))),
        ([lambda c: read_elsewhere(c.info.dsn)], used_tables(is_unclear=True)),
    ],
)  # fmt: skip
def test_how_tables_are_used_in_postgresql(
    pg: psycopg.Connection, does: list[Any], expected: Seen
) -> None:
    statements = find_database(pg).open_log(lambda name: None)
    transaction = find_database(pg).open_transaction("tool")
    assert statements is not None
    statements.begin_step()
    transaction.begin()
    for one in does:
        with suppress(psycopg.Error), pg.transaction():  # as a tool may do
            if callable(one):
                one(pg)
            else:
                pg.execute(*one) if isinstance(one, tuple) else pg.execute(one)
    statements.resolve()
    transaction.end(keep=False)
    assert Seen(statements.drain()) == expected
