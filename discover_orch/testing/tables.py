"""Tables with rows, made for a test on any DBAPI connection."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from discover_orch.databases.driver_transaction import find_driver_connection, find_kind
from discover_orch.model.errors import UsageError
from discover_orch.testing import DataFrame

#: The type of a column by that of its first value that is not None, as SQLite, PostgreSQL and DuckDB know it.
_TYPES: Sequence[tuple[type, str]] = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "double precision"),
    (decimal.Decimal, "numeric"),
    (datetime.datetime, "timestamp"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "interval"),
    (uuid.UUID, "uuid"),
)
Rows = Iterable[Mapping[str, object]] | DataFrame


def fill_table(conn: Any, name: str, rows: Rows) -> None:
    """Makes the table `name` hold exactly `rows`: mappings of column to value, or a data frame of pandas or polars.

    A table that exists is emptied and keeps its columns; another one is created with the columns of the rows. Raises
    UsageError where there are no columns to create it with, and for what has no rows.
    """
    columns, values = _read(name, rows)
    driver = find_driver_connection(conn)
    module = find_kind(driver)
    # A cursor of DuckDB is another connection, with transactions of its own.
    cursor = driver if module == "duckdb" else driver.cursor()
    quoted = ".".join(_quote(part) for part in name.split("."))
    if columns:
        kinds = [_type_of(values, place, module) for place in range(len(columns))]
        listed = ", ".join(
            f"{_quote(column)} {kind}" for column, kind in zip(columns, kinds, strict=True)
        )
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {quoted} ({listed})")
    try:
        cursor.execute(f"DELETE FROM {quoted}")
    except Exception as error:
        if columns:
            raise
        message = f"{name} has no rows, so its columns are not known"
        raise _error(message, "create the table first") from error
    if values:
        mark = "%s" if module == "psycopg" else "?"
        listed = ", ".join(map(_quote, columns))
        marks = ", ".join([mark] * len(columns))
        if module == "sqlite3":
            values = [tuple(map(_plain, row)) for row in values]
        cursor.executemany(f"INSERT INTO {quoted} ({listed}) VALUES ({marks})", values)


def _read(name: str, rows: Rows) -> tuple[list[str], list[tuple[object, ...]]]:
    frame: Any = rows
    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):  # a lazy one of polars
        frame = frame.collect()
    if hasattr(frame, "iter_rows"):  # polars
        return list(frame.columns), list(frame.iter_rows())
    if hasattr(frame, "itertuples"):  # pandas, where a missing value is not None
        table = frame.astype(object).where(frame.notna(), None)
        found = [tuple(map(_python_value, row)) for row in table.itertuples(index=False, name=None)]
        return list(map(str, frame.columns)), found
    hint = f'for example orch_tables({name}=[{{"id": 1}}, {{"id": 2}}])'
    if isinstance(frame, str | bytes | Mapping) or not isinstance(frame, Iterable):
        message = f"{name} must be a list of dicts or a data frame, not {type(frame).__name__}"
        raise _error(message, hint)
    listed = [*frame]
    for row in listed:
        if not isinstance(row, Mapping):
            raise _error(f"the rows of {name} must be dicts, not {type(row).__name__}", hint)
    columns = list(dict.fromkeys(column for row in listed for column in row))
    return columns, [tuple(row.get(column) for column in columns) for row in listed]


def _error(message: str, hint: str) -> UsageError:
    return UsageError.of("tables", f"orch_tables: {message}", hint)


def _python_value(value: Any) -> object:
    """Values of numpy and pandas as those of Python."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    if hasattr(value, "to_pytimedelta"):
        return value.to_pytimedelta()
    return value.item() if hasattr(value, "item") else value


def _type_of(values: Sequence[tuple[object, ...]], place: int, module: str) -> str:
    first = next((row[place] for row in values if row[place] is not None), None)
    if isinstance(first, datetime.datetime) and first.tzinfo is not None:
        return "timestamptz"
    if isinstance(first, bytes):
        return "bytea" if module == "psycopg" else "blob"
    return next((kind for known, kind in _TYPES if isinstance(first, known)), "text")


def _plain(value: object) -> object:
    """For SQLite, which has no dates and no decimal numbers."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal | uuid.UUID) else value


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
