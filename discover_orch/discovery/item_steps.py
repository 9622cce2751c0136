"""Puts the steps of items in the place of their tools. Pure.

An item that has not run yet is expected to use what another item of its tool was seen to use, with its own values in
the names. That decides only what a plan expects: whether a step is fresh follows from what it really used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.discovery.registry import NO_DATAFLOW, Registry, dataflow_of, find_upstream
from discover_orch.model.dataflow import ITEM_PATHS, Dataflow
from discover_orch.model.flow_edges import Written, edges
from discover_orch.model.items import Item, key_of, tool_of
from discover_orch.model.tool import OldPlace, Tool


def guess_flows(
    registry: Registry, steps: Mapping[str, Sequence[Tool]], observed: Mapping[str, Dataflow]
) -> dict[str, Dataflow]:
    """The data flow of each of these steps by key, as it was observed or is expected."""
    found: dict[str, Dataflow] = {}
    for module, of_tool in steps.items():
        known = [step for step in of_tool if step.module in observed]
        like = known[-1] if known else None
        locked = registry.lock.get(module)
        for step in of_tool:
            if step.module in observed:
                found[step.module] = observed[step.module]
            elif like is not None:
                found[step.module] = _as_of(observed[like.module], like.item, step.item)
            elif locked is not None:
                found[step.module] = _filled(locked, step.item)
    return found


def _as_of(flow: Dataflow, then: Item, item: Item) -> Dataflow:
    """What an item is expected to use, as another one used it `then`."""
    pairs = [(then.values[name], text) for name, text in item.values.items() if name in then.values]
    pairs += [(_stem(old), _stem(new)) for old, new in pairs if "/" in old]

    def renamed(path: str) -> str:
        for old, new in pairs:
            if old in path:
                path = path.replace(old, new)
        return path

    return replace(flow, **{name: tuple(map(renamed, getattr(flow, name))) for name in ITEM_PATHS})


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _filled(flow: Dataflow, item: Item) -> Dataflow:
    """What `orch.lock` says, for this item."""
    names = (*ITEM_PATHS, "inputs", "outputs")
    return replace(flow, **{name: tuple(map(item.fill, getattr(flow, name))) for name in names})


def place_steps(
    registry: Registry,
    steps: Mapping[str, Sequence[Tool]],
    known: Mapping[str, Dataflow],
    observed: Mapping[str, Dataflow],
) -> Registry:
    """The registry with these steps in place of their tools. `known` is their data flow, and `observed` that of the
    steps that have run."""
    keys = {module: tuple(step.module for step in of) for module, of in steps.items()}
    placed = replace(registry, steps=keys, whole=registry)
    tools: dict[str, Tool] = {}
    for module, tool in registry.tools.items():
        tools.update(
            {step.module: step for step in steps[module]} if module in steps else {module: tool}
        )
    order = placed.steps_of(registry.order)
    flows = {
        key: dataflow_of(tool, known.get(key)) if tool.item.values else registry.flows[key]
        for key, tool in tools.items()
    }
    written = Written(flows.values(), flows)
    readers = edges(flows, written)
    flow = find_upstream(order, flows, readers, written)
    partners = _find_partners(registry, steps)
    places = {key: place for of in keys.values() for place, key in enumerate(of)}
    rank = {key: registry.rank[tool_of(key)] for key in order}
    return replace(
        placed,
        tools=tools,
        stages=tuple(
            replace(stage, tools=placed.steps_of(stage.tools)) for stage in registry.stages
        ),
        order=order,
        rank=rank,
        before={
            key: others
            for key in order
            if (others := (*_find_before(placed, tools[key], partners, places),))
        },
        ordering={},
        flow={
            key: others for key in flow if (others := _without_own(key, flow[key], tools, observed))
        },
        flows=flows,
        observed=frozenset(observed),
        moved={
            key_of(module, step.item): OldPlace(module=key_of(old.module, step.item), path=old.path)
            if module in steps
            else old
            for module, old in registry.moved.items()
            for step in steps.get(module, (registry.tools[module],))
        },
        after_broken=_by_step(registry.after_broken, tools),
        below_broken=_by_step(registry.below_broken, tools),
    )


def _by_step(of_tools: Mapping[str, object], steps: Mapping[str, Tool]) -> dict[str, object]:
    return {key: of_tools[tool_of(key)] for key in steps if tool_of(key) in of_tools}


def _find_before(
    registry: Registry, step: Tool, partners: Mapping[str, str], places: Mapping[str, int]
) -> Iterator[str]:
    """The steps that must run before this one: of a tool upstream with the same items its item alone."""
    module = tool_of(step.module)
    same = registry.same_items.get(module) if step.item.values else None
    if step.is_in_order:
        place = places[step.module]
        yield from registry.steps[module][max(0, place - 1) : place]
    if step.module in partners:
        yield partners[step.module]
    for other in registry.before.get(module, ()):
        if same is None or other != same.module:
            yield from registry.steps.get(other, (other,))


def _find_partners(registry: Registry, steps: Mapping[str, Sequence[Tool]]) -> dict[str, str]:
    """For each step the one of the tool upstream with the same item."""
    found: dict[str, str] = {}
    for module, of_tool in steps.items():
        same = registry.same_items.get(module)
        if same is None:
            continue
        others = steps.get(same.module, ())
        by_values = {frozenset(one.item.values.items()): one.module for one in others}
        for step in of_tool:
            values = ((same.names[name], text) for name, text in step.item.values.items())
            if (other := by_values.get(frozenset(values))) is not None:
                found[step.module] = other
    return found


def _without_own(
    key: str, others: tuple[str, ...], tools: Mapping[str, Tool], observed: Mapping[str, Dataflow]
) -> tuple[str, ...]:
    """Items of one tool do not depend on one another, but where they run in order, or one was seen to read a file of
    another."""
    if not tools[key].item.values or tools[key].is_in_order:
        return others
    module, read = tool_of(key), {*observed.get(key, NO_DATAFLOW).files_read}
    return tuple(
        one
        for one in others
        if tool_of(one) != module
        or not read.isdisjoint(observed.get(one, NO_DATAFLOW).files_written)
    )
