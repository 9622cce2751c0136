"""The tools that exist: order, upstream and downstream, and what is set apart as unhealthy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.registry import build_registry
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow
from discover_orch.source.facts import Scan
from tests.support.values import (
    make_facts,
    make_project,
    make_registry,
)

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
