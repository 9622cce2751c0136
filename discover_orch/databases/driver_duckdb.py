"""DuckDB: which of its methods run statements, name tables or files, and what is in a database.

Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import functools
import os
import re
import sys

from msgspec.structs import replace

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.driver import Driver
from discover_orch.databases.effect import Effect
from discover_orch.databases.sql_effects import read_statements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from discover_orch.databases.catalog import Table
    from discover_orch.databases.driver import Listener


class DuckdbDriver(Driver):
    dialect = "duckdb"
    reads_caller_variables = True

    def __init__(self) -> None:
        super().__init__()
        self._query: Any = None  # the method as it was before it was wrapped

    def _wrap_methods(self) -> None:
        duckdb = sys.modules["duckdb"]
        connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
        self._query = connection.execute
        for name in ("execute", "executemany", "sql", "query", "from_query", "query_appender"):
            is_statement = name in ("execute", "sql", "query", "from_query")
            self._wrap(connection, name, _on_query, is_statement=is_statement)
            self._wrap(duckdb, name, _on_module_query, is_statement=is_statement)
        for name in ("table", "view", "append", "appender"):
            kind = "written" if name.startswith("append") else "read"
            report = functools.partial(_on_table, kind)
            self._wrap(connection, name, report, is_statement=kind == "read")
            self._wrap(
                duckdb, name, functools.partial(_without_self, report), is_statement=kind == "read"
            )
        for name in FILE_READERS:
            report = functools.partial(_on_file, is_written=False)
            self._wrap(connection, name, report)
            self._wrap(duckdb, name, functools.partial(_without_self, report))
        for name in ("to_csv", "write_csv", "to_parquet", "write_parquet"):
            self._wrap(relation, name, functools.partial(_on_file, is_written=True))
        for name in ("create", "to_table", "create_view", "to_view"):
            self._wrap(relation, name, functools.partial(_on_table, "made"))
        self._wrap(relation, "insert_into", functools.partial(_on_table, "written"))
        for name in ("insert", "update", "query"):
            self._wrap(relation, name, _on_unknown)
        for name in ("table_function", "from_substrait", "from_substrait_json", "query_df"):
            self._wrap(connection, name, _on_unknown)
            self._wrap(duckdb, name, _on_unknown)
        for name in EXPRESSIONS:
            before = "SELECT 1 ORDER BY" if name in ("order", "sort") else "SELECT"
            self._wrap(relation, name, functools.partial(_on_expressions, before))
        for name in ("cursor", "duplicate"):
            self._wrap(connection, name, lambda listener, _: listener.on_other_connection())
        self._wrap(connection, "commit", lambda listener, conn: listener.on_commit(conn))
        self._wrap(connection, "rollback", lambda listener, *_: listener.on_statement("ROLLBACK"))

    def _rows(self, conn: Any, sql: str) -> list[tuple[Any, ...]]:
        listener, self.listener = self.listener, None
        try:
            execute = self._query or sys.modules["duckdb"].DuckDBPyConnection.execute
            rows: list[tuple[Any, ...]] = execute(conn, sql).fetchall()
        finally:
            self.listener = listener
        return rows

    def read_catalog(self, conn: Any) -> Catalog:
        [(database, schema, path)] = self._rows(
            conn, "SELECT current_database(), current_schema(), current_setting('search_path')"
        )
        if "," in path:
            raise LookupError("the search path has several schemas")
        tables: set[Table] = set()
        temporary: set[Table] = set()
        views: dict[Table, str] = {}
        for *names, is_temporary, sql in self._rows(conn, TABLES):
            table = _fold(names)
            tables.add(table)
            if is_temporary:
                temporary.add(table)
            if sql is not None:
                views[table] = sql
        active = self._rows(conn, TRIGGERS) if self._rows(conn, HAS_TRIGGERS) else []
        here = (database.lower(), schema.lower())
        catalog = Catalog(
            tables=frozenset(tables),
            temporary=frozenset(temporary),
            search_path=tuple(dict.fromkeys((("temp", "main"), here, (here[0], "main")))),
            current_schema=here,
            active=frozenset(map(_fold, active)),
            routines=frozenset(name.lower() for (name,) in self._rows(conn, ROUTINES)),
            default_schema=(here[0], "main"),
            attached={name.lower(): path or "" for name, path in self._rows(conn, DATABASES)},
            has_variables=True,
        )
        return _add_views(catalog, views)

    def find_file(self, conn: Any) -> str:
        rows = self._rows(
            conn, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        )
        path = rows[0][0] if rows else None
        return os.path.abspath(path) if path else ""


FILE_READERS = (
    "read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet",
)  # fmt: skip
#: Methods of a relation that take expressions as text; an expression can hold a query or call a function.
EXPRESSIONS = (
    *("aggregate", "apply", "filter", "group_by", "join", "order", "project", "select", "sort", "with_columns"),
    *("any_value", "avg", "count", "first", "last", "list", "max", "mean", "min", "pivot", "string_agg", "sum"),
)  # fmt: skip
TABLES = (
    "SELECT database_name, schema_name, table_name, temporary, NULL FROM duckdb_tables() WHERE NOT internal "
    "UNION ALL "
    "SELECT database_name, schema_name, view_name, temporary, sql FROM duckdb_views() WHERE NOT internal"
)
DATABASES = "SELECT database_name, path FROM duckdb_databases() WHERE NOT internal"
ROUTINES = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal"
HAS_TRIGGERS = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'duckdb_triggers'"
TRIGGERS = "SELECT DISTINCT database_name, schema_name, table_name FROM duckdb_triggers()"
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def _fold(names: Iterable[str]) -> Table:
    database, schema, name = (part.lower() for part in names)
    return database, schema, name


def _add_views(catalog: Catalog, views: Mapping[Table, str]) -> Catalog:
    """The catalog with what its views read; `views` are their CREATE statements."""
    read_with: dict[Table, tuple[Table, ...]] = {}
    files: dict[Table, tuple[str, ...]] = {}
    opaque: set[Table] = set()
    for view, text in views.items():
        effects = read_statements(text, DuckdbDriver.dialect)
        names = [name for effect in effects for name in effect.read]
        # A view looks up bare names in its own schema first.
        own = {(*view[:2], name[0]) for name in names if len(name) == 1} & catalog.tables
        read_with[view] = tuple({table for name in names if (table := catalog.find(name))} | own)
        files[view] = tuple(path for effect in effects for path in effect.files_read)
        if any(one.is_unclear or catalog.routines.intersection(one.called) for one in effects):
            opaque.add(view)
    return replace(catalog, read_with=read_with, files=files, opaque=frozenset(opaque))


def _on_query(listener: Listener, conn: object, query: Any, *_: Any, **__: Any) -> None:
    if conn is not listener.conn:
        listener.on_other_connection()
    listener.on_statement(query if isinstance(query, str) else query.query)


def _on_module_query(listener: Listener, query: Any, *_: Any, **named: Any) -> None:
    _on_query(listener, named.get("connection"), query)


def _without_self(
    report: Callable[..., None], listener: Listener, *args: Any, **named: Any
) -> None:
    report(listener, None, *args, **named)


def _on_table(kind: str, listener: Listener, owner: object, *args: Any, **named: Any) -> None:
    text = args[0] if args else next(iter(named.values()))
    name = tuple(
        (quoted or default_schema).lower() for quoted, default_schema in _PART.findall(text)
    )
    listener.on_effect(
        Effect(
            read=(name,) if kind == "read" else (),
            written=(name,) if kind == "written" else (),
            inserted=(name,) if kind == "written" else (),
            created=(name,) if kind == "made" else (),
            changes_names=kind == "made",
        )
    )


def _on_file(listener: Listener, owner: object, *args: Any, is_written: bool, **named: Any) -> None:
    given = args[0] if args else next(iter(named.values()))
    paths = given if isinstance(given, list | tuple) else [given]
    listener.on_files(
        [os.fspath(one) for one in paths if isinstance(one, str | os.PathLike)],
        is_written=is_written,
    )


def _on_unknown(listener: Listener, *_: Any, **__: Any) -> None:
    listener.on_unknown()


def _on_expressions(before: str, listener: Listener, *args: Any, **named: Any) -> None:
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            listener.on_statement(f"{before} {one}")
