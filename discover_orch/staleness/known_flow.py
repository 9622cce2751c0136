"""What is known of the data flow of the tools: what orch remembers, else what `orch.lock` says. It is what `orch lock`
writes. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.tool import Tool
from discover_orch.staleness.current_inputs import CurrentState
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
    """Of those of these tools of which something is known; `flows` and `results` are what is remembered. What the lock
    says of other tools does not count."""
    flows = rename_flows(flows, registry.moved)
    found = {}
    for module in sorted(modules):
        if module in flows:
            code = _find_loaded(registry.tools[module], results.get(module), present)
            found[module] = LockedTool(flow=flows[module], code=code)
        elif module in lock.tools:
            found[module] = lock.tools[module]
    return found


def _find_loaded(tool: Tool, result: ToolResult | None, present: CurrentState) -> tuple[str, ...]:
    """The files of the code of its last success that the imports in its source do not name."""
    success = result.success if result else None
    if success is None or not success.modules:
        return ()
    named = present.code_of(tool, present.read_code([tool.module]))
    return tuple(sorted(success.inputs.code.keys() - named.keys()))
