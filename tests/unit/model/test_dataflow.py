"""What tools read and write: which patterns can meet, what is known, and the edges that follow."""

from __future__ import annotations

import fnmatch
import functools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.flow_edges import (
    MOST_ITEMS,
    Written,
    edges,
    shared,
    upstream,
    without_updates,
)

paths = st.lists(st.sampled_from(["a", "b", "a.csv", "ab"]), min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.sampled_from(["a", "b", "*", "a*", "*.csv", "?", "[ab]", "a.csv"]), min_size=1, max_size=3
).map("/".join)


@functools.cache
def meet(one: str, other: str) -> bool:
    """Whether some file can match both patterns: then a tool that reads the one depends on one that writes the other."""
    reader, writer = Dataflow(inputs=(one,)), Dataflow(outputs=(other,))
    return edges({"writer": writer, "reader": reader}) == {"reader": ("writer",)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data/raw.csv", "data/raw.csv"),
        ("data", "data/raw.csv"),
        ("data/", "data"),
        ("data/*.csv", "data/raw.csv"),
        ("data/*.csv", "data"),
        ("data/*.csv", "data/raw*"),
        ("**/*.csv", "raw.csv"),
        ("data/**/x.csv", "data/x.csv"),
        ("data/**", "data/deep/er/x"),
        ("da*", "data/raw.csv"),
    ],
)
def test_what_can_be_one_file_meets_from_both_sides(one: str, other: str) -> None:
    assert meet(one, other)
    assert meet(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data/raw.csv", "data/raw.csvx"),
        ("data", "database"),
        ("data/*.csv", "data/raw.json"),
        ("data/*.csv", "output/*.csv"),
        ("data/*.csv", "database"),
    ],
)
def test_what_cannot_be_one_file_does_not_meet(one: str, other: str) -> None:
    assert not meet(one, other)
    assert not meet(other, one)


@given(paths, patterns, patterns)
def test_an_edge_is_rather_one_too_many_than_one_too_few(path: str, one: str, other: str) -> None:
    if fnmatch.fnmatchcase(path, one):
        assert meet(path, one)
        if fnmatch.fnmatchcase(path, other):
            assert meet(one, other)
            assert meet(other, one)


# The edges.


def depends(reader: Dataflow, writer: Dataflow) -> bool:
    """The definition, one pair at a time."""
    return (
        any(
            meet(literal(one) if is_seen else one, path)
            for one, is_seen in read_paths(reader)
            for path in written_paths(writer)
        )
        or not set(reader.tables_read).isdisjoint(writer.tables_written)
        or any(
            is_put_into(folder, path) for folder in reader.folders for path in written_paths(writer)
        )
    )


def read_paths(flow: Dataflow) -> list[tuple[str, bool]]:
    return [
        *((one, True) for one in (*flow.reads, *flow.missed)),
        *((one, False) for one in flow.inputs),
    ]


def written_paths(flow: Dataflow) -> list[str]:
    return [*map(literal, flow.writes), *flow.outputs]


def literal(path: str) -> str:
    """The same path without characters that a glob could have."""
    return path.replace("*", "STAR").replace("?", "MARK").replace("[", "OPEN").replace("]", "CLOSE")


def is_put_into(folder: str, path: str) -> bool:
    """A file directly in the folder; or a whole folder that is declared to be written, or holds it."""
    if any(mark in path for mark in "*?["):
        start = "" if folder == "." else f"{folder}/"
        literal = re.split(r"[*?[]", path, maxsplit=1)[0]
        if literal.startswith(start):
            return "/" not in literal.removeprefix(start)
        return start.startswith(literal)
    path = path.rstrip("/")
    parent = path.rpartition("/")[0] or ("" if path.startswith("/") else ".")
    return parent == folder or path == folder or folder.startswith(f"{path}/")


def naive_edges(flows: dict[str, Dataflow]) -> dict[str, tuple[str, ...]]:
    found = {
        reader: tuple(
            writer for writer, other in flows.items() if writer != reader and depends(flow, other)
        )
        for reader, flow in flows.items()
    }
    return {reader: writers for reader, writers in found.items() if writers}


spelled = st.one_of(paths, paths.map(lambda path: path + "/"), paths.map(lambda path: "/" + path))
folders = st.one_of(st.just("."), st.just(""), paths)
tables = st.lists(st.sampled_from("rst"), max_size=2).map(tuple)
flow_fields = {
    "reads": st.lists(spelled, max_size=2).map(tuple),
    "writes": st.lists(spelled, max_size=2).map(tuple),
    "inputs": st.lists(st.one_of(spelled, patterns), max_size=2).map(tuple),
    "outputs": st.lists(st.one_of(spelled, patterns), max_size=2).map(tuple),
    "tables_read": tables,
    "tables_written": tables,
    "folders": st.lists(folders, max_size=2).map(tuple),
    "missed": st.lists(paths, max_size=2).map(tuple),
}
flows_of_tools = st.dictionaries(st.sampled_from("abcdefg"), st.builds(Dataflow, **flow_fields))


