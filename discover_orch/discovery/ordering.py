"""The order of stages and tools.

Candidates, their `AFTER`, and what tools read and write → edges, problems of tools whose `AFTER` cannot be followed,
and the stages with their tools in the order of the plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field

from discover_orch.discovery.tagged_modules import TAG_FORMS, Candidate
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem, did_you_mean
from discover_orch.model.flow_edges import edges, without_updates
from discover_orch.model.tool import ToolNames, build_names
from discover_orch.source.facts import BrokenTool

Edges = Mapping[str, tuple[str, ...]]
#: A module, and what is wrong with its `AFTER`.
ToolProblem = tuple[str, Problem]


class Stage(Struct, frozen=True, kw_only=True):
    """A named group of tools: their modules, in the order of the plan."""

    name: str
    tools: tuple[str, ...] = ()
    is_configured: bool = False


class AfterEdges(Struct, frozen=True, kw_only=True):
    """What the `AFTER` tags say: `edges` from each tool that has one, `to_broken` files apart; problems, warnings."""

    edges: Edges = field(default_factory=dict)
    to_broken: Edges = field(default_factory=dict)
    problems: tuple[ToolProblem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class StageOrder(Struct, frozen=True, kw_only=True):
    """The names of the stages in order. `by_name` are the pairs of neighbours that only their names order."""

    names: tuple[str, ...] = ()
    by_name: tuple[tuple[str, str], ...] = ()


def build_stage_edges(
    stages_of: Mapping[str, Sequence[str]], after: Edges, configured: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """For each stage that is not configured those that must come before it, by the `AFTER` of its tools."""
    before = _lift(after, stages_of, configured)
    # Of stages that wait for each other the data or the name decides, and an `AFTER` that then names a tool of a later
    # stage is a problem of its own.
    for knot in graph.cyclic_groups(before, before):
        _drop_within(knot, before, {})
    return before


def build_stages(
    unlisted: Collection[str],
    configured: tuple[str, ...],
    before: Edges,
    stages_of: Mapping[str, Sequence[str]],
    flows: Mapping[str, Dataflow],
    readers: Edges,
) -> StageOrder:
    """Configured stages come first; the others follow as `before` requires, which are the `build_stage_edges`, then as
    data flow requires, then by name.

    `readers` are the edges of the data flow between tools. Those that contradict `before` or form a cycle of stages do
    not count, as in `build_flow_edges`.
    """
    flow = _lift(readers, stages_of, configured) if len(unlisted) > 1 else {}
    rank = dict.fromkeys(unlisted, 0)
    knots = _knots(flow, before, rank)
    if knots:
        one_way = edges({module: without_updates(one) for module, one in flows.items()})
        for knot in knots:
            _drop_within(knot, flow, _lift(one_way, stages_of, configured))
        for knot in _knots(flow, before, rank):
            _drop_within(knot, flow, {})
    both = {stage: (*before.get(stage, ()), *flow.get(stage, ())) for stage in unlisted}
    names = graph.order(unlisted, both)
    has_tools = {stage for stages in stages_of.values() for stage in stages}
    by_name = [
        (one, following)
        for one, following in itertools.pairwise(filter(has_tools.__contains__, names))
        if one not in both[following]
    ]
    return StageOrder(names=(*configured, *names), by_name=tuple(by_name))


def _lift(
    tools: Edges, stages_of: Mapping[str, Sequence[str]], configured: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Edges between tools as edges between their stages that are not configured."""
    lifted: dict[str, dict[str, None]] = {}
    for module, others in tools.items():
        own = stages_of.get(module, ())
        for other in others:
            earlier = [one for one in stages_of.get(other, ()) if one not in (*own, *configured)]
            for stage in own:
                if stage not in configured:
                    lifted.setdefault(stage, {}).update(dict.fromkeys(earlier))
    return {stage: tuple(others) for stage, others in lifted.items()}


