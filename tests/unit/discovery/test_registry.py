"""The tools that exist: order, upstream and downstream, and what is set apart as unhealthy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry, build_registry
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow
from discover_orch.source.facts import Scan
from tests.support.values import (
    make_facts,
    make_project,
    make_registry,
)


def test_declared_files_order_what_after_leaves_open() -> None:
    registry = make_registry(
        make_facts("a", orch={"inputs": "x.csv"}),
        make_facts("b", orch={"outputs": "x.csv"}),
    )
    assert registry.order == ("b", "a")
    assert registry.flow == {"a": ("b",)}


def test_what_tools_were_seen_to_do_orders_what_after_leaves_open() -> None:
    facts = [make_facts("a"), make_facts("b", after="c"), make_facts("c", orch={"inputs": "x"})]
    seen = {
        "a": Dataflow(tables_read=("t",)),
        "b": Dataflow(tables_written=("t",)),
        "c": Dataflow(tables_read=("t",), reads=("x", "y")),
        "gone": Dataflow(tables_written=("t",)),
    }
    registry = build_registry(Scan(modules=tuple(facts)), make_project(), seen)
    assert registry.order == ("c", "b", "a")
    assert registry.ordering == {"a": ("b",), "c": ()}
    assert registry.flow == {"a": ("b",)}
    assert registry.observed == seen.keys()
    assert registry.flows["c"] == Dataflow(
        tables_read=("t",), reads=("x", "y"), inputs=("x",), has_inputs=True
    )
    assert registry.flows.keys() == registry.tools.keys()


def test_a_second_writer_is_downstream_of_the_first_and_the_order_does_not_follow_from_that() -> (
    None
):
    update = Dataflow(tables_read=("sales",), tables_written=("sales",))
    facts = [make_facts("b"), make_facts("c", after="d"), make_facts("d"), make_facts("e", "next")]
    seen = {"b": update, "c": update, "d": Dataflow(tables_written=("sales",)), "e": update}
    registry = build_registry(Scan(modules=tuple(facts)), make_project(), seen)
    assert registry.order == ("d", "b", "c", "e")
    assert registry.flow == {"b": ("d",), "c": ("d", "b"), "e": ("d", "b", "c")}
    assert registry.downstream(["b"]) == {"b", "c", "e"}
    assert registry.upstream(["c"]) == {"b", "c", "d"}


def test_two_writers_of_a_stage_keep_the_order_of_their_paths() -> None:
    seen = {name: Dataflow(tables_written=("t",), writes=("x",)) for name in "cab"}
    facts = [make_facts(name) for name in "abc"]
    registry = build_registry(Scan(modules=tuple(facts)), make_project(), seen)
    assert registry.order == ("a", "b", "c")
    assert registry.ordering == {}
    assert registry.flow == {"b": ("a",), "c": ("a", "b")}


def chain() -> Registry:
    """fetch writes what parse reads; no write is known of parse, and no read of draw."""
    return make_registry(
        make_facts("fetch", "ingest", orch={"outputs": "raw"}),
        make_facts("other", "ingest", orch={"outputs": "other"}),
        make_facts("parse", "analyze", orch={"inputs": "raw"}),
        make_facts("zeal", "analyze", orch={"inputs": "zeal", "outputs": "done"}),
        make_facts("draw", "render", orch={"outputs": "page"}),
        make_facts("last", "render", orch={"inputs": "done"}),
        stages=("ingest", "analyze", "render"),
    )


@pytest.mark.parametrize(
    ("start", "above"),
    [
        ("fetch", set()),
        ("parse", {"fetch"}),
        ("zeal", set()),
        # No read is known of draw: all of earlier stages.
        ("draw", {"fetch", "other", "parse", "zeal"}),
        # No write is known of parse, so it may feed last.
        ("last", {"zeal", "parse", "fetch"}),
    ],
)
def test_upstream_is_what_is_known_and_where_nothing_is_all_of_earlier_stages(
    start: str, above: set[str]
) -> None:
    assert chain().upstream([start]) == {start} | above


@pytest.mark.parametrize(
    ("start", "below"),
    [
        ("fetch", {"parse", "draw", "last"}),
        ("other", {"draw"}),
        ("parse", {"draw", "last"}),
        ("zeal", {"draw", "last"}),
        ("draw", set()),
    ],
)
def test_downstream_is_the_same_edges_from_the_other_end(start: str, below: set[str]) -> None:
    assert chain().downstream([start]) == {start} | below


def test_after_counts_within_a_stage_and_across() -> None:
    registry = make_registry(
        make_facts("a", orch={"inputs": "i", "outputs": "o"}),
        make_facts("b", after="a", orch={"inputs": "j", "outputs": "p"}),
        make_facts("c", orch={"inputs": "k", "outputs": "q"}),
        make_facts("d", "later", after="b", orch={"inputs": "l", "outputs": "r"}),
    )
    assert registry.upstream(["d"]) == {"a", "b", "d"}
    assert registry.downstream(["a"]) == {"a", "b", "d"}
    assert registry.downstream(["c"]) == {"c"}


def test_in_one_stage_nothing_known_means_no_edge() -> None:
    registry = make_registry(make_facts("a"), make_facts("b"))
    assert registry.upstream(["b"]) == {"b"}
    assert registry.downstream(["a"]) == {"a"}


flows = st.builds(
    Dataflow,
    tables_read=st.lists(st.sampled_from("abcdefgh"), max_size=2).map(tuple),
    tables_written=st.lists(st.sampled_from("abcdefgh"), max_size=2).map(tuple),
    is_unclear=st.sampled_from([False, False, True]),
)


@given(
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
    st.dictionaries(st.sampled_from("abcdefgh"), flows),
    st.sets(st.sampled_from("abcdefgh"), max_size=3),
)
def test_what_can_be_reached_is_what_single_steps_lead_to(
    ranks: list[int], seen: dict[str, Dataflow], starts: set[str]
) -> None:
    facts = [make_facts(one, f"s{rank}") for one, rank in zip("abcdefgh", ranks, strict=True)]
    project = make_project({"stages": ["s0", "s1", "s2", "s3"]})
    registry = build_registry(Scan(modules=tuple(facts)), project, seen)
    above: dict[str, list[str]] = {}
    for one in registry.order:
        above[one] = [*registry.flow.get(one, ())]
        for other in registry.order:
            if registry.rank[other] < registry.rank[one]:
                sure = registry.flows[one].has_reads and registry.flows[other].has_writes
                above[one] += [] if sure else [other]
    assert registry.upstream(starts) == graph.reachable(starts, above)
    assert registry.downstream(starts) == graph.reachable(starts, graph.reverse(above))


def test_a_database_that_nobody_could_watch_leaves_unknown_what_a_tool_reads_and_writes() -> None:
    facts = [make_facts("a", "one"), make_facts("b", "two"), make_facts("c", "three")]
    sure = Dataflow(tables_read=("t",), tables_written=("u",), tables_inserted=("u",))
    seen = {"a": sure, "b": replace(sure, is_unclear=True), "c": sure}
    project = make_project({"stages": ["one", "two", "three"]})
    registry = build_registry(Scan(modules=tuple(facts)), project, seen)
    assert registry.upstream(["c"]) == {"a", "b", "c"}
    assert registry.downstream(["a"]) == {"a", "b", "c"}
    seen["b"] = sure
    registry = build_registry(Scan(modules=tuple(facts)), project, seen)
    assert registry.upstream(["c"]) == {"c"}


def test_thousands_of_tools_of_which_nothing_is_known_all_feed_later_stages() -> None:
    registry = make_registry(
        *(make_facts(f"t{number:05}", f"s{number % 10}") for number in range(5_000))
    )
    assert len(registry.downstream(["t00000"])) == 4_501
    assert len(registry.upstream(["t00009"])) == 4_501
