"""Which steps of a plan wait for which with several workers, and which tools run alone."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from discover_orch.model.errors import Problem
from discover_orch.model.tool import Tool, after_hint
from discover_orch.planning.dataflow_checks import build_note, listed
from discover_orch.planning.incremental import NO_SUCCESS, RemainingWork
from discover_orch.planning.parallel import (
    Waits,
    check_sharing,
    find_waits,
    had_arguments,
    runs_alone,
)
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView


def find_alone(view: ProjectView) -> Iterator[Problem]:
    """A note for each tool that runs alone though several workers run, with the `AFTER` that would change that and
    keeps the order, or one that says why several workers cannot run."""
    registry, known = view.registry, RemainingWork(view, GivenParams())
    tools = [registry.tools[module] for module in registry.order]
    refused = check_sharing(tools, registry, view.project, jobs=2)
    yield from (replace(one, severity="note") for one in refused)
    unknown: list[str] = []
    for tool in tools if not refused else ():
        if not runs_alone(tool, registry, lambda one: not known.find_gap(one)):
            continue
        gap = known.find_gap(tool)
        if gap == NO_SUCCESS:
            unknown.append(tool.name)
        elif registry.flows[tool.module].native_beside:
            message = f"{tool.name} runs alone once more, so that orch sees which files it writes"
            yield build_note("runs-alone", message, "run it once", tool)
        else:
            rank = registry.rank
            before = [
                registry.display(other)
                for other in registry.flow.get(tool.module, ())
                if rank[other] == rank[tool.module]
            ]
            hint = f"if it uses nothing else that other tools use: {after_hint(tool, before)}"
            yield build_note("runs-alone", f"{tool.name} runs alone: {gap}", hint, tool)
    if unknown:
        message = f"it is not known yet what {listed(unknown)} read and write"
        yield build_note("runs-alone", message, "until they have run, each of them runs alone")


def find_planned_waits(plan: Plan, view: ProjectView) -> tuple[Waits, ...]:
    """What each step of a plan waits for with several workers."""
    known = RemainingWork(view, GivenParams())
    steps = {step.tool.module: step for step in plan.steps}

    def has_known_use(tool: Tool) -> bool:
        result, step = known.results.get(tool.module), steps[tool.module]
        success = None if known.find_gap(tool) or result is None else result.success
        return success is not None and had_arguments(success, step, view.project.root)

    return find_waits(plan.steps, view.registry, has_known_use)
