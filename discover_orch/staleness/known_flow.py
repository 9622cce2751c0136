"""What is known of the data flow of the tools: what orch remembers, else what `orch.lock` says. It is what `orch lock`
writes. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow, less
from discover_orch.model.keys import is_object
from discover_orch.model.tool import Tool
from discover_orch.staleness.current_inputs import CurrentState
from discover_orch.staleness.item_flows import find_patterns, merge_items, with_patterns
from discover_orch.staleness.memory import rename_flows
from discover_orch.staleness.tool_result import ToolResult
from discover_orch.state.flow_lock import FlowLock, LockedTool


def find_known_flows(
    modules: Iterable[str],
    registry: Registry,
    flows: Mapping[str, Dataflow],
    results: Mapping[str, ToolResult],
    present: CurrentState,
    lock: FlowLock,
) -> dict[str, LockedTool]:
    """Of those of these tools of which something is known; `flows` and `results` are what is remembered of their
    steps. What the lock says of other tools does not count."""
    flows = rename_flows(flows, registry.moved)
    wanted, own = frozenset(modules), {}
    for module in (*registry.steps, *(wanted - registry.steps.keys())):
        steps = (registry.tools[key] for key in registry.steps.get(module, (module,)))
        own[module] = [step for step in steps if step.module in flows]
    seen = {
        module: merge_items([(step.item, flows[step.module]) for step in steps])
        for module, steps in own.items()
        if steps
    }
    makers = _find_makers({**lock.flows, **seen})
    patterns = find_patterns(registry, {**lock.flows, **seen}, flows)
    found = {}
    for module in sorted(wanted):
        if module in seen:
            flow = with_patterns(_without_followers(seen[module], makers), patterns)
            code = _find_loaded(own[module], results, present)
            found[module] = LockedTool(flow=flow, code=code)
        elif module in lock.tools:
            found[module] = lock.tools[module]
    return found


def _find_makers(flows: Mapping[str, Dataflow]) -> dict[str, list[Dataflow]]:
    """Who fills each table, or makes each object."""
    found: dict[str, list[Dataflow]] = {}
    for flow in flows.values():
        for table in less(flow.tables_filled, flow.tables_dropped):
            found.setdefault(table, []).append(flow)
    return found


def _without_followers(flow: Dataflow, makers: Mapping[str, Iterable[Dataflow]]) -> Dataflow:
    """Without the views, tables and indexes that went with a table that the tool dropped, which is so only where they
    were there. Another tool makes them from that table, so that it comes later anyway."""
    made = {*flow.tables_written, *flow.tables_kept}
    followers = {
        table
        for table in (*flow.tables_gone, *filter(is_object, flow.tables_written))
        for maker in makers.get(table, ())
        if maker is not flow
        and not {*maker.tables_read, *maker.tables_kept}.isdisjoint(made - {table})
    }
    if not followers:
        return flow
    return replace(
        flow,
        tables_written=less(flow.tables_written, followers),
        tables_dropped=less(flow.tables_dropped, followers),
        tables_kept=less(flow.tables_kept, followers),
    )


def _find_loaded(
    steps: Sequence[Tool], results: Mapping[str, ToolResult], present: CurrentState
) -> tuple[str, ...]:
    """The files of the code of their last successes that the imports in the source of their tool do not name."""
    used: set[str] = set()
    for step in steps:
        result = results.get(step.module)
        if result is not None and result.success is not None and result.success.modules:
            used.update(result.success.inputs.code)
    if not used:
        return ()
    tool = steps[0]
    return tuple(sorted(used - present.code_of(tool, present.read_code([tool.module])).keys()))
