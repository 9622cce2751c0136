"""A small graph: its order, what can be reached, and its cycles."""

from __future__ import annotations

import graphlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model import graph

NODES = "abcdefgh"
edge_maps = st.dictionaries(
    st.sampled_from(NODES), st.lists(st.sampled_from(NODES + "xy"), max_size=4), max_size=8
)


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    """Edges that lead back along a random order."""
    nodes = draw(st.permutations(NODES))
    return {
        node: draw(st.lists(st.sampled_from(nodes[:index]), max_size=3))
        for index, node in enumerate(nodes)
        if index
    }


@given(acyclic(), st.permutations(NODES))
def test_an_order_respects_every_edge_and_is_stable(
    edges: dict[str, list[str]], nodes: list[str]
) -> None:
    found = graph.order(nodes, edges)
    place = {node: index for index, node in enumerate(found)}
    assert sorted(found) == sorted(NODES)
    assert all(place[one] < place[node] for node, before in edges.items() for one in before)
    assert found == graph.order(reversed(nodes), dict(reversed(edges.items())))


@given(acyclic())
def test_an_order_takes_the_smallest_of_the_ready_ones(edges: dict[str, list[str]]) -> None:
    done: set[str] = set()
    for node in graph.order(NODES, edges):
        ready = [one for one in NODES if one not in done and done.issuperset(edges.get(one, ()))]
        assert node == min(ready)
        done.add(node)


@given(edge_maps)
def test_a_cycle_is_told_exactly_where_there_is_no_order(edges: dict[str, list[str]]) -> None:
    inside = {node: [one for one in before if one in NODES] for node, before in edges.items()}
    sorter = graphlib.TopologicalSorter(inside)
    try:
        graph.order(NODES, edges)
    except graph.CycleError as error:
        cycle = error.cycle
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        # Each stands after the one that it waits for.
        assert all(one in inside[node] for one, node in itertools.pairwise(cycle))
        with pytest.raises(graphlib.CycleError):
            sorter.prepare()
    else:
        sorter.prepare()


@given(edge_maps, st.sets(st.sampled_from(NODES), max_size=3))
def test_reachable_is_the_smallest_closed_set_with_the_starts(
    edges: dict[str, list[str]], starts: set[str]
) -> None:
    found = graph.reachable(starts, edges)
    expected = set(starts)
    while True:
        more = {one for node in expected for one in edges.get(node, ())} - expected
        if not more:
            break
        expected |= more
    assert found == expected


@given(edge_maps)
def test_reverse_turns_each_edge(edges: dict[str, list[str]]) -> None:
    there = sorted((node, one) for node, others in edges.items() for one in others)
    turned = graph.reverse(edges)
    assert there == sorted((one, node) for node, others in turned.items() for one in others)


@given(edge_maps, st.lists(st.sampled_from(NODES)))
def test_in_a_knot_each_reaches_each_and_knots_are_as_large_as_can_be(
    edges: dict[str, list[str]], starts: list[str]
) -> None:
    inside = graph.reachable(starts, edges)
    reach = {node: graph.reachable([node], edges) for node in inside}
    expected = {
        frozenset(other for other in reach[node] if node in reach[other]) for node in inside
    }
    found = graph.cyclic_groups(starts, edges)
    assert set(found) == {group for group in expected if len(group) > 1}
    assert len(set(found)) == len(found)
