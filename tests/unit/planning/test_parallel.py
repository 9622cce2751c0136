"""Side by side, the steps run as if one after another: whoever may depend on another waits for it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

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


# The queue.

names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True).map(sorted)


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Tools that declare something or nothing, use tables, and need tokens."""
    tables = st.lists(st.sampled_from("tuv"), max_size=2, unique=True).map(tuple)
    facts, flows = [], {}
    found: list[str] = []
    for name in draw(names):
        after = draw(
            st.one_of(
                st.none(), st.lists(st.sampled_from(found), max_size=2) if found else st.just([])
            )
        )
        stage = draw(st.sampled_from(["s", "later"]))
        tokens = {"gpu": draw(st.integers(1, 2))} if draw(st.booleans()) else {}
        facts.append(
            make_facts(
                name,
                stage,
                after=None if after is None else tuple(after),
                orch={"tokens": tokens},
            )
        )
        flows[name] = Dataflow(tables_read=draw(tables), tables_written=draw(tables))
        if stage == "s":
            found.append(name)
    return with_observed(make_registry(*facts, stages=("s", "later")), flows)


def may_overlap(one: Dataflow, other: Dataflow) -> bool:
    return not (
        {*one.tables_written} & {*other.tables_read, *other.tables_written}
        or {*other.tables_written} & {*one.tables_read}
    )


@given(registries(), st.data())
def test_no_trace_breaks_an_order_a_conflict_or_a_token(
    registry: Registry, data: st.DataObject
) -> None:
    """Steps start in any order that the queue allows, end, are tried again, or are blocked. One that may start is the
    first in the plan of those that nothing holds back."""
    steps = steps_of(registry)
    modules = [step.tool.module for step in steps]
    place = {module: number for number, module in enumerate(modules)}
    needs = {step.tool.module: step.tool.tokens for step in steps}
    waits = find_waits(steps, registry, lambda _: False)
    queue = StepQueue(modules, waits, needs, {"gpu": 2})
    running: list[str] = []
    ended: set[str] = set()

    def has_to_wait(module: str) -> bool:
        tools, own = registry.tools, steps[place[module]]
        in_use = sum(needs[one].get("gpu", 0) for one in running)
        return in_use + needs[module].get("gpu", 0) > 2 or any(
            steps[place[one]].group != own.group
            or one in registry.before.get(module, ())
            or not may_overlap(registry.flows[one], registry.flows[module])
            or not (tools[one].has_after and tools[module].has_after)
            for one in modules[: place[module]]
            if one not in ended
        )

    while queue or running:
        module = queue.next(math.inf)
        others = (one for one in modules if one not in ended and one not in running)
        assert module == next((one for one in others if not has_to_wait(one)), None)
        if module is not None and (not running or data.draw(st.booleans())):
            before = {one for one in modules if place[one] < place[module]} - ended
            assert not before & {*registry.before.get(module, ())}, "what AFTER names has ended"
            for one in before:
                assert steps[place[one]].group == steps[place[module]].group
                assert may_overlap(registry.flows[one], registry.flows[module])
            queue.take(module)
            running.append(module)
            assert sum(needs[one].get("gpu", 0) for one in running) <= 2
            undeclared = [one for one in running if not registry.tools[one].has_after]
            assert len(running) == 1 or not undeclared
            continue
        assert running, "nothing is ready and nothing runs"
        one = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if data.draw(st.booleans()):
            queue.put_back(one, 0.0)
            continue
        queue.end(one)
        ended.add(one)
        waiting = [other for other in modules if other not in ended and other not in running]
        is_blocking: bool = data.draw(st.booleans())
        if waiting and is_blocking:
            blocked: str = data.draw(st.sampled_from(waiting))
            queue.end(blocked)
            ended.add(blocked)
    assert ended == {*modules}


def test_two_tools_in_a_chain_never_overlap() -> None:
    chain = make_registry(
        make_facts("a", after=()), make_facts("b", after="a"), make_facts("c", after="b")
    )
    for registry, overlaps in ((chain, False), (flowing(a=Dataflow(), b=Dataflow()), True)):
        steps = steps_of(registry)
        waits = find_waits(steps, registry, lambda _: False)
        queue = StepQueue([step.tool.module for step in steps], waits, {}, {})
        assert can_overlap(queue) is overlaps
