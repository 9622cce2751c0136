"""Which tools run alone though several workers run, and the `AFTER` that would let them run beside others."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.tool import Tool
from discover_orch.planning.parallel import (
    Waits,
    find_conflicts,
    find_waits,
    had_arguments,
    is_declared,
)
from discover_orch.planning.plan import Plan, Step
from discover_orch.staleness.current import CurrentState
from discover_orch.staleness.fingerprint import Success
from discover_orch.staleness.memory import Memory

_NO_SUCCESS = "no success of its present code is recorded: run it once"


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


def advise(registry: Registry, project: Project) -> Advice:
    """What is to be said of the tools that run alone."""
    number = {module: place for place, module in enumerate(registry.order)}
    conflicts = find_conflicts(number, registry)
    known = _KnownFlows(registry, project)
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
            after = None if reason == _NO_SUCCESS else names
            alone.append(Alone(tool=tool, reason=reason, after=after))
    return Advice(alone=tuple(alone), declared=len(number) - len(alone))


def find_planned_waits(plan: Plan, registry: Registry, project: Project) -> tuple[Waits, ...]:
    """What each step of a plan waits for with several workers."""
    known = _KnownFlows(registry, project)
    steps = {step.tool.module: step for step in plan.steps}
    return find_waits(
        plan.steps,
        registry,
        lambda tool: not known.find_gap(tool) and known.has_arguments(steps[tool.module]),
    )


class _KnownFlows:
    """What is known of the data flow of the tools."""

    def __init__(self, registry: Registry, project: Project) -> None:
        memory = Memory(project.root, registry)
        self._root = project.root
        self._current = CurrentState(project, registry, memory, memory.results(registry.order))
        self._code = self._current.read_code(registry.order)

    def find_gap(self, tool: Tool) -> str:
        """Why the data flow of the tool is not known completely; "" where it is."""
        success = self._find_success(tool)
        if success is None or not self._current.is_of_present_code(tool, success, self._code):
            return _NO_SUCCESS
        if success.flow.is_unclear:
            return "it used the database in a way that orch cannot see"
        if not success.is_whole:
            return f"it {' and '.join(success.flow.gaps) or 'was not observed completely'}"
        return ""

    def has_arguments(self, step: Step) -> bool:
        """Whether the last success of the tool had the parameters of this step."""
        success = self._find_success(step.tool)
        return success is not None and had_arguments(success, step, self._root)

    def _find_success(self, tool: Tool) -> Success | None:
        result = self._current.results.get(tool.module)
        return None if result is None else result.success


def _share_stage(one: Tool, other: Tool) -> bool:
    return not {*one.stages}.isdisjoint(other.stages)
