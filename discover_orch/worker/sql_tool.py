"""Runs the statements of a `.sql` file on `conn`, as if they were the lines of a `run(conn)` in that file.

Each statement is called from a frame with the name and the line of the file, so errors, and what is observed, have the
place that they have in Python. Parameters are bound in the style of the driver, and never written into the text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial

from discover_orch.databases.driver_transaction import find_driver_connection, find_kind
from discover_orch.model.sql_text import Statement, UnreadableSql, split_statements
from discover_orch.worker.loader import ImportProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_SHOWN = 20  # rows
LONGEST_SHOWN = 40  # characters of a value
_AT_ONCE = 1000  # rows that are fetched
#: DuckDB gives a row for each statement: the number of rows that it has changed.
_CHANGES = re.compile(r"(?:INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|ALTER|COPY|SET|TRUNCATE)\b", re.I)
_CHANGES_WITH = re.compile(r"WITH\b.*\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.I | re.S)
_NAMED_BY_PARAMETER = re.compile(
    r"(?:\b(?:FROM|JOIN|INTO|TABLE|UPDATE|VIEW|INDEX)\s+|\w|\.):[^\W\d]\w*", re.I
)
NOT_A_NAME = (
    "hint: a parameter is a value and cannot be in the name of a table or column: write the name"
)


class SqlProblem(ImportProblem):
    """The tool cannot run, for a reason that no traceback shows."""


def load_sql(root: str, path: str) -> SqlTool:
    """The tool in a file below the root."""
    full = os.path.join(root, path)
    with open(
        os.open(full, os.O_RDONLY), "rb"
    ) as file:  # `audit_hook` does not count what orch opens so
        source = file.read()
    try:
        return SqlTool(full, source, split_statements(source.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise SqlProblem(f"{path} is not UTF-8", "save it as UTF-8") from None
    except UnreadableSql as error:
        raise SqlProblem(f"{path}:{error.line}: {error}", error.hint) from None


class SqlTool:
    """A tool in SQL, with a `run` as a module has it. `source` is the text of its file."""

    def __init__(self, path: str, source: bytes, statements: list[Statement]) -> None:
        self.path, self.source = path, source
        self._statements = [one for one in statements if not one.check]
        for one in statements:
            if one.check:
                setattr(self, one.check, partial(self._select, one))

    def _select(self, check: Statement, conn: Any, **given: Any) -> Rows | None:
        """The rows that violate a check."""
        execute = _choose_driver(find_driver_connection(conn))
        return _call_at(self.path, check.line, _Step(execute, check, given))

    def run(self, conn: Any, **given: Any) -> dict[str, int] | None:
        """The number of rows of a last statement that gives rows, which are printed. A parameter without a value is
        NULL."""
        execute = _choose_driver(find_driver_connection(conn))
        rows: Rows | None = None
        for statement in self._statements:
            rows = _call_at(self.path, statement.line, _Step(execute, statement, given))
        if rows is None:
            return None
        print(rows.table())
        return {"rows": rows.number}


def _call_at(path: str, line: int, step: Callable[[], Rows | None]) -> Rows | None:
    """Calls it from a frame in this line of the file. Tracebacks show the line, and mark no part of it."""
    code = compile("step()", path, "eval")
    words = len(code.co_code) // 2
    # Entries without columns, each for up to eight words of the code, all in the first line.
    table = b"".join(
        bytes((0x80 | 13 << 3 | min(words - start, 8) - 1, 0)) for start in range(0, words, 8)
    )
    code = code.replace(co_name="run", co_firstlineno=line, co_linetable=table)
    found: Rows | None = eval(code, {"step": step})
    return found


class Rows:
    """The first rows of a result, and how many there are. A check returns it: to that it is as a data frame."""

    def __init__(self, names: Iterable[str], fetch: Callable[[int], list[Any]]) -> None:
        self.columns = [*names]
        self._first: list[Any] = []
        self.number = 0
        while found := fetch(_AT_ONCE):
            self._first += found[: max(0, MOST_SHOWN - self.number)]
            self.number += len(found)

    def __len__(self) -> int:
        return self.number

    def head(self, _: int) -> Rows:
        return self

    def rows(self) -> list[Any]:
        return self._first

    def table(self) -> str:
        shown = [[_show(one) for one in row] for row in (self.columns, *self._first)]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in shown
        ]
        left = self.number - len(lines) + 1
        lines += [f"... and {left:,} more rows"] if left else [] if self.number else ["(no rows)"]
        return "\n".join(lines)


class _Step:
    """One statement with the values of its parameters."""

    def __init__(self, execute: Execute, statement: Statement, values: dict[str, Any]) -> None:
        self._execute, self._statement = execute, statement
        self._values = {name: values.get(name) for name in statement.parameters}

    def __call__(self) -> Rows | None:
        try:
            return self._execute(self._statement, self._values)
        except Exception as error:
            is_syntax = "syntax error" in str(error).lower()
            if is_syntax and _NAMED_BY_PARAMETER.search(self._statement.bare):
                error.add_note(NOT_A_NAME)
            raise


Execute = Callable[[Statement, "dict[str, Any]"], Rows | None]


def _choose_driver(conn: Any) -> Execute:
    match find_kind(conn):
        case "sqlite3":
            return lambda statement, values: _run_on_sqlite(conn, statement, values)
        case "psycopg":
            return lambda statement, values: _run_on_postgres(conn, statement, values)
        case "duckdb":
            return lambda statement, values: _run_on_duckdb(conn, statement, values)
    kind = type(conn)
    shown = "None" if conn is None else f"{kind.__module__}.{kind.__qualname__}"
    raise SqlProblem(
        f"conn is {shown}, and .sql files run on SQLite, psycopg and DuckDB",
        "return such a connection from get_connection(), or write the tool in Python",
    )


def _run_on_sqlite(conn: Any, statement: Statement, values: dict[str, Any]) -> Rows | None:
    cursor = conn.cursor()
    cursor.row_factory = None
    cursor.execute(
        statement.write(lambda name: f":{name}"),
        {name: _adapt(value, is_sqlite=True) for name, value in values.items()},
    )
    return _read_rows(cursor)


def _run_on_postgres(conn: Any, statement: Statement, values: dict[str, Any]) -> Rows | None:
    import psycopg

    text = _in_its_line(
        statement,
        lambda name: f"%({name})s",
        (lambda other: other.replace("%", "%%")) if values else str,
    )
    bound = {name: _adapt(value) for name, value in values.items()}
    with psycopg.Cursor(conn) as cursor:
        return _read_rows(cursor.execute(text.encode(), bound or None))


def _run_on_duckdb(conn: Any, statement: Statement, values: dict[str, Any]) -> Rows | None:
    text = _in_its_line(statement, lambda name: f"${name}")
    done = conn.execute(text, {name: _adapt(value) for name, value in values.items()} or None)
    bare = statement.bare
    if _CHANGES.match(bare) or _CHANGES_WITH.match(bare):
        return None
    return _read_rows(done)


def _in_its_line(statement: Statement, *how: Callable[[str], str]) -> str:
    """The text behind as many empty lines as stand before it in the file: the database counts them in its errors."""
    return "\n" * (statement.line - 1) + statement.write(*how)


def _read_rows(cursor: Any) -> Rows | None:
    if cursor.description is None:
        return None
    return Rows([one[0] for one in cursor.description], cursor.fetchmany)


def _adapt(value: Any, *, is_sqlite: bool = False) -> Any:
    """What the driver can bind. SQLite has no times, no exact decimals and no lists: a list is a text in JSON."""
    if isinstance(value, list):
        items = [_adapt(one, is_sqlite=is_sqlite) for one in value]
        if not is_sqlite:
            return items
        import json

        return json.dumps(items)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not is_sqlite or value is None or isinstance(value, str | int | float | bytes):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat(" ") if hasattr(value, "hour") else value.isoformat()
    from decimal import Decimal

    return float(value) if isinstance(value, Decimal) else str(value)


def _show(value: object) -> str:
    text = "NULL" if value is None else " ".join(str(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
