"""What `orch run` shows where nothing runs: the plan of `--dry-run`, that nothing is left, or why it was refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from discover_orch.cli.options import Context
from discover_orch.discovery.registry import Registry
from discover_orch.execution.run_events import (
    nothing_to_do_documents,
    refused_run_documents,
)
from discover_orch.model.errors import ExitCode, Problem, problem_json
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.plan import plan_document, plan_text, settings_text
from discover_orch.render.problems import first_few

if TYPE_CHECKING:
    from discover_orch.cli.run_outputs import RunOutputs
    from discover_orch.planning.parallel import Waits
    from discover_orch.render.run import DisplayOptions
    from discover_orch.staleness.reason_sentences import Freshness


def show_nothing_left(
    context: Context,
    plan: Plan,
    outputs: RunOutputs | None,
    *,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Nothing is stale, or nothing is left to resume, which is a success."""
    console = context.console
    if outputs is not None:
        outputs.note_nothing_to_do(plan)
    if as_json and dry_run:
        console.out(json.dumps(plan_document(plan, Registry())) + "\n")
    elif as_json:
        for document in nothing_to_do_documents(plan):
            console.out(json.dumps(document) + "\n")
    else:
        from discover_orch.render.status import all_fresh_text

        console.out(all_fresh_text(len(plan.fresh)) if plan.fresh else f"{plan.intro}\n")
    console.problems(plan.warnings)
    return ExitCode.OK


def show_plan(
    context: Context,
    view: ProjectView,
    plan: Plan,
    freshness: Mapping[str, Freshness],
    shown: DisplayOptions,
    jobs: int,
) -> int:
    console, verbose, registry = context.console, shown.verbose, view.registry
    waits: tuple[Waits, ...] = ()
    if jobs > 1:
        from discover_orch.planning.parallel import find_planned_waits

        waits = find_planned_waits(plan, view)
    if shown.as_json:
        console.out(json.dumps(plan_document(plan, registry, freshness, waits)) + "\n")
    else:
        console.out(
            plan_text(
                plan,
                registry,
                console.out_style,
                freshness,
                verbose=verbose,
                jobs=jobs,
                waits=waits,
            )
        )
        if verbose:
            console.out(settings_text(registry, view.project, console.out_style))
    console.problems(first_few((*view.warnings, *plan.warnings)))
    return ExitCode.OK


def error_documents(
    problems: Sequence[Problem], code: int, targets: Sequence[str], *, dry_run: bool
) -> list[dict[str, object]]:
    """Complete JSON for stdout, although nothing ran."""
    errors = [one for one in problems if one.severity == "error"]
    if not dry_run:
        return refused_run_documents(targets, errors, code)
    warnings = tuple(one for one in problems if one.severity == "warning")
    document = plan_document(Plan(warnings=warnings), Registry())
    return [document | {"errors": [problem_json(one) for one in errors]}]