def with_parts(flow: Dataflow, kind: int) -> Dataflow:
    """The same flow, which does no more than add to the first table and file that it writes, makes or drops them."""
    written = flow.tables_written[:1]
    return replace(
        flow,
        appended=flow.writes[:1] if kind & 1 else (),
        tables_inserted=written if kind & 2 else (),
        tables_created=written if kind & 4 else (),
        tables_dropped=written if kind & 8 else (),
    )


all_flows = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        with_parts,
        st.builds(
            Dataflow,
            **flow_fields,
            tables_missed=tables,
            tables_kept=tables,
            lists_tables=st.booleans(),
        ),
        st.integers(0, 15),
    ),
)


@settings(max_examples=3 * settings().max_examples)
@given(flows_of_tools)
def test_what_is_looked_up_is_what_asking_every_pair_would_find(flows: dict[str, Dataflow]) -> None:
    assert edges(flows) == naive_edges(flows)


def comes_after(later: Dataflow, earlier: Dataflow) -> bool:
    """The definition of what is upstream, one pair at a time."""
    both_insert = {*later.tables_inserted} & {*earlier.tables_inserted}
    both_append = {*later.appended} & {*earlier.appended}
    rewritten = replace(
        later,
        folders=(),
        missed=(),
        tables_read=tuple({*later.tables_written} - both_insert) + later.tables_missed,
    )
    return (
        depends(later, earlier)
        or depends(replace(rewritten, reads=(), inputs=()), earlier)
        or (later.lists_tables and bool(earlier.tables_created or earlier.tables_dropped))
        or any(
            meet(written, path)
            for written in [
                *(literal(one) for one in later.writes if one not in both_append),
                *(one for one in later.outputs if one not in later.appended),
            ]
            for path in written_paths(earlier)
        )
    )


@given(all_flows)
def test_upstream_is_every_earlier_tool_that_writes_what_a_tool_reads_or_writes(
    flows: dict[str, Dataflow],
) -> None:
    tools = sorted(flows)
    expected = {
        later: tuple(one for one in tools[:number] if comes_after(flows[later], flows[one]))
        for number, later in enumerate(tools)
    }
    found = upstream(tools, flows, edges(flows), Written(flows.values()))
    assert found == {later: others for later, others in expected.items() if others}


@pytest.mark.parametrize(
    ("first", "second", "is_upstream"),
    [
        (Dataflow(tables_written=("t",)), Dataflow(tables_written=("t",)), True),
        (
            Dataflow(tables_written=("t",), tables_inserted=("t",)),
            Dataflow(tables_written=("t",), tables_inserted=("t",)),
            False,
        ),
        (
            Dataflow(tables_written=("t",)),
            Dataflow(tables_written=("t",), tables_inserted=("t",)),
            True,
        ),
        (
            Dataflow(tables_written=("t",), tables_inserted=("t",)),
            Dataflow(tables_written=("t",)),
            True,
        ),
        (Dataflow(tables_written=("t",)), Dataflow(tables_kept=("t",)), False),
        (Dataflow(tables_kept=("t",)), Dataflow(tables_written=("t",)), False),
        (Dataflow(writes=("x",)), Dataflow(writes=("x",)), True),
        (Dataflow(writes=("x",)), Dataflow(outputs=("x",)), True),
        (Dataflow(outputs=("out",)), Dataflow(writes=("out/x",)), True),
        (
            Dataflow(writes=("log",), appended=("log",)),
            Dataflow(writes=("log",), appended=("log",)),
            False,
        ),
        (
            Dataflow(outputs=("log",), writes=("log",), appended=("log",)),
            Dataflow(outputs=("log",), writes=("log",), appended=("log",)),
            False,
        ),
        (Dataflow(writes=("log",)), Dataflow(writes=("log",), appended=("log",)), True),
        (Dataflow(tables_written=("t",)), Dataflow(tables_missed=("t",)), True),
        (
            Dataflow(tables_written=("t",), tables_created=("t",)),
            Dataflow(lists_tables=True),
            True,
        ),
        (
            Dataflow(tables_written=("t",), tables_dropped=("t",)),
            Dataflow(lists_tables=True),
            True,
        ),
        (Dataflow(tables_written=("t",)), Dataflow(lists_tables=True), False),
        (Dataflow(writes=("f",)), Dataflow(removed=("f",)), True),
        (Dataflow(removed=("f",)), Dataflow(writes=("f",)), True),
        (Dataflow(removed=("f",)), Dataflow(missed=("f",)), True),
        (Dataflow(removed=("in/f",)), Dataflow(folders=("in",)), True),
        (Dataflow(removed=("f",)), Dataflow(writes=("g",)), False),
    ],
)
def test_a_second_writer_is_downstream_of_the_first_unless_both_only_add(
    first: Dataflow, second: Dataflow, is_upstream: bool
) -> None:
    flows = {"a": second, "b": first}
    found = upstream(("b", "a"), flows, edges(flows), Written(flows.values()))
    assert found == ({"a": ("b",)} if is_upstream else {})


