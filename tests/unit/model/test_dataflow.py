"""What tools read and write: which patterns can meet, what is known, and the edges that follow."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow, edges, merge, shared, without_updates

paths = st.lists(st.sampled_from(["a", "b", "a.csv", "ab"]), min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.sampled_from(["a", "b", "*", "a*", "*.csv", "?", "[ab]", "a.csv"]), min_size=1, max_size=3
).map("/".join)


def meet(one: str, other: str) -> bool:
    """Whether some file can match both patterns: then a tool that reads the one depends on one that writes the other."""
    reader, writer = Dataflow(reads=(one,)), Dataflow(writes=(other,))
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


def test_a_reader_comes_after_every_writer_but_itself() -> None:
    flows = {
        "fetch": Dataflow(writes=("data/raw.csv",)),
        "more": Dataflow(writes=("data/more.csv",)),
        "clean": Dataflow(reads=("data/*.csv",), writes=("data/clean.csv",)),
        "other": Dataflow(reads=("other",), writes=("elsewhere",)),
        "silent": Dataflow(),
    }
    assert edges(flows) == {"clean": ("fetch", "more")}


# The edges.


def depends(reader: Dataflow, writer: Dataflow) -> bool:
    """The definition, one pair at a time."""
    return (
        any(meet(one, path) for one in (*reader.reads, *reader.missed) for path in writer.writes)
        or not set(reader.tables_read).isdisjoint(writer.tables_written)
        or any(is_put_into(folder, path) for folder in reader.folders for path in writer.writes)
    )


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
flows_of_tools = st.dictionaries(
    st.sampled_from("abcdefg"),
    st.builds(
        Dataflow,
        reads=st.lists(st.one_of(spelled, patterns), max_size=3).map(tuple),
        writes=st.lists(st.one_of(spelled, patterns), max_size=3).map(tuple),
        tables_read=st.lists(st.sampled_from("rst"), max_size=2).map(tuple),
        tables_written=st.lists(st.sampled_from("rst"), max_size=2).map(tuple),
        folders=st.lists(folders, max_size=2).map(tuple),
        missed=st.lists(paths, max_size=2).map(tuple),
    ),
)


@settings(max_examples=300)
@given(flows_of_tools)
def test_what_is_looked_up_is_what_asking_every_pair_would_find(flows: dict[str, Dataflow]) -> None:
    assert edges(flows) == naive_edges(flows)


@given(flows_of_tools)
def test_what_two_tools_share_is_told_exactly_where_one_reads_what_the_other_writes(
    flows: dict[str, Dataflow],
) -> None:
    for reader in flows.values():
        bare = replace(reader, folders=(), missed=())
        for writer in flows.values():
            assert bool(shared(reader, writer)) == depends(bare, writer)


def test_what_two_tools_share_reads_as_in_a_sentence() -> None:
    reader = Dataflow(reads=("data/*.csv", "x"), tables_read=("raw", "more"))
    writer = Dataflow(writes=("data/a.csv",), tables_written=("raw",))
    assert shared(reader, writer) == ("data/*.csv", "the table raw")


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (Dataflow(tables_read=("raw",)), Dataflow(tables_written=("raw",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data/a.csv",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data/*.csv",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data/",))),
        (Dataflow(folders=(".",)), Dataflow(writes=("a.csv",))),
        (Dataflow(folders=(".",)), Dataflow(writes=("*.csv",))),
        (Dataflow(missed=("model.json",)), Dataflow(writes=("model.json",))),
    ],
)
def test_a_tool_depends_on_who_writes_what_it_read_listed_or_missed(
    reader: Dataflow, writer: Dataflow
) -> None:
    assert edges({"a": reader, "b": writer}) == {"a": ("b",)}


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (Dataflow(tables_written=("raw",)), Dataflow(tables_written=("raw",))),
        (Dataflow(tables_read=("raw",)), Dataflow(writes=("raw",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data/deep/a.csv",))),
        (Dataflow(folders=("data",)), Dataflow(writes=("data/deep/*.csv", "database"))),
        (Dataflow(folders=(".",)), Dataflow(writes=("data/*.csv", "/tmp"))),
        (Dataflow(missed=("model.json",)), Dataflow(writes=("model.jsonl",))),
    ],
)
def test_what_only_looks_alike_is_no_edge(reader: Dataflow, writer: Dataflow) -> None:
    assert edges({"a": reader, "b": writer}) == {}


# What is known.


@pytest.mark.parametrize("name", ["reads", "tables_read", "folders", "missed"])
def test_a_read_of_any_kind_is_one_that_is_known(name: str) -> None:
    flow = Dataflow(**{name: ("x",)})  # type: ignore[arg-type]
    assert (flow.has_reads, flow.has_writes) == (True, False)
    assert not replace(flow, is_unclear=True).has_reads


@pytest.mark.parametrize("name", ["writes", "tables_written"])
def test_a_write_of_any_kind_is_one_that_is_known(name: str) -> None:
    flow = Dataflow(**{name: ("x",)})  # type: ignore[arg-type]
    assert (flow.has_reads, flow.has_writes) == (False, True)
    assert not replace(flow, is_unclear=True).has_writes


def test_what_is_declared_adds_to_what_was_seen() -> None:
    declared = Dataflow(reads=("a", "b"), writes=("c",))
    seen = Dataflow(reads=("b", "d"), tables_read=("t",), folders=(".",), is_unclear=True)
    assert merge(declared, None) == declared
    assert merge(Dataflow(), seen) == seen
    assert merge(declared, seen) == Dataflow(
        reads=("a", "b", "d"),
        writes=("c",),
        tables_read=("t",),
        folders=(".",),
        is_unclear=True,
    )


def test_what_a_tool_updates_in_place_can_be_left_out_of_what_it_reads() -> None:
    flow = Dataflow(
        reads=("data/*.csv", "x.csv"),
        writes=("data/a.csv", "model.json"),
        tables_read=("raw", "notes"),
        tables_written=("notes",),
        folders=(".", "data", "more"),
        missed=("model.json", "other.json"),
    )
    assert without_updates(flow) == replace(
        flow, reads=("x.csv",), tables_read=("raw",), folders=("more",), missed=("other.json",)
    )


def test_tools_with_tens_of_thousands_of_files_are_compared_by_looking_up() -> None:
    files = tuple(f"data/{number:05}.csv" for number in range(20_000))
    reader, writer = Dataflow(reads=files), Dataflow(writes=files)
    assert shared(reader, writer) == files
    assert edges({"a": reader, "b": writer}) == {"a": ("b",)}
    both = replace(reader, writes=files)
    assert without_updates(both) == replace(both, reads=())
