"""A plan as text and as JSON, for `orch run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model import documents
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.database_url import masked_url
from discover_orch.model.parameter import MASK, Choice, Scalar, hide_url_passwords, is_secret_name
from discover_orch.planning.parallel import Waits
from discover_orch.planning.param_values import BoundArgument
from discover_orch.planning.plan import ALL_SELECTED, Plan, Step
from discover_orch.render.style import (
    Style,
    column,
    column_width,
    count,
    indent,
    names_text,
    one_line,
    value_text,
    wrap,
)
from discover_orch.staleness.reason_sentences import Freshness

MOST_FRESH = 20
_UNKNOWN: Mapping[str, Freshness] = {}


def plan_text(
    plan: Plan,
    registry: Registry,
    style: Style,
    freshness: Mapping[str, Freshness] = _UNKNOWN,
    *,
    verbose: bool = False,
    jobs: int = 1,
    waits: Sequence[Waits] = (),
) -> str:
    """One line per step with its reason and freshness; `verbose` adds parameters and the origins of their values. With
    several `jobs`, `waits` says what each step waits for."""
    out = [one_line(plan.intro)] if plan.intro else []
    workers = f" with {jobs} workers" if jobs > 1 else ""
    out.append(f"would run {count(len(plan.steps), 'tool')}{workers}, in this order:")
    notes = _parallel_notes(plan, waits)
    names = [step.tool.name for step in plan.steps]
    stages = [step.stage for step in plan.steps]
    digits = len(str(len(names)))
    width = column_width(names, style)
    stage_width = column_width(stages, style, share=4)
    pad = indent(digits + width + 6, style)
    for number, step in enumerate(plan.steps, start=1):
        name = column(step.tool.name, width, style, "bold")
        stage = column(step.stage, stage_width, style)
        parts = [] if step.reason == ALL_SELECTED else [step.reason]
        if step.may_run:
            parts[:1] = [f"may run: {parts[0]}"] if parts else ["may run"]
        if step.after:
            parts.append("after " + ", ".join(registry.display(other) for other in step.after))
        line = f"  {number:>{digits}}  {name}  {stage}"
        line += style.paint(f"  {', '.join(parts)}" if parts else "", "dim")
        state = freshness.get(step.tool.module)
        if state is not None and not any(one in step.reason for one in state.sentences):
            line += "  " + freshness_word(state, style)
            if not state.is_fresh:
                first, *more = state.sentences
                line += f": {one_line(first)}{more_reasons(more)}"
        if notes and notes[number - 1]:
            line += f"  {notes[number - 1]}"
        out.append(wrap(line, style, pad))
        if verbose:
            values = " " * (digits + 4)
            for param, value, origin, _ in _values(step):
                origin = "-p, for **kwargs" if param in step.extra else origin
                line = values + value_text(param, value, origin, style)
                out.append(wrap(line, style, values + "  "))
    if plan.fresh:
        fresh = names_text([tool.name for tool in plan.fresh], MOST_FRESH)
        out.append(wrap(f"fresh: {fresh}", style, "       "))
    return "\n".join(out) + "\n"


def _parallel_notes(plan: Plan, waits: Sequence[Waits]) -> list[str]:
    """For each step what it waits for within its stage, and whether it runs alone."""
    names = [step.tool.name for step in plan.steps]
    notes = []
    for one in waits:
        waiting = ", ".join(names[place] for place in one.steps)
        found = [f"waits for {waiting}"] if waiting else []
        found += ["runs alone"] if one.is_alone else []
        notes.append(one_line(", ".join(found)))
    return notes


def freshness_word(freshness: Freshness, style: Style) -> str:
    return style.paint("fresh", "green") if freshness.is_fresh else style.paint("stale", "yellow")


def more_reasons(more: Sequence[str]) -> str:
    """What follows the first reason."""
    return f", and {count(len(more), 'more reason')}" if more else ""


def build_plan(
    plan: Plan,
    registry: Registry,
    freshness: Mapping[str, Freshness] = _UNKNOWN,
    waits: Sequence[Waits] = (),
) -> documents.Plan:
    """The plan as users get it. With `waits`, also what each step waits for within its stage."""
    names = [step.tool.name for step in plan.steps]
    steps = []
    for step, own in zip(plan.steps, waits or [Waits(0)] * len(names), strict=True):
        now = freshness.get(step.tool.module)
        steps.append(
            documents.Step(
                name=step.tool.name,
                module=step.tool.module,
                stage=step.stage,
                after=tuple(registry.display(other) for other in step.tool.after),
                reason=step.reason,
                params={
                    name: documents.Value(value=value, origin=origin)
                    for name, _, origin, value in _values(step)
                },
                may_run=step.may_run,
                state=now.state if now else None,
                reasons=now.sentences if now else (),
                waits_for=tuple(names[one] for one in own.steps),
                runs_alone=own.is_alone,
            )
        )
    return documents.Plan(
        steps=tuple(steps),
        fresh=tuple(tool.name for tool in plan.fresh),
        warnings=plan.warnings,
    )


def find_database(registry: Registry, project: Project) -> tuple[str, str]:
    """The database of `conn`, and where it is set."""
    if uses_get_connection(registry, project):
        return "get_connection()", CONF_FILE
    return masked_url(project.database), project.database_origin


def settings_text(registry: Registry, project: Project, style: Style) -> str:
    """The database and all settings that are not the default, each with its origin."""
    settings = {"database": find_database(registry, project)}
    for key, origin in project.origins.items():
        if key not in (
            "database",
            "params",
            "watch",
        ):  # params stand with each tool; a run needs no watch
            settings[key] = _setting(project, key), origin
    lines = [f"  {value_text(key, *found, style)}" for key, found in settings.items()]
    return "".join(wrap(line, style, "    ") + "\n" for line in ("settings:", *lines))


def _setting(project: Project, key: str) -> str:
    found = getattr(project, key)
    if key == "ledger" and not found:
        return "false"
    if isinstance(found, Mapping):
        return ", ".join(f"{name}: {_joined(item)}" for name, item in found.items())
    return _joined(found)


def _joined(found: object) -> str:
    if isinstance(found, tuple):
        return ", ".join(map(str, found))
    return str(found).lower() if isinstance(found, bool) else str(found)


def _values(step: Step) -> Iterator[tuple[str, str, str, object]]:
    """The parameters of a step, each with its value as text, the origin of that, and the value as in JSON."""
    given = {bound.param.name: bound for bound in step.arguments}
    for param in step.tool.params:
        bound = given.get(param.name)
        value = MASK if param.is_secret and param.default is not None else param.default
        if bound is None:
            shown = hide_url_passwords(value) if isinstance(value, str) else value
            yield param.name, param.shown_default, "default", shown
        else:
            shown = bound.shown if bound.is_secret else _as_json(bound)
            yield param.name, bound.shown, bound.origin, shown
    for name, text in step.extra.items():
        shown = MASK if is_secret_name(name) else hide_url_passwords(text)
        yield name, shown, f"-p {name}", shown


def _as_json(bound: BoundArgument) -> object:
    """Numbers and booleans as JSON numbers and booleans, all else as the text that was given."""
    kind = bound.param.type.base
    is_plain = isinstance(kind, Scalar) and kind.kind in ("int", "float", "bool")
    if is_plain or isinstance(kind, Choice):
        value = bound.param.convert(bound.texts)
        many = value if isinstance(value, list) else [value]
        if all(not isinstance(one, float) or isfinite(one) for one in many):
            return value
    return list(bound.texts) if bound.param.type.many else bound.texts[-1]
