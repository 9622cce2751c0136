"""`orch run`: shows a plan, or the events of a run."""

from __future__ import annotations

import json
from typing import Any

import click

from discover_orch import looking
from discover_orch.cli.app import Context, common_options
from discover_orch.cli.tools_command import ARGS, VIEW, ToolsCommand, read_values, tools_arguments
from discover_orch.errors import ExitCode, OrchError
from discover_orch.looking import View
from discover_orch.plan import Plan
from discover_orch.registry import uses_get_connection
from discover_orch.render.planning import plan_document, plan_text, settings_text
from discover_orch.render.problems import few, problem_json


@click.command("run", cls=ToolsCommand)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would run, in which order, and why.")
@tools_arguments
@click.option("--pdb", is_flag=True, help="Open the debugger where a tool fails.")
@click.option(
    "--output",
    type=click.Choice(["live", "fail", "none", "raw"]),
    default="live",
    show_default=True,
    help="What tools print: as it comes, only of tools that fail, nothing, or uncaptured.",
)
@click.option("--wait", is_flag=True, help="Wait for the end of another run of this project.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Also reasons, values and notes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    dry_run: bool,
    exclude: tuple[str, ...],
    pairs: tuple[str, ...],
    database: str | None,
    pdb: bool,
    output: str,
    wait: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Run stages, tools or groups: the targets, in order.

    No target is everything. A target is a stage, a tool, a file, a group, `full`, a glob such as
    `pipeline.*`, `+x` (with all upstream of x) or `x+` (with all downstream).
    """
    context: Context = ctx.obj
    view: View = ctx.meta[VIEW]
    try:
        values = read_values(view, targets, exclude, pairs, params)
        if database is not None:
            view = looking.with_database(view, database)
        plan = looking.plan(view, targets, exclude=exclude, values=values)
    except OrchError as error:
        if as_json:
            context.voice.out(_refusal(error, dry_run=dry_run) + "\n")
        raise
    if dry_run:
        return _show_plan(context, view, plan, as_json=as_json, verbose=verbose)
    from discover_orch.cli.running import hold_project, run_and_show

    try:
        lock = hold_project(view, waits=wait)
    except OrchError as error:
        if as_json:
            context.voice.out(_refusal(error, dry_run=False) + "\n")
        raise
    try:
        return run_and_show(
            context,
            view,
            plan,
            output=output,
            quiet=quiet,
            verbose=verbose,
            as_json=as_json,
            post_mortem=pdb,
            options=ctx.command.get_params(ctx),
            words=ctx.meta[ARGS],
        )
    finally:
        lock.release()


def _show_plan(context: Context, view: View, plan: Plan, *, as_json: bool, verbose: bool) -> int:
    voice = context.voice
    if as_json:
        voice.out(json.dumps(plan_document(plan, view.registry)) + "\n")
    else:
        voice.out(plan_text(plan, view.registry, voice.out_style, verbose=verbose))
        if verbose:
            given = uses_get_connection(view.registry, view.project)
            voice.out(settings_text(view.project, voice.out_style, has_connection=given))
    voice.problems(few((*looking.warnings(view), *plan.warnings)))
    return ExitCode.OK


def _refusal(error: OrchError, *, dry_run: bool) -> str:
    """stdout holds complete JSON even where nothing ran."""
    problems = [problem_json(problem) for problem in error.problems]
    if dry_run:
        return json.dumps({"version": 1, "tools": [], "warnings": [], "errors": problems})
    return json.dumps(
        {
            "event": "run_finished",
            "run": None,
            "status": "failed",
            "exit_code": int(error.exit_code),
            "counts": {},
            "errors": problems,
        }
    )
