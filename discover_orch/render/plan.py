"""A plan as text and as JSON, for `orch run --dry-run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model import documents
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.database_url import masked_url
from discover_orch.model.documents import Value
from discover_orch.model.items import item_text, tool_name, tool_of
from discover_orch.model.parameter import Choice, Scalar
from discover_orch.model.secret_masking import MASK, hide_url_passwords, is_secret_name
from discover_orch.planning.parallel import Waits
from discover_orch.planning.param_values import BoundArgument
from discover_orch.planning.plan import ALL_SELECTED, Plan, Step
from discover_orch.render.style import (
    Style,
    count,
    fold_items,
    names_text,
    shown,
    table,
    value_text,
    wrap,
)
from discover_orch.staleness.reason_sentences import Freshness

MOST_FRESH, MOST_REMOVED = 20, 5
#: Items of one tool that a plan names.
MOST_ITEMS = 10
_UNKNOWN: Mapping[str, Freshness] = {}


def plan_text(
    plan: documents.Plan,
    style: Style,
    *,
    names: Sequence[str],
    intro: str = "",
    verbose: bool = False,
    jobs: int = 1,
) -> str:
    """One line per step with its reason and freshness; `verbose` adds parameters and the origins of their values.
    `names` are those of the tools, and `intro` says how the plan came about."""
    plan = shown(plan)
    out = [shown(intro)] if intro else []
    workers = f" with {jobs} workers" if jobs > 1 else ""
    noun = "step" if any(item_text(step.module) for step in plan.steps) else "tool"
    heading = f"would run {count(len(plan.steps), noun)}{workers}, in this order:"
    if len(names) < len(plan.steps):
        heading += f" {names_text(shown(names), MOST_FRESH)}"
    out.append(wrap(heading, style, "  "))
    rows: list[Sequence[str] | str] = []
    items = Counter(tool_of(step.module) for step in plan.steps)
    shown_items: Counter[str] = Counter()
    for number, step in enumerate(plan.steps, start=1):
        tool = tool_of(step.module) if item_text(step.module) else ""
        shown_items[tool] += 1
        if tool and shown_items[tool] > MOST_ITEMS and not verbose:
            if shown_items[tool] == items[tool]:
                rows.append(f"     … and {items[tool] - MOST_ITEMS:,} more of {_tool_name(step)}")
            continue
        rows.append(
            (str(number), step.name, step.stage, "  ".join(filter(None, _step_facts(step, style))))
        )
        if verbose:
            values = (value_text(name, one, style) for name, one in step.params.items())
            rows += [("", value) for value in values]
    out += table(rows, style, kinds=("", "bold"), right=(0,), shares=(2, 2, 4))
    if plan.fresh:
        fresh = names_text(fold_items(plan.fresh), MOST_FRESH)
        out.append(wrap(f"fresh: {fresh}", style, "       "))
    return "\n".join(out) + "\n"


def _tool_name(step: documents.Step) -> str:
    return tool_name(step.name, step.module)


def _step_facts(step: documents.Step, style: Style) -> Iterator[str]:
    """Why it would run, after what, its freshness, and what it waits for."""
    parts = [] if step.reason == ALL_SELECTED else [step.reason]
    if step.may_run:
        parts[:1] = [f"may run: {parts[0]}"] if parts else ["may run"]
    if step.after:
        parts.append("after " + ", ".join(fold_items(step.after)))
    yield style.paint(", ".join(parts), "dim")
    if step.state is not None and not any(one in step.reason for one in step.reasons):
        first, *more = step.reasons or ("",)
        why = f": {first}{more_reasons(more)}" if first else ""
        yield state_word(step.state, style) + why
    waits = [f"waits for {', '.join(fold_items(step.waits_for))}"] if step.waits_for else []
    waits += ["runs alone"] if step.runs_alone else []
    yield ", ".join(waits)
    if step.removes:
        yield f"removes {names_text(step.removes, MOST_REMOVED)}"


def state_word(state: str, style: Style) -> str:
    """Of a tool: `fresh` or `stale`."""
    return style.paint("fresh", "green") if state == "fresh" else style.paint("stale", "yellow")


def more_reasons(more: Sequence[str], how: str = "") -> str:
    """What follows the first reason; `how` to see them."""
    return f", and {count(len(more), 'more reason')}{how}" if more else ""


def build_plan_document(
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
                after=tuple(map(registry.display, step.after)),
                reason=step.reason,
                params=dict(_values(step)),
                may_run=step.may_run,
                state=now.state if now else None,
                reasons=now.sentences if now else (),
                waits_for=tuple(names[one] for one in own.steps),
                runs_alone=own.is_alone,
                removes=step.removal.shown if step.removal else (),
            )
        )
    return documents.Plan(
        steps=tuple(steps),
        fresh=tuple(tool.name for tool in plan.fresh),
        warnings=plan.warnings,
    )


def find_shown_database(registry: Registry, project: Project) -> tuple[str, str]:
    """The database of `conn`, and where it is set."""
    if uses_get_connection(registry, project):
        return "get_connection()", CONF_FILE
    return masked_url(project.database), project.database_origin


def settings_text(registry: Registry, project: Project, style: Style) -> str:
    """The database and all settings that are not the default, each with its origin."""
    settings: dict[str, tuple[object, str]] = {"database": find_shown_database(registry, project)}
    for key, origin in project.origins.items():
        # Parameters stand with each tool; a run needs no watch.
        if key not in ("database", "params", "watch"):
            found = getattr(project, key)
            settings[key] = _setting(found), origin
    lines = ["settings:"]
    for key, (value, origin) in settings.items():
        lines.append(f"  {value_text(key, shown(Value(value=value, origin=origin)), style)}")
    return "".join(wrap(line, style, "    ") + "\n" for line in lines)


def _setting(found: object) -> object:
    if isinstance(found, Mapping):
        rows = (f"{name}: {Value(value=one, origin='').shown}" for name, one in found.items())
        return ", ".join(rows)
    return found


def _values(step: Step) -> Iterator[tuple[str, Value]]:
    """The values of the parameters of a step, by name."""
    given = {bound.param.name: bound for bound in step.arguments}
    for param in step.tool.params:
        bound = given.get(param.name)
        if bound is not None:
            value = bound.shown if bound.is_secret else _as_json(bound)
            yield param.name, Value(value=value, origin=bound.origin)
        else:
            value = MASK if param.is_secret and param.default is not None else param.default
            value = hide_url_passwords(value) if isinstance(value, str) else value
            is_shown = value is not None or param.default_source in (None, "None")
            source = "" if is_shown else param.shown_default
            yield param.name, Value(value=value, origin="default", source=source)
    for name, text in step.extra.items():
        value = MASK if is_secret_name(name) else hide_url_passwords(text)
        yield name, Value(value=value, origin=f"-p {name}")


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
