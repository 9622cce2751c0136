"""Which tools run alone though several workers run, and the `AFTER` that would let them run beside others."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from discover_orch.model.tool import Tool
from discover_orch.planning.incremental import NO_SUCCESS, RemainingWork
from discover_orch.planning.parallel import (
    Waits,
    find_conflicts,
    find_waits,
    had_arguments,
    is_declared,
)
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView


class Alone(Struct, frozen=True, kw_only=True):
    """A tool that runs alone, since it declares too little. `after` has the names for an `AFTER` that would change
    that, without a change of the order: tools of its stage with which it was seen to share something, which may be
    none. It is None where nothing is known of the tool yet."""

    tool: Tool
    reason: str
    after: tuple[str, ...] | None = None


class Advice(Struct, frozen=True, kw_only=True):
    """The tools that run `alone`, in order. `declared` is the number of the others."""

    alone: tuple[Alone, ...]
    declared: int


def after_line(names: Sequence[str]) -> str:
    """`AFTER = "fetch"`; `AFTER = ()` for none."""
    shown = [f'"{name}"' for name in names]
    return f"AFTER = {shown[0]}" if len(shown) == 1 else f"AFTER = ({', '.join(shown)})"


def advise(view: ProjectView) -> Advice:
    """What is to be said of the tools that run alone."""
    registry = view.registry
    number = {module: place for place, module in enumerate(registry.order)}
    conflicts = find_conflicts(number, registry)
    known = RemainingWork(view, GivenParams())
    above = [0] * len(number)  # as bits: the tools that come before each
    alone = []
    for place, module in enumerate(registry.order):
        tool = registry.tools[module]
        earlier = [
            one
            for one in sorted(conflicts[place])
            if one < place and _share_stage(tool, registry.tools[registry.order[one]])
        ]
        needed = [one for one in earlier if not any(above[other] >> one & 1 for other in earlier)]
        before = [number[one] for one in registry.before.get(module, ()) if one in number]
        for one in (*earlier, *before):
            above[place] |= above[one] | (1 << one)
        reason = "" if is_declared(tool) else known.find_gap(tool)
        if reason:
            names = tuple(registry.display(registry.order[one]) for one in needed)
            after = None if reason == NO_SUCCESS else names
            alone.append(Alone(tool=tool, reason=reason, after=after))
    return Advice(alone=tuple(alone), declared=len(number) - len(alone))


def find_planned_waits(plan: Plan, view: ProjectView) -> tuple[Waits, ...]:
    """What each step of a plan waits for with several workers."""
    known = RemainingWork(view, GivenParams())
    steps = {step.tool.module: step for step in plan.steps}

    def has_known_use(tool: Tool) -> bool:
        result, step = known.results.get(tool.module), steps[tool.module]
        success = None if known.find_gap(tool) or result is None else result.success
        return success is not None and had_arguments(success, step, view.project.root)

    return find_waits(plan.steps, view.registry, has_known_use)


def _share_stage(one: Tool, other: Tool) -> bool:
    return not {*one.stages}.isdisjoint(other.stages)
