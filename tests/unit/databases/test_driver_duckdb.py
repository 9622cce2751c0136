"""What is heard of DuckDB, and what it says of a database: real connections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from discover_orch.databases.effect import Effect
from discover_orch.databases.statement_log import find_driver
from tests.support.driver_listener import attach, read_catalog


@pytest.fixture(autouse=True)
def nobody_listens_any_more() -> Iterator[None]:
    yield
    with duckdb.connect() as conn:
        driver = find_driver(conn)
        assert driver is not None
        driver.listener = None


@pytest.fixture
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a INTEGER)")
        yield conn


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda c: c.execute("FROM t"), ["FROM t"]),
        (lambda c: c.execute(query="FROM t"), ["FROM t"]),
        (lambda c: c.execute("FROM t WHERE a = ?", [1]), ["FROM t WHERE a = ?"]),
        (lambda c: c.executemany("INSERT INTO u VALUES (?)", [[1]]), ["INSERT INTO u VALUES (?)"]),
        (lambda c: c.sql("FROM t"), ["FROM t"]),
        (lambda c: c.query("FROM t"), ["FROM t"]),
        (lambda c: duckdb.sql("FROM t", connection=c), ["FROM t"]),
        (lambda c: [c.execute(one) for one in c.extract_statements("FROM t")], ["FROM t"]),
        (lambda c: c.table("t").filter("a IN (FROM u)"), ["SELECT a IN (FROM u)"]),
        (lambda c: c.table("t").aggregate("max(a)"), ["SELECT max(a)"]),
        (lambda c: c.table("t").order("abs(a) DESC"), ["SELECT 1 ORDER BY abs(a) DESC"]),
        (lambda c: c.table("t").filter("a > 1"), []),
        (lambda c: c.rollback(), ["ROLLBACK"]),
    ],
)
def test_statements_of_duckdb_are_reported(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object], texts: list[str]
) -> None:
    duck.begin()
    listener = attach(duck)
    call(duck)
    assert (listener.texts, listener.others) == (texts, [])


T, U, N = ("t",), ("u",), ("n",)


@pytest.mark.parametrize(
    ("call", "effect"),
    [
        (lambda c: c.table("t"), Effect(read=(T,))),
        (lambda c: c.table('main."T"'), Effect(read=(("main", "t"),))),
        (lambda c: c.view("v"), Effect(read=(("v",),))),
        (lambda c: c.sql("FROM t").insert_into("u"), Effect(written=(U,), inserted=(U,))),
        (lambda c: c.sql("FROM t").create("n"), Effect(created=(N,), changes_names=True)),
        (lambda c: c.sql("FROM t").to_table("n"), Effect(created=(N,), changes_names=True)),
        (lambda c: c.sql("FROM t").create_view("n"), Effect(created=(N,), changes_names=True)),
    ],
)
def test_methods_of_duckdb_that_name_a_table_are_reported(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object], effect: Effect
) -> None:
    duck.execute("CREATE VIEW v AS FROM t")
    listener = attach(duck)
    call(duck)
    assert (listener.effects, listener.others) == ([effect], [])


def test_files_of_duckdb_are_reported(duck: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    listener = attach(duck)
    duck.sql("FROM t").write_csv(str(path))
    duck.read_csv(str(path)).fetchall()
    duck.read_csv([str(path)])
    assert listener.paths == [(str(path), True), (str(path), False), (str(path), False)]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.table("u").insert([1]),
        lambda c: c.table("t").query("z", "FROM z, u"),
        lambda c: c.table_function("range", [3]),
    ],
)
def test_methods_that_orch_does_not_understand_are_unknown(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object]
) -> None:
    listener = attach(duck)
    call(duck)
    assert listener.others == ["unknown"]


def test_duckdb_finds_the_variables_of_the_tool(
    duck: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relation stands for a data frame."""
    attach(duck)
    monkeypatch.setitem(globals(), "GLOBAL_ROWS", duck.sql("SELECT 8 AS b"))
    mine = duck.sql("SELECT 7 AS a")
    assert mine is not None
    assert rows(duck.sql("FROM mine")) == [(7,)]
    assert duck.execute("SELECT a FROM mine").fetchall() == [(7,)]
    assert rows(duck.query("FROM mine, GLOBAL_ROWS")) == [(7, 8)]
    assert rows(duckdb.sql("FROM mine", connection=duck)) == [(7,)]
    with pytest.raises(duckdb.Error):
        duck.sql("FROM named")  # a variable of those who listen


def rows(relation: Any) -> Any:
    return relation.fetchall()


def test_a_call_on_another_connection_of_duckdb_is_reported(
    duck: duckdb.DuckDBPyConnection,
) -> None:
    listener = attach(duck)
    duck.cursor().execute("FROM t")
    duckdb.sql("SELECT 1")
    assert {*listener.others} == {"other connection"}


def test_a_failed_statement_of_duckdb_is_reported(duck: duckdb.DuckDBPyConnection) -> None:
    listener = attach(duck)
    with pytest.raises(duckdb.CatalogException):
        duck.execute("FROM absent")
    assert (listener.texts, listener.others) == (["FROM absent"], ["error"])


def test_the_catalog_of_duckdb(duck: duckdb.DuckDBPyConnection) -> None:
    for text in (
        "CREATE SCHEMA s",
        "CREATE TABLE s.x (a INTEGER)",
        "CREATE VIEW v AS FROM t",
        "CREATE VIEW s.o AS FROM v, s.x",
        "CREATE TEMP TABLE z (a INTEGER)",
        "CREATE MACRO m() AS TABLE FROM t",
        "CREATE VIEW opaque AS FROM m()",
        "ATTACH ':memory:' AS other",
        "CREATE TABLE other.T2 (a INTEGER)",
        "SET schema = 's'",
    ):
        duck.execute(text)
    listener = attach(duck)
    catalog = read_catalog(duck)
    main = functools.partial(lambda name: ("memory", "main", name))
    assert catalog.tables == {
        *map(main, ("t", "u", "v", "opaque")),
        ("memory", "s", "x"),
        ("memory", "s", "o"),
        ("temp", "main", "z"),
        ("other", "main", "t2"),
    }
    assert catalog.temporary == {("temp", "main", "z")}
    assert catalog.search_path == (("temp", "main"), ("memory", "s"), ("memory", "main"))
    assert catalog.current_schema == ("memory", "s")
    assert set(catalog.read_with[("memory", "s", "o")]) == {main("v"), ("memory", "s", "x")}
    assert catalog.opaque == {main("opaque")}
    assert catalog.routines == {"m"}
    assert catalog.has_variables
    assert listener.texts == []  # what orch asks is no tool's


def test_files_behind_a_view_of_duckdb_are_known(
    duck: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = str(tmp_path / "a.csv")
    duck.sql("FROM t").write_csv(path)
    duck.execute(f"CREATE VIEW v AS FROM '{path}'")
    catalog = read_catalog(duck)
    view = ("memory", "main", "v")
    assert (catalog.files[view], catalog.read_with[view]) == ((path,), ())


def test_the_file_of_duckdb_is_found(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as conn, duckdb.connect() as memory:
        driver = find_driver(conn)
        assert driver is not None
        assert (driver.find_file(conn), driver.find_file(memory)) == (str(path), "")
