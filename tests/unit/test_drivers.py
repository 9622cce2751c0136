"""What of psycopg and DuckDB is heard, and that listening changes nothing: on fakes, and on the drivers themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from discover_orch.catalog import Catalog
from discover_orch.drivers import Driver, find_driver
from discover_orch.statements import Effect
from tests.support.postgres import make_database


class Heard:
    """A note that only writes down."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.texts: list[str] = []
        self.effects: list[Effect] = []
        self.paths: list[tuple[str, bool]] = []
        self.others: list[str] = []

    def text(self, text: str, /) -> None:
        self.texts.append(text)

    def effect(self, effect: Effect, /) -> None:
        self.effects.append(effect)

    def files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        self.paths.extend((one, is_written) for one in paths)

    def commit(self) -> None:
        self.others.append("commit")

    def failed(self) -> None:
        self.others.append("failed")

    def aside(self) -> None:
        self.others.append("aside")

    def stranger(self) -> None:
        self.others.append("stranger")


def hear(conn: Any) -> Heard:
    driver = find_driver(conn)
    assert driver is not None
    note = Heard(conn)
    driver.hear(note)
    return note


@pytest.fixture(autouse=True)
def nobody_listens_any_more() -> Iterator[None]:
    yield
    with duckdb.connect() as conn:
        driver = find_driver(conn)
        assert driver is not None
        driver.note = None


@pytest.fixture
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a INTEGER)")
        yield conn


@pytest.fixture(scope="module")
def url(postgres_server: str) -> str:
    url = make_database(postgres_server, "drivers")
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a int)")
    return url


@pytest.fixture
def pg(url: str) -> Iterator[psycopg.Connection]:
    """What a test does on it is rolled back."""
    with psycopg.connect(url) as conn:
        driver = find_driver(conn)
        assert driver is not None
        yield conn
        driver.note = None
        conn.rollback()


# Wrapping, of a driver that is made up.


class Cursor:
    def execute(self, query: str, params: object = None, *, prepare: bool = False) -> object:
        """Run it."""
        if query == "bad":
            raise ValueError(query)
        return self, query, params, prepare


def make_driver(listen: Callable[..., None], *, after: bool = False) -> tuple[type[Any], Driver]:
    """A class to listen to, and the driver that does."""
    owner = type("Cursor", (), {**vars(Cursor)})

    class Fake(Driver):
        wrapped = 0

        def _wrap_all(self) -> None:
            self.wrapped += 1
            self._wrap(owner, "execute", listen, after=after)
            self._wrap(owner, "missing", listen)

    return owner, Fake()


def listen_well(note: Any, cursor: Any, query: str, params: Any = None, **_: Any) -> None:
    note.text(query)


def listen_badly(note: Any, *_: Any, **__: Any) -> None:
    raise RuntimeError("no")


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("x",), {}),
    (("x", (1,)), {"prepare": True}),
    ((), {"query": "x", "params": (1,)}),
    (("bad",), {}),
    ((), {}),
    (("x",), {"nonsense": 1}),
    ((1, 2, 3, 4), {}),
]


def outcome(method: Callable[..., Any], *args: Any, **named: Any) -> object:
    try:
        return method(*args, **named)
    except Exception as error:
        return type(error), str(error).partition(".")[2] or str(error)


@pytest.mark.parametrize(("args", "named"), CALLS)
@pytest.mark.parametrize("listen", [listen_well, listen_badly])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("is_called_from", [True, False])
def test_a_call_gives_and_raises_what_it_did_before(
    args: tuple[Any, ...],
    named: dict[str, Any],
    listen: Callable[..., None],
    after: bool,
    is_called_from: bool,
) -> None:
    owner, driver = make_driver(listen, after=after)
    driver.looks_at_callers = is_called_from
    cursor = owner()
    expected = outcome(cursor.execute, *args, **named)
    driver.hear(Heard(cursor))
    assert outcome(cursor.execute, *args, **named) == expected


def test_a_method_keeps_its_name_and_its_signature() -> None:
    owner, driver = make_driver(listen_well)
    driver.hear(Heard(None))
    assert owner.execute.__name__ == "execute"
    assert owner.execute.__doc__ == "Run it."
    assert inspect.signature(owner.execute) == inspect.signature(Cursor.execute)
    assert not hasattr(owner, "missing")


def test_it_is_wrapped_once_and_the_last_who_asks_is_told() -> None:
    owner, driver = make_driver(listen_well)
    first, second = Heard(None), Heard(None)
    driver.hear(first)
    driver.hear(second)
    owner().execute("x")
    driver.note = None
    owner().execute("y")
    assert (first.texts, second.texts) == ([], ["x"])
    assert driver.wrapped == 1  # type: ignore[attr-defined]


