"""What each step of a plan waits for when several workers run it, and which tools run alone then.

The result must be as if the steps ran one after another. So a step waits for every earlier step that it may depend on,
and for every earlier step that may not see what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.registry import NO_DATAFLOW, Registry
from discover_orch.model import flow_edges
from discover_orch.model.errors import Problem
from discover_orch.model.items import SameItems, tool_of
from discover_orch.model.tool import Tool, after_hint
from discover_orch.planning.dataflow_checks import build_note, listed
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan, Step, had_arguments
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.project_warnings import check_sharing


class Waits(Struct, frozen=True):
    """A step waits for the first `all_before` steps of the plan, and for those with these numbers.

    One that runs alone also waits for all steps before it, and all steps after it wait for it. If it never runs, they
    do not.
    """

    all_before: int
    steps: tuple[int, ...] = ()
    is_alone: bool = False


def find_waits(
    steps: Sequence[Step], registry: Registry, has_known_use: Callable[[Tool], bool]
) -> tuple[Waits, ...]:
    """For each step what it waits for; `all_before` never decreases. A tool `has_known_use` if a success of its
    present code with these parameters was observed completely."""
    number = {step.tool.module: place for place, step in enumerate(steps)}
    conflicts = find_conflicts(number, registry)
    found = []
    all_before, group = 0, None
    first: dict[str, int] = {}  # of each tool the first item, which makes the tables for the others
    alone = ""  # the tool whose items run beside one another, and beside nothing else
    for place, step in enumerate(steps):
        module, source = step.tool.module, step.tool.source_module
        if step.group != group or (alone and alone != source):
            all_before, group, alone = place, step.group, ""
        earlier = {number.get(other, place) for other in registry.before.get(module, ())}
        earlier |= conflicts[place]
        earlier |= {number[one] for one in (step.removal.after if step.removal else ())}
        if step.tool.item.values and "conn" in step.tool.resources:
            earlier.add(first.setdefault(source, place))
        is_alone = runs_alone(step.tool, has_known_use)
        if is_alone and step.tool.item.values:
            all_before = all_before if alone else place
            alone, is_alone = source, False
        found.append(
            Waits(
                all_before,
                tuple(sorted(one for one in earlier if all_before <= one < place)),
                is_alone=is_alone,
            )
        )
    return tuple(found)


def runs_alone(tool: Tool, has_known_use: Callable[[Tool], bool]) -> bool:
    """Whether the tool neither declares enough to run beside another one nor has a known use. What it does through
    `conn` or a resource is no matter of its inputs and outputs."""
    is_declared = tool.has_after or isinstance(tool.each, SameItems)
    is_declared = is_declared or (tool.has_inputs and tool.has_outputs and not tool.resources)
    return not (is_declared or has_known_use(tool))


def find_conflicts(number: Mapping[str, int], registry: Registry) -> list[set[int]]:
    """For each step the earlier ones with which it shares a file or table that either writes."""
    flows = {module: registry.flows.get(module, NO_DATAFLOW) for module in number}
    written = flow_edges.Written(flows.values(), flows)
    readers = flow_edges.edges(flows, written)
    found: list[set[int]] = [set() for _ in number]
    for module, others in flow_edges.upstream([*number], flows, readers, written).items():
        found[number[module]].update(number[one] for one in others if not _is_sibling(one, module))
    for reader, writers in readers.items():
        for writer in writers:
            if number[writer] > number[reader] and not _is_sibling(writer, reader):
                found[number[writer]].add(number[reader])
    return found


def _is_sibling(one: str, other: str) -> bool:
    """Whether both are items of one tool, which do not depend on one another."""
    return one != other and tool_of(one) == tool_of(other)


# Of a whole project.


def find_alone(view: ProjectView) -> Iterator[Problem]:
    """A note for each tool that runs alone though several workers run, with the `AFTER` that would change that and
    keeps the order, or one that says why several workers cannot run."""
    from discover_orch.planning.remaining_work import NO_SUCCESS, RemainingWork  # loads staleness

    registry, known = view.registry, RemainingWork(view, GivenParams())
    tools = [registry.tools[module] for module in registry.order]
    refused = check_sharing(tools, registry, view.project, jobs=2)
    yield from (replace(one, severity="note") for one in refused)
    unknown: list[str] = []
    for tool in tools if not refused else ():
        if not runs_alone(tool, lambda one: not known.find_gap(one)):
            continue
        gap = known.find_gap(tool)
        if gap == NO_SUCCESS:
            unknown.append(tool.name)
        else:
            rank = registry.rank
            before = [
                registry.display(other)
                for other in registry.flow.get(tool.module, ())
                if rank[other] == rank[tool.module]
            ]
            hint = f"if it shares nothing else with other tools: {after_hint(tool, before)}"
            yield build_note("runs-alone", f"{tool.name} runs alone: {gap}", hint, tool)
    if unknown:
        message = f"it is not known yet what {listed(unknown)} read and write"
        yield build_note("runs-alone", message, "until they have run, each of them runs alone")


def find_planned_waits(plan: Plan, view: ProjectView) -> tuple[Waits, ...]:
    """What each step of a plan waits for with several workers."""
    from discover_orch.planning.remaining_work import RemainingWork  # as above

    known = RemainingWork(view, GivenParams())
    steps = {step.tool.module: step for step in plan.steps}

    def has_known_use(tool: Tool) -> bool:
        result, step = known.results.get(tool.module), steps[tool.module]
        success = None if known.find_gap(tool) or result is None else result.success
        return success is not None and had_arguments(success, step, view.project.root)

    return find_waits(plan.steps, view.registry, has_known_use)
