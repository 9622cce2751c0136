"""What a table contains: its first rows, which reports show, and a hash, so that a table that is made again with the
same rows counts as the same.

Only small tables have a hash, their version. A probe reads at most one row more than that, since `count(*)` reads
all. The hash is over the definition of the table and its rows.
"""

from __future__ import annotations

import marshal
import sqlite3
from contextlib import suppress
from functools import partial

from discover_orch.databases.sqlite_calls import (
    ask_rows,
    find_acting,
    quote,
    read_catalog,
    text_of,
)
from discover_orch.databases.sqlite_text import fold_definition
from discover_orch.databases.table_log import TableContent
from discover_orch.model.encoding import blake2b
from discover_orch.model.keys import acting_name, is_object
from discover_orch.model.secret_masking import MASK, is_secret_name
from discover_orch.model.tool_events import TableHead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    Ask = Callable[[str], list[tuple[Any, ...]]]

#: Sets, for the transaction, what the text of a value depends on.
SET_CONFIG = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', true)"
    for name, value in (
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("extra_float_digits", "1"),
        ("bytea_output", "hex"),
    )
)
#: The name of each in SQL, as the server quotes it, the query of a view, and the names and definitions of the columns.
_COLUMNS = """
SELECT c.oid::int8, c.oid::regclass::text, CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
    ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),
    ARRAY(SELECT attname || ' ' || format_type(atttypid, atttypmod) || attnotnull::text FROM pg_catalog.pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
FROM pg_catalog.pg_class c WHERE c.oid IN ({})
"""
#: The order of rows on the disk differs after each DELETE, so the hash does not depend on it.
_HASH = (
    "SELECT {}, count(*), coalesce(sum(length(one)), 0), sum(pg_catalog.hashtextextended(one, 0)::numeric) "
    "FROM (SELECT ROW(t.*)::text AS one FROM {} t LIMIT {}) rows"
)
#: Tables whose rows one question hashes.
TABLES = 100
#: Bytes of all rows of a table; hashing more takes too long after each tool.
MOST_BYTES = 1 << 24
#: Rows that are in memory at a time.
ROWS = 2000
#: Of the head of a table, and the characters of a value in it: a longer one is shown as its length, since a secret is
#: not found in a part of it.
HEAD_ROWS, HEAD_COLUMNS, LONGEST_VALUE = 10, 30, 500


def read_sqlite_tables(
    conn: sqlite3.Connection, names: Collection[str], most_rows: int
) -> dict[str, TableContent]:
    """Of those of these tables that are in the main database. Views, indexes and triggers have no content but their
    definition: what a view shows is in tables."""
    found = {}
    before = conn.text_factory
    try:
        has_objects = any(is_object(name) for name in names)
        objects = read_catalog(conn).objects if has_objects else {}
        acting = {acting_name(table): text for table, text in find_acting(objects).items()}
        for name in names:
            bare = name.partition(" ")[2] if is_object(name) else name
            texts = "'" + bare.replace("'", "''") + "'"
            if name in acting:
                found[name] = TableContent(version=join_version(acting[name]))
                continue
            conn.text_factory = str
            with suppress(sqlite3.Error, UnicodeError):
                rows = ask_rows(
                    conn,
                    f"SELECT type, sql FROM main.sqlite_master WHERE name = {texts} COLLATE NOCASE",
                )
                if not rows:
                    continue
                query = f"SELECT name FROM pragma_table_xinfo({texts}, 'main')"
                columns = [text_of(column) for (column,) in ask_rows(conn, query)]
                definition = text_of(rows[0][1])
                if text_of(rows[0][0]) != "table":
                    text = fold_definition(definition)
                    found[name] = TableContent(version=join_version(text, *columns))
                    continue
                version = _hash_sqlite_table(conn, name, definition, columns, most_rows)
                conn.text_factory = _decode
                head = read_head(partial(ask_rows, conn), name, "main." + quote(name), columns)
                found[name] = TableContent(version=version, head=head)
    finally:
        conn.text_factory = before
    return found


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _hash_sqlite_table(
    conn: sqlite3.Connection, name: str, definition: str, columns: Sequence[str], most_rows: int
) -> str | None:
    table = "main." + quote(name)
    try:
        if ask_rows(conn, f"SELECT 1 FROM {table} LIMIT 1 OFFSET {most_rows}"):
            return None
        # The sign keeps converters away, which may give values that cannot be hashed.
        shown = ", ".join("+" + quote(column) for column in columns)
        hasher = blake2b(definition.encode("utf-8", "surrogatepass"), digest_size=16)
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


def read_postgres_tables(
    ask: Ask, names: Mapping[int, str], most_rows: int, *, has_heads: bool
) -> dict[str, TableContent]:
    """Of the tables and views with these numbers. A view has no content but its definition: what it shows is in
    tables. Changes settings of the transaction."""
    found, tables = dict[str, TableContent](), dict[str, tuple[str, str, TableHead | None]]()
    for oid, table, view, columns, definitions in ask(_COLUMNS.format(", ".join(map(str, names)))):
        shown, definition = names[oid], ",".join(definitions)
        if view is not None:
            found[shown] = TableContent(version=join_version(definition, view))
            continue
        head = read_head(ask, shown, table, columns, is_sqlite=False) if has_heads else None
        tables[shown] = table, definition, head
    waiting = [*tables]
    while waiting:
        part, waiting = waiting[:TABLES], waiting[TABLES:]
        hashes = " UNION ALL ".join(
            _HASH.format(number, tables[shown][0], most_rows + 1)
            for number, shown in enumerate(part)
        )
        # Or the text of a value depends on who asks.
        for number, rows, size, total in ask(f"{SET_CONFIG}; {hashes}"):
            _, definition, head = tables[part[number]]
            is_small = rows <= most_rows and size <= MOST_BYTES
            version = join_version(definition, rows, size, total) if is_small else None
            found[part[number]] = TableContent(version=version, head=head)
    return found


def read_head(
    ask: Ask, name: str, table: str, columns: Sequence[str], *, is_sqlite: bool = True
) -> TableHead | None:
    """The first rows of the table `name`, which SQL calls `table`; None where they cannot be read. A value whose
    column has the name of a secret is hidden."""
    kept, more = columns[:HEAD_COLUMNS], columns[HEAD_COLUMNS:]
    texts = [_text_sql(quote(column), is_sqlite=is_sqlite) for column in kept]
    shown = ", ".join(f"{text} AS c{number}" for number, text in enumerate(texts)) or "1"
    try:
        rows = ask(f"SELECT {shown} FROM {table} LIMIT {HEAD_ROWS + 1}")
    except sqlite3.Error:
        return None
    hidden = [is_secret_name(column) for column in kept]
    return TableHead(
        name=name,
        columns=(*kept, *(["…"] if more else [])),
        rows=tuple(
            tuple(
                MASK if hides and value is not None else value
                for value, hides in zip(row, hidden, strict=False)
            )
            for row in rows[:HEAD_ROWS]
        ),
        has_more=len(rows) > HEAD_ROWS,
    )


def _text_sql(column: str, *, is_sqlite: bool) -> str:
    """The value as a text, or how long it is."""
    text = f"CAST({column} AS VARCHAR)"
    blob = f"WHEN typeof({column}) = 'blob' THEN '(' || length({column}) || ' bytes)' "
    return (
        f"CASE {blob if is_sqlite else ''}WHEN length({text}) > {LONGEST_VALUE} "
        f"THEN '(' || length({text}) || ' characters)' ELSE {text} END"
    )


def join_version(*parts: object) -> str:
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()