@given(flows_of_tools)
def test_what_two_tools_share_is_told_exactly_where_one_reads_what_the_other_writes(
    flows: dict[str, Dataflow],
) -> None:
    for reader in flows.values():
        bare = replace(reader, folders=(), missed=())
        for writer in flows.values():
            assert bool(shared(reader, writer)) == depends(bare, writer)


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (Dataflow(reads=("in [v2].csv",)), Dataflow(writes=("in v.csv",))),
        (Dataflow(reads=("in v.csv",)), Dataflow(writes=("in [v2].csv",))),
        (Dataflow(missed=("data/*",)), Dataflow(writes=("data/a",))),
        (Dataflow(folders=("data*",)), Dataflow(writes=("data/a",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data*/a",))),
    ],
)
def test_an_observed_path_is_never_a_glob(reader: Dataflow, writer: Dataflow) -> None:
    assert edges({"a": reader, "b": writer}) == {}


@pytest.mark.parametrize("path", ["in [v2].csv", "data/what?.txt", "data/a*"])
def test_a_declared_path_is_also_the_file_of_exactly_that_name(path: str) -> None:
    for reader in (Dataflow(inputs=(path,)), Dataflow(reads=(path,))):
        for writer in (Dataflow(outputs=(path,)), Dataflow(writes=(path,))):
            assert edges({"a": reader, "b": writer}) == {"a": ("b",)}


# What is known.


@pytest.mark.parametrize(
    "name", ["reads", "tables_read", "folders", "missed", "tables_missed", "inputs"]
)
def test_a_read_of_any_kind_is_one_that_is_known(name: str) -> None:
    flow = Dataflow(**{name: ("x",)})  # type: ignore[arg-type]
    assert (flow.has_reads, flow.has_writes) == (True, False)
    assert not replace(flow, is_unclear=True).has_reads


@pytest.mark.parametrize("name", ["writes", "removed", "tables_written", "tables_kept", "outputs"])
def test_a_write_of_any_kind_is_one_that_is_known(name: str) -> None:
    flow = Dataflow(**{name: ("x",)})  # type: ignore[arg-type]
    assert (flow.has_reads, flow.has_writes) == (False, True)
    assert not replace(flow, is_unclear=True).has_writes


def test_the_list_of_tables_is_a_known_read_and_an_empty_declaration_makes_known() -> None:
    assert Dataflow(lists_tables=True).has_reads
    empty = Dataflow(has_inputs=True)
    assert (empty.has_reads, empty.has_writes) == (True, False)
    empty = Dataflow(has_outputs=True)
    assert (empty.has_reads, empty.has_writes) == (False, True)
    assert not Dataflow(has_outputs=True, is_unclear=True).has_writes


def test_what_a_tool_updates_in_place_can_be_left_out_of_what_it_reads() -> None:
    flow = Dataflow(
        inputs=("data/*.csv",),
        reads=("data/a.csv", "x.csv"),
        writes=("data/a.csv", "model.json"),
        tables_read=("raw", "notes"),
        tables_written=("notes",),
        folders=(".", "data", "more"),
        missed=("model.json", "other.json"),
    )
    assert without_updates(flow) == replace(
        flow,
        inputs=(),
        reads=("x.csv",),
        tables_read=("raw",),
        folders=("more",),
        missed=("other.json",),
    )


def test_tools_with_tens_of_thousands_of_files_are_compared_by_looking_up() -> None:
    files = tuple(f"data/{number:05}.csv" for number in range(20_000))
    reader, writer = Dataflow(reads=files), Dataflow(writes=files)
    assert shared(reader, writer) == files
    assert edges({"a": reader, "b": writer}) == {"a": ("b",)}
    both = replace(reader, writes=files)
    assert without_updates(both) == replace(both, reads=())


def test_many_items_that_write_one_table_are_upstream_as_one_by_one_and_not_of_one_another() -> (
    None
):
    def writes(count: int) -> dict[str, Dataflow]:
        flow = Dataflow(tables_read=("t",), tables_written=("t",))
        return {f"src.{tool} {one:02}": flow for tool in ("a", "b") for one in range(count)}

    for count in (MOST_ITEMS, MOST_ITEMS + 1):
        flows = {**writes(count), "src.c": Dataflow(tables_read=("t",))}
        written = Written(flows.values(), flows)
        found = upstream([*flows], flows, edges(flows, written), written)
        of_a, of_b = ([key for key in flows if key.startswith(f"src.{one}")] for one in "ab")
        assert found["src.c"] == (*of_a, *of_b)
        for place, key in enumerate(of_b):
            above = {*found[key]}
            assert above.issuperset(of_a)
            # Items in order have the one before them upstream, and by it all others.
            assert above.isdisjoint(of_b[place:])
            assert not place or of_b[place - 1] in above
