"""Runs the checks of a tool after `run()` has returned and before its transaction is committed, and judges what they
return.

A check is any callable: `find_violation` judges the value that it gave. Only a tool with checks imports this.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import linecache
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import ModuleType
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.checks import Check, CheckResult
from discover_orch.model.errors import Failure
from discover_orch.model.secret_masking import MASK, is_secret_name
from discover_orch.worker.tracebacks import describe_exception

#: Rows and columns that are kept of what violates a check, and the characters of a value: a longer one is shown as its
#: length, since a secret is not found in a part of it.
MOST_ROWS, MOST_COLUMNS, LONGEST_VALUE = 20, 30, 500
#: Of what `run()` returned, as JSON, that is kept for `previous`.
LONGEST_RETURNED = 10_000
FORMS = "return None, True or False, or rows: a cursor, a list or a data frame"


class ChecksFailed(Exception):
    """What a tool did is not to be committed. `failed` is not empty; `__cause__` is what the first one raised."""

    def __init__(self, failed: Sequence[CheckResult], cause: BaseException | None) -> None:
        first, *others = failed
        more = f" (and {len(others)} more of its checks failed)" if others else ""
        super().__init__(f"{first.name}: {first.message}{more}")
        self.failed, self.__cause__ = failed, cause

    def describe(self) -> Failure:
        first = self.failed[0]
        return Failure(kind="check", type="", message=str(self), path=first.path, line=first.line)


class Violation(Struct, frozen=True, kw_only=True):
    """Why a value does not pass, and the first rows of it as texts; None is NULL."""

    message: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    has_more: bool = False


class Savepoint(Protocol):
    """Undoes what a check writes."""

    def begin_check(self) -> None: ...

    def end_check(self) -> str:
        """Why the transaction of the tool cannot be committed any more, or ""."""


class CheckRunner:
    """Runs the checks of one tool, whose file is at `path`.

    `call` calls code of the user, and awaits what it returns. Only a check that takes one of `resources` can write to
    the database.
    """

    def __init__(
        self,
        path: str,
        root: str,
        call: Callable[..., Any],
        is_interrupted: Callable[[BaseException], bool],
        savepoint: Savepoint | None,
        resources: Iterable[str],
    ) -> None:
        self._path, self._root = path, root
        self._call, self._is_interrupted = call, is_interrupted
        self._savepoint, self._resources = savepoint, frozenset(resources)
        self._cause: BaseException | None = None  # what the first check that failed has raised

    def run(
        self, checks: Iterable[Check], module: object, given: Mapping[str, object]
    ) -> tuple[tuple[CheckResult, ...], ChecksFailed | None]:
        """Their results, and what fails the tool. `given` are the values that they can take."""
        results: list[CheckResult] = []
        for check in checks:
            undoes = self._savepoint if self._resources.intersection(check.arguments) else None
            if undoes is not None:
                undoes.begin_check()
            result = self._judge(check, module, given)
            lost = "" if undoes is None else undoes.end_check()
            if lost:
                message = f"{result.message}; {lost}" if result.message else lost
                result = replace(result, status="failed", message=message)
            results.append(result)
            if lost:
                break  # the others would judge something else
        failed = [one for one in results if one.status == "failed"]
        return tuple(results), ChecksFailed(failed, self._cause) if failed else None

    def _judge(self, check: Check, module: object, given: Mapping[str, object]) -> CheckResult:
        named = {name: given[name] for name in check.arguments if name in given}
        passed = CheckResult(name=check.name, status="passed", path=self._path, line=check.line)
        bad = "warned" if check.only_warns else "failed"
        try:
            value = self._call(getattr(module, check.name), **named)
            violation = self._call(find_violation, value)
        except BaseException as error:
            if self._is_interrupted(error):
                raise
            if not check.only_warns and self._cause is None:
                self._cause = error
            return describe_raised(error, replace(passed, status=bad), self._root)
        if violation is None:
            return passed
        found = {name: getattr(violation, name) for name in violation.__struct_fields__}
        return replace(passed, status=bad, **found)


def complete_arguments(
    checks: Iterable[Check],
    run: Callable[..., Any],
    given: Mapping[str, object],
    previous: str = "",
) -> Mapping[str, object]:
    """All that the checks can take: `given`, and the defaults of the parameters of `run` that are not among it.
    `previous` is JSON; a parameter or a resource of that name wins over it."""
    asked = {name for check in checks for name in check.arguments} - given.keys()
    found: dict[str, object] = {**given}
    if "previous" in asked:
        found["previous"] = None
        with contextlib.suppress(ValueError):  # a number that was masked as a secret
            found["previous"] = json.loads(previous) if previous else None
    if asked - {"previous"}:
        with contextlib.suppress(TypeError, ValueError):
            params = inspect.signature(run).parameters
            defaults = {name: one.default for name, one in params.items() if name in asked}
            found |= {
                name: one for name, one in defaults.items() if one is not inspect.Parameter.empty
            }
    return found


def write_previous(checks: Iterable[Check], returned: object) -> tuple[str, list[str]]:
    """What `run()` returned, as JSON, if a check takes it at the next success; a note where it cannot be kept."""
    if returned is None or not any("previous" in check.arguments for check in checks):
        return "", []
    text = _write_json(returned)
    if not text and isinstance(returned, Mapping):
        kept = {name: one for name, one in returned.items() if _write_json({name: one})}
        text = _write_json(kept) if kept else ""
    if text and len(text) <= LONGEST_RETURNED:
        return text, []
    why = f"is longer than {LONGEST_RETURNED:,} characters of JSON" if text else "is no JSON"
    return "", [f"what run() returned {why}: at the next run, previous is None"]


def _write_json(value: object) -> str:
    """ "" for what is no JSON, such as a date."""
    try:
        return json.dumps(value, default=lambda one: one.item())  # a scalar of numpy, for example
    except Exception:  # values of the user's own classes
        return ""


# What a check returned.


def find_violation(value: Any) -> Violation | None:
    """Why the value of a check does not pass; None if it does. Of a cursor, MOST_ROWS + 1 rows are fetched."""
    if value is None:
        return None
    truth = _read_boolean(value)
    if truth is not None:
        return None if truth else Violation(message="it returned False")
    found = _read_rows(value)
    if found is None:
        return Violation(message=f"it returned a value of type {type(value).__name__}; {FORMS}")
    if str(getattr(value, "dtype", "")).lower() in ("bool", "boolean"):
        message = "it returned a series of booleans; return one, as with .all(), or the rows that violate it"
        return Violation(message=message)
    columns, rows, total = found
    if not rows:
        return None
    shown = [_cells(row) for row in rows[:MOST_ROWS]]
    if not columns and isinstance(rows[0], Mapping):
        columns = [str(name) for name in rows[0]]
    columns = columns or [str(name) for name in getattr(rows[0], "_fields", ())]
    hidden = [is_secret_name(name) for name in columns]
    has_more = (total or len(rows)) > MOST_ROWS
    number = f"more than {MOST_ROWS}" if total is None and has_more else f"{total or len(rows):,}"
    return Violation(
        message=f"{number} {'row violates' if number == '1' else 'rows violate'} it",
        columns=_cut_row(columns),
        rows=tuple(
            _cut_row(
                MASK if number < len(hidden) and hidden[number] and cell is not None else cell
                for number, cell in enumerate(row)
            )
            for row in shown
        ),
        has_more=has_more,
    )


def _read_boolean(value: Any) -> bool | None:
    """None for what is no boolean. One of numpy has no dimensions."""
    if isinstance(value, bool):
        return value
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        item = value.item()
        return item if isinstance(item, bool) else None
    return None


def _read_rows(value: Any) -> tuple[list[str], Sequence[Any], int | None] | None:
    """(names of columns, rows, how many there are) of a cursor, a list, a tuple, a data frame or a series; None for
    any other value. The number is None where it is not known."""
    most = MOST_ROWS + 1
    if isinstance(value, (list, tuple)):
        return [], [*islice(value, most)], len(value)
    if callable(getattr(value, "fetchmany", None)):
        described = getattr(value, "description", None)  # of PEP 249, and of DuckDB
        if described is None and callable(getattr(value, "keys", None)):
            return [*map(str, value.keys())], value.fetchmany(most), None  # SQLAlchemy
        if described is None:
            return None  # its statement gives no rows
        return [str(one[0]) for one in described], value.fetchmany(most), None
    if callable(getattr(value, "fetchall", None)) and hasattr(value, "limit"):  # DuckDB's relation
        return [*value.columns], value.limit(most).fetchall(), None
    if not (callable(getattr(value, "head", None)) and hasattr(value, "__len__")):
        return None
    first = value.head(most)
    if hasattr(first, "notna"):  # pandas, whose missing values are of several kinds
        first = first.astype(object).where(first.notna(), None)
    if hasattr(first, "columns"):
        columns = [str(name) for name in first.columns]
        is_pandas = hasattr(first, "itertuples")
        rows = first.itertuples(index=False, name=None) if is_pandas else first.rows()
        return columns, [*rows], len(value)
    if hasattr(first, "to_list"):
        return [str(first.name)] if first.name else [], first.to_list(), len(value)
    return None


def _cells(row: Any) -> list[str | None]:
    if isinstance(row, Mapping):
        row = row.values()
    is_one = isinstance(row, (str, bytes)) or not hasattr(row, "__iter__") or hasattr(row, "head")
    return [_cell(one) for one in islice((row,) if is_one else row, MOST_COLUMNS + 1)]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    text = " ".join(value.split()) if isinstance(value, str) else show_value(value)
    return text if len(text) <= LONGEST_VALUE else f"({len(text)} characters)"


def _cut_row(row: Iterable[Any]) -> tuple[Any, ...]:
    cells = [*row]
    return (*cells[:MOST_COLUMNS], "…") if len(cells) > MOST_COLUMNS else tuple(cells)


_shortener = reprlib.Repr()
_shortener.maxlist = _shortener.maxtuple = _shortener.maxdict = _shortener.maxset = 20
_shortener.maxstring = _shortener.maxother = 2 * LONGEST_VALUE


def show_value(value: object, *, is_quoted: bool = False) -> str:
    """The value as one line: of a container with many items, the first ones."""
    try:
        is_plain = is_quoted or isinstance(value, (list, tuple, dict, set, frozenset))
        text = _shortener.repr(value) if is_plain else str(value)
    except Exception as error:
        return f"(its text raised {type(error).__name__})"
    return " ".join(text.split())


# What a check raised.


def describe_raised(error: BaseException, result: CheckResult, root: str) -> CheckResult:
    """The result with what was raised. Of a failing `assert` its line, and the values of the names in it."""
    failure = describe_exception(error, root)
    place = {"path": failure.path or result.path, "line": failure.line or result.line}
    message = failure.message.strip().partition("\n")[0]
    if isinstance(error, AssertionError) and (shown := _describe_assert(error)) is not None:
        source, values, line = shown
        place["line"] = line
        lines = [source, *values] if message else values
        return replace(result, message=message or source, detail="\n".join(lines), **place)
    if not isinstance(error, SystemExit):  # whose message is a sentence
        message = f"{failure.type}: {message}" if message else failure.type
    return replace(result, message=message, detail=failure.traceback.rstrip("\n"), **place)


def _describe_assert(error: AssertionError) -> tuple[str, list[str], int] | None:
    """The statement that has raised it, `name = value` for each name in its condition, and its first line. None where
    no `assert` is in that line, as where a library raises it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return None
    frame, line = trace.tb_frame, trace.tb_lineno
    text = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and node.lineno <= line <= (node.end_lineno or 0):
            condition = " ".join((ast.get_source_segment(text, node.test) or "").split())
            values = _find_values(node.test, {**frame.f_globals, **frame.f_locals})
            return f"assert {condition}", values, node.lineno
    return None


def _find_values(condition: ast.expr, scope: Mapping[str, object]) -> list[str]:
    """Functions and modules say nothing by their values, and neither does a connection."""
    names = [one for one in ast.walk(condition) if isinstance(one, ast.Name) and one.id in scope]
    names.sort(key=lambda one: (one.lineno, one.col_offset))
    found = []
    for name in dict.fromkeys(one.id for one in names):
        value = scope[name]
        if not callable(value) and not isinstance(value, ModuleType) and name != "conn":
            text = MASK if is_secret_name(name) else show_value(value, is_quoted=True)
            found.append(f"{name} = {text}")
    return found
