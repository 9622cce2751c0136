"""`orch check`: every discovery error, slip and ordering doubt."""

from __future__ import annotations

import json
import os

import click

from discover_orch.cli.app import Context, common_options
from discover_orch.model.errors import ExitCode, no_tools, problem_json
from discover_orch.planning import project_reader, project_view
from discover_orch.render.problems import problems_text
from discover_orch.render.style import count


@click.command("check", short_help="Tell every problem and doubt, running nothing.")
@click.option("--watch", "about_watch", is_flag=True, help="Tell how orch watch will work here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@common_options
@click.pass_obj
def command(context: Context, about_watch: bool, as_json: bool) -> int:
    """Tell every problem and doubt about the project, without running anything.

    Warnings alone exit 0, or 4 where the configuration says strict = true. With --watch, a process imports
    the installed packages that the tools import, to see how long that takes, and ends.
    """
    if about_watch:
        return _check_watch(context, as_json=as_json)
    view = project_reader.read_project(context.start, context.folder, os.environ)
    errors, warnings = view.errors, project_view.check_project(view)
    is_refused = bool(errors) or (view.project.strict and bool(warnings))
    console = context.console
    if as_json:
        document = {
            "version": 1,
            "errors": [problem_json(problem) for problem in errors],
            "warnings": [problem_json(problem) for problem in warnings],
        }
        console.out(json.dumps(document) + "\n")
    else:
        console.out(problems_text((*errors, *warnings), console.out_style))
        tools = count(len(view.registry.tools), "healthy tool")
        told = f"{count(len(errors), 'error')}, {count(len(warnings), 'warning')}"
        if errors or warnings:
            console.out(f"{tools}, {told}\n")
        elif view.registry.tools:
            console.out(f"{tools}, nothing to say\n")
    if is_refused:
        return ExitCode.DISCOVERY
    if not view.registry.tools:
        console.problems([no_tools()])
        return ExitCode.EMPTY
    return ExitCode.OK


def _check_watch(context: Context, *, as_json: bool) -> int:
    """How watching will work, and what to do about each doubt."""
    from discover_orch.cli.watch_command import read_preload
    from discover_orch.render.diagnostics import diagnostics_document, diagnostics_text
    from discover_orch.watch.diagnostics import diagnose
    from discover_orch.watch.project_state import WatchedProject
    from discover_orch.watch.request import WatchRequest

    watched = WatchedProject(WatchRequest(start=context.start, folder=context.folder), os.environ)
    configured = watched.view.project.watch
    diagnosis = diagnose(
        watched, must_poll=bool(configured.get("poll")), preload=read_preload(configured)
    )
    console = context.console
    if as_json:
        console.out(json.dumps({"version": 1, "watch": diagnostics_document(diagnosis)}) + "\n")
    else:
        console.out(diagnostics_text(diagnosis, console.out_style))
        console.out(problems_text(diagnosis.warnings, console.out_style))
        errors = watched.view.errors
        console.problems(errors)
    return ExitCode.OK
