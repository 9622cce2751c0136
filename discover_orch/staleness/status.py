"""Which tools are fresh, which are stale, and why.

A tool is stale for reasons of its own, or because a tool upstream of it is stale. Reads, never writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.tool import Tool
from discover_orch.staleness.current import CurrentState, Params
from discover_orch.staleness.fingerprint import ANY_TABLE, Freshness, compare, written_later
from discover_orch.staleness.memory import Moment, ToolResult
from discover_orch.state.journal import find_runs, has_ended, read_record

#: Ends of a last run after which the success counts.
WELL = ("passed", "accepted")
#: Ends of a last run that leave nothing of it.
ROLLED_BACK = ("failed", "interrupted", "cancelled")


def compute_freshness(
    present: CurrentState,
    params_of: Callable[[Tool], Params],
    *,
    within: Collection[str] | None = None,
) -> dict[str, Freshness]:
    """The freshness of all tools, in the order of `full`; `params_of` gives what a tool would be called with now.

    Only tools of `within`, those that are to run, make others stale; None means all tools. Then a tool of which only
    the last attempt failed makes no other tool stale, since it was rolled back and the others use its last success.
    """
    registry = present.registry
    own = _own_freshness(present, params_of)
    chosen = frozenset(own) if within is None else frozenset(within)
    started = [
        module
        for module, one in own.items()
        if one.reasons and module in chosen and (within is not None or not one.has_only_failed)
    ]
    below = registry.downstream(started) if started else frozenset()
    upstream_reasons = _UpstreamReasons(registry, below)
    return {
        module: replace(one, upstream=(upstream_reasons.reason(module),))
        if module in below and module in chosen and not one.reasons
        else one
        for module, one in own.items()
    }


def _own_freshness(
    present: CurrentState, params_of: Callable[[Tool], Params]
) -> dict[str, Freshness]:
    registry = present.registry
    code = present.read_code(registry.order)
    unended = _find_unended(present.project.root)
    writers = _writers(present)
    found = {}
    for place, module in enumerate(registry.order):
        tool, result = registry.tools[module], present.results.get(module)
        last_ending, reasons = _ending_reasons(tool, result, unended.get(module))
        success = result.success if result else None
        if success is not None:
            now, _ = present.fingerprint(tool, code, params_of(tool), success)
            reasons += compare(success.fingerprint, now)
            flow = success.flow
            tables = (
                *flow.tables_read,
                *flow.tables_written,
                *([ANY_TABLE] if flow.is_unclear else ()),
            )
            reasons += written_later(tables, success.valid_until, place, writers)
        ended_badly = (
            result is not None and success is not None and result.last.status in ROLLED_BACK
        )
        found[module] = Freshness(
            module=module,
            reasons=tuple(reasons),
            last_ending=last_ending,
            has_only_failed=ended_badly and len(reasons) == 1 and module not in unended,
        )
    return found


def _ending_reasons(
    tool: Tool, result: ToolResult | None, unended: tuple[str, str] | None
) -> tuple[str, list[str]]:
    """How the last run of the tool ended, and the reasons that follow from that. `unended` is the status and the run
    where the last run has no end."""
    reasons = ['"always" is set'] if tool.is_always_stale else []
    if unended is not None and not (result is not None and result.was_accepted_after(unended[1])):
        return unended[0], [_unended_reason(*unended), *reasons]
    if result is None or (result.last.status in WELL and result.success is None):
        return "never", ["never ran", *reasons]
    last = result.last
    if last.status in WELL:
        return "", reasons
    if last.status in ("unknown", "running"):
        return "unknown", [_unended_reason("unknown", last.run), *reasons]
    ending = "failed" if last.status == "failed" else ""
    return ending, [f"{last.status.replace('_', ' ')} (run {last.run})", *reasons]


def _unended_reason(status: str, run: str) -> str:
    if status == "running":
        return f"running now (run {run})"
    return f"outcome unknown: run {run} was killed and may have committed"


def _find_unended(root: str) -> dict[str, tuple[str, str]]:
    """The tools without an end in the latest run, with their status and the run. What earlier runs left open is in the
    results of the tools."""
    runs = find_runs(root)
    record = read_record(root, runs[0]) if runs and not has_ended(root, runs[0]) else None
    if record is None or record.status not in ("killed", "running"):
        return {}
    return {
        one.module: (one.status, record.run)
        for one in record.tools
        if one.status in ("unknown", "running")
    }


def _writers(present: CurrentState) -> dict[str, list[tuple[int, Moment, str]]]:
    """For each table of the present database the tools that wrote it, the latest first: place, moment, name."""
    found: dict[str, list[tuple[int, Moment, str]]] = {}
    registry = present.registry
    for place, module in enumerate(registry.order):
        result = present.results.get(module)
        for table, moment in _writes(result, present, registry.tools[module]) if result else ():
            found.setdefault(table, []).append((place, moment, registry.display(module)))
    for rows in found.values():
        rows.sort(key=_latest_first)
    return found


def _writes(result: ToolResult, present: CurrentState, tool: Tool) -> Iterable[tuple[str, Moment]]:
    """The tables that a tool wrote in the present database, and when it last did."""
    found: dict[str, Moment] = {}
    success, left = result.success, result.uncertain
    if success is not None:
        flow = success.flow
        tables = (*flow.tables_written, *([ANY_TABLE] if flow.is_unclear else ()))
        if tables and success.fingerprint.database == present.database_of(tool):
            found.update(dict.fromkeys(tables, success.moment))
    if left is not None and left.database == present.database_of(tool):
        tables = (*left.tables, *([ANY_TABLE] if left.is_unclear else ()))
        found.update(dict.fromkeys(tables, left.moment))
    return found.items()


def _latest_first(row: tuple[int, Moment, str]) -> tuple[int, int]:
    return -row[1][0], -row[1][1]


class _UpstreamReasons:
    """The reasons of tools that are stale only because of others; `below` are all tools downstream of a stale one."""

    def __init__(self, registry: Registry, below: Collection[str]) -> None:
        self._registry, self._below = registry, below
        line = [module for module in registry.order if module in below]
        self._first = next(iter(line), "")
        self._first_unsure = next(
            (module for module in line if not registry.flows[module].has_writes), self._first
        )

    def reason(self, module: str) -> str:
        """Names the nearest stale tool upstream; where none is known, one that may be upstream since its writes, or
        the reads of this tool, are not known."""
        registry = self._registry
        flow = registry.flows[module]
        for other in (*registry.before.get(module, ()), *registry.flow.get(module, ())):
            if other in self._below:
                written, name = registry.flows[other], registry.display(other)
                table = _shared(flow.tables_read, written.tables_written)
                shared = f"table {table}" if table else _shared(flow.reads, written.writes)
                return f"upstream {name} is stale" + (f" ({shared})" if shared else "")
        first = self._first_unsure if flow.has_reads else self._first
        name = registry.display(first)
        unseen = f"writes of {name}" if flow.has_reads else "reads of this tool"
        return f"{name} is stale and may be upstream (the {unseen} are not known)"


def _shared(reads: Iterable[str], writes: Iterable[str]) -> str:
    written = frozenset(writes)
    return next((one for one in reads if one in written), "")
