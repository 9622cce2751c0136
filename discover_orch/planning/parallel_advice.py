"""Which `AFTER` tags would let tools run side by side: those that say what the observed data flow shows anyway.

An `AFTER` of observed data flow does not change the order of the tools, since that follows the data already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import shared
from discover_orch.model.tool import Tool
from discover_orch.planning.parallel import (
    NO_DATAFLOW,
    Waits,
    find_conflicts,
    find_waits,
    is_declared,
)
from discover_orch.planning.plan import Plan
from discover_orch.staleness.current import CurrentState
from discover_orch.staleness.memory import Memory


class Suggestion(Struct, frozen=True, kw_only=True):
    """An `AFTER` for a tool: the names of tools of its stage, which may be none."""

    tool: Tool
    after: tuple[str, ...]
    reason: str


class Undecided(Struct, frozen=True, kw_only=True):
    """A tool that declares too little, and of which too little is known."""

    tool: Tool
    reason: str


class Advice(Struct, frozen=True, kw_only=True):
    """In the order of the tools. `declared` is the number of tools that declare enough, and `useless` that of tools
    that could not run beside another tool of their stage with any `AFTER`."""

    suggestions: tuple[Suggestion, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    declared: int = 0
    useless: int = 0


def after_line(names: Sequence[str]) -> str:
    """`AFTER = "fetch"`; `AFTER = ()` for none."""
    shown = [f'"{name}"' for name in names]
    return f"AFTER = {shown[0]}" if len(shown) == 1 else f"AFTER = ({', '.join(shown)})"


def advise(registry: Registry, project: Project) -> Advice:
    """For each tool that runs alone and could run beside another one of its stage."""
    number = {module: place for place, module in enumerate(registry.order)}
    conflicts = find_conflicts(number, registry)
    unknown = find_unknown_flows(registry, project)
    above = [0] * len(number)  # as bits: the tools that come first because of `AFTER`
    found: dict[int, list[int]] = {}
    undecided, declared = [], set()
    for place, module in enumerate(registry.order):
        tool = registry.tools[module]
        after = [number[one] for one in registry.before.get(module, ()) if one in number]
        if is_declared(tool):
            declared.add(place)
        elif module in unknown:
            undecided.append(Undecided(tool=tool, reason=unknown[module]))
        else:
            earlier = [
                one
                for one in sorted(conflicts[place])
                if one < place and _share_stage(tool, registry.tools[registry.order[one]])
            ]
            after = found[place] = _without_implied(earlier, above)
        for one in after:
            above[place] |= above[one] | (1 << one)
    useful = _find_unordered({*declared, *found}, above, conflicts, registry)
    suggestions = [
        _suggestion(
            registry, registry.tools[registry.order[place]], [registry.order[one] for one in after]
        )
        for place, after in found.items()
        if place in useful
    ]
    return Advice(
        suggestions=tuple(suggestions),
        undecided=tuple(undecided),
        declared=len(declared),
        useless=len(found) - len(suggestions),
    )


def _find_unordered(
    places: Collection[int],
    above: Sequence[int],
    conflicts: Sequence[Collection[int]],
    registry: Registry,
) -> set[int]:
    """Those of these tools that another one of the same stage neither comes before nor after."""
    ranks = [registry.rank[module] for module in registry.order]
    peers: dict[int, int] = {}
    for place in places:
        peers[ranks[place]] = peers.get(ranks[place], 0) | 1 << place
    related = [0] * len(above)
    for place in sorted(places):
        before = above[place]
        for one in conflicts[place]:
            before |= 1 << one
        related[place] |= before | 1 << place
        rest = before & peers[ranks[place]]
        while rest:
            lowest = rest & -rest
            related[lowest.bit_length() - 1] |= 1 << place
            rest ^= lowest
    return {place for place in places if peers[ranks[place]] & ~related[place]}


def find_planned_waits(plan: Plan, registry: Registry, project: Project) -> tuple[Waits, ...]:
    """What each step of a plan waits for with several workers."""
    observes = project.parallel == "observed"
    unknown = find_unknown_flows(registry, project) if observes else {}
    return find_waits(plan.steps, registry, lambda tool: observes and tool.module not in unknown)


def find_unknown_flows(registry: Registry, project: Project) -> Mapping[str, str]:
    """The tools whose data flow is not known completely, and why."""
    memory = Memory(project.root, registry)
    current = CurrentState(project, registry, memory, memory.results(registry.order))
    code = current.read_code(registry.order)
    found = {}
    for module, tool in registry.tools.items():
        result = current.results.get(module)
        success = None if result is None else result.success
        if success is None or not current.is_of_present_code(tool, success, code):
            found[module] = "no success of its present code is recorded: run it once"
        elif success.flow.is_unclear:
            found[module] = "it used the database in a way that orch cannot see"
        elif not success.is_whole:
            found[module] = f"it {' and '.join(success.flow.gaps) or 'was not observed completely'}"
    return found


def _share_stage(one: Tool, other: Tool) -> bool:
    return not {*one.stages}.isdisjoint(other.stages)


def _without_implied(places: Sequence[int], above: Sequence[int]) -> list[int]:
    """Without those that come before another one of them anyway."""
    implied = 0
    for one in places:
        implied |= above[one]
    return [one for one in places if not implied >> one & 1]


def _suggestion(registry: Registry, tool: Tool, after: Sequence[str]) -> Suggestion:
    reason = "it shares nothing with earlier tools of its stage"
    if after:
        first, own = after[0], registry.flows.get(tool.module, NO_DATAFLOW)
        other = registry.flows.get(first, NO_DATAFLOW)
        name = registry.display(first)
        if things := shared(own, other):
            reason = f"it reads {things[0]}, which {name} writes"
        elif things := shared(other, own):
            reason = f"it writes {things[0]}, which {name} reads"
        else:
            reason = f"it writes what {name} writes"
    names = tuple(registry.display(one) for one in after)
    return Suggestion(tool=tool, after=names, reason=reason)
