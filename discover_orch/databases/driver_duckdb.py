"""DuckDB: how statements that a tool sends are heard, methods that do the same, and what there is in a database.

In: a connection. Out: texts, what is named without one, files, and a `Catalog`. Imports nothing of DuckDB: whoever
has a connection has it.
"""

from __future__ import annotations

import functools
import os
import re
import sys

from msgspec.structs import replace

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.driver import Driver
from discover_orch.databases.sql_effects import Effect, read_statements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from discover_orch.databases.catalog import Table
    from discover_orch.databases.driver import Note


class Duckdb(Driver):
    dialect = "duckdb"
    looks_at_callers = True

    def __init__(self) -> None:
        super().__init__()
        self._query: Any = None  # past what is heard

    def _wrap_all(self) -> None:
        duckdb = sys.modules["duckdb"]
        connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
        self._query = connection.execute
        for name in ("execute", "executemany", "sql", "query", "from_query", "query_appender"):
            self._wrap(connection, name, _hear_query)
            self._wrap(duckdb, name, _hear_query_of_module)
        for name in ("table", "view", "append", "appender"):
            kind = "written" if name.startswith("append") else "read"
            hear = functools.partial(_hear_table, kind)
            self._wrap(connection, name, hear)
            self._wrap(duckdb, name, functools.partial(_without_self, hear))
        for name in FILE_READERS:
            hear = functools.partial(_hear_file, is_written=False)
            self._wrap(connection, name, hear)
            self._wrap(duckdb, name, functools.partial(_without_self, hear))
        for name in ("to_csv", "write_csv", "to_parquet", "write_parquet"):
            self._wrap(relation, name, functools.partial(_hear_file, is_written=True))
        for name in ("create", "to_table", "create_view", "to_view"):
            self._wrap(relation, name, functools.partial(_hear_table, "made"))
        self._wrap(relation, "insert_into", functools.partial(_hear_table, "written"))
        for name in ("insert", "update", "query"):
            self._wrap(relation, name, _hear_stranger)
        for name in ("table_function", "from_substrait", "from_substrait_json", "query_df"):
            self._wrap(connection, name, _hear_stranger)
            self._wrap(duckdb, name, _hear_stranger)
        for name in EXPRESSIONS:
            before = "SELECT 1 ORDER BY" if name in ("order", "sort") else "SELECT"
            self._wrap(relation, name, functools.partial(_hear_expressions, before))
        self._wrap(connection, "commit", lambda note, *_: note.commit())
        self._wrap(connection, "rollback", lambda note, *_: note.text("ROLLBACK"))

    def _rows(self, conn: Any, sql: str) -> list[tuple[Any, ...]]:
        note, self.note = self.note, None
        try:
            execute = self._query or sys.modules["duckdb"].DuckDBPyConnection.execute
            rows: list[tuple[Any, ...]] = execute(conn, sql).fetchall()
        finally:
            self.note = note
        return rows

    def ask(self, conn: Any) -> Catalog:
        [(database, schema, path)] = self._rows(
            conn, "SELECT current_database(), current_schema(), current_setting('search_path')"
        )
        if "," in path:
            raise LookupError("names are looked up in several schemas")
        tables: set[Table] = set()
        temporary: set[Table] = set()
        made_of: dict[Table, str] = {}
        for base, place, name, is_temporary, sql in self._rows(
            conn,
            "SELECT database_name, schema_name, table_name, temporary, NULL FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL "
            "SELECT database_name, schema_name, view_name, temporary, sql FROM duckdb_views() WHERE NOT internal",
        ):
            table = (base.lower(), place.lower(), name.lower())
            tables.add(table)
            if is_temporary:
                temporary.add(table)
            if sql is not None:
                made_of[table] = sql
        routines = self._rows(
            conn, "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal"
        )
        has_triggers = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'duckdb_triggers'"
        active = self._rows(conn, TRIGGERS) if self._rows(conn, has_triggers) else []
        here = (database.lower(), schema.lower())
        catalog = Catalog(
            tables=frozenset(tables),
            temporary=frozenset(temporary),
            places=tuple(dict.fromkeys((("temp", "main"), here, (here[0], "main")))),
            here=here,
            active=frozenset(
                (base.lower(), place.lower(), name.lower()) for base, place, name in active
            ),
            routines=frozenset(name.lower() for (name,) in routines),
            plain=(here[0], "main"),
            has_variables=True,
        )
        within: dict[Table, tuple[Table, ...]] = {}
        files: dict[Table, tuple[str, ...]] = {}
        opaque: set[Table] = set()
        for view, text in made_of.items():
            effects = read_statements(text, self.dialect)
            names = [name for one in effects for name in one.read]
            # In its own schema, if it says no other.
            beside = {(*view[:2], name[0]) for name in names if len(name) == 1} & tables
            found = {one for name in names if (one := catalog.find(name))}
            within[view] = tuple(found | beside)
            files[view] = tuple(path for one in effects for path in one.files_read)
            if any(one.is_unclear or catalog.routines.intersection(one.called) for one in effects):
                opaque.add(view)
        return replace(catalog, within=within, files=files, opaque=frozenset(opaque))

    def find_file(self, conn: Any) -> str:
        rows = self._rows(
            conn, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        )
        path = rows[0][0] if rows else None
        return os.path.abspath(path) if path else ""


FILE_READERS = (
    "read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet",
)  # fmt: skip
#: Methods of a relation that take expressions as text, in which a query or a function can stand.
EXPRESSIONS = (
    *("aggregate", "apply", "filter", "group_by", "join", "order", "project", "select", "sort", "with_columns"),
    *("any_value", "avg", "count", "first", "last", "list", "max", "mean", "min", "pivot", "string_agg", "sum"),
)  # fmt: skip
TRIGGERS = "SELECT DISTINCT database_name, schema_name, table_name FROM duckdb_triggers()"
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def _hear_query(note: Note, conn: object, query: Any, *_: Any, **__: Any) -> None:
    if conn is not note.conn:
        note.aside()
    note.text(query if isinstance(query, str) else query.query)


def _hear_query_of_module(note: Note, query: Any, *_: Any, **named: Any) -> None:
    _hear_query(note, named.get("connection"), query)


def _without_self(hear: Callable[..., None], note: Note, *args: Any, **named: Any) -> None:
    hear(note, None, *args, **named)


def _hear_table(kind: str, note: Note, owner: object, *args: Any, **named: Any) -> None:
    text = args[0] if args else next(iter(named.values()))
    name = tuple((quoted or plain).lower() for quoted, plain in _PART.findall(text))
    note.effect(
        Effect(
            read=(name,) if kind == "read" else (),
            written=(name,) if kind == "written" else (),
            made=(name,) if kind == "made" else (),
            changes_names=kind == "made",
        )
    )


def _hear_file(note: Note, owner: object, *args: Any, is_written: bool, **named: Any) -> None:
    given = args[0] if args else next(iter(named.values()))
    paths = given if isinstance(given, list | tuple) else [given]
    note.files(
        [os.fspath(one) for one in paths if isinstance(one, str | os.PathLike)],
        is_written=is_written,
    )


def _hear_stranger(note: Note, *_: Any, **__: Any) -> None:
    note.stranger()


def _hear_expressions(before: str, note: Note, *args: Any, **named: Any) -> None:
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            note.text(f"{before} {one}")
