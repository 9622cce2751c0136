"""A plan as text and as the document of `orch run --dry-run --json`."""

from __future__ import annotations

from typing import Any

from discover_orch.plan import MASK, Plan, Step
from discover_orch.registry import Registry
from discover_orch.render.problems import problem_json
from discover_orch.render.style import Style, count, one_line
from discover_orch.tool import is_secret_name


def plan_text(plan: Plan, registry: Registry, style: Style, *, verbose: bool = False) -> str:
    """One line a step with its reason; `verbose` adds each parameter with where it comes from."""
    out = [f"would run {count(len(plan.steps), 'tool')}, in this order:"]
    names = [one_line(step.tool.name) for step in plan.steps]
    stages = [one_line(step.stage) for step in plan.steps]
    digits = len(str(len(names)))
    width, stage_width = max(map(len, names)), max(map(len, stages))
    for number, step in enumerate(plan.steps, start=1):
        name = style.paint(f"{names[number - 1]:<{width}}", "bold")
        reason = step.reason
        if step.after:
            reason += ", after " + ", ".join(registry.display(other) for other in step.after)
        out.append(
            f"  {number:>{digits}}  {name}  {stages[number - 1]:<{stage_width}}  "
            + style.paint(one_line(reason), "dim")
        )
        if verbose:
            pad = " " * (digits + 4)
            out += [pad + line for line in _parameters(step, style)]
    return "\n".join(out) + "\n"


def plan_document(plan: Plan, registry: Registry) -> dict[str, Any]:
    return {
        "version": 1,
        "tools": [
            {
                "name": step.tool.name,
                "module": step.tool.module,
                "stage": step.stage,
                "after": [registry.display(other) for other in step.tool.after],
                "reason": step.reason,
                "params": _values(step),
            }
            for step in plan.steps
        ],
        "warnings": [problem_json(problem) for problem in plan.warnings],
    }


def _values(step: Step) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = {}
    for bound in step.arguments:
        texts: object = list(bound.texts) if bound.param.type.many else bound.texts[-1]
        value = MASK if bound.param.is_secret else texts
        values[bound.param.name] = {"value": value, "origin": bound.origin}
    for name, text in step.extra.items():
        value = MASK if is_secret_name(name) else text
        values[name] = {"value": value, "origin": f"-p {name}"}
    for param in step.tool.params:
        if param.name not in values:
            value = MASK if param.is_secret and param.default is not None else param.default
            values[param.name] = {"value": value, "origin": "default"}
    return values


def _parameters(step: Step, style: Style) -> list[str]:
    lines = []
    given = {bound.param.name: bound for bound in step.arguments}
    for param in step.tool.params:
        bound = given.get(param.name)
        if bound is not None:
            shown, origin = bound.shown, bound.origin
        else:
            shown = MASK if param.is_secret else param.default_source or ""
            origin = "default"
        lines.append(f"{one_line(param.name)} = {one_line(shown)}  {style.paint(origin, 'dim')}")
    for name, text in step.extra.items():
        shown = MASK if is_secret_name(name) else text
        origin = style.paint("-p, for **kwargs", "dim")
        lines.append(f"{one_line(name)} = {one_line(shown)}  {origin}")
    return lines
