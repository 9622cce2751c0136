"""The rows of tables by the value of a column: those of one item of a tool with `"column"`. Their version is a hash,
so that a change of other rows does not count; and those of an item that is no more can be deleted.

Only small tables have such versions. Values are compared as the database compares them with the column.
"""

from __future__ import annotations

from contextlib import suppress

from discover_orch.databases.sqlite_calls import quote
from discover_orch.databases.table_content import join_version
from discover_orch.model.keys import Rows, read_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from discover_orch.databases.database import Database

#: Values in one question; each is a part of a compound query, of which SQLite allows 500
#: (https://sqlite.org/limits.html).
_VALUES = 400


def find_written_rows(
    database: Database, tables: Collection[str], column: str, value: str, most_rows: int
) -> dict[str, str]:
    """Which rows an item with this value has written that wrote these tables, by name, with their versions, "" where
    they have none: the table is large, or has no such rows. Tables without the column are left out."""
    there = database.find_removable() if tables else {}
    found = {}
    for name in tables:
        kind, table = there.get(name, ("", ""))
        type = database.find_type(table, column) if kind == "TABLE" else None
        rows = Rows(name, column, value)
        if type is not None and read_rows(rows.name) == rows:
            versions = _read_versions(database, table, column, type, [value], most_rows)
            found[rows.name] = versions.get(value, "")
    return found


def read_versions(database: Database, names: Iterable[str], most_rows: int) -> dict[str, str]:
    """The versions of these rows, by name; of rows that are not there any more too."""
    groups: dict[tuple[str, str], list[str]] = {}
    for rows in map(read_rows, names):
        if rows is not None:
            groups.setdefault((rows.table, rows.column), []).append(rows.value)
    there = database.find_removable() if groups else {}
    found = {}
    for (name, column), values in groups.items():
        kind, table = there.get(name, ("", ""))
        type = database.find_type(table, column) if kind == "TABLE" else None
        if type is None:
            continue
        versions = _read_versions(database, table, column, type, values, most_rows)
        is_small = bool(versions) or _is_small(database, table, most_rows)
        for value in values if is_small else ():
            found[Rows(name, column, value).name] = versions.get(value, join_version(0))
    return found


def delete_rows(database: Database, names: Iterable[str]) -> None:
    """Deletes these rows. Raises what the database raises."""
    there = database.find_removable()
    for rows in map(read_rows, names):
        if rows is not None and rows.table in there:
            table = there[rows.table][1]
            type = database.find_type(table, rows.column)
            if type is not None:
                condition = _compare(rows.column, type, "?")
                database.change(f"DELETE FROM {table} AS t WHERE {condition}", rows.value)


def _compare(column: str, type: str, value: str) -> str:
    cast = f"CAST({value} AS {type})" if type else value
    return f"t.{quote(column)} = {cast}"


def _is_small(database: Database, table: str, most_rows: int) -> bool:
    return not database.ask(f"SELECT 1 FROM {table} LIMIT 1 OFFSET {most_rows}")


def _read_versions(
    database: Database,
    table: str,
    column: str,
    type: str,
    values: Sequence[str],
    most_rows: int,
) -> dict[str, str]:
    """By value; without those of which there are no rows. Of a large table there are none."""
    found: dict[str, str] = {}
    if not _is_small(database, table, most_rows):
        return found
    condition = _compare(column, type, "v.value")
    for start in range(0, len(values), _VALUES):
        part = values[start : start + _VALUES]
        wanted = " UNION ALL ".join(
            f"SELECT {number} AS n, CAST(? AS TEXT) AS value" for number in range(len(part))
        )
        source = f"FROM ({wanted}) v JOIN {table} t ON {condition}"
        with suppress(Exception):  # a value that is none of the type of the column
            for number, *version in database.hash_rows(table, source, part):
                found[part[int(number)]] = join_version(*version)
    return found
