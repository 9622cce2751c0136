"""Warnings about data flow: what is read before it is written, what several tools write, and what orch cannot see.
They stop nothing.

Data flow is what tools declare and were observed to read and write. Tools that update one table in place are fine if
their order is declared. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow, edges, less, shared
from discover_orch.model.errors import Location, Problem
from discover_orch.model.table_name import named_table
from discover_orch.model.tool import Tool, after_hint


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
    order = _Order(registry)
    reported: set[tuple[str, str, str]] = set()
    for (reader, writer), things in _reads_before_writes(flows, order).items():
        reported.update((reader, writer, thing) for thing in things)
        yield _read_before_written(registry, reader, writer, things[0], order)
    yield from _undecided_updates(registry, flows, order)
    yield from _two_writers(registry, flows, reported)
    yield from find_unsure_orders(registry)
    yield from _unseen(registry)


def find_observed_orders(registry: Registry) -> Iterator[Problem]:
    """A note for each tool that runs after others only because of what earlier runs have shown. Where nothing is
    remembered, as in a fresh clone, its name would put it before them."""
    if not registry.observed:
        return
    plain = {module: place for place, module in enumerate(with_observed(registry, {}).order)}
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
        yield replace(
            build_warning(
                "observed-order",
                f"{tool.name} runs after {listed(names)}{data} only because an earlier run has shown it: "
                "a fresh clone does not know",
                after_hint(tool, names),
                tool,
            ),
            severity="note",
        )


def _reads_before_writes(
    flows: Mapping[str, Dataflow], order: _Order
) -> dict[tuple[str, str], tuple[str, ...]]:
    """By reader and later writer: what the one reads and the other writes, except what both update in place."""
    only_written, only_read = {}, {}
    for module, flow in flows.items():
        only_written[module] = replace(
            flow,
            writes=less(flow.writes, flow.files_read),
            outputs=less(flow.outputs, flow.files_read),
            tables_written=less(flow.tables_written, flow.tables_read),
        )
        only_read[module] = replace(
            flow,
            reads=less(flow.reads, flow.files_written),
            inputs=less(flow.inputs, flow.files_written),
            tables_read=less(flow.tables_read, flow.tables_written),
        )
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for some in (only_written, only_read):
        for reader, writers in edges(some).items():
            for writer in writers:
                if order.is_earlier(reader, writer):
                    things = (*found.get((reader, writer), ()), *shared(some[reader], some[writer]))
                    found[reader, writer] = tuple(dict.fromkeys(things))
    return found


def find_unsure_orders(registry: Registry) -> Iterator[Problem]:
    """For each tool that reads a file which a later tool may have written: only the kernel reported it, once."""
    place = {module: number for number, module in enumerate(registry.order)}
    writers: dict[str, list[str]] = {}
    for module in registry.order:
        for path in registry.flows[module].native_writes:
            writers.setdefault(path, []).append(module)
    for reader in registry.order if writers else ():
        flow, found = registry.flows[reader], set[str]()
        for path in (*flow.reads, *flow.native_reads):
            for writer in writers.get(path, ()):
                if place[writer] > place[reader] and writer not in found:
                    found.add(writer)
                    yield _unsure_order(registry, reader, writer, path)


def _unsure_order(registry: Registry, reader: str, writer: str, path: str) -> Problem:
    first, second = registry.tools[reader], registry.tools[writer]
    advice = f'add AFTER = "{second.name}" to {first.name}'
    if registry.rank[reader] != registry.rank[writer]:
        advice = f"move {first.name} to a later stage or {second.name} to an earlier one"
    return build_warning(
        "unsure-order",
        f"{first.name} reads {path}, which {second.name} may have written, and {second.name} runs later",
        f"if {second.name} writes it, {advice}",
        first,
    )


def _undecided_updates(
    registry: Registry, flows: Mapping[str, Dataflow], order: _Order
) -> Iterator[Problem]:
    """Tools that update one thing in place: each reads what the other writes, so data flow cannot order them."""
    found: dict[tuple[str, ...], list[str]] = {}
    reads = _reads(flows)
    for thing, writers in _writers(flows).items():
        updating = [one for one in writers if thing in reads[one]]
        undecided = [pair for pair in itertools.pairwise(updating) if not order.is_decided(*pair)]
        if undecided:
            group = tuple(dict.fromkeys(itertools.chain.from_iterable(undecided)))
            found.setdefault(group, []).append(thing)
    for group, things in found.items():
        names = [registry.tools[one].name for one in group]
        yield build_warning(
            "undecided-updates",
            f"{listed(names)} {_both(names)} update {listed(things)}, but their order is not declared",
            f'declare which runs first, for example with AFTER = "{names[0]}"',
            registry.tools[group[-1]],
        )


def _read_before_written(
    registry: Registry, reader: str, writer: str, thing: str, order: _Order
) -> Problem:
    first, second = registry.tools[reader], registry.tools[writer]
    if reader in second.after:
        return build_warning(
            "after-against-data",
            f"{second.name} runs after {first.name} because of its AFTER, but {first.name} reads {thing}, "
            f"which {second.name} writes",
            f"fine if {first.name} is meant to read what the previous run left; otherwise swap the AFTER",
            second,
        )
    hint = f'add AFTER = "{second.name}" to {first.name}'
    if registry.rank[reader] != registry.rank[writer] or order.is_after(writer, reader):
        hint = f"let {second.name} run first, by its stage or by AFTER"
    return build_warning(
        "read-before-written",
        f"{first.name} reads {thing} before {second.name} writes it",
        f"{hint}; fine if {first.name} is meant to read what the previous run left",
        first,
    )


def _two_writers(
    registry: Registry, flows: Mapping[str, Dataflow], reported: set[tuple[str, str, str]]
) -> Iterator[Problem]:
    """Tools that may overwrite what another wrote, since they do not read it first."""
    found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    reads = _reads(flows)
    for thing, writers in _writers(flows).items():
        for place, writer in enumerate(writers):
            if thing not in reads[writer] and any(
                (one, writer, thing) not in reported for one in writers[:place]
            ):
                found.setdefault((tuple(writers), writer), []).append(thing)
                break
    groups: set[tuple[str, ...]] = set()
    for (group, writer), things in found.items():
        if group in groups:
            continue
        groups.add(group)
        names = [registry.tools[one].name for one in group]
        yield build_warning(
            "two-writers",
            f"{listed(names)} {_both(names)} write {listed(things)}",
            "fine if each adds to it; otherwise let each write its own",
            registry.tools[writer],
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
    """Tools that have run and were not observed completely, and tools on which all later stages depend, since they are
    not known to write anything and no `AFTER` names them. One that declares both inputs and outputs has said what orch
    cannot see."""
    last = max(registry.rank.values(), default=0)
    named = {other for others in registry.before.values() for other in others}
    for module in registry.order:
        tool, flow = registry.tools[module], registry.flows[module]
        if module not in registry.observed:
            continue
        if flow.is_unclear:
            yield build_warning(
                "not-observed",
                f"{tool.name} was not observed completely: it used the database in a way that orch cannot see",
                _statements_hint(),
                tool,
            )
        elif flow.gaps and not (tool.has_inputs and tool.has_outputs):
            yield build_warning(
                "not-observed",
                f"{tool.name} was not observed completely: it {listed([*flow.gaps])}",
                'name in "inputs" and "outputs" what orch cannot see, or declare [] if there is nothing',
                tool,
            )
        elif not flow.has_writes and registry.rank[module] < last and module not in named:
            yield build_warning(
                "no-known-write",
                f"{tool.name} is not known to write anything, so all later stages depend on it",
                f'fine if they do; a tool that must wait for it can say so: AFTER = "{tool.name}"',
                tool,
            )


class _Order:
    """Answers questions about the order of two tools."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._place = {module: number for number, module in enumerate(registry.order)}
        rank = registry.rank
        self._edges = {
            module: [
                other
                for other in (*registry.before.get(module, ()), *registry.ordering.get(module, ()))
                if rank[other] == rank[module]
            ]
            for module in registry.order
        }
        self._above: dict[str, frozenset[str]] = {}

    def is_earlier(self, one: str, other: str) -> bool:
        return self._place[one] < self._place[other]

    def is_after(self, module: str, other: str) -> bool:
        """Whether an edge of `AFTER` or of data flow within the stage, or a chain of them, says so."""
        if module not in self._above:
            self._above[module] = graph.reachable([module], self._edges)
        return other in self._above[module]

    def is_decided(self, one: str, later: str) -> bool:
        rank = self._registry.rank
        return rank[one] != rank[later] or self.is_after(later, one)


def _tables(names: Iterable[str]) -> list[str]:
    return [*map(named_table, names)]


def _both(names: list[str]) -> str:
    return "both" if len(names) == 2 else "all"


def _statements_hint() -> str:
    """How orch can see what the tool does with the database."""
    has_driver = any(find_spec(driver) for driver in ("duckdb", "psycopg"))
    if has_driver and find_spec("sqlglot") is None:
        return "install sqlglot: with it, orch sees the statements of PostgreSQL and DuckDB on conn"
    return "orch sees only statements on conn; name in AFTER what must run before the tool"


def listed(words: list[str], most: int = 5) -> str:
    """`a, b and c`; at most `most` of them."""
    if len(words) > most:
        return f"{', '.join(words[: most - 1])} and {len(words) - most + 1} others"
    return " and ".join(one for one in (", ".join(words[:-1]), words[-1]) if one)


def build_warning(code: str, message: str, hint: str, tool: Tool | None = None) -> Problem:
    place = Location(path=tool.path, line=tool.line) if tool else None
    return Problem(code=code, message=message, hint=hint, location=place, severity="warning")
