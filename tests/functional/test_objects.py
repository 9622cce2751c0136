"""Functions, sequences, types, triggers, indexes and views that tools make, as what other tools depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, edit, reasons, rows, run_all, run_changed

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgres"])


def tool(stage: str, *statements: str, after: str = "") -> str:
    """A tool that executes these statements."""
    lines = "".join(f'    conn.execute("""{one}""")\n' for one in statements)
    return f"STAGE = {stage!r}\n{f'AFTER = {after!r}' if after else ''}\n\ndef run(conn):\n{lines}"


def show(stage: str, query: str) -> str:
    """A tool that writes the rows of a query into `shown.txt`."""
    read = f'conn.execute("""{query}""").fetchall()'
    return f'STAGE = {stage!r}\n\ndef run(conn):\n    open("shown.txt", "w").write(str({read}))\n'


class World:
    """A project on a database of this kind."""

    def __init__(
        self, database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]
    ) -> None:
        url = new_postgres() if database == "postgres" else f"{database}:///data.db"
        self.url, self.orch, self.is_postgres = url, orch, database == "postgres"
        config = f"database = '{url}'\nstages = ['load', 'change', 'show']\n"
        self._project = project
        self.root: Path = project({"orch.toml": config})

    def write(self, **tools: str) -> None:
        self._project({f"src/{name}.py": text for name, text in tools.items()})

    def change(self, name: str, then: str, now: str) -> None:
        change(self.root / f"src/{name}.py", then, now)

    def ask(self, sql: str) -> Sequence[tuple[object, ...]]:
        if not self.is_postgres:
            return rows(self.root, sql)
        import psycopg

        with psycopg.connect(self.url) as conn:
            return conn.execute(sql.encode()).fetchall()

    @property
    def shown(self) -> str:
        return (self.root / "shown.txt").read_text()


@pytest.fixture
def world(database: str, project: Project, orch: Orch, new_postgres: Callable[[], str]) -> World:
    return World(database, project, orch, new_postgres)


FUNCTION = "create or replace function rate() returns int language sql as $$ select 1 $$"
OBJECTS = {
    "function": ((FUNCTION,), "select rate()", "select 1", "select 2", "[(2,)]"),
    "function in another": (
        (FUNCTION, "create or replace function double() returns int language sql as $$ select 2 * rate() $$"),
        "select double()", "$$ select 1 $$", "$$ select 2 $$", "[(4,)]",
    ),
    "function in a view": (
        (FUNCTION, "create or replace view rates as select rate() as rate"),
        "select * from rates", "select 1", "select 2", "[(2,)]",
    ),
    "sequence": (
        ("drop sequence if exists numbers", "create sequence numbers start 1"),
        "select nextval('numbers')", "start 1", "start 5", "[(5,)]",
    ),
    "type": (
        ("drop type if exists mood cascade", "create type mood as enum ('sad', 'happy')"),
        "select enum_range(null::mood)::text", "'sad', 'happy'", "'happy', 'sad'", "[('{happy,sad}',)]",
    ),
    "domain": (
        ("drop domain if exists small cascade", "create domain small as int default 1"),
        "select domain_default from information_schema.domains where domain_name = 'small'",
        "default 1", "default 2", "[('2',)]",
    ),
    "view": (
        ("create or replace view rates as select 1 as rate",),
        "select * from rates", "select 1", "select 2", "[(2,)]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("database", ["postgres"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_who_uses_an_object_is_stale_when_the_tool_that_makes_it_changes_it(
    kind: str, world: World
) -> None:
    statements, query, then, now, shown = OBJECTS[kind]
    world.write(makes=tool("load", *statements), uses=show("show", query))
    run_all(world.orch)
    edit(world.root, "makes")
    before = world.shown
    assert run_changed(world.orch) == ["makes"]  # the object is as it was
    assert world.shown == before
    world.change("makes", then, now)
    assert run_changed(world.orch) == ["makes", "uses"]
    assert world.shown == shown
    run_all(world.orch)


@BOTH
def test_a_view_that_is_made_again_is_the_same_if_its_definition_means_the_same(
    world: World,
) -> None:
    world.write(
        load=tool(
            "load",
            "create table if not exists t (x int)",
            "delete from t",
            "insert into t values (1)",
        ),
        view=tool("change", "drop view if exists v", "create view v as select x from t"),
        uses=show("show", "select x from v"),
    )
    run_all(world.orch)
    world.change("view", "select x from t", "SELECT  x\n-- of all\nFROM t")
    assert run_changed(world.orch) == ["view"]
    world.change("view", "SELECT  x", "SELECT x + 1 as x")
    assert run_changed(world.orch) == ["view", "uses"]
    assert world.shown == "[(2,)]"


@BOTH
@pytest.mark.parametrize("kind", ["unique index", "index"])
def test_an_index_that_is_gone_with_its_table_is_made_again(kind: str, world: World) -> None:
    world.write(
        load=tool(
            "load", "drop table if exists t", "create table t (x int)", "insert into t values (1)"
        ),
        names=tool("change", f"create {kind} if not exists by_x on t (x)"),
        uses=show("show", "select x from t"),
    )
    run_all(world.orch)
    catalog = "pg_indexes where indexname" if world.is_postgres else "sqlite_master where name"
    edit(world.root, "names")
    assert run_changed(world.orch) == ["names"]
    edit(world.root, "load")
    assert run_changed(world.orch) == ["load", "names"]
    assert world.ask(f"select count(*) from {catalog} = 'by_x'") == [(1,)]
    assert world.orch("run", "load").code == 0
    assert [*reasons(world.orch)] == ["names"]
    for _ in range(2):
        run_all(world.orch)


@pytest.mark.parametrize("database", ["sqlite", "duckdb"])
def test_who_fills_a_table_depends_on_its_unique_indexes(world: World) -> None:
    insert = "insert into t values (1, {}) on conflict do nothing"
    world.write(
        load=tool("load", "create table if not exists t (x int, y int primary key)"),
        names=tool("change", "drop index if exists by_x", "create unique index by_x on t (x)"),
        fills=tool("show", "delete from t", *(insert.format(y) for y in (1, 2))),
        uses=show("show", "select x from t"),
    )
    run_all(world.orch)
    assert world.shown.count("(") == 1  # rows
    edit(world.root, "names")
    assert run_changed(world.orch) == ["names"]
    world.change("names", "create unique", "create")
    assert run_changed(world.orch) == ["names", "fills", "uses"]
    assert world.shown.count("(") == 2
    run_all(world.orch)


TRIGGERS = {
    "sqlite": (
        "drop trigger if exists doubles",
        "create trigger doubles after insert on t begin insert into log values (new.x * 2); end",
    ),
    "postgres": (
        "create or replace function doubling() returns trigger language plpgsql as $$ "
        "begin insert into log values (new.x * 2); return new; end $$",
        "create or replace trigger doubles after insert on t for each row execute function doubling()",
    ),
}  # fmt: skip


@BOTH
def test_who_fills_a_table_depends_on_its_triggers(world: World) -> None:
    make = TRIGGERS["postgres" if world.is_postgres else "sqlite"]
    world.write(
        load=tool(
            "load", "create table if not exists t (x int)", "create table if not exists log (x int)"
        ),
        trigger=tool("change", *make),
        fills=tool("show", "delete from t", "delete from log", "insert into t values (1)"),
        uses=show("show", "select x from log order by 1"),
    )
    run_all(world.orch)
    assert world.shown == "[(2,)]"
    edit(world.root, "trigger")
    assert run_changed(world.orch) == ["trigger"]
    world.change("trigger", "* 2", "* 3")
    assert run_changed(world.orch) == ["trigger", "fills", "uses"]
    assert world.shown == "[(3,)]"
    run_all(world.orch)
    # A trigger that is new changes what it does too.
    new = [one.replace("doubles", "again") for one in make if "doubles" in one]
    world.write(another=tool("change", *new))
    assert run_changed(world.orch) == ["another", "fills", "uses"]
    assert world.shown.count("(") == 2  # rows
