"""What a table contains: its first rows, which reports show, and a hash, so that a table that is made again with the
same rows counts as the same.

Only small tables have a hash, their version. A probe reads at most one row more than that, since `count(*)` reads
all. The hash is over the definition of the table and its rows.
"""

from __future__ import annotations

import marshal
import sqlite3
from contextlib import suppress

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
from discover_orch.model.parameter import MASK, is_secret_name
from discover_orch.model.table_keys import acting_name, is_object
from discover_orch.model.tool_events import TableHead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    Ask = Callable[[str], list[tuple[Any, ...]]]

#: Sets, for the transaction, what the text of a value depends on.
_SET_CONFIG = [
    f"set_config('{name}', '{value}', true)"
    for name, value in (
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("extra_float_digits", "1"),
        ("bytea_output", "hex"),
    )
]
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
                head = read_head(
                    lambda sql: ask_rows(conn, sql), name, "main." + quote(name), columns
                )
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
    ask: Ask, tables: Mapping[str, int], most_rows: int
) -> dict[str, TableContent]:
    """Of the tables with these numbers, whose names are safe to use as the server quotes them. Changes settings of the
    transaction."""
    heads = {shown: _read_postgres_head(ask, shown, oid) for shown, oid in tables.items()}
    ask(f"SELECT {', '.join(_SET_CONFIG)}")  # or the text of a value depends on who asks
    return {
        shown: TableContent(
            version=_hash_postgres_table(ask, table, definition, most_rows), head=head
        )
        for shown, (table, definition, head) in heads.items()
    }


def read_postgres_view(ask: Ask, oid: int) -> TableContent:
    """A view has no content but its definition: what it shows is in tables."""
    _, definition = _read_postgres_columns(ask, oid)
    [[query]] = ask(f"SELECT pg_catalog.pg_get_viewdef({oid})")
    return TableContent(version=join_version(",".join(one[2] for one in definition), query))


def _read_postgres_head(ask: Ask, shown: str, oid: int) -> tuple[str, str, TableHead | None]:
    """The name of the table in SQL, its definition and its first rows."""
    table, columns = _read_postgres_columns(ask, oid)
    definition = ",".join(one[2] for one in columns)
    head = read_head(ask, shown, table, [one[1] for one in columns], is_sqlite=False)
    return table, definition, head


def _read_postgres_columns(ask: Ask, oid: int) -> tuple[str, list[tuple[Any, ...]]]:
    """(the name of the table in SQL; of each column that again, its name and its definition)."""
    columns = ask(
        f"SELECT {oid}::regclass::text, attname, attname || ' ' || format_type(atttypid, atttypmod) "
        "|| attnotnull::text FROM pg_catalog.pg_attribute "
        f"WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    table = columns[0][0] if columns else ask(f"SELECT {oid}::regclass::text")[0][0]
    return table, columns


def _hash_postgres_table(ask: Ask, name: str, definition: str, most_rows: int) -> str | None:
    # The order of rows on the disk differs after each DELETE, so the hash does not depend on it.
    [[rows, size, total]] = ask(
        "SELECT count(*), coalesce(sum(length(one)), 0), sum(pg_catalog.hashtextextended(one, 0)::numeric) "
        f"FROM (SELECT ROW(t.*)::text AS one FROM {name} t LIMIT {most_rows + 1}) rows"
    )
    if rows > most_rows or size > MOST_BYTES:
        return None
    return join_version(definition, rows, size, total)


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
