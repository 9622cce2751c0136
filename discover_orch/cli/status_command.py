"""`orch status`: which tools are fresh, which are stale, and why."""

from __future__ import annotations

import click

from discover_orch.cli.commands_with_tools import ToolsCommand, tools_arguments
from discover_orch.cli.options import (
    Context,
    common_options,
    json_option,
)
from discover_orch.execution.request import (
    Request,
    read_status,
    running_problem,
)
from discover_orch.model.documents import ToolRun, ToolStatus
from discover_orch.model.errors import ExitCode, Problem
from discover_orch.model.items import tool_of
from discover_orch.planning.cleaning import Found
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.history import build_tool_run
from discover_orch.render.left_over import build_made, left_over_text
from discover_orch.render.status import (
    LATEST,
    MOST_LISTED,
    as_of_text,
    build_statuses,
    code_rows,
    status_text,
    steps_of,
    tool_text,
)
from discover_orch.render.style import Style
from discover_orch.state.journal import read_records
from discover_orch.state.lock import find_holder


@click.command(
    "status", cls=ToolsCommand, short_help="Show which tools are fresh or stale, and why."
)
@tools_arguments
@click.option(
    "-v", "--verbose", is_flag=True, help="Show all reasons, and what each tool reads and writes."
)
@click.option(
    "--exit-code", "has_exit_code", is_flag=True, help="Exit with 1 unless all tools are fresh."
)
@json_option
@common_options
def command(
    context: Context,
    view: ProjectView,
    request: Request,
    *,
    verbose: bool,
    has_exit_code: bool,
    as_json: bool,
) -> int:
    """Show which tools are fresh or stale, and why.

    For a single tool, shows everything that is known about it. Only reads source text and files: your
    code is not imported.
    """
    left, chosen = read_status(view, request, context.console.problems)
    tools, view, console = build_statuses(left, chosen), left.view, context.console
    if as_json:
        console.json({"tools": tools, **({"as_of": left.as_of} if left.as_of else {})})
    elif tools:
        is_one = len(tools) == 1 and bool(request.targets)
        steps = steps_of(tools[0])
        if is_one and len(steps) == 1:
            text = _tool_text(left, steps[0], console.out_style, verbose=verbose)
        else:
            text = status_text(
                tools,
                console.out_style,
                verbose=verbose,
                has_errors=bool(view.errors),
                most_items=len(steps) if is_one or verbose else MOST_LISTED,
            )
        text += as_of_text(left.as_of, console.out_style)
        shown = {step.module for tool in tools for step in steps_of(tool)}
        gone = frozenset() if request.targets else view.registry.observed - {*view.registry.tools}
        things = [
            one
            for one in left.find_left_over()
            if one.module in shown
            or (one.module in gone and tool_of(one.module) not in view.registry.steps)
        ]
        made = build_made(
            (Found(thing=one, is_left_over=True) for one in things), view.registry.display
        )
        console.out(text + left_over_text(made, console.out_style))
    damaged = left.warn_damaged(tool.module for tool in tools)
    problems = (*view.errors, *view.warnings, *damaged, *_warn_running(view))
    code = console.report(problems, view.no_tools)
    if code == ExitCode.OK and has_exit_code and not all(tool.is_fresh for tool in tools):
        return ExitCode.FAILED
    return code


def _tool_text(left: RemainingWork, status: ToolStatus, style: Style, *, verbose: bool) -> str:
    """With the latest runs of the tool."""
    tool, result = left.view.registry.tools[status.module], left.results.get(status.module)
    runs: list[ToolRun] = []
    for record in read_records(left.view.project.root):
        runs += [
            build_tool_run(record, one)
            for one in record.tools
            if one.module == status.module and one.status != "not_run"
        ]
        if len(runs) == LATEST:
            break
    success = result.success if result else None
    files = left.current.code.files
    read = {path: files.read(path) for path in (success.inputs.code if success else ())}
    functions = {
        path: len(one.pieces.functions)
        for path, one in read.items()
        if one is not None and one.pieces is not None
    }
    return tool_text(
        tool,
        status,
        success,
        left.params_of(tool),
        left.defaults_of(tool),
        runs,
        code_rows(success.inputs.code, functions, verbose=verbose) if success else (),
        style,
    )


def _warn_running(view: ProjectView) -> list[Problem]:
    holder = find_holder(view.project.root)
    return [] if holder is None else [running_problem(holder.sentence)]
