"""`orch accept`: marks tools as fresh without running them."""

from __future__ import annotations

import click
from msgspec.structs import replace

from discover_orch.cli.commands_with_tools import ToolsCommand, tools_arguments
from discover_orch.cli.options import (
    Context,
    OrchUsage,
    common_options,
    if_busy_option,
    json_option,
)
from discover_orch.execution.request import (
    Request,
    open_memory,
    use_choices,
)
from discover_orch.model.errors import ExitCode, ProjectError
from discover_orch.planning import project_view
from discover_orch.planning.dataflow_checks import build_warning
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.problems import first_few
from discover_orch.render.style import count, one_line

#: `orch accept` names the tools if they are at most so many.
MOST_NAMED = 20


@click.command("accept", cls=ToolsCommand, short_help="Mark tools as fresh without running them.")
@tools_arguments
@if_busy_option
@json_option
@common_options
def command(
    context: Context, view: ProjectView, request: Request, *, if_busy: str, as_json: bool
) -> int:
    """Mark the targets as fresh without running them.

    Use this after a change that makes no difference to the results. What is left over from a target,
    or is left over and a target reads it, is to stay. A tool that is downstream of a stale one, or
    whose declared output does not exist, stays stale.
    """
    if not request.targets:
        raise OrchUsage(
            "orch accept needs at least one target", "orch accept full accepts all tools"
        )
    request = replace(request, if_busy=if_busy)
    view = use_choices(view, request)
    values, console = request.values, context.console
    plan = project_view.plan_targets(
        view, request.targets, exclude=request.exclude, values=values, is_partial=True
    )
    with open_memory(view, request, console.problems) as (left, keep):
        unseen = left.warn_never_passed(plan)
        is_kept = left.accept(plan)
        keep([step.tool.module for step in plan.steps])
        freshness = RemainingWork(left.view, values).freshness(plan.steps)
    if not is_kept:
        message = "cannot write to .orch: nothing was accepted"
        hint = "make .orch writable, and free some space on its disk"
        raise ProjectError.of("memory", message, hint)
    names = [step.tool.name for step in plan.steps if not freshness[step.tool.module].reasons]
    still_stale = [
        build_warning(
            "still-stale",
            f"{step.tool.name} is still stale: {now.sentences[0]}",
            f"orch status {step.tool.name} shows all reasons",
        )
        for step in plan.steps
        if not (now := freshness[step.tool.module]).is_fresh
    ]
    if as_json:
        console.json({"accepted": names})
    elif names:
        shown = ", ".join(map(one_line, names))
        what = shown if len(names) <= MOST_NAMED else count(len(names), "tool")
        console.out(f"accepted as fresh: {what}\n")
    console.problems((*plan.warnings, *first_few(still_stale), *first_few(unseen)))
    return ExitCode.OK
