"""Which tool comes before which: the edges of `AFTER`, what is wrong with them, and the order that follows.

In: drafts, with their names and stages, and what tools read and write. Out: edges, a problem for each tool
whose `AFTER` cannot be kept, and the stages with their tools in the order of the plan. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.discovery.candidates import Candidate
from discover_orch.discovery.names import ToolNames, after_targets, build_names
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow, edges, without_updates
from discover_orch.model.errors import Problem
from discover_orch.source.facts import BrokenModule

Edges = Mapping[str, tuple[str, ...]]
#: A module, and what is wrong with its `AFTER`.
ToolProblem = tuple[str, Problem]


class Stage(Struct, frozen=True, kw_only=True):
    """A named group of tools, these by identity in the order of the plan."""

    name: str
    tools: tuple[str, ...] = ()
    is_configured: bool = False


class AfterEdges(Struct, frozen=True, kw_only=True):
    """What the `AFTER` tags say: `edges` from each tool that has one, faults, and warnings."""

    edges: Edges = field(default_factory=dict)
    problems: tuple[ToolProblem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def build_stages(
    stages_of: Mapping[str, Sequence[str]],
    after: Mapping[str, tuple[str, ...]],
    configured: tuple[str, ...],
) -> tuple[str, ...]:
    """The configured ones first; the others as the `AFTER` of their tools asks, then by name.

    A stage that is configured and has no tool stays in the order: it may get one.
    """
    unlisted = {stage for stages in stages_of.values() for stage in stages}.difference(configured)
    before: dict[str, set[str]] = {}
    for module, others in after.items():
        for other in others:
            for stage in stages_of.get(module, ()):
                before.setdefault(stage, set()).update(
                    earlier
                    for earlier in stages_of.get(other, ())
                    if earlier not in stages_of[module]
                )
    left = sorted(unlisted)
    while True:
        try:
            return (*configured, *graph.order(left, before))
        except graph.CycleError as error:
            # Two stages that ask for each other: no order suits both, so the name decides and the
            # `AFTER` that then points to a later stage is told as such.
            for stage in error.cycle:
                before[stage] = before.get(stage, set()).difference(error.cycle)


def read_after(
    candidates: Sequence[Candidate],
    names: ToolNames,
    off_names: ToolNames,
    configured: Sequence[str],
    broken: Sequence[BrokenModule],
) -> AfterEdges:
    """A word that names a file which cannot be read is let be: that file is told already."""
    members = _members(candidates, configured)
    broken_names = build_names((one.module, None) for one in broken)
    broken_stages = {stage for one in broken for stage in one.stages}
    edges: dict[str, tuple[str, ...]] = {}
    problems: list[ToolProblem] = []
    warnings: list[Problem] = []
    for candidate in candidates:
        tag, place = candidate.facts.after, candidate.after_place
        if tag is None:
            continue
        found: list[str] = []
        if tag.problem:
            hint = 'write AFTER = "fetch" or AFTER = ("fetch", "parse") at top level'
            problem = Problem(code="after-tag", message=tag.problem, hint=hint, location=place)
            problems.append((candidate.module, problem))
        for word in tag.words:
            if not isinstance(word, str):
                continue
            targets = after_targets(word, candidate.module, names, members)
            if not isinstance(targets, Problem):
                found.extend(targets)
            elif off_names.find(word.removeprefix("tool:")):
                warnings.append(
                    Problem(
                        code="after-disabled",
                        message=f'AFTER names "{word}", which is disabled (STAGE = None)',
                        location=place,
                        severity="warning",
                    )
                )
            elif not (
                broken_names.find(word.removeprefix("tool:"))
                or word.removeprefix("stage:") in broken_stages
            ):
                problems.append((candidate.module, replace(targets, location=place)))
        edges[candidate.module] = tuple(dict.fromkeys(found))
    return AfterEdges(edges=edges, problems=tuple(problems), warnings=tuple(warnings))


def find_later_stages(
    after: Edges,
    rank: Mapping[str, int],
    stages: Sequence[str],
    candidates: Mapping[str, Candidate],
    names: ToolNames,
) -> list[ToolProblem]:
    """Tools that would come after one of a later stage; each is told once."""
    found = []
    for module, others in after.items():
        for other in others:
            if module not in rank or other not in rank or rank[other] <= rank[module]:
                continue
            problem = Problem(
                code="after-later-stage",
                message=f'AFTER names "{names.display[other]}" of the later stage '
                f'"{stages[rank[other]]}"',
                hint=f'a tool of "{stages[rank[module]]}" runs before that stage begins',
                location=candidates[module].after_place,
            )
            found.append((module, problem))
            break
    return found


def find_cycles(
    after: Edges, modules: Iterable[str], candidates: Mapping[str, Candidate], names: ToolNames
) -> list[ToolProblem]:
    """One problem for each cycle among `modules`, given to every tool on it."""
    left = [module for module in modules if after.get(module)]
    found: list[ToolProblem] = []
    while True:
        try:
            graph.order(left, after)
        except graph.CycleError as error:
            places = [
                f"{names.display[module]} ({candidates[module].after_place})"
                for module in error.cycle
            ]
            problem = Problem(
                code="cycle",
                message="AFTER goes round in a circle: " + " -> ".join(places),
                hint="each of these waits for the one before it; take one AFTER away",
                location=candidates[min(error.cycle)].after_place,
            )
            on_cycle = set(error.cycle)
            found.extend((module, problem) for module in sorted(on_cycle))
            left = [module for module in left if module not in on_cycle]
        else:
            return found


def build_flow_edges(
    flows: Mapping[str, Dataflow], before: Edges, rank: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """The edges of data that can be kept: none against the stages, none that closes a circle.

    Data orders every tool, also one with an `AFTER`: that names what must come before, and an empty one
    that nothing must, which every order satisfies. It yields only where both cannot be had: of a circle of
    data, or of data and `AFTER`, the edges of data go. First only those of updates in place, since two tools
    that update one thing read each other whatever else there is between them; then all that is left.
    """
    kept = {
        module: tuple([other for other in others if rank[other] <= rank[module]])
        for module, others in edges(flows).items()
    }
    knots = _knots(kept, before, rank)
    for knot in knots:
        one_way = edges(
            {module: without_updates(flows[module]) for module in flows if module in knot}
        )
        _drop_within(knot, kept, one_way)
    for knot in _knots(kept, before, rank) if knots else ():
        _drop_within(knot, kept, {})
    return kept


def _knots(kept: Edges, before: Edges, rank: Mapping[str, int]) -> list[frozenset[str]]:
    """Tools that wait for each other; as nothing waits for a later stage, each lies within one rank."""
    beside: dict[str, tuple[str, ...]] = {}
    for module, others in kept.items():
        if found := tuple([other for other in others if rank[other] == rank[module]]):
            beside[module] = found
    if not beside:
        return []
    both = {module: (*others, *beside.get(module, ())) for module, others in before.items()}
    return graph.cyclic_groups(beside, beside | both)


def _drop_within(knot: frozenset[str], kept: dict[str, tuple[str, ...]], stay: Edges) -> None:
    for module in knot & kept.keys():
        kept[module] = tuple(
            other for other in kept[module] if other not in knot or other in stay.get(module, ())
        )


def order_stages(
    names: Sequence[str],
    configured: Sequence[str],
    stages_of: Mapping[str, Sequence[str]],
    before: Edges,
    flow: Edges,
) -> tuple[Stage, ...]:
    """Each stage with its tools: of those whose predecessors are done, the smallest path goes next."""
    members: dict[str, list[str]] = {name: [] for name in names}
    both: dict[str, tuple[str, ...]] = {}
    for module, own in stages_of.items():
        both[module] = (*before.get(module, ()), *flow.get(module, ()))
        for name in own:
            members[name].append(module)
    return tuple(
        Stage(name=name, tools=graph.order(members[name], both), is_configured=name in configured)
        for name in names
    )


def _members(candidates: Sequence[Candidate], configured: Sequence[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for candidate in candidates:
        for stage in candidate.stages:
            members.setdefault(stage, []).append(candidate.module)
    for stage in configured:
        members.setdefault(stage, [])
    return members
