"""What the value of a check means, of libraries too, and how wide what it found is shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import date
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy

from discover_orch.model.checks import Check, CheckResult, checks_text
from discover_orch.worker.checks import find_violation, write_previous
from tests.support.marks import slow_but

#: The slow tests have all libraries.
QUICK = ("a result of SQLAlchemy", "a cursor with a row factory")


class Library:
    """Imported when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


numpy, pandas, polars = map(Library, ("numpy", "pandas", "polars"))


opened: list[Any] = []


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def query(sql: str) -> Any:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.NullPool)
    opened.append(engine.connect())
    return opened[-1].execute(sqlalchemy.text(sql))


PASS: dict[str, Callable[[], Any]] = {
    "a boolean of numpy": lambda: numpy.bool_(True),
    "a frame of pandas": lambda: pandas.DataFrame({"a": []}),
    "a series of pandas": lambda: pandas.Series([], dtype=float),
    "a frame of polars": lambda: polars.DataFrame({"a": []}),
    "a result of SQLAlchemy": lambda: query("SELECT 1 WHERE 0"),
}
BOOLEANS = (
    "it returned a series of booleans; return one, as with .all(), or the rows that violate it"
)
VIOLATE: dict[str, tuple[Callable[[], Any], str, tuple[str, ...], tuple[Any, ...]]] = {
    "a boolean of numpy": (lambda: numpy.bool_(False), "it returned False", (), ()),
    "a frame of pandas": (
        lambda: pandas.DataFrame({"a": [1, 2], "token": ["x", "y"]}),
        "2 rows violate it",
        ("a", "token"),
        (("1", "***"), ("2", "***")),
    ),
    "a series of pandas": (
        lambda: pandas.Series([7], name="n"),
        "1 row violates it",
        ("n",),
        (("7",),),
    ),
    "missing values of pandas": (
        lambda: pandas.DataFrame({"a": [1.5, None], "b": ["x", None]}),
        "2 rows violate it",
        ("a", "b"),
        (("1.5", "x"), (None, None)),
    ),
    "a series of booleans": (lambda: pandas.Series([True, True]), BOOLEANS, (), ()),
    "a series of booleans of polars": (lambda: polars.Series([True]), BOOLEANS, (), ()),
    "a frame of polars": (
        lambda: polars.DataFrame({"a": range(30)}),
        "30 rows violate it",
        ("a",),
        tuple((str(n),) for n in range(20)),
    ),
    "a series of polars": (
        lambda: polars.Series("n", [7]),
        "1 row violates it",
        ("n",),
        (("7",),),
    ),
    "a result of SQLAlchemy": (
        lambda: query("SELECT 1 AS a, NULL AS b"),
        "1 row violates it",
        ("a", "b"),
        (("1", None),),
    ),
    "a cursor with a row factory": (
        lambda: rows_as(sqlite3.Row),
        "1 row violates it",
        ("a",),
        (("1",),),
    ),
}


def rows_as(factory: Any) -> sqlite3.Cursor:
    conn = sqlite3.connect(":memory:")
    opened.append(conn)
    conn.row_factory = factory
    return conn.execute("SELECT 1 AS a")


@pytest.mark.parametrize("kind", slow_but(("a result of SQLAlchemy",), PASS))
def test_no_rows_and_true_pass(kind: str) -> None:
    assert find_violation(PASS[kind]()) is None


@pytest.mark.parametrize("kind", slow_but(QUICK, VIOLATE))
def test_rows_and_false_are_shown(kind: str) -> None:
    make, message, columns, rows = VIOLATE[kind]
    found = find_violation(make())
    assert found is not None
    assert (found.message, found.columns, found.rows) == (message, columns, rows)
    assert found.has_more == message.startswith("30")


OTHER: dict[str, Callable[[], Any]] = {
    "a number": lambda: 0,
    "a text": lambda: "",
    "a mapping": lambda: {1: 2},
    "a set": lambda: {1},
    "an iterator": lambda: iter([]),
    "a number of numpy": lambda: numpy.int64(0),
    "a lazy frame": lambda: polars.LazyFrame(),
}
LIBRARY = ("a number of numpy", "a lazy frame")


@pytest.mark.parametrize("kind", slow_but(OTHER.keys() - LIBRARY, OTHER))
def test_any_other_value_fails_with_a_sentence(kind: str) -> None:
    value = OTHER[kind]()
    found = find_violation(value)
    assert found is not None
    assert found.message.startswith(f"it returned a value of type {type(value).__name__}; return")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_table_of_any_width_fits(width: int) -> None:
    result = CheckResult(
        name="check_x",
        status="failed",
        columns=tuple(f"column {n}" for n in range(30)),
        rows=(tuple("word " * n for n in range(30)), (None,) * 30),
        has_more=True,
    )
    first, *lines = checks_text([result], width).splitlines()
    assert first.startswith("check_x")
    assert max(map(len, lines)) <= width
    assert lines[-1] == "    ..."


def test_previous_has_what_json_can_hold() -> None:
    check = Check(name="check_x", line=1, arguments=("previous",))
    text, notes = write_previous([check], {"rows": 1, "day": date(2024, 1, 31), "names": ["a"]})
    assert json.loads(text) == {"rows": 1, "names": ["a"]}
    assert notes == []
    assert write_previous([check], date(2024, 1, 31))[0] == ""
