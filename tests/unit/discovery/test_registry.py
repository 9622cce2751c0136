"""The tools that exist: order, upstream and downstream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.registry import build_registry
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow
from discover_orch.source.facts import Scan
from tests.support.values import (
    make_facts,
    make_project,
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
