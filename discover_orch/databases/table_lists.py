"""Queries for the list of tables: of the whole list, or of one name in it, as libraries ask whether a table is there.

Works on the syntax trees of sqlglot without importing it.
"""

from __future__ import annotations

from discover_orch.databases.effect import Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Tables and functions of PostgreSQL and DuckDB with a row for each table; bare, or in one of these schemas.
_LISTS = frozenset(
    {"pg_class", "pg_tables", "pg_views", "pg_matviews", "sqlite_master", "sqlite_schema"}
    | {"duckdb_tables", "duckdb_views", "duckdb_columns", "pragma_show_tables"}
)
_STANDARD = "information_schema"
_STANDARD_LISTS = frozenset({"tables", "views", "columns"})
#: The columns of these tables that hold the name and the schema of a table.
_NAMES = frozenset(
    {
        "relname",
        "tablename",
        "viewname",
        "matviewname",
        "table_name",
        "view_name",
        "tbl_name",
        "name",
    }
)
_SCHEMAS = frozenset({"nspname", "schemaname", "table_schema", "schema_name"})


def is_list_of_tables(name: Name) -> bool:
    if len(name) > 1 and name[-2] == _STANDARD:
        return name[-1] in _STANDARD_LISTS
    return name[-1] in _LISTS


def find_asked_name(table: Any, exp: Any) -> Name:
    """The one name that the query around a list of tables asks for; () where it may read more."""
    query = table.find_ancestor(exp.Select)
    where = query.args.get("where") if query is not None else None
    if where is None:
        return ()
    name: Name = ()
    schema: Name = ()
    for column, text in _find_equalities(where.this, exp):
        if column in _NAMES:
            name = (text,)
        elif column in _SCHEMAS:
            schema = (text,)
    return (*schema, *name) if name else ()


def _find_equalities(condition: Any, exp: Any) -> Iterator[tuple[str, str]]:
    """The (column, text) pairs of which each must be equal for a row to be found."""
    waiting = [condition]
    while waiting:
        one = waiting.pop()
        if isinstance(one, exp.Paren):
            waiting.append(one.this)
        elif isinstance(one, exp.And):
            waiting += [one.this, one.expression]
        elif isinstance(one, exp.EQ):
            column, value = one.this, one.expression
            if isinstance(value, exp.Cast):
                value = value.this
            if isinstance(column, exp.Cast):
                column = column.this
            if isinstance(column, exp.Column) and value.is_string:
                yield column.name.lower(), value.name
