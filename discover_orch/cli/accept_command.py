"""`orch accept`: takes tools as they are for fresh, without running them."""

from __future__ import annotations

import json
from typing import Any

import click

from discover_orch.cli.app import Context, OrchUsage, common_options
from discover_orch.cli.dynamic_command import VIEW, ToolsCommand, read_values, tools_arguments
from discover_orch.cli.show_run import hold_project
from discover_orch.model.errors import ExitCode, Problem, ProjectError
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.incremental import RemainingWork
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import few
from discover_orch.render.style import count, one_line


@click.command("accept", cls=ToolsCommand, short_help="Take tools as they are for fresh.")
@tools_arguments
@click.option("--wait", is_flag=True, help="Wait for the end of another run of this project.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    pairs: tuple[str, ...],
    database: str | None,
    wait: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Take the targets as they are for fresh, without running them.

    For a change that you know makes no difference: their code, parameters and files as they are now are what
    later changes are compared with.
    """
    context: Context = ctx.obj
    view: ProjectView = ctx.meta[VIEW]
    if not targets:
        raise OrchUsage("orch accept needs targets", "orch accept full takes all tools for fresh")
    values = read_values(view, targets, exclude, pairs, params)
    if database is not None:
        view = project_reader.with_database(view, database)
    plan = project_view.plan_targets(view, targets, exclude=exclude, values=values, is_partial=True)
    lock = hold_project(view, waits=wait, console=context.console)
    try:
        left = RemainingWork(view.project, view.registry, values, view.signatures)
        unseen = left.warn_never_passed(plan)
        is_kept = left.accept(plan)
    finally:
        lock.release()
    if not is_kept:
        message = "what was accepted cannot be kept in .orch"
        hint = "make .orch writable, and free space on its disk"
        raise ProjectError(Problem(code="memory", message=message, hint=hint))
    names = [step.tool.name for step in plan.steps]
    console = context.console
    if as_json:
        console.out(json.dumps({"version": 1, "accepted": names}) + "\n")
    else:
        shown = ", ".join(one_line(name) for name in names[:20])
        console.out(
            f"taken for fresh: {shown if len(names) <= 20 else count(len(names), 'tool')}\n"
        )
    console.problems((*plan.warnings, *few(unseen)))
    return ExitCode.OK
