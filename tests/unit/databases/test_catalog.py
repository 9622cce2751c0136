"""What the names in statements mean in one database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.databases.catalog import Catalog, Table, resolve_effects
from discover_orch.databases.effect import Effect, Name
from discover_orch.databases.table_log import FoundTables


def table(text: str) -> Table:
    """`t` is public.t, `s.t` is what it says."""
    schema, _, name = text.rpartition(".")
    return "", schema or "public", name


def tables(text: str) -> frozenset[Table]:
    return frozenset(table(one) for one in text.split())


def links(**of: str) -> dict[Table, tuple[Table, ...]]:
    return {table(one): tuple(tables(others)) for one, others in of.items()}


def postgres(there: str = "", *, search_path: str = "public", **more: Any) -> Catalog:
    named = tuple(("", one) for one in ["pg_temp_1", *search_path.split()])
    return Catalog(
        tables=tables(there),
        temporary=frozenset(one for one in tables(there) if one[1] == "pg_temp_1"),
        search_path=named,
        current_schema=named[1],
        default_schema=("", "public"),
        **more,
    )


def duckdb(there: str = "", *, current_schema: str = "w.main", **more: Any) -> Catalog:
    """Names in three parts."""
    found = frozenset((one[0], one[1], one[2]) for one in (x.split(".") for x in there.split()))
    database, schema = current_schema.split(".")
    return Catalog(
        tables=found,
        temporary=frozenset(one for one in found if one[0] == "temp"),
        search_path=(("temp", "main"), (database, schema), (database, "main")),
        current_schema=(database, schema),
        default_schema=("w", "main"),
        has_variables=True,
        **more,
    )


def names(text: str) -> tuple[Name, ...]:
    return tuple(tuple(one.split(".")) for one in text.split())


def read(text: str, **more: Any) -> Effect:
    return Effect(read=names(text), **more)


def write(text: str, **more: Any) -> Effect:
    return Effect(written=names(text), **more)


def name_new_table(text: str, **more: Any) -> Effect:
    return Effect(created=names(text), changes_names=True, **more)


def drop(text: str) -> Effect:
    return write(text, changes_names=True)


def make_temporary(text: str) -> Effect:
    return Effect(temporary_created=names(text), changes_names=True)


MOVE = Effect(changes_names=True, changes_search_path=True)


def touch(*effects: Effect, now: Catalog, before: Catalog | None = None) -> tuple[str, str]:
    """Tables read and written; none of it unclear."""
    touched = resolve_effects(effects, now, before or now)
    assert not touched.is_unclear
    return " ".join(sorted(touched.read)), " ".join(sorted(touched.written))


# Names.


@pytest.mark.parametrize(
    ("there", "search_path", "name", "found"),
    [
        ("t", "public", "t", "t"),
        ("s.t t", "s public", "t", "s.t"),
        ("t", "s public", "t", "t"),
        ("s.t t", "public", "s.t", "s.t"),
        ("pg_temp_1.t t", "public", "t", "pg_temp_1.t"),
        ("s.t", "public", "t", None),
        ("s.t", "public", "db.s.t", "s.t"),
    ],
)
def test_a_bare_name_is_looked_up_in_one_place_after_another(
    there: str, search_path: str, name: str, found: str | None
) -> None:
    catalog = postgres(there, search_path=search_path)
    assert catalog.find(names(name)[0]) == (table(found) if found else None)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("t", ("w", "main", "t")),
        ("s.t", ("w", "s", "t")),
        ("x.q", ("x", "main", "q")),  # of two parts the first may be a database
        ("x.main.q", ("x", "main", "q")),
        ("x.s.r", ("x", "s", "r")),
        ("q", None),
    ],
)
def test_in_duckdb_a_name_may_begin_with_a_database(name: str, found: Table | None) -> None:
    catalog = duckdb("w.main.t w.s.t x.main.q x.s.r")
    assert catalog.find(names(name)[0]) == found


def test_a_new_table_goes_into_the_current_schema() -> None:
    catalog = postgres("pg_temp_1.t t", search_path="s public")
    assert catalog.name_new_table(("t",)) == table("s.t")
    assert catalog.find_or_name(("t",)) == table("pg_temp_1.t")
    assert catalog.find_or_name(("n",)) == table("s.n")
    assert catalog.find_permanent(("t",)) == table("t")


def test_a_table_keeps_its_display_name_in_every_current_schema() -> None:
    for current_schema in ("w.main", "x.main", "w.s"):
        catalog = duckdb("w.main.t w.s.t x.main.t", current_schema=current_schema)
        shown = [catalog.display_name(one) for one in sorted(catalog.tables)]
        assert shown == ["t", "s.t", "x.main.t"]


# What is made, dropped and there already.


@pytest.mark.parametrize(
    ("effect", "before", "now", "written"),
    [
        (name_new_table("n"), "", "n", "n"),
        (name_new_table("n", if_not_exists=True), "", "n", "n"),
        (name_new_table("t", if_not_exists=True), "t", "t", ""),
        (name_new_table("t"), "t", "t", "t"),
        (drop("t"), "t", "", "t"),
        (drop("ghost"), "t", "t", ""),  # IF EXISTS
        (drop("t"), "t v", "", "t v"),  # CASCADE
        (write("t"), "t", "t", "t"),
        (name_new_table("pg_mine"), "", "pg_mine", "pg_mine"),
        (drop("pg_mine"), "pg_mine", "", "pg_mine"),
    ],
)
def test_what_is_made_and_dropped_is_written(
    effect: Effect, before: str, now: str, written: str
) -> None:
    assert touch(effect, now=postgres(now), before=postgres(before)) == ("", written)


def test_what_was_dropped_and_made_again_is_written() -> None:
    effects = drop("t"), name_new_table("t", if_not_exists=True)
    assert touch(*effects, now=postgres("t")) == ("", "t")


def test_a_table_that_was_created_and_dropped_again_does_not_count() -> None:
    effects = name_new_table("x"), write("x"), read("x t"), drop("x")
    assert touch(*effects, now=postgres("t")) == ("t", "")


def test_if_not_exists_asks_for_one_where_it_would_be_made() -> None:
    before = postgres("t pg_temp_1.t", search_path="s public")
    now = postgres("t s.t pg_temp_1.t", search_path="s public")
    assert touch(name_new_table("t", if_not_exists=True), now=now, before=before) == ("", "s.t")


def test_what_vanished_with_another_database_was_not_written() -> None:
    before = duckdb("w.main.t x.main.q")
    assert touch(MOVE, now=duckdb("w.main.t"), before=before) == ("", "")


# Temporary tables.


def test_temporary_tables_do_not_count() -> None:
    effects = make_temporary("x"), write("x"), read("x")
    assert touch(*effects, now=postgres("pg_temp_1.x"), before=postgres()) == ("", "")
    assert touch(*effects, now=postgres(), before=postgres()) == ("", "")
    assert touch(write("pg_temp.x"), now=postgres("pg_temp_1.x")) == ("", "")


@pytest.mark.parametrize("before", ["t", "t pg_temp_1.t"])
def test_a_table_that_was_read_before_a_temporary_one_hid_it_is_read(before: str) -> None:
    effects = read("t"), make_temporary("t")
    now = postgres("t pg_temp_1.t")
    assert touch(*effects, now=now, before=postgres(before)) == ("t", "")


def test_a_temporary_table_that_existed_before_hides_the_table() -> None:
    assert touch(read("t"), now=postgres("t pg_temp_1.t")) == ("", "")


# What goes with a table.


def test_reading_a_view_reads_its_tables_at_any_depth() -> None:
    catalog = postgres("t v w", read_with=links(w="v", v="t"), written_with=links(w="v", v="t"))
    assert touch(read("w"), now=catalog) == ("t v w", "")
    assert touch(write("w"), now=catalog) == ("", "t v w")
    assert touch(name_new_table("w"), now=catalog) == ("", "w")
    assert touch(drop("w"), now=catalog) == ("", "w")


def test_cyclic_relations_between_tables_end() -> None:
    catalog = postgres("t u", written_with=links(t="u", u="t"))
    assert touch(write("t"), now=catalog) == ("", "t u")


def test_only_a_cascading_truncate_empties_referring_tables() -> None:
    catalog = postgres("t u r", written_with=links(t="u"), truncated_with=links(t="u r"))
    assert touch(write("t"), now=catalog) == ("", "t u")
    assert touch(write("t", cascades=True), now=catalog) == ("", "r t u")


def test_files_behind_a_view_are_read_with_it() -> None:
    catalog = duckdb(
        "w.main.v w.main.o",
        read_with={("w", "main", "o"): (("w", "main", "v"),)},
        files={("w", "main", "v"): ("a.csv",)},
    )
    touched = resolve_effects([read("o")], catalog, catalog)
    assert touched == FoundTables(read={"o", "v"}, files_read=("a.csv",))


@pytest.mark.parametrize(
    ("effect", "is_unclear"),
    [
        (write("t"), True),
        (read("t"), False),
        (read("v"), True),
        (read("o"), True),
        (write("p"), True),
        (Effect(called=("f",)), True),
        (Effect(called=("g",)), False),
    ],
)
def test_effects_that_cannot_be_seen_are_unclear(effect: Effect, is_unclear: bool) -> None:
    catalog = postgres(
        "t v o p",
        active=tables("t"),
        opaque=tables("v"),
        read_with=links(o="v"),
        written_with=links(p="t"),
        routines=frozenset({"f"}),
    )
    assert resolve_effects([effect], catalog, catalog).is_unclear is is_unclear


# What is no table of anybody's.


@pytest.mark.parametrize(
    "name",
    [
        "pg_class",
        "pg_catalog.pg_class",
        "information_schema.tables",
        "duckdb_tables",
        "sqlite_master",
        "in/a.csv",
    ],
)
def test_the_databases_own_and_files_are_no_tables(name: str) -> None:
    whole = Effect(read=((name,) if "/" in name else tuple(name.split(".")),))
    assert touch(whole, now=postgres()) == ("", "")


def missed(*effects: Effect, now: Catalog, before: Catalog | None = None) -> str:
    found = resolve_effects(effects, now, before or now)
    return " ".join(sorted(found.missed))


def test_an_unknown_name_is_missed_in_postgresql_and_a_variable_in_duckdb() -> None:
    assert touch(read("frame"), now=postgres("t")) == ("", "")
    assert missed(read("frame"), now=postgres("t")) == "frame"
    assert missed(read("frame"), now=duckdb("w.main.t")) == ""
    assert missed(read("s.gone"), now=duckdb("w.main.t")) == "s.gone"


@pytest.mark.parametrize("catalog", [postgres("t"), duckdb("w.main.t")])
def test_a_table_that_a_failed_statement_names_or_that_is_asked_for_is_missed(
    catalog: Catalog,
) -> None:
    assert missed(read("gone", has_failed=True), now=catalog) == "gone"
    assert missed(Effect(looked_up=names("gone t pg_class")), now=catalog) == "gone"
    assert (
        missed(name_new_table("gone", has_failed=True), read("gone", has_failed=True), now=catalog)
        == "gone"
    )
    assert (
        missed(name_new_table("gone"), read("public.gone", has_failed=True), now=postgres("t"))
        == ""
    )


# How tables are written.


@pytest.mark.parametrize(
    ("effects", "changed"),
    [
        ([write("t", inserted=names("t"))], ""),
        ([write("t", inserted=names("t")), write("t")], "t"),
        ([write("t u", inserted=names("t"))], "u"),
        ([write("p", inserted=names("p"))], ""),
        ([name_new_table("t"), write("t", inserted=names("t"))], "t"),
    ],
)
def test_tables_into_which_rows_are_only_inserted_are_not_changed(
    effects: list[Effect], changed: str
) -> None:
    catalog = postgres("t u p q", written_with=links(p="q"))
    found = resolve_effects(effects, catalog, catalog)
    assert found.changed == {*changed.split()}
    assert found.changed <= found.written


@pytest.mark.parametrize(
    ("effects", "before", "now", "created", "dropped", "kept"),
    [
        ([name_new_table("n")], "t", "t n", "n", "", ""),
        ([drop("t")], "t u", "u", "", "t", ""),
        ([drop("t")], "t v", "", "", "t v", ""),
        ([write("t n", changes_names=True)], "t", "n", "n", "t", ""),
        ([drop("t"), name_new_table("t")], "t", "t", "", "", ""),
        ([name_new_table("t", if_not_exists=True)], "t", "t", "", "", "t"),
        ([name_new_table("t", if_not_exists=True), write("t")], "t", "t", "", "", ""),
        ([name_new_table("t", has_failed=True)], "t", "t", "", "", "t"),
        ([Effect(kept=names("t"), changes_names=True)], "t", "t", "", "", "t"),
        ([make_temporary("x")], "", "pg_temp_1.x", "", "", ""),
    ],
)
def test_tables_that_are_created_dropped_or_kept(
    effects: list[Effect], before: str, now: str, created: str, dropped: str, kept: str
) -> None:
    found = resolve_effects(effects, postgres(now), postgres(before))
    assert found.created == {*created.split()}
    assert found.dropped == {*dropped.split()}
    assert found.kept == {*kept.split()}


def test_a_file_that_is_a_table_is_no_file() -> None:
    effect = Effect(read=(("a.csv",),), files_read=("a.csv", "b.csv"))
    catalog = replace(duckdb(), tables=frozenset({("w", "main", "a.csv")}))
    touched = resolve_effects([effect], catalog, catalog)
    assert touched == FoundTables(read={"a.csv"}, files_read=("b.csv",))


# Names that were looked up elsewhere before.


# The law: nothing that is named is lost.

NAME = st.sampled_from(["t", "u", "v", "s.t", "x", "public.u"])
EFFECT = st.one_of(
    st.builds(read, NAME),
    st.builds(write, NAME),
    st.builds(name_new_table, NAME),
    st.builds(drop, NAME),
)
THERE = st.sets(st.sampled_from(["t", "u", "v", "s.t"])).map(" ".join)


@settings(max_examples=3 * settings().max_examples)
@given(effects=st.lists(EFFECT, max_size=6), now=THERE, before=THERE)
def test_each_existing_table_that_is_named_is_found(
    effects: list[Effect], now: str, before: str
) -> None:
    touched = resolve_effects(effects, postgres(now), postgres(before))
    there = {*now.split(), *before.split()}
    for effect in effects:
        for name in effect.read:
            assert (shown := ".".join(name).removeprefix("public.")) not in there or (
                shown in touched.read
            )
        for name in (*effect.written, *(effect.created if not effect.if_not_exists else ())):
            shown = ".".join(name).removeprefix("public.")
            is_there = shown in (there if effect.written else now.split())
            assert not is_there or shown in touched.written