def test_what_cannot_be_heard_is_strange_and_what_fails_is_told() -> None:
    owner, driver = make_driver(listen_badly)
    note = Heard(None)
    driver.hear(note)
    owner().execute("x")
    assert note.others == ["stranger"]
    with pytest.raises(ValueError, match="bad"):
        owner().execute("bad")
    assert note.others == ["stranger", "stranger", "failed"]


def test_an_interrupt_while_it_listens_goes_through() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    owner, driver = make_driver(interrupt)
    driver.hear(Heard(None))
    with pytest.raises(KeyboardInterrupt):
        owner().execute("x")


def test_a_method_that_looks_at_its_callers_variables_finds_them() -> None:
    seen: list[tuple[set[str], str]] = []

    class Looker:
        def look(self, one: object) -> None:
            frame = inspect.currentframe()
            assert frame is not None
            assert frame.f_back is not None
            seen.append(({*frame.f_back.f_locals}, frame.f_back.f_globals["__name__"]))

    class Fake(Driver):
        looks_at_callers = True

        def _wrap_all(self) -> None:
            self._wrap(Looker, "look", listen_well)

    driver = Fake()
    driver.hear(Heard(None))
    mine = Looker()
    mine.look("x")
    found, where = seen[0]
    assert {"mine", "driver", "seen"} <= found
    assert not {"args", "named", "original", "call"} & found
    assert where == __name__


def test_only_two_kinds_of_connections_are_known(duck: duckdb.DuckDBPyConnection) -> None:
    assert find_driver(None) is None
    assert find_driver(object()) is None
    assert find_driver(duck) is find_driver(duck.cursor())


# DuckDB.


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda c: c.execute("FROM t"), ["FROM t"]),
        (lambda c: c.execute(query="FROM t"), ["FROM t"]),
        (lambda c: c.execute("FROM t WHERE a = ?", [1]), ["FROM t WHERE a = ?"]),
        (lambda c: c.executemany("INSERT INTO u VALUES (?)", [[1]]), ["INSERT INTO u VALUES (?)"]),
        (lambda c: c.sql("FROM t"), ["FROM t"]),
        (lambda c: c.query("FROM t"), ["FROM t"]),
        (lambda c: [c.execute(one) for one in c.extract_statements("FROM t")], ["FROM t"]),
        (lambda c: c.table("t").filter("a IN (FROM u)"), ["SELECT a IN (FROM u)"]),
        (lambda c: c.table("t").aggregate("max(a)"), ["SELECT max(a)"]),
        (lambda c: c.table("t").order("abs(a) DESC"), ["SELECT 1 ORDER BY abs(a) DESC"]),
        (lambda c: c.table("t").filter("a > 1"), []),
        (lambda c: c.rollback(), ["ROLLBACK"]),
    ],
)
def test_duckdb_is_heard_by_its_texts(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object], texts: list[str]
) -> None:
    duck.begin()
    note = hear(duck)
    call(duck)
    assert (note.texts, note.others) == (texts, [])


T, U, N = ("t",), ("u",), ("n",)


@pytest.mark.parametrize(
    ("call", "effect"),
    [
        (lambda c: c.table("t"), Effect(read=(T,))),
        (lambda c: c.table('main."T"'), Effect(read=(("main", "t"),))),
        (lambda c: c.view("v"), Effect(read=(("v",),))),
        (lambda c: c.sql("FROM t").insert_into("u"), Effect(written=(U,))),
        (lambda c: c.sql("FROM t").create("n"), Effect(made=(N,), changes_names=True)),
        (lambda c: c.sql("FROM t").to_table("n"), Effect(made=(N,), changes_names=True)),
        (lambda c: c.sql("FROM t").create_view("n"), Effect(made=(N,), changes_names=True)),
    ],
)
def test_methods_of_duckdb_that_take_a_name_are_heard(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object], effect: Effect
) -> None:
    duck.execute("CREATE VIEW v AS FROM t")
    note = hear(duck)
    call(duck)
    assert (note.effects, note.others) == ([effect], [])


