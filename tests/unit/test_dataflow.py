"""Declared files: which patterns can meet, and the edges that follow."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.dataflow import Dataflow, edges, meet

paths = st.lists(st.sampled_from(["a", "b", "a.csv", "ab"]), min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.sampled_from(["a", "b", "*", "a*", "*.csv", "?", "[ab]", "a.csv"]), min_size=1, max_size=3
).map("/".join)


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
