"""The tools that exist: order, upstream and downstream, and what is set apart as unhealthy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry, build_registry
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem
from discover_orch.source.facts import ArgumentFacts, Scan, UnknownType
from tests.support.values import (
    make_argument,
    make_broken,
    make_conf,
    make_facts,
    make_project,
    make_registry,
    said,
)


def ill(registry: Registry) -> list[str]:
    return [one.module for one in registry.broken]


def test_a_project_without_tools_is_a_registry_too() -> None:
    empty = make_registry()
    assert (dict(empty.tools), empty.order, empty.errors, empty.warnings) == ({}, (), (), ())
    assert empty.upstream(["x"]) == empty.downstream([]) == frozenset()


def test_everything_is_ordered_stage_by_stage_then_by_after_then_by_path() -> None:
    registry = make_registry(
        make_facts("src.zz", "ingest"),
        make_facts("src.aa", "ingest", after="zz"),
        make_facts("src.bb", "ingest"),
        make_facts("src.draw", "render"),
        make_facts("src.count", "analyze"),
        stages=("ingest", "analyze", "render"),
    )
    assert registry.order == ("src.bb", "src.zz", "src.aa", "src.count", "src.draw")
    assert [stage.name for stage in registry.stages] == ["ingest", "analyze", "render"]
    assert registry.rank["src.draw"] == 2


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


def test_a_tool_of_several_stages_is_in_each_and_in_the_whole_with_its_first() -> None:
    registry = make_registry(
        make_facts("a", ("render", "ingest")),
        make_facts("b", "analyze"),
        make_facts("c", "render"),
        stages=("ingest", "analyze", "render"),
    )
    assert registry.order == ("a", "b", "c")
    stage = registry.stage("render")
    assert stage is not None
    assert stage.tools == ("a", "c")


def test_a_tool_says_what_its_module_says() -> None:
    registry = make_registry(
        make_facts(
            "src.fetch",
            after=(),
            doc="Fetch.",
            orch={"name": "get", "inputs": "a", "outputs": ["b"], "cancel": False, "always": True},
            arguments=[make_argument("conn"), make_argument("since", "date")],
            takes_extra=True,
        )
    )
    tool = registry.tools["src.fetch"]
    assert (tool.name, tool.path, tool.line, tool.doc) == ("get", "src/fetch.py", 3, "Fetch.")
    assert (tool.stages, tool.after, tool.has_after) == (("ingest",), (), True)
    assert (tool.resources, [param.name for param in tool.params]) == (("conn",), ["since"])
    assert (tool.inputs, tool.outputs) == (("a",), ("b",))
    assert (tool.has_inputs, tool.has_outputs) == (True, True)
    assert tool.takes_extra
    assert tool.is_always_stale
    assert not tool.is_cancellable


def test_a_signature_that_cannot_be_read_takes_anything() -> None:
    registry = make_registry(make_facts("a", is_readable=False))
    assert registry.tools["a"].takes_extra
    assert not registry.tools["a"].is_readable


def test_a_disabled_tool_is_in_no_stage_and_lengthens_no_name() -> None:
    registry = make_registry(make_facts("src.a.parse"), make_facts("src.b.parse", None))
    assert registry.order == ("src.a.parse",)
    assert [(tool.name, tool.disabled) for tool in registry.disabled] == [("parse", True)]
    assert registry.display("src.a.parse") == "parse"


def test_a_stage_of_the_same_name_does_not_lengthen_a_tools_name() -> None:
    registry = make_registry(make_facts("src.render", "render"))
    assert registry.display("src.render") == "render"


# Problems.


def test_a_tool_with_a_problem_is_set_apart_and_the_rest_stays_usable() -> None:
    registry = make_registry(
        make_facts("a", orch={"retrys": 1}),
        make_facts("b", after="a"),
        make_facts("c", after="nothing"),
        make_facts("d", "full"),
        make_facts("e"),
        make_broken("f", "ingest"),
    )
    assert registry.order == ("b", "e")
    assert ill(registry) == ["a", "c", "d", "f"]
    assert registry.tools["b"].after == ("a",)
    assert registry.before["b"] == ()
    assert registry.display("a") == "a"


def test_a_broken_file_is_one_problem_and_never_hides_another() -> None:
    registry = make_registry(make_broken("a"), make_broken("b", "ingest"))
    assert said(registry.errors) == ["a.py:5: a is broken ()", "b.py:5: b is broken ()"]
    assert [one.could_be_in("render") for one in registry.broken] == [True, False]


def test_an_argument_that_nobody_can_give_is_a_problem_of_its_tool() -> None:
    frame = ArgumentFacts(name="frame", line=3, type=UnknownType(text="DataFrame"))
    registry = make_registry(make_facts("a", arguments=[frame]), make_facts("b"))
    assert (registry.order, ill(registry)) == (("b",), ["a"])


def test_a_cycle_is_told_once_and_sets_all_of_it_apart() -> None:
    registry = make_registry(
        make_facts("a", after="b"), make_facts("b", after="a"), make_facts("c", after="a")
    )
    assert (registry.order, ill(registry)) == (("c",), ["a", "b"])
    assert [problem.code for problem in registry.errors] == ["cycle"]


def test_a_tool_after_itself_is_a_cycle() -> None:
    registry = make_registry(make_facts("src.a", after="a"))
    assert [problem.message for problem in registry.errors] == [
        "AFTER forms a cycle: a (src/a.py:2) -> a (src/a.py:2)"
    ]


def test_after_a_later_stage_is_an_error_and_after_an_earlier_one_is_none() -> None:
    facts = (make_facts("a", "one", after="two"), make_facts("b", "two"))
    registry = make_registry(*facts, stages=("one", "two"))
    assert [problem.code for problem in registry.errors] == ["after-later-stage"]
    assert make_registry(*facts, stages=("two", "one")).order == ("b", "a")
    assert make_registry(*facts).order == ("b", "a")


def test_two_files_of_one_module_path_are_both_unhealthy() -> None:
    registry = make_registry(
        make_facts("a", path="src/a.py", orch={"retrys": 1}),
        make_facts("a", path="src/a/__init__.py"),
    )
    assert (registry.order, dict(registry.tools)) == ((), {})
    assert [(one.path, len(one.problems)) for one in registry.broken] == [
        ("src/a.py", 2),
        ("src/a/__init__.py", 1),
    ]


def test_a_resource_that_cannot_be_given_concerns_every_tool() -> None:
    registry = make_registry(make_facts("a"), conf=make_conf({"http": ["x"]}))
    assert registry.order == ("a",)
    assert [(one.path, one.concerns_all) for one in registry.broken] == [("orchconf.py", True)]


def test_slips_are_warnings_beside_the_tools() -> None:
    registry = make_registry(make_facts("a", "ingst"), stages=["ingest"])
    assert registry.order == ("a",)
    assert [one.severity for one in registry.warnings] == ["warning"]
    assert registry.errors == ()


def test_under_strict_a_slip_is_an_error_of_its_tool() -> None:
    project = make_project({"stages": ["ingest"], "strict": True})
    registry = make_registry(make_facts("a", "ingst"), make_facts("b"), project=project)
    assert registry.order == ("b",)
    assert registry.warnings == ()
    assert [one.severity for one in registry.errors] == ["error"]
    (ill,) = registry.broken
    assert ill.could_be_in("ingest")  # it may be the stage that was meant


def test_what_the_scan_tells_is_passed_on() -> None:
    near_miss = Problem(code="misnamed", message="x", severity="warning")
    assert make_registry(problems=[near_miss]).warnings == (near_miss,)


# Upstream and downstream.


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


def test_upstream_and_downstream_mirror_each_other() -> None:
    registry = chain()
    above = {(one, two) for two in registry.order for one in registry.upstream([two])}
    below = {(one, two) for one in registry.order for two in registry.downstream([one])}
    assert above == below


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
