"""What is in one DuckDB database, and what names mean there.

Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from discover_orch.databases.driver_transaction import ask_duckdb
from discover_orch.model.keys import acting_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: (database, schema, name), in small letters. Before the name of what is no table and no view stands its kind, as in
#: "macro total".
Table = tuple[str, str, str]
ACTING = acting_name("")
THINGS = (
    "SELECT database_name, schema_name, '', table_name, table_oid, sql FROM duckdb_tables() WHERE NOT internal "
    "UNION ALL SELECT database_name, schema_name, 'view', view_name, view_oid, sql FROM duckdb_views() "
    "WHERE NOT internal "
    "UNION ALL SELECT database_name, schema_name, 'index ', index_name, index_oid, sql FROM duckdb_indexes() "
    f"UNION ALL SELECT database_name, schema_name, '{ACTING}', table_name, 0, string_agg(sql ORDER BY sql) "
    "FROM duckdb_indexes() WHERE is_unique GROUP BY ALL "
    "UNION ALL SELECT database_name, schema_name, 'sequence ', sequence_name, sequence_oid, "
    "concat_ws(' ', start_value, min_value, max_value, increment_by, cycle) FROM duckdb_sequences() "
    "UNION ALL SELECT database_name, schema_name, 'type ', type_name, type_oid, labels::VARCHAR "
    "FROM duckdb_types() WHERE NOT internal"
)
#: Takes several times as long as all others.
MACROS = (
    "SELECT database_name, schema_name, 'macro ', function_name, max(function_oid), "
    "string_agg(concat_ws(' ', parameters, macro_definition), '; ' ORDER BY len(parameters)) "
    "FROM duckdb_functions() WHERE NOT internal AND macro_definition IS NOT NULL GROUP BY ALL"
)
HERE = "SELECT current_database(), current_schema(), current_setting('search_path')"
FILE = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
DATABASES = "SELECT database_name, path FROM duckdb_databases() WHERE NOT internal"
_KIND = re.compile(rf"(?:index|sequence|type|macro) |{ACTING}|")
_WORD = re.compile(r'"((?:[^"]|"")+)"|([\w$]+)')
_CALLED = re.compile(r'(?:"((?:[^"]|"")+)"|([\w$]+))\s*\(')


class Catalog(Struct, frozen=True, kw_only=True):
    """What is in one database at one moment.

    - `things` have a number, another one when they are made anew, and a definition. `tables` and `views` are some.
    - A bare name is looked up in the (database, schema) pairs of `path`, in this order. Things of `default` are shown
      by their bare name.
    - `by_word` has what a word may mean that has a text of its own: views, macros, sequences, types.
    - `attached`: the databases of the connection, with the path of their file; "" for one in memory.
    """

    things: Mapping[Table, tuple[int, str]] = {}
    tables: Collection[Table] = ()
    views: Collection[Table] = ()
    by_word: Mapping[str, list[Table]] = {}
    path: tuple[tuple[str, str], ...] = (("temp", "main"), ("", "main"))
    default: tuple[str, str] = ("", "")
    attached: Mapping[str, str] = {}
    has_macros: bool = False

    def find(self, written: str, kind: str = "") -> Table:
        """The thing of this name, or the one that a CREATE would make."""
        *outer, last = [_word(found) for found in _WORD.finditer(written)]
        last = kind + last
        match outer:
            case []:
                given = [(database, schema, last) for database, schema in self.path]
                made = given[1]
            case [one]:  # a schema, or a database
                made = (self.default[0], one, last)
                given = [made, (one, "main", last)]
            case _:
                made = (outer[-2], outer[-1], last)
                given = [made]
        return next((one for one in given if one in self.things), made)

    def find_tables(self, words: Collection[str]) -> frozenset[Table]:
        """The tables that these words may mean: those in other schemas are named with them."""
        found = (one for one in self.things if one[2] in words)
        return frozenset(one for one in found if one[:2] in self.path or one[1] in words)

    def find_used(self, text: str) -> Iterator[Table]:
        """What a text may mean of `by_word`."""
        called = {_word(found) for found in _CALLED.finditer(text)}
        for word in find_words(text) & self.by_word.keys():
            for one in self.by_word[word]:
                if word in called or not one[2].startswith("macro "):
                    yield one


def read_catalog(conn: Any, before: Catalog | None) -> Catalog:
    """What is there now, as this connection sees it; raises whatever DuckDB raises. `before` has the same macros."""
    [(database, schema, path)] = ask_duckdb(conn, HERE)
    rows = ask_duckdb(conn, THINGS) + ([] if before else ask_duckdb(conn, MACROS))
    known = before.things.items() if before else ()
    things = {one: row for one, row in known if one[2].startswith("macro ")}
    kinds: dict[str, set[Table]] = {}
    for base, outer, kind, name, number, text in rows:
        table = (base.lower(), outer.lower(), kind.removeprefix("view") + name.lower())
        things[table] = (number, text or "")
        kinds.setdefault(kind, set()).add(table)
    tables, views = kinds.get("", set()), kinds.get("view", set())
    by_word: dict[str, list[Table]] = {}
    for one in things.keys() - tables - kinds.get("index ", set()) - kinds.get(ACTING, set()):
        word = one[2] if one in views else one[2].partition(" ")[2]
        by_word.setdefault(word, []).append(one)
    here = (database.lower(), schema.lower())
    more = [[_word(found) for found in _WORD.finditer(one)] for one in path.split(",")]
    pairs = [(here[0], *one)[-2:] for one in more if one]
    return Catalog(
        things=things,
        tables=tables,
        views=views,
        by_word=by_word,
        path=tuple(dict.fromkeys((("temp", "main"), here, *pairs, (here[0], "main")))),
        default=(here[0], "main"),
        has_macros=any(one[2].startswith("macro ") for one in things),
        attached={name.lower(): file or "" for name, file in ask_duckdb(conn, DATABASES)},
    )


def display_name(table: Table, default: tuple[str, str]) -> str:
    """The name as it is shown and remembered: without the parts of the default schema."""
    database, schema, name = table
    if (database, schema) == default:
        return name
    kind = _KIND.match(name)
    shown = kind[0] if kind else ""
    outer = schema if database == default[0] else f"{database}.{schema}"
    return f"{shown}{outer}.{name.removeprefix(shown)}"


def find_file(conn: Any) -> str:
    """The absolute path of the database file; "" where there is none. Raises what DuckDB raises."""
    [(path,)] = ask_duckdb(conn, FILE)
    return os.path.abspath(path) if path else ""


def find_words(text: str) -> set[str]:
    """The words of a statement, in its strings too, in small letters."""
    return {_word(found) for found in _WORD.finditer(text)}


def _word(found: re.Match[str]) -> str:
    return (found[1] or found[2]).replace('""', '"').lower()
