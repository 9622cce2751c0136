"""What `orch run` shows where nothing runs: the plan of `--dry-run`, that nothing is left, or why it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from discover_orch.cli.console import Console
from discover_orch.cli.options import Context
from discover_orch.execution.event_documents import not_started, nothing_to_do
from discover_orch.execution.request import ReadyRun
from discover_orch.model import documents
from discover_orch.model.errors import ExitCode, Problem
from discover_orch.planning.plan import Plan
from discover_orch.render.plan import build_plan, plan_text, settings_text
from discover_orch.render.problems import first_few

if TYPE_CHECKING:
    from discover_orch.cli.report_run import RunOutputs
    from discover_orch.planning.parallel import Waits
    from discover_orch.render.run import DisplayOptions


def show_nothing_left(
    context: Context, plan: Plan, outputs: RunOutputs | None = None, *, as_json: bool
) -> int:
    """Nothing is stale, or nothing is left to resume, which is a success."""
    console = context.console
    if outputs is not None:
        outputs.note_nothing_to_do(plan)
    if as_json:
        console.json_lines(nothing_to_do(plan))
    else:
        console.out(_nothing_left_text(plan))
    console.problems(plan.warnings)
    return ExitCode.OK


def _nothing_left_text(plan: Plan) -> str:
    from discover_orch.render.status import all_fresh_text

    return all_fresh_text(len(plan.fresh)) if plan.fresh else f"{plan.intro}\n"


def show_plan(context: Context, ready: ReadyRun, shown: DisplayOptions) -> int:
    """What `ready` would run, and why; it was looked ahead at."""
    console, view, plan = context.console, ready.view, ready.plan
    registry, freshness = view.registry, {}
    if plan.steps and ready.work is not None:
        freshness = ready.work.freshness(plan.steps)
    waits: tuple[Waits, ...] = ()
    if ready.jobs > 1 and plan.steps:
        from discover_orch.planning.parallel import find_planned_waits

        waits = find_planned_waits(plan, view)
    document = build_plan(plan, registry, freshness, waits)
    if shown.as_json:
        console.json(document)
    elif not plan.steps:
        console.out(_nothing_left_text(plan))
    else:
        text = plan_text(
            document, console.out_style, intro=plan.intro, verbose=shown.verbose, jobs=ready.jobs
        )
        settings = settings_text(registry, view.project, console.out_style)
        console.out(text + settings if shown.verbose else text)
    warnings = view.warnings if plan.steps else ()
    console.problems(first_few((*warnings, *plan.warnings)))
    return ExitCode.OK


def show_refused(
    console: Console,
    problems: Sequence[Problem],
    code: int,
    targets: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    """Complete JSON, although nothing ran."""
    errors = tuple(one for one in problems if one.severity == "error")
    warnings = tuple(one for one in problems if one.severity == "warning")
    if dry_run:
        console.json(documents.Plan(warnings=warnings, errors=errors))
    elif code == ExitCode.OK:
        console.json_lines(not_started(targets, "skipped", reason=warnings[0].message))
    else:
        console.json_lines(not_started(targets, "failed", code, errors=errors))
