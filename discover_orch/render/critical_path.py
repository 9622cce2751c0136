"""What a recorded run waited for: for each tool the one whose end let it start, and the critical path. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from msgspec import Struct

from discover_orch.state.recorded_run import RunRecord, ToolRecord

#: Seconds by which a tool may start before the recorded end of the one that it waited for.
SLACK = 0.005
#: Of several workers, one that was idle for longer than so many seconds did not start because of that end.
MOST_IDLE = 0.2


class Wait(Struct, frozen=True, kw_only=True):
    """The tool `by` ended last of those that this one waited for. `ready` is the time, in seconds since the start of
    the run, from which on nothing that it depends on was missing. `why`: `depends`, `worker`, or `order`, where it
    waited for its turn."""

    by: str
    why: str
    ready: float


def find_recorded_waits(record: RunRecord) -> dict[str, Wait]:
    """By module, of the tools that started."""
    tools = _by_start(record)
    ends = {tool.module: tool.attempts[-1].end for tool in tools}
    workers = {tool.module: tool.attempts[0].worker for tool in tools}
    last_on: dict[int, str] = {}
    last = ""
    waits = {}
    begun: list[tuple[float, str]] = []  # by their ends; others may begin in the same moment
    for tool in tools:
        module, start = tool.module, tool.attempts[0].start
        while begun and begun[0][0] <= start + SLACK:
            end, one = heapq.heappop(begun)
            last = one if not last or end >= ends[last] else last
            last_on[workers[one]] = one
        heapq.heappush(begun, (ends[module], module))
        needed = [one for one in tool.step.after if one in ends]
        before = max(needed, key=ends.__getitem__, default="")
        ready = ends[before] if before else 0.0
        on_worker = last_on.get(workers[module], "")
        why, by = "order", last
        if before and before == last:
            why, by = "depends", before
        elif on_worker and on_worker == last:
            why, by = "worker", on_worker
        is_late = record.workers > 1 and by and start - ends[by] > MOST_IDLE
        if by and not (is_late and why != "depends"):
            waits[module] = Wait(by=by, why=why, ready=min(ready, start))
    return waits


def find_critical_path(record: RunRecord, waits: Mapping[str, Wait]) -> tuple[str, ...]:
    """The chain of tools that ends with the run, each waiting for the one before it. Of one worker, for which that
    would be all tools, the longest chain of tools that depend on each other."""
    tools = _by_start(record)
    ends = {tool.module: tool.attempts[-1].end for tool in tools}
    before = {module: wait.by for module, wait in waits.items()}
    if record.workers == 1:
        ends, before = {}, {}  # by module, the seconds of the longest chain that ends with it
        for tool in tools:
            needed = [one for one in tool.step.after if one in ends]
            if longest := max(needed, key=ends.__getitem__, default=""):
                before[tool.module] = longest
            ends[tool.module] = ends.get(longest, 0.0) + busy_seconds([tool])
    path = [max(ends, key=ends.__getitem__)] if ends else []
    while path and path[-1] in before:
        path.append(before[path[-1]])
    return tuple(reversed(path))


def busy_seconds(tools: Iterable[ToolRecord]) -> float:
    """How long they ran."""
    return sum(one.end - one.start for tool in tools for one in tool.attempts)


def _by_start(record: RunRecord) -> list[ToolRecord]:
    """The tools that started, in the order in which they did."""
    started = [tool for tool in record.tools if tool.attempts]
    return sorted(started, key=lambda tool: tool.attempts[0].start)