def read_after(
    candidates: Sequence[Candidate],
    names: ToolNames,
    off_names: ToolNames,
    configured: Sequence[str],
    broken: Sequence[BrokenTool],
) -> AfterEdges:
    """The edges of all `AFTER` tags. A word that names a broken file is no problem here: that file has its own."""
    members = _members(candidates, configured)
    broken_names = build_names((one.module, None) for one in broken)
    broken_stages = {stage for one in broken for stage in one.stages}
    edges: dict[str, tuple[str, ...]] = {}
    to_broken: dict[str, tuple[str, ...]] = {}
    problems: list[ToolProblem] = []
    warnings: list[Problem] = []
    for candidate in candidates:
        tag, place = candidate.facts.after, candidate.after_place
        if tag is None:
            continue
        found: list[str] = []
        unread: list[str] = []
        if tag.problem:
            problem = Problem(code="after-tag", message=tag.problem, hint=TAG_FORMS).at(place)
            problems.append((candidate.module, problem))
        for word in tag.words:
            if not isinstance(word, str):
                continue
            unread += [one.module for one in broken if word.removeprefix("stage:") in one.stages]
            targets = after_targets(word, candidate.module, names, members)
            if not isinstance(targets, Problem):
                found.extend(targets)
            elif off_names.find(word.removeprefix("tool:")):
                warnings.append(
                    Problem(
                        code="after-disabled",
                        message=f'AFTER names "{word}", which is disabled (STAGE = None)',
                        hint="remove it from AFTER, or give that tool a stage",
                        severity="warning",
                    ).at(place)
                )
            elif named := broken_names.find(word.removeprefix("tool:")):
                unread += named
            elif word.removeprefix("stage:") not in broken_stages:
                problems.append((candidate.module, targets.at(place)))
        edges[candidate.module] = tuple(dict.fromkeys(found))
        if unread:
            to_broken[candidate.module] = tuple(dict.fromkeys(unread))
    return AfterEdges(
        edges=edges, to_broken=to_broken, problems=tuple(problems), warnings=tuple(warnings)
    )


def after_targets(
    word: str, module: str, names: ToolNames, members: Mapping[str, Sequence[str]]
) -> tuple[str, ...] | Problem:
    """The tools that `word` in the `AFTER` of `module` means.

    A tool goes before a stage of the same name. The tool's own stage means the other tools of that stage.
    """
    kind, _, rest = word.partition(":")
    if kind == "stage" and rest:
        if rest in members:
            return tuple(other for other in members[rest] if other != module)
        return _nothing(word, [f"stage:{name}" for name in members])
    plain = rest if kind == "tool" and rest else word
    found = names.find(plain)
    if found == (module,) and plain is word and word in members:
        found = ()
    if len(found) == 1:
        return found
    if len(found) > 1:
        return Problem(
            code="after-ambiguous",
            message=f'AFTER names "{word}", which is ambiguous',
            hint="use one of " + ", ".join(names.display[other] for other in found),
        )
    if plain is word and word in members:
        return tuple(other for other in members[word] if other != module)
    others = [one for one in names.words if names.find(one) != (module,)]
    return _nothing(word, [*others, *members])


def _nothing(word: str, candidates: Sequence[str]) -> Problem:
    return Problem(
        code="after-unknown",
        message=f'AFTER names "{word}", which is neither a tool nor a stage',
        hint=did_you_mean(word, candidates, "orch list shows all stages and tools"),
    )


def find_later_stages(
    after: Edges,
    rank: Mapping[str, int],
    stages: Sequence[str],
    candidates: Mapping[str, Candidate],
    names: ToolNames,
) -> list[ToolProblem]:
    """Tools whose `AFTER` names a tool of a later stage; one problem for each."""
    found = []
    for module, others in after.items():
        for other in others:
            if module not in rank or other not in rank or rank[other] <= rank[module]:
                continue
            problem = Problem(
                code="after-later-stage",
                message=f'AFTER names "{names.display[other]}" of the later stage '
                f'"{stages[rank[other]]}"',
                hint=f'stage "{stages[rank[module]]}" runs before it: remove the tool from AFTER, or move one of them',
            ).at(candidates[module].after_place)
            found.append((module, problem))
            break
    return found


def find_cycles(
    after: Edges, modules: Iterable[str], candidates: Mapping[str, Candidate], names: ToolNames
) -> list[ToolProblem]:
    """One problem for each cycle among `modules`, reported for every tool in it."""
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
                message="AFTER forms a cycle: " + " -> ".join(places),
                hint="each of these waits for the one before it; remove one of them from AFTER",
            ).at(candidates[min(error.cycle)].after_place)
            on_cycle = set(error.cycle)
            found.extend((module, problem) for module in sorted(on_cycle))
            left = [module for module in left if module not in on_cycle]
        else:
            return found


def build_flow_edges(
    flows: Mapping[str, Dataflow], readers: Edges, before: Edges, rank: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """The edges that the order follows: `readers`, which are those of the data flow, without what contradicts the
    order of stages or closes a cycle.

    Data orders all tools, also one with an `AFTER`. Where edges of data form a cycle, alone or with `AFTER`, edges of
    data are dropped: first those between tools that update the same thing in place, since each of them reads what the
    other writes, and if a cycle is left, all edges of data in it.
    """
    kept = {
        module: tuple([other for other in others if rank[other] <= rank[module]])
        for module, others in readers.items()
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
    """Groups of tools that wait for each other. Nothing waits for a later stage, so each group is in one stage."""
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
    """Each stage with its tools: of those that are ready, the smallest module name goes next."""
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
