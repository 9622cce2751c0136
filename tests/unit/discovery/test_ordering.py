"""`AFTER` as edges, what is wrong with it, data that adds to it, and the order that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.ordering import (
    AfterEdges,
    StageOrder,
    build_flow_edges,
    build_stage_edges,
    build_stages,
    find_cycles,
    order_stages,
    read_after,
)
from discover_orch.discovery.tagged_modules import Candidate
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem
from discover_orch.model.flow_edges import edges
from discover_orch.model.tool import ToolSettings, build_names
from discover_orch.source.facts import ModuleFacts
from tests.support.values import Words, make_broken, make_facts


def candidate(facts: ModuleFacts) -> Candidate:
    words = facts.stage.words if facts.stage else ()
    stages = tuple(word for word in words if isinstance(word, str))
    return Candidate(facts=facts, name=None, settings=ToolSettings(), stages=stages)


def tool(module: str, stage: Words = "s", after: Words | None = None) -> Candidate:
    return candidate(make_facts(module, stage, after=after))


def read(
    *candidates: Candidate,
    off: tuple[str, ...] = (),
    configured: tuple[str, ...] = (),
    broken: dict[str, Words] | None = None,
) -> AfterEdges:
    names = build_names((one.module, None) for one in candidates)
    off_names = build_names((module, None) for module in off)
    files = [make_broken(module, stages) for module, stages in (broken or {}).items()]
    return read_after(candidates, names, off_names, configured, files)


def cycles(*candidates: Candidate) -> list[tuple[str, Problem]]:
    names = build_names((one.module, None) for one in candidates)
    by_module = {one.module: one for one in candidates}
    return find_cycles(read(*candidates).edges, by_module, by_module, names)


def build_edges(
    flows: Mapping[str, Dataflow], before: Mapping[str, tuple[str, ...]], rank: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    return build_flow_edges(flows, edges(flows), before, rank)


def test_two_cycles_are_two_problems() -> None:
    found = cycles(tool("a", after="a"), tool("b", after="c"), tool("c", after="b"))
    assert [module for module, _ in found] == ["a", "b", "c"]
    assert len({problem for _, problem in found}) == 2


def test_data_never_contradicts_after_or_the_stages() -> None:
    rank = {"a": 0, "b": 0, "c": 1}
    before = {"b": ("a",)}
    assert build_edges(flows_of({"a": ("b",)}), before, rank) == {"a": ()}
    both = flows_of({"a": ("c",), "c": ("a",)})
    assert build_edges(both, {}, rank) == {"a": (), "c": ("a",)}


def test_data_yields_where_it_and_after_go_round_in_a_circle_over_several_tools() -> None:
    rank = dict.fromkeys("abcd", 0)
    before = {"c": ("b",), "b": ("a",)}
    kept = build_edges(flows_of({"a": ("c",), "d": ("c",), "c": ("d",)}), before, rank)
    assert kept == {"a": (), "c": (), "d": ()}


def test_data_that_goes_round_in_a_circle_is_ignored_and_the_rest_of_it_kept() -> None:
    rank = dict.fromkeys("abcd", 0)
    flows = flows_of({"a": ("b",), "b": ("a",), "c": ("a",), "d": ("c",)})
    assert build_edges(flows, {}, rank) == {"a": (), "b": (), "c": ("a",), "d": ("c",)}


def test_updates_in_place_hide_no_edge_that_goes_one_way() -> None:
    """Each of the three notes in one table what it has done, so that each reads what the others write."""
    flows = {
        "a": Dataflow(tables_read=("clean", "notes"), tables_written=("notes",)),
        "b": Dataflow(tables_read=("raw", "notes"), tables_written=("clean", "notes")),
        "c": Dataflow(tables_read=("notes",), tables_written=("raw", "notes")),
        "d": Dataflow(tables_read=("notes",)),
    }
    rank = dict.fromkeys("abcd", 0)
    assert build_edges(flows, {}, rank) == {
        "a": ("b",),
        "b": ("c",),
        "c": (),
        "d": ("a", "b", "c"),
    }


def test_tools_of_different_stages_that_update_in_place_keep_their_edge() -> None:
    update = Dataflow(tables_read=("records",), tables_written=("records",))
    kept = build_edges({"a": update, "b": update}, {}, {"a": 0, "b": 1})
    assert kept == {"a": (), "b": ("a",)}


def flows_of(wanted: Mapping[str, Sequence[str]]) -> dict[str, Dataflow]:
    """Flows of which these edges follow: each tool writes a table of its name."""
    return {
        module: Dataflow(tables_read=tuple(wanted.get(module, ())), tables_written=(module,))
        for module in "abcdef"
    }


edge_maps = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from("abcdef"), max_size=4).map(tuple),
)


@given(edge_maps, st.lists(st.integers(0, 2), min_size=6, max_size=6), st.permutations("abcdef"))
def test_whatever_the_data_an_order_exists_that_keeps_after(
    flow: dict[str, tuple[str, ...]], ranks: list[int], line: list[str]
) -> None:
    rank = dict(zip("abcdef", ranks, strict=True))
    place = {module: number for number, module in enumerate(line)}
    before = {
        module: tuple(
            other
            for other in "abcdef"
            if rank[other] == rank[module] and place[other] < place[module]
        )[:1]
        for module in "abcdef"
    }
    kept = build_edges(flows_of(flow), before, rank)
    names = ("0", "1", "2")
    stages_of = {module: (str(rank[module]),) for module in "abcdef"}
    for stage in order_stages(names, (), stages_of, before, kept):
        at = {module: number for number, module in enumerate(stage.tools)}
        for module in stage.tools:
            for other in (*before[module], *kept.get(module, ())):
                assert other not in at or at[other] < at[module]
    assert all(set(others) <= set(flow[module]) for module, others in kept.items())


def stage_order(
    stages_of: Mapping[str, Sequence[str]],
    *,
    after: Mapping[str, tuple[str, ...]] | None = None,
    flows: Mapping[str, Dataflow] | None = None,
    configured: tuple[str, ...] = (),
) -> StageOrder:
    unlisted = {stage for stages in stages_of.values() for stage in stages}.difference(configured)
    before = build_stage_edges(stages_of, after or {}, configured)
    flows = flows or {}
    return build_stages(unlisted, configured, before, stages_of, flows, edges(flows))


READS = Dataflow(tables_read=("w",))

WRITES = Dataflow(tables_written=("w",))

UPDATES = Dataflow(tables_read=("w",), tables_written=("w",))


@pytest.mark.parametrize(
    ("flows", "names", "by_name"),
    [
        ({"f": READS, "g": WRITES}, ("load", "agg"), ()),
        ({"f": READS}, ("agg", "load"), (("agg", "load"),)),
        ({"f": UPDATES, "g": UPDATES}, ("agg", "load"), (("agg", "load"),)),
        ({"f": UPDATES, "g": WRITES}, ("load", "agg"), ()),
        ({"f": Dataflow(missed=("x",)), "g": Dataflow(writes=("x",))}, ("load", "agg"), ()),
        ({"f": Dataflow(inputs=("x/*",)), "g": Dataflow(outputs=("x/y",))}, ("load", "agg"), ()),
    ],
)
def test_data_flow_orders_unlisted_stages(
    flows: Mapping[str, Dataflow], names: tuple[str, ...], by_name: tuple[tuple[str, str], ...]
) -> None:
    stages_of = {"f": ["agg"], "g": ["load"]}
    found = stage_order(stages_of, flows=flows)
    assert (found.names, found.by_name) == (names, by_name)


def test_data_flow_contradicts_neither_after_nor_the_configuration() -> None:
    stages_of = {"f": ["agg"], "g": ["load"], "h": ["agg"]}
    flows = {"f": READS, "g": WRITES}
    assert stage_order(stages_of, flows=flows, after={"g": ("h",)}).names == ("agg", "load")
    assert stage_order(stages_of, flows=flows, configured=("agg",)).names == ("agg", "load")


TOOLS = [f"t{number}" for number in range(6)]

THINGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True).map(tuple)


@given(
    st.fixed_dictionaries(
        {
            tool: st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True)
            for tool in TOOLS
        }
    ),
    st.dictionaries(
        st.sampled_from(TOOLS), st.lists(st.sampled_from(TOOLS), max_size=2).map(tuple)
    ),
    st.fixed_dictionaries(
        {tool: st.builds(Dataflow, tables_read=THINGS, tables_written=THINGS) for tool in TOOLS}
    ),
    st.lists(st.sampled_from("abcd"), max_size=2, unique=True).map(tuple),
)
def test_the_order_of_stages_respects_what_may_not_be_contradicted(
    stages_of: dict[str, list[str]],
    after: dict[str, tuple[str, ...]],
    flows: dict[str, Dataflow],
    configured: tuple[str, ...],
) -> None:
    every = {stage for stages in stages_of.values() for stage in stages}
    before = build_stage_edges(stages_of, after, configured)
    found = stage_order(stages_of, after=after, flows=flows, configured=configured)
    assert {*found.names} == every.union(configured)
    assert found.names[: len(configured)] == configured
    place = {stage: number for number, stage in enumerate(found.names)}
    for stage, others in before.items():
        assert all(place[other] < place[stage] for other in others)
    assert all(place[later] == place[one] + 1 for one, later in found.by_name)
    turned = dict(reversed(stages_of.items()))
    assert stage_order(turned, after=after, flows=flows, configured=configured) == found
