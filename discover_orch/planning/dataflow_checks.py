"""Doubts about data: what is read before it is written, and who else writes it. They stop nothing.

In: a `Registry`, with what its tools declare and were seen to read and write. Out: warnings, each with its
place and how to settle it. A database updated in place, tool after tool, is no doubt where their order is
said. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow, edges, shared
from discover_orch.model.errors import Location, Problem
from discover_orch.model.tool import Tool


def review_flow(registry: Registry) -> Iterator[Problem]:
    """What is read before it is written, updates whose order nobody decided, and two writers of one thing.

    Declared or seen makes no difference, and each kind is told at most once of two tools.
    """
    # What a tool only looked for, or listed, is no doubt: it can do without.
    flows = {
        module: replace(registry.flows[module], folders=(), missed=()) for module in registry.order
    }
    order = _Order(registry)
    told: set[tuple[str, str, str]] = set()
    for (reader, writer), things in _one_way(flows, order).items():
        told.update((reader, writer, thing) for thing in things)
        yield _read_before_written(registry, reader, writer, things[0], order)
    yield from _undecided_updates(registry, flows, order)
    yield from _two_writers(registry, flows, told)
    yield from _not_independent(registry, flows)


def _one_way(
    flows: Mapping[str, Dataflow], order: _Order
) -> dict[tuple[str, str], tuple[str, ...]]:
    """By reader and later writer: what goes from one to the other, less what both update in place."""
    blind, foreign = {}, {}
    for module, flow in flows.items():
        blind[module] = replace(
            flow,
            writes=_less(flow.writes, flow.reads),
            tables_written=_less(flow.tables_written, flow.tables_read),
        )
        foreign[module] = replace(
            flow,
            reads=_less(flow.reads, flow.writes),
            tables_read=_less(flow.tables_read, flow.tables_written),
        )
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for some in (blind, foreign):
        for reader, writers in edges(some).items():
            for writer in writers:
                if order.is_earlier(reader, writer):
                    things = (*found.get((reader, writer), ()), *shared(some[reader], some[writer]))
                    found[reader, writer] = tuple(dict.fromkeys(things))
    return found


def _undecided_updates(
    registry: Registry, flows: Mapping[str, Dataflow], order: _Order
) -> Iterator[Problem]:
    """Updates in place of one thing: each reads what the other writes, so data cannot order them."""
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
        yield doubt(
            "undecided-updates",
            f"{_listed(names)} {_both(names)} update {_listed(things)}: "
            "their order is AFTER or the module path",
            f'say which of them is first, for example AFTER = "{names[0]}"',
            registry.tools[group[-1]],
        )


def _read_before_written(
    registry: Registry, reader: str, writer: str, thing: str, order: _Order
) -> Problem:
    first, second = registry.tools[reader], registry.tools[writer]
    if reader in second.after:
        return doubt(
            "after-against-data",
            f"AFTER of {second.name} names {first.name}, which reads {thing}, "
            f"which {second.name} writes",
            f"fine if {first.name} means what the run before has left; else turn the AFTER round",
            second,
        )
    if registry.rank[reader] != registry.rank[writer]:
        hint = f"move {first.name} to a later stage, or {second.name} to an earlier one"
    elif order.is_after(writer, reader):
        hint = f"the AFTER of others puts {first.name} first: take one of them away"
    else:
        hint = f'say AFTER = "{second.name}" in {first.name}'
    return doubt(
        "read-before-written",
        f"{first.name} reads {thing} before {second.name} writes it",
        f"{hint}; or leave it, if {first.name} means what the run before has left",
        first,
    )


def _two_writers(
    registry: Registry, flows: Mapping[str, Dataflow], told: set[tuple[str, str, str]]
) -> Iterator[Problem]:
    """One of them may overwrite what another has made; not so where it reads that first."""
    found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    reads = _reads(flows)
    for thing, writers in _writers(flows).items():
        for place, writer in enumerate(writers):
            if thing not in reads[writer] and any(
                (one, writer, thing) not in told for one in writers[:place]
            ):
                found.setdefault((tuple(writers), writer), []).append(thing)
                break
    for (one, other), thing in _overlaps(flows).items():
        found.setdefault(((one, other), other), []).append(thing)
    groups: set[tuple[str, ...]] = set()
    for (group, writer), things in found.items():
        if group in groups:
            continue
        groups.add(group)
        names = [registry.tools[one].name for one in group]
        yield doubt(
            "two-writers",
            f"{_listed(names)} {_both(names)} write {_listed(things)}",
            "fine where each adds to it; else let each write one of its own",
            registry.tools[writer],
        )


def _reads(flows: Mapping[str, Dataflow]) -> dict[str, set[str]]:
    return {module: {*flow.reads, *_tables(flow.tables_read)} for module, flow in flows.items()}


def _writers(flows: Mapping[str, Dataflow]) -> dict[str, list[str]]:
    """Things by name, with those that write them."""
    found: dict[str, list[str]] = {}
    for module, flow in flows.items():
        for thing in (*flow.writes, *_tables(flow.tables_written)):
            found.setdefault(thing, []).append(module)
    return found


def _overlaps(flows: Mapping[str, Dataflow]) -> dict[tuple[str, str], str]:
    """Two writers of files that are not called the same: a glob, or a folder, and what may be in it."""
    place = {module: number for number, module in enumerate(flows)}
    files = {
        module: Dataflow(reads=flow.writes, writes=flow.writes) for module, flow in flows.items()
    }
    found = {}
    for later, others in edges(files).items():
        for one in others:
            if place[one] < place[later] and not set(flows[one].writes) & set(flows[later].writes):
                things = shared(files[later], files[one])
                if not set(things) & set(shared(flows[later], flows[one])):
                    found[one, later] = things[0]
    return found


def _not_independent(registry: Registry, flows: Mapping[str, Dataflow]) -> Iterator[Problem]:
    """`AFTER = ()` of a tool that was seen to read what another of its stage writes."""
    for module, others in registry.flow.items():
        tool = registry.tools[module]
        if tool.after or not tool.has_after:
            continue
        declared = Dataflow(reads=tool.inputs)
        for other in others:
            if registry.rank[other] != registry.rank[module]:
                continue
            things = shared(flows[module], flows[other])
            if things and not shared(declared, Dataflow(writes=registry.tools[other].outputs)):
                name = registry.tools[other].name
                yield doubt(
                    "after-against-data",
                    f"{tool.name} has AFTER = (), but reads {things[0]}, which {name} writes",
                    f'say AFTER = "{name}", or take AFTER away: it runs after {name} all the same',
                    tool,
                )
                break


class _Order:
    """What is known of the order of two tools."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._place = {module: number for number, module in enumerate(registry.order)}
        rank = registry.rank
        self._edges = {
            module: [
                other
                for other in (*registry.before.get(module, ()), *registry.flow.get(module, ()))
                if rank[other] == rank[module]
            ]
            for module in registry.order
        }
        self._above: dict[str, frozenset[str]] = {}

    def is_earlier(self, one: str, other: str) -> bool:
        return self._place[one] < self._place[other]

    def is_after(self, module: str, other: str) -> bool:
        """Within a stage, by the edges that hold, over however many tools."""
        if module not in self._above:
            self._above[module] = graph.reachable([module], self._edges)
        return other in self._above[module]

    def is_decided(self, one: str, later: str) -> bool:
        rank = self._registry.rank
        return rank[one] != rank[later] or self.is_after(later, one)


def _less(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    left_out = set(others)
    return tuple(one for one in some if one not in left_out)


def _tables(names: Iterable[str]) -> list[str]:
    return [f"the table {name}" for name in names]


def _both(names: list[str]) -> str:
    return "both" if len(names) == 2 else "all"


def _listed(words: list[str], most: int = 5) -> str:
    """As in a sentence, the first few of them."""
    if len(words) > most:
        return f"{', '.join(words[: most - 1])} and {len(words) - most + 1} others"
    return " and ".join(one for one in (", ".join(words[:-1]), words[-1]) if one)


def doubt(code: str, message: str, hint: str, tool: Tool | None = None) -> Problem:
    place = Location(path=tool.path, line=tool.line) if tool else None
    return Problem(code=code, message=message, hint=hint, location=place, severity="warning")
