"""Runs the statements of a `.sql` file on `conn`, as if they were the lines of a `run(conn)` in that file.

Each statement is called from a frame with the name and the line of the file, so errors, and what is observed, have the
place that they have in Python; an error has the line that the database names, where it names one.
Parameters are bound in the style of the driver, and never written into the text.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from functools import partial
from types import TracebackType

from discover_orch.databases.driver_transaction import find_driver_connection, find_kind
from discover_orch.model.checks import table_lines
from discover_orch.model.sql_text import Statement, split_statements
from discover_orch.worker.loader import ImportProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST_SHOWN = 20  # rows
WIDTH = 156  # of a line of them; the worker does not know that of the terminal
_AT_ONCE = 1000  # rows that are fetched
#: DuckDB gives rows for others too: how many were changed, for example.
_QUERY = re.compile(
    r"(?:SELECT|VALUES|FROM|TABLE|SHOW|DESC|DESCRIBE|SUMMARIZE|PIVOT|UNPIVOT|EXPLAIN|PRAGMA|CALL)\b|\("
    r"|WITH\b(?!.*\b(?:INSERT|UPDATE|DELETE|MERGE)\b)",
    re.I | re.S,
)
_NAMED_BY_PARAMETER = re.compile(
    r"(?:\b(?:FROM|JOIN|INTO|TABLE|UPDATE|INDEX)\s+|\w|\.):[^\W\d]\w*", re.I
)
NOT_A_NAME = (
    "hint: a parameter is a value and cannot be in the name of a table or column: write the name"
)
#: A database that counts the lines of a text names them so: PostgreSQL's client library, and DuckDB.
_LINE = re.compile(r"^LINE (\d+): ", re.M)
#: SQLite names no line. What it could not read, or could not find.
_NAMED = re.compile(
    r'near "(?P<near>.+)": syntax error|(?:no such \w+|ambiguous column name): (?P<name>\S+)'
    r"|has no column named (?P<column>\S+)"
)
_NO_FOLDER = re.compile(r'Cannot open file "(.+)": No such file or directory')


def load_sql(root: str, path: str, outputs: Sequence[str] = ()) -> SqlTool:
    """The tool in a file below the root. It makes the folders of its declared `outputs`."""
    full = os.path.join(root, path)
    descriptor = os.open(full, os.O_RDONLY)  # `audit_hook` does not count what orch opens so
    with open(descriptor, "rb") as file:
        source = file.read()
    try:
        return SqlTool(full, source, split_statements(source.decode("utf-8-sig")), outputs)
    except ValueError as error:  # it was edited since it was found
        raise ImportProblem(f"{path}: {error}", getattr(error, "hint", "")) from None


class SqlTool:
    """A tool in SQL, with `run` and checks as a module has them. `source` is the text of its file."""

    def __init__(
        self, path: str, source: bytes, statements: list[Statement], outputs: Sequence[str]
    ) -> None:
        self.path, self.source, self._outputs = path, source, outputs
        self._statements = [one for one in statements if not one.check]
        for one in statements:
            if one.check:
                setattr(self, one.check, partial(self._execute, one))

    def run(self, conn: Any, **given: Any) -> dict[str, int] | None:
        """The number of rows of a last statement that gives rows, which are printed. A parameter without a value is
        NULL."""
        rows: Rows | None = None
        for output in self._outputs:  # SQL makes no folders
            plain = re.split(r"[*?[]", output, maxsplit=1)[0]
            if folder := os.path.dirname(plain):
                with contextlib.suppress(OSError):  # the statement says what is wrong
                    os.makedirs(folder, exist_ok=True)
        for statement in self._statements:
            rows = self._execute(statement, conn, **given)
        if rows is None:
            return None
        print(rows.table())
        return {"rows": len(rows)}

    def _execute(self, statement: Statement, conn: Any, **given: Any) -> Rows | None:
        """From a frame in its line of the file. Tracebacks show the line, and mark no part of it."""
        code = compile("step()", self.path, "eval")
        words = len(code.co_code) // 2
        # Entries without columns, each for up to eight words of the code, all in the first line.
        table = b"".join(
            bytes((0x80 | 13 << 3 | min(words - start, 8) - 1, 0)) for start in range(0, words, 8)
        )
        code = code.replace(co_name="run", co_firstlineno=statement.line, co_linetable=table)
        step = partial(_execute, find_driver_connection(conn), statement, given)
        try:
            rows: Rows | None = eval(code, {"step": step})
        except Exception as error:
            message = str(error)
            if "syntax error" in message.lower() and _NAMED_BY_PARAMETER.search(statement.bare):
                error.add_note(NOT_A_NAME)
            if (found := _NO_FOLDER.search(message)) and not os.path.exists(
                os.path.dirname(found[1]) or "."
            ):
                tag = f'-- ORCH: {{"outputs": "{found[1]}"}}'
                error.add_note(f"hint: its folder does not exist; with {tag} orch makes it")
            raised = error.__traceback__.tb_next if error.__traceback__ else None
            if raised is None:
                raise
            line = find_line(statement, error)
            # Without a place in the code, whose line is that of the statement.
            error.__traceback__ = TracebackType(raised.tb_next, raised.tb_frame, -1, line)
            raise
        return rows


def find_line(statement: Statement, error: Exception) -> int:
    """The line of the file where the database found the error; that of the statement where it does not tell."""
    message = str(error)
    found = _LINE.findall(message)
    is_inner = getattr(getattr(error, "diag", None), "internal_query", None)  # of a function
    last = statement.line + sum(one.text.count("\n") for one in statement.tokens)
    if found and not is_inner and statement.line <= int(found[-1]) <= last:
        return int(found[-1])
    if not isinstance(error, sqlite3.Error) or not (named := _NAMED.search(message)):
        return statement.line
    text = re.escape(next(filter(None, named.groups())))
    pattern = re.compile(rf"(?<![\w$.]){text}(?![\w$])" if text[-1].isalnum() else text, re.I)
    lines = [
        one.line + one.text[: found.start()].count("\n")
        for one in statement.tokens
        if one.kind in ("plain", "quoted")
        for found in pattern.finditer(one.text)
    ]
    return lines[0] if len(lines) == 1 else statement.line


class Rows:
    """The first rows of a result, and how many there are. A check returns it: to that it is as a data frame."""

    def __init__(self, cursor: Any) -> None:
        self.columns = [one[0] for one in cursor.description]
        self._first: list[Any] = []
        self._number = 0
        while found := cursor.fetchmany(_AT_ONCE):
            self._first += found[: max(0, MOST_SHOWN - self._number)]
            self._number += len(found)

    def __len__(self) -> int:
        return self._number

    def head(self, _: int) -> Rows:
        return self

    def rows(self) -> list[Any]:
        return self._first

    def table(self) -> str:
        shown = [["NULL" if one is None else str(one) for one in row] for row in self._first]
        lines = [*table_lines([self.columns, *shown], WIDTH)]
        left = self._number - len(self._first)
        lines += [f"... and {left:,} more rows"] if left else [] if shown else ["(no rows)"]
        return "\n".join(lines)


def _execute(conn: Any, statement: Statement, given: dict[str, Any]) -> Rows | None:
    kind = find_kind(conn)
    values = {
        name: _adapt(given.get(name), is_sqlite=kind == "sqlite3") for name in statement.parameters
    }
    match kind:
        case "sqlite3":
            cursor = conn.cursor()
            cursor.row_factory = None
            cursor.execute(statement.write(":{}"), values)
        case "psycopg":
            import psycopg

            text = statement.write("%({})s", "%%" if values else "%")
            cursor = psycopg.Cursor(conn).execute(text.encode(), values or None)
        case "duckdb":
            cursor = conn.execute(statement.write("${}"), values or None)
            if not _QUERY.match(statement.bare):
                return None
        case _:
            own = type(conn)
            shown = "None" if conn is None else f"{own.__module__}.{own.__qualname__}"
            raise ImportProblem(
                f"conn is {shown}, and .sql files run on SQLite, psycopg and DuckDB",
                "return such a connection from get_connection(), or write the tool in Python",
            )
    return None if cursor.description is None else Rows(cursor)


def _adapt(value: Any, *, is_sqlite: bool) -> Any:
    """What the driver can bind. SQLite has no times, no exact decimals and no lists: a list is a text in JSON."""
    if isinstance(value, list):
        items = [_adapt(one, is_sqlite=is_sqlite) for one in value]
        if not is_sqlite:
            return items
        import json

        return json.dumps(items)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if is_sqlite and value is not None and not isinstance(value, str | int | float | bytes):
        is_decimal = hasattr(value, "as_tuple")
        return float(value) if is_decimal else str(value)
    return value
