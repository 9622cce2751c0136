"""A hash of what a table contains, so that a table that is made again with the same rows counts as the same.

Only of small tables: a larger one has no version. A probe reads at most one row more than that, since `count(*)` reads
all. The hash is over the definition of the table and its rows.
"""

from __future__ import annotations

import marshal
import sqlite3

from discover_orch.databases.sqlite_base import ask_rows, quote, text_of
from discover_orch.model.encoding import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Ask = Callable[[str], list[tuple[Any, ...]]]

#: Bytes of all rows of a table; hashing more takes too long after each tool.
MOST_BYTES = 1 << 24
#: Rows that are in memory at a time.
ROWS = 2000


def hash_sqlite_tables(
    conn: sqlite3.Connection, names: Iterable[str], most_rows: int
) -> dict[str, str]:
    """The versions of those of these tables of the main database that have at most so many rows. Views have none: what
    they show is in tables."""
    found = {}
    before, conn.text_factory = conn.text_factory, str
    try:
        for name in names:
            version = _hash_sqlite_table(conn, name, most_rows)
            if version is not None:
                found[name] = version
    finally:
        conn.text_factory = before
    return found


def _hash_sqlite_table(conn: sqlite3.Connection, name: str, most_rows: int) -> str | None:
    table = "main." + quote(name)
    try:
        texts = "'" + name.replace("'", "''") + "'"
        rows = ask_rows(
            conn,
            f"SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = {texts} COLLATE NOCASE",
        )
        if not rows or ask_rows(conn, f"SELECT 1 FROM {table} LIMIT 1 OFFSET {most_rows}"):
            return None
        columns = ask_rows(conn, f"SELECT name FROM pragma_table_xinfo({texts}, 'main')")
        # The sign keeps converters away, which may give values that cannot be hashed.
        shown = ", ".join("+" + quote(text_of(column)) for (column,) in columns)
        hasher = blake2b(text_of(rows[0][0]).encode("utf-8", "surrogatepass"), digest_size=16)
        cursor = sqlite3.Connection.cursor(conn)
        cursor.row_factory = None
        sqlite3.Cursor.execute(cursor, f"SELECT {shown} FROM {table}")
        size = 0
        while part := sqlite3.Cursor.fetchmany(cursor, ROWS):
            data = marshal.dumps(part, 2)  # later formats depend on who else refers to a value
            size += len(data)
            if size > MOST_BYTES:
                return None
            hasher.update(data)
    except (sqlite3.Error, UnicodeError, ValueError):  # text that is not UTF-8, for example
        return None
    return hasher.hexdigest()


def hash_postgres_table(ask: Ask, oid: int, most_rows: int) -> str | None:
    """The version of the table with this number, whose name is safe to use as the server quotes it."""
    [[name, definition]] = ask(
        f"SELECT {oid}::regclass::text, string_agg(attname || ' ' || format_type(atttypid, atttypmod) "
        "|| attnotnull::text, ',' ORDER BY attnum) FROM "
        f"pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped"
    )
    # The order of rows on the disk differs after each DELETE, so the hash does not depend on it.
    [[rows, size, total]] = ask(
        "SELECT count(*), coalesce(sum(length(one)), 0), sum(pg_catalog.hashtextextended(one, 0)::numeric) "
        f"FROM (SELECT t::text AS one FROM {name} t LIMIT {most_rows + 1}) rows"
    )
    if rows > most_rows or size > MOST_BYTES:
        return None
    return join_version(definition, rows, size, total)


def join_version(*parts: object) -> str:
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()
