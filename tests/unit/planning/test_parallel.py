"""Side by side, the steps run as if one after another: whoever may depend on another waits for it."""

from __future__ import annotations

from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.execution.step_queue import StepQueue, can_overlap
from discover_orch.model.dataflow import Dataflow
from discover_orch.planning.parallel import find_waits
from discover_orch.planning.plan import Step
from tests.support.values import make_facts, make_plan, make_registry


def steps_of(registry: Registry, *targets: str) -> tuple[Step, ...]:
    return make_plan(registry, *targets).steps


def waits_of(registry: Registry, *targets: str, known: str = "") -> dict[str, str]:
    """For each tool the tools that it waits for: those whose end lets it start last."""
    steps = steps_of(registry, *targets)
    names = [step.tool.module for step in steps]
    waits = find_waits(steps, registry, lambda tool: tool.module in known)
    found = {}
    for place, name in enumerate(names):
        alone = [number for number in range(place) if waits[number].is_alone]
        own = waits[place]
        before = max(own.all_before, place if own.is_alone else 0, *(one + 1 for one in alone), 0)
        later = (names[one] for one in own.steps if one >= before)
        found[name] = "".join([*names[:before], *later])
    return found


def flowing(**flows: Dataflow) -> Registry:
    return with_observed(make_registry(*(make_facts(name, after=()) for name in flows)), flows)


def test_a_writer_waits_for_the_readers_before_it_and_they_for_the_writer_before_them() -> None:
    reads, writes = Dataflow(tables_read=("t",)), Dataflow(tables_written=("t",))
    assert waits_of(flowing(a=reads, b=reads, c=writes)) == {"c": "", "a": "c", "b": "c"}
    found = make_registry(make_facts("a", after=()), make_facts("b", after="a"))
    only = with_observed(found, {"a": reads, "b": writes})
    assert waits_of(only) == {"a": "", "b": "a"}


def test_tools_that_only_insert_into_a_table_do_not_wait_for_each_other() -> None:
    inserts = Dataflow(tables_written=("t",), tables_inserted=("t",))
    rewrites = Dataflow(tables_written=("t",))
    assert waits_of(flowing(a=inserts, b=inserts)) == {"a": "", "b": ""}
    assert waits_of(flowing(a=inserts, b=rewrites)) == {"a": "", "b": "a"}


def test_two_tools_in_a_chain_never_overlap() -> None:
    chain = make_registry(
        make_facts("a", after=()), make_facts("b", after="a"), make_facts("c", after="b")
    )
    for registry, overlaps in ((chain, False), (flowing(a=Dataflow(), b=Dataflow()), True)):
        steps = steps_of(registry)
        waits = find_waits(steps, registry, lambda _: False)
        queue = StepQueue([step.tool.module for step in steps], waits, {}, {})
        assert can_overlap(queue) is overlaps
