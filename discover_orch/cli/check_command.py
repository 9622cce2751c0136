"""`orch check`: every error and warning about the project; with `--jobs` also which tools run alone."""

from __future__ import annotations

import click

from discover_orch.cli.console import is_on_github
from discover_orch.cli.options import Context, common_options, json_option
from discover_orch.model.errors import ExitCode
from discover_orch.planning import project_view
from discover_orch.planning.dataflow_checks import find_observed_orders
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.problems import problems_text
from discover_orch.render.style import count
from discover_orch.state.flow_lock import read_lock


@click.command("check", short_help="Check the project for errors and warnings.")
@click.option(
    "--jobs",
    "about_jobs",
    is_flag=True,
    help="Also show which tools run alone with several workers, and which AFTER would change that.",
)
@json_option
@common_options
@click.pass_obj
def command(context: Context, about_jobs: bool, as_json: bool) -> int:
    """Check the project for errors and warnings. Nothing is run.

    The exit code is 4 if there are errors, or if there are warnings and the configuration has
    strict = true.
    """
    view = context.read_project()
    work = RemainingWork(view, GivenParams())
    found = (*project_view.check_project(view), *work.warn_left_over())
    errors = (*view.errors, *(one for one in found if one.severity == "error"))
    warnings = tuple(one for one in found if one.severity != "error")
    notes = [*find_observed_orders(view.registry.by_tool, read_lock(view.project.root).flows)]
    if about_jobs:
        from discover_orch.planning.parallel import find_alone

        notes += find_alone(view)
    console, tools = context.console, len(view.registry.by_tool.tools)
    if as_json:
        console.json({"errors": errors, "warnings": warnings, "notes": notes})
    else:
        said = (*errors, *warnings, *notes)
        text = problems_text(said, console.out_style, most_places=len(warnings))
        console.out(text)
        if errors or warnings:
            numbers = f"{count(len(errors), 'error')}, {count(len(warnings), 'warning')}"
            console.out(f"{numbers} ({count(tools, 'tool')} without errors)\n")
        elif tools:
            console.out(f"{count(tools, 'tool')}, no problems found\n")
    if (errors or warnings) and is_on_github():
        from discover_orch.cli.report_run import show_problems_on_github

        show_problems_on_github(console, (*errors, *warnings), view.project.root)
    if errors or (view.project.strict and warnings):
        return ExitCode.DISCOVERY
    return console.report((), view.no_tools)