def test_files_of_duckdb_are_heard(duck: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    note = hear(duck)
    duck.sql("FROM t").write_csv(str(path))
    duck.read_csv(str(path)).fetchall()
    duck.read_csv([str(path)])
    assert note.paths == [(str(path), True), (str(path), False), (str(path), False)]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.table("u").insert([1]),
        lambda c: c.table("t").query("z", "FROM z, u"),
        lambda c: c.table_function("range", [3]),
    ],
)
def test_what_is_not_looked_into_is_strange(
    duck: duckdb.DuckDBPyConnection, call: Callable[[Any], object]
) -> None:
    note = hear(duck)
    call(duck)
    assert note.others == ["stranger"]


def test_duckdb_finds_the_variables_of_the_tool(
    duck: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relation stands for a data frame."""
    hear(duck)
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


def test_a_call_on_another_connection_of_duckdb_is_told(duck: duckdb.DuckDBPyConnection) -> None:
    note = hear(duck)
    duck.cursor().execute("FROM t")
    duckdb.sql("SELECT 1")
    assert {*note.others} == {"aside"}


def test_a_statement_of_duckdb_that_fails_is_told(duck: duckdb.DuckDBPyConnection) -> None:
    note = hear(duck)
    with pytest.raises(duckdb.CatalogException):
        duck.execute("FROM absent")
    assert (note.texts, note.others) == (["FROM absent"], ["failed"])


def ask(conn: Any) -> Catalog:
    driver = find_driver(conn)
    assert driver is not None
    return driver.ask(conn)


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
    note = hear(duck)
    catalog = ask(duck)
    main = functools.partial(lambda name: ("memory", "main", name))
    assert catalog.tables == {
        *map(main, ("t", "u", "v", "opaque")),
        ("memory", "s", "x"),
        ("memory", "s", "o"),
        ("temp", "main", "z"),
        ("other", "main", "t2"),
    }
    assert catalog.temporary == {("temp", "main", "z")}
    assert catalog.places == (("temp", "main"), ("memory", "s"), ("memory", "main"))
    assert catalog.here == ("memory", "s")
    assert set(catalog.within[("memory", "s", "o")]) == {main("v"), ("memory", "s", "x")}
    assert catalog.opaque == {main("opaque")}
    assert catalog.routines == {"m"}
    assert catalog.has_variables
    assert note.texts == []  # what orch asks is no tool's


def test_files_behind_a_view_of_duckdb_are_known(
    duck: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = str(tmp_path / "a.csv")
    duck.sql("FROM t").write_csv(path)
    duck.execute(f"CREATE VIEW v AS FROM '{path}'")
    catalog = ask(duck)
    view = ("memory", "main", "v")
    assert (catalog.files[view], catalog.within[view]) == ((path,), ())


def test_the_file_of_duckdb_is_found(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as conn, duckdb.connect() as memory:
        driver = find_driver(conn)
        assert driver is not None
        assert (driver.find_file(conn), driver.find_file(memory)) == (str(path), "")


# psycopg.


def read_in_parts(conn: psycopg.Connection, query: str) -> None:
    with conn.cursor(name="x") as cursor:
        cursor.execute(query.encode())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.execute("SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: c.execute(query=b"SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: c.execute("SELECT a % 2 FROM t"), "SELECT a % 2 FROM t"),
        (lambda c: c.execute("SELECT a %% 2, %s, %(b)s FROM t".replace("%s, ", ""), {"b": 1}), "SELECT a % 2, '?' FROM t"),
        (lambda c: c.execute("SELECT %b::int4 FROM t", (1,)), "SELECT '?'::int4 FROM t"),
        (lambda c: c.execute(sql.SQL("SELECT a FROM {}").format(sql.Identifier("t"))), 'SELECT a FROM "t"'),
        (lambda c: c.cursor().executemany("INSERT INTO u VALUES (%s)", [(1,)]), "INSERT INTO u VALUES ('?')"),
        (lambda c: [*c.cursor().stream("SELECT a FROM t")], "SELECT a FROM t"),
        (lambda c: read_in_parts(c, "SELECT a FROM t"), "SELECT a FROM t"),
        (lambda c: psycopg.ClientCursor(c).execute("SELECT a FROM t"), "SELECT a FROM t"),
    ],
)  # fmt: skip
def test_psycopg_is_heard_by_its_texts(
    pg: psycopg.Connection, call: Callable[[Any], object], text: str
) -> None:
    note = hear(pg)
    call(pg)
    assert (note.texts, note.others) == ([text], [])


def test_copy_is_heard_both_ways(pg: psycopg.Connection) -> None:
    note = hear(pg)
    with pg.cursor().copy("COPY u FROM STDIN") as copy:
        copy.write_row((1,))
    with pg.cursor().copy("COPY t TO STDOUT") as copy:
        assert [*copy.rows()] == [("1",)]
    assert note.texts == ["COPY u FROM STDIN", "COPY t TO STDOUT"]


def test_ends_of_transactions_of_psycopg_are_heard(pg: psycopg.Connection) -> None:
    note = hear(pg)
    with pg.transaction():
        with pg.transaction():
            pg.execute("SELECT 1")
        assert note.others == []
    assert note.others == ["commit"]
    pg.commit()
    assert note.others == ["commit", "commit"]
    with pytest.raises(ZeroDivisionError), pg.transaction():
        _ = 1 / 0
    pg.rollback()
    assert note.texts == ["SELECT 1", "ROLLBACK", "ROLLBACK"]


def test_a_call_on_another_connection_of_psycopg_is_told(pg: psycopg.Connection, url: str) -> None:
    note = hear(pg)
    with psycopg.connect(url) as other:
        other.execute("SELECT a FROM t")
    assert note.others == ["aside", "commit"]
    note = hear(pg)
    with psycopg.connect(url, options="-csearch_path=s") as other:
        other.execute("SELECT 1")
    assert "stranger" in note.others


BUILD = """
CREATE SCHEMA s;
CREATE TABLE s.x (a int);
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW m AS SELECT v.a FROM v, s.x;
CREATE TEMP TABLE z (a int);
CREATE TABLE p (a int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE k (a int PRIMARY KEY);
CREATE TABLE gone (a int REFERENCES k ON DELETE CASCADE);
CREATE TABLE kept (a int REFERENCES k);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT max(a) FROM t';
CREATE FUNCTION pure(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
CREATE VIEW opaque AS SELECT f();
CREATE TABLE lazy (a int DEFAULT f(), b int);
CREATE TABLE checked (a int CHECK (a > f()));
CREATE TABLE ruled (a int);
CREATE RULE r AS ON INSERT TO ruled DO ALSO DELETE FROM t;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE watched (a int);
CREATE TRIGGER w AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION g();
SET search_path = s, public;
"""


def places(found: Iterable[tuple[str, str, str]]) -> set[str]:
    return {name if schema == "public" else f"{schema}.{name}" for _, schema, name in found}


def test_the_catalog_of_postgresql(pg: psycopg.Connection) -> None:
    pg.execute(BUILD.encode())
    note = hear(pg)
    catalog = ask(pg)
    [temporary] = catalog.temporary
    within = {name: places(others) for (_, _, name), others in catalog.within.items()}
    along = {name: places(others) for (_, _, name), others in catalog.along.items()}
    assert {"t", "u", "s.x", "v", "m", "p", "p1"} <= places(catalog.tables)
    assert temporary[2] == "z"
    assert within == {"v": {"t"}, "m": {"v", "s.x"}, "p": {"p1"}}
    assert along == {"v": {"t"}, "p": {"p1"}, "k": {"gone"}}
    assert places(catalog.referring["", "public", "k"]) == {"gone", "kept"}
    assert places(catalog.active) == {"lazy", "checked", "ruled", "watched"}
    assert places(catalog.opaque) == {"opaque"}
    assert catalog.routines == {"f", "g", "total"}
    assert catalog.here == ("", "s")
    assert [one for _, one in catalog.places if not one.startswith("pg_")] == ["s", "public"]
    assert catalog.find(("z",)) == temporary
    assert note.texts == []  # what orch asks is no tool's


def test_asking_works_whatever_the_tool_has_set(pg: psycopg.Connection) -> None:
    class Shout(psycopg.types.string.TextLoader):
        def load(self, data: Any) -> Any:
            return f"{data!r}!"

    pg.row_factory = dict_row  # type: ignore[assignment]
    pg.adapters.register_loader("text", Shout)
    pg.execute("SET client_encoding = 'SQL_ASCII'")
    assert places(ask(pg).tables) == {"t", "u"}


def test_asking_leaves_the_transaction_as_it_is(pg: psycopg.Connection) -> None:
    def status() -> str:
        return pg.info.transaction_status.name

    ask(pg)
    assert status() == "IDLE"
    pg.execute("INSERT INTO u VALUES (1)")
    ask(pg)
    assert status() == "INTRANS"
    pg.execute("SET LOCAL statement_timeout = 1")
    with pytest.raises(psycopg.Error):
        _ = [ask(pg) for _ in range(100)]
    assert status() == "INTRANS"
    assert pg.execute("SELECT a FROM u").fetchall() == [(1,)]
    with pytest.raises(psycopg.Error):
        pg.execute("nonsense")
    with pytest.raises(LookupError):
        ask(pg)
    assert status() == "INERROR"
