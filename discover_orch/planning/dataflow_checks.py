"""Warnings about data flow: what is read before it is written, what several tools write, and what orch cannot see.
They stop nothing.

Data flow is what tools declare and were observed to read and write. Tools that update one table in place are fine if
their order is declared. Pure.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow, less
from discover_orch.model.errors import Location, Problem, Severity
from discover_orch.model.flow_edges import edges, shared
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import is_file_key, is_rows, named_table
from discover_orch.model.tool import Tool, after_hint
from discover_orch.staleness.left_over import LeftOver


def check_dataflow(registry: Registry) -> Iterator[Problem]:
    """Each kind of warning at most once for two tools. Declared and observed data flow count alike."""
    # A tool does not depend on what it only listed or looked for, nor on who creates a table without rows.
    flows = {
        module: replace(
            flow,
            folders=(),
            missed=(),
            tables_missed=(),
            lists_tables=False,
            tables_written=flow.tables_filled,
        )
        for module in registry.order
        for flow in (registry.flows[module],)
    }
    needs = edges(flows)
    for (reader, writer), things in _reads_before_writes(registry, flows).items():
        first, second = registry.tools[reader], registry.tools[writer]
        hint = f"let {second.name} run first, with AFTER or in an earlier stage"
        if reader in graph.reachable([writer], needs):
            hint = f"{second.name} uses what {first.name} makes and cannot run first: divide one of them"
        elif reader in graph.reachable([writer], registry.before):
            hint = f"turn round the AFTER that puts {second.name} after {first.name}"
        yield build_warning(
            "read-before-written",
            f"{first.name} reads {things[0]} before {second.name} writes it",
            f"{hint}; ignore this if {first.name} is meant to read what the previous run left",
            first,
        )
    yield from _several_writers(registry, flows)
    yield from _unseen(registry)


def find_observed_orders(registry: Registry, lock: Mapping[str, Dataflow]) -> Iterator[Problem]:
    """A note for each tool that runs after others only because of what earlier runs have shown. Where nothing is
    remembered, as in a fresh clone, its name would put it before them, and what the `lock` says does not."""
    if not registry.observed:
        return
    clone = with_observed(replace(registry, lock=lock), {})
    plain = {module: place for place, module in enumerate(clone.order)}
    configured = {stage.name for stage in registry.stages if stage.is_configured}
    for module in registry.order:
        tool = registry.tools[module]
        late = [
            registry.tools[other]
            for other in registry.ordering.get(module, ())
            if plain[other] > plain[module]
            and (
                registry.rank[other] == registry.rank[module] or configured.isdisjoint(tool.stages)
            )
        ]
        if not late:
            continue
        names = [one.name for one in late]
        things = shared(registry.flows[module], registry.flows[late[0].module])
        data = f" ({things[0]})" if things else ""
        yield build_note(
            "observed-order",
            f"{tool.name} runs after {listed(names)}{data} only because an earlier run has shown it: "
            "a fresh clone has no such run",
            f"{after_hint(tool, names)}, or commit what orch lock writes",
            tool,
        )


def _reads_before_writes(
    registry: Registry, flows: Mapping[str, Dataflow]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """By reader and later writer: what the one reads and the other writes, except what both update in place."""
    place = {module: number for number, module in enumerate(registry.order)}
    reads, writers_of = _reads(flows), _writers(flows)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for reader, writers in edges(flows).items():
        for writer in writers:
            if place[writer] > place[reader]:
                updated = [
                    thing
                    for thing in reads[reader] & reads[writer]
                    if {reader, writer}.issubset(writers_of.get(thing, ()))
                ]
                if things := less(shared(flows[reader], flows[writer]), updated):
                    found[reader, writer] = things
    return found


def _several_writers(registry: Registry, flows: Mapping[str, Dataflow]) -> Iterator[Problem]:
    """Tools that may overwrite what another wrote, since they do not read it first or their order is not declared."""
    both = {
        module: (*registry.before.get(module, ()), *registry.ordering.get(module, ()))
        for module in registry.order
    }
    reads, rank = _reads(flows), registry.rank

    def is_undecided(one: str, later: str) -> bool:
        return rank[one] == rank[later] and one not in graph.reachable([later], both)

    found: dict[tuple[str, ...], list[str]] = {}
    for thing, writers in _writers(flows).items():
        updating = [one for one in writers if thing in reads[one]]
        if any(thing not in reads[later] for later in writers[1:]):
            found.setdefault(tuple(writers), []).append(thing)
        elif any(is_undecided(*pair) for pair in itertools.pairwise(updating)):
            found.setdefault(tuple(updating), []).append(thing)
    for group, things in found.items():
        names = [registry.tools[one].name for one in group]
        yield build_warning(
            "several-writers",
            f"{listed(names)} {'both' if len(names) == 2 else 'all'} write {listed(things)}",
            "ignore this if each adds to it; otherwise let each write its own, or declare which runs first",
            registry.tools[group[-1]],
        )


def build_left_over_warning(registry: Registry, things: Sequence[LeftOver]) -> Problem:
    """About all that is left over from one tool."""
    module, tool = things[0].module, registry.tools.get(things[0].module)
    name = tool.name if tool else registry.display(module) if item_text(module) else module
    readers = [*map(registry.display, dict.fromkeys(one for of in things for one in of.readers))]
    by = f", read by {listed(readers)}" if readers else ""
    why = "is withdrawn" if item_text(module) else "is no longer a tool"
    why = "no longer makes it" if tool else why
    rebuild = (
        f"orch run {registry.display(tool_of(module))} --rebuild makes it anew without its rows"
    )
    delete, keep = (
        rebuild if item_text(module) else "orch deletes no tables, so drop it",
        f"orch accept {shlex.quote(name if tool or not readers else readers[0])}",
    )
    if any(is_file_key(one.key) or is_rows(one.key) for one in things):
        delete = "orch clean shows what can be deleted"
        keep = f'declare it with "outputs", or {keep}' if tool else keep
    return build_warning(
        "left-over",
        f"left over from {name}{by}: {listed([one.name for one in things])}",
        f"{name} {why}; {delete}. If it is still wanted: {keep}",
    )


def _reads(flows: Mapping[str, Dataflow]) -> dict[str, set[str]]:
    return {
        module: {*flow.files_read, *_tables(flow.tables_read)} for module, flow in flows.items()
    }


def _writers(flows: Mapping[str, Dataflow]) -> dict[str, list[str]]:
    """Files and tables by name, with the tools that write them."""
    found: dict[str, list[str]] = {}
    for module, flow in flows.items():
        for thing in (*flow.files_written, *_tables(flow.tables_filled)):
            found.setdefault(thing, []).append(module)
    return found


def _unseen(registry: Registry) -> Iterator[Problem]:
    """Tools that have run and may use what orch does not see, and tools on which all later stages depend, since they
    are not known to write anything and no `AFTER` names them. One that declares both inputs and outputs has said what
    orch cannot see."""
    last = max(registry.rank.values(), default=0)
    named = {other for others in registry.before.values() for other in others}
    known = registry.known
    for module in registry.order:
        tool, flow = registry.tools[module], registry.flows[module]
        if module not in known:
            continue
        if flow.is_unclear or (flow.gaps and not (tool.has_inputs and tool.has_outputs)):
            if flow.is_unclear:
                gap = "used the database in a way that orch cannot see"
                hint = (
                    "orch sees only statements on conn; set AFTER to what must run before the tool"
                )
            else:
                gap = listed([*flow.gaps])
                hint = 'declare the "inputs" and "outputs" that orch cannot see, or [] if there are none'
            message = f"orch may not see all that {tool.name} reads and writes: it {gap}"
            yield build_warning("not-observed", message, hint, tool)
        elif not flow.has_writes and registry.rank[module] < last and module not in named:
            yield build_warning(
                "no-known-write",
                f"{tool.name} is not known to write anything, so all later stages depend on it",
                f'if it writes files, declare them in "outputs"; if only some tools must wait for it, '
                f'add to those: AFTER = "{tool.name}"',
                tool,
            )


def _tables(names: Iterable[str]) -> list[str]:
    return [*map(named_table, names)]


def listed(words: list[str], most: int = 5) -> str:
    """`a, b and c`; at most `most` of them."""
    if len(words) > most:
        return f"{', '.join(words[: most - 1])} and {len(words) - most + 1} others"
    return " and ".join(one for one in (", ".join(words[:-1]), words[-1]) if one)


def build_warning(
    code: str, message: str, hint: str, tool: Tool | None = None, severity: Severity = "warning"
) -> Problem:
    place = Location(path=tool.path, line=tool.line) if tool else None
    return Problem(code=code, message=message, hint=hint, severity=severity).at(place)


def build_note(code: str, message: str, hint: str, tool: Tool | None = None) -> Problem:
    return build_warning(code, message, hint, tool, severity="note")
