"""DuckDB: which of its methods run statements, name tables or files, and what is in a database.

Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from contextlib import suppress

from msgspec.structs import replace

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.effect import Effect
from discover_orch.databases.sql_effects import read_statements
from discover_orch.databases.statement_log import StatementLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from discover_orch.databases.catalog import Table


#: DuckDB's ATTACH: the name of the file, and what follows it.
_ATTACH = re.compile(
    r"(?:\A|;)(?:\s|--[^\n]*\n)*attach\s+(?:or\s+replace\s+)?(?:database\s+)?(?:if\s+not\s+exists\s+)?"
    r"(?:'((?:[^']|'')*)')?([^;]*)",
    re.I,
)
_FOREIGN_TYPE = re.compile(r"\btype\s+(?!'?(?:duckdb|sqlite)\b)", re.I)


class DuckdbLog(StatementLog):
    dialect = "duckdb"
    reads_caller_variables = True

    def on_statement(self, text: str, /) -> None:
        for found in _ATTACH.finditer(text):
            self._note_attach(_read_attached(found))
        super().on_statement(text)

    @classmethod
    def wrap_methods(cls) -> None:
        duckdb = sys.modules["duckdb"]
        connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
        for name in ("execute", "executemany", "sql", "query", "from_query", "query_appender"):
            is_statement = name in ("execute", "sql", "query", "from_query")
            cls._wrap_both(name, _on_query, is_statement=is_statement)
        for name in ("table", "view"):
            cls._wrap_both(name, functools.partial(_on_table, "read"), is_statement=True)
        for name in ("append", "appender"):
            cls._wrap_both(name, functools.partial(_on_table, "written"))
        for name in FILE_READERS:
            cls._wrap_both(name, functools.partial(_on_file, is_written=False))
        for name in ("to_csv", "write_csv", "to_parquet", "write_parquet"):
            cls.wrap(relation, name, functools.partial(_on_file, is_written=True))
        for name in ("create", "to_table", "create_view", "to_view"):
            cls.wrap(relation, name, functools.partial(_on_table, "made"))
        cls.wrap(relation, "insert_into", functools.partial(_on_table, "written"))
        for name in ("insert", "update", "query"):
            cls.wrap(relation, name, _on_unknown)
        for name in ("table_function", "from_substrait", "from_substrait_json", "query_df"):
            cls._wrap_both(name, _on_unknown)
        for name in EXPRESSIONS:
            before = "SELECT 1 ORDER BY" if name in ("order", "sort") else "SELECT"
            cls.wrap(relation, name, functools.partial(_on_expressions, before))
        for name in ("cursor", "duplicate"):
            cls.wrap(connection, name, _on_other_connection)
        cls.wrap(connection, "commit", lambda log, conn: log.on_commit(conn))
        cls.wrap(connection, "rollback", lambda log, *_: log.on_statement("ROLLBACK"))

    @classmethod
    def _wrap_both(
        cls, name: str, report: Callable[..., None], *, is_statement: bool = False
    ) -> None:
        """The method of a connection, and the function of the same name for the default one."""
        duckdb = sys.modules["duckdb"]
        cls.wrap(duckdb.DuckDBPyConnection, name, report, is_statement=is_statement)

        def report_function(log: StatementLog, *args: Any, **named: Any) -> None:
            report(log, named.get("connection"), *args, **named)

        cls.wrap(duckdb, name, report_function, is_statement=is_statement)

    @classmethod
    def read_catalog(cls, conn: Any) -> Catalog:
        [(database, schema, path)] = _ask(
            conn, "SELECT current_database(), current_schema(), current_setting('search_path')"
        )
        if "," in path:
            raise LookupError("the search path has several schemas")
        tables: set[Table] = set()
        temporary: set[Table] = set()
        views: dict[Table, str] = {}
        for *names, is_temporary, sql in _ask(conn, TABLES):
            table = _fold(names)
            tables.add(table)
            if is_temporary:
                temporary.add(table)
            if sql is not None:
                views[table] = sql
        active = _ask(conn, TRIGGERS) if _ask(conn, HAS_TRIGGERS) else []
        here = (database.lower(), schema.lower())
        catalog = Catalog(
            tables=frozenset(tables),
            temporary=frozenset(temporary),
            search_path=tuple(dict.fromkeys((("temp", "main"), here, (here[0], "main")))),
            current_schema=here,
            active=frozenset(map(_fold, active)),
            routines=frozenset(name.lower() for (name,) in _ask(conn, ROUTINES)),
            default_schema=(here[0], "main"),
            attached={name.lower(): path or "" for name, path in _ask(conn, DATABASES)},
            has_variables=True,
        )
        return _add_views(catalog, views)

    @classmethod
    def find_file(cls, conn: Any) -> str:
        with suppress(Exception):
            rows = _ask(
                conn, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
            )
            return os.path.abspath(rows[0][0]) if rows and rows[0][0] else ""
        return ""


def _ask(conn: Any, sql: str) -> list[tuple[Any, ...]]:
    """Past the log: this is no statement of the tool."""
    execute = sys.modules["duckdb"].DuckDBPyConnection.execute
    rows: list[tuple[Any, ...]] = getattr(execute, "__wrapped__", execute)(conn, sql).fetchall()
    return rows


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
        effects = read_statements(text, DuckdbLog.dialect)
        names = [name for effect in effects for name in effect.read]
        # A view looks up bare names in its own schema first.
        own = {(*view[:2], name[0]) for name in names if len(name) == 1} & catalog.tables
        read_with[view] = tuple({table for name in names if (table := catalog.find(name))} | own)
        files[view] = tuple(path for effect in effects for path in effect.files_read)
        if any(one.is_unclear or catalog.routines.intersection(one.called) for one in effects):
            opaque.add(view)
    return replace(catalog, read_with=read_with, files=files, opaque=frozenset(opaque))


def _on_query(log: StatementLog, conn: object, query: Any, *_: Any, **__: Any) -> None:
    if conn is not log.conn:
        log.uses_other_connection = True
    log.on_statement(query if isinstance(query, str) else query.query)


def _on_other_connection(log: StatementLog, _: object) -> None:
    log.uses_other_connection = True


def _on_table(kind: str, log: StatementLog, owner: object, *args: Any, **named: Any) -> None:
    text = args[0] if args else next(iter(named.values()))
    name = tuple(
        (quoted or default_schema).lower() for quoted, default_schema in _PART.findall(text)
    )
    log.on_effect(
        Effect(
            read=(name,) if kind == "read" else (),
            written=(name,) if kind == "written" else (),
            inserted=(name,) if kind == "written" else (),
            created=(name,) if kind == "made" else (),
            changes_names=kind == "made",
        )
    )


def _on_file(log: StatementLog, owner: object, *args: Any, is_written: bool, **named: Any) -> None:
    given = args[0] if args else next(iter(named.values()))
    paths = given if isinstance(given, list | tuple) else [given]
    log.on_files(
        [os.fspath(one) for one in paths if isinstance(one, str | os.PathLike)],
        is_written=is_written,
    )


def _on_unknown(log: StatementLog, *_: Any, **__: Any) -> None:
    log.on_unknown()


def _on_expressions(before: str, log: StatementLog, *args: Any, **named: Any) -> None:
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            log.on_statement(f"{before} {one}")


def _read_attached(found: re.Match[str]) -> str | None:
    """The name of the file that DuckDB attaches; None for a server, or one that the text does not tell."""
    name: str | None = found[1]
    if name is None or _FOREIGN_TYPE.search(found[2]):
        return None
    is_elsewhere = name != ":memory:" and re.match(r"[a-z]\w+:", name, re.I)
    return None if is_elsewhere else name.replace("''", "'")
