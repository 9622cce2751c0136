"""`orch status`: which tools are fresh, which are stale, and why. `orch accept`: marks tools as fresh."""

from __future__ import annotations

import json

import click

from discover_orch.cli.commands_with_tools import ToolsCommand, read_values, view_of
from discover_orch.cli.options import (
    Context,
    OrchUsage,
    ToolArguments,
    acquire_lock,
    common_options,
    json_option,
    settle_killed_run,
    tools_arguments,
    wait_option,
)
from discover_orch.model.errors import ExitCode, Problem, ProjectError
from discover_orch.planning import project_view
from discover_orch.planning.dataflow_checks import build_warning
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.left_over import left_over_text
from discover_orch.render.problems import first_few
from discover_orch.render.status import LATEST, Row, status_document, status_text, tool_text
from discover_orch.render.style import count, one_line
from discover_orch.staleness.left_over import LeftOver
from discover_orch.state.journal import read_records
from discover_orch.state.lock import find_holder

#: `orch accept` names the tools if they are at most so many.
MOST_NAMED = 20


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
    arguments: ToolArguments,
    *,
    verbose: bool,
    has_exit_code: bool,
    as_json: bool,
) -> int:
    """Show which tools are fresh or stale, and why.

    For a single tool, shows everything that is known about it. Only reads source text and files: your
    code is not imported.
    """
    values = read_values(arguments)
    view = view_of(arguments)
    chosen = project_view.select_readable(view, arguments.targets, arguments.exclude)
    project_view.refuse_wrong(view, chosen, values)
    settle_killed_run(context, view, settles=False)
    left = RemainingWork(view, values)
    freshness = left.freshness()
    left_over: dict[str, list[LeftOver]] = {}
    for one in left.find_left_over():
        left_over.setdefault(one.module, []).append(one)
    rows = [
        Row(
            tool=view.registry.tools[module],
            stage=view.registry.stages[view.registry.rank[module]].name,
            freshness=freshness[module],
            result=left.results.get(module),
            flow=view.registry.flows[module],
            left_over=tuple(left_over.get(module, ())),
        )
        for module in view.registry.order
        if module in chosen
    ]
    damaged = left.warn_damaged(row.tool.module for row in rows)
    problems = (*view.errors, *view.warnings, *damaged, *_warn_running(view))
    is_all_fresh = all(row.freshness.is_fresh for row in rows)
    console = context.console
    if as_json:
        console.out(json.dumps(status_document(rows, view.registry.display)) + "\n")
    elif len(rows) == 1 and arguments.targets:
        tool = rows[0].tool
        params, defaults = left.params_of(tool), left.defaults_of(tool)
        console.out(
            tool_text(rows[0], params, defaults, _last_runs(view, rows[0]), console.out_style)
        )
        console.out(left_over_text(rows[0].left_over, view.registry.display, console.out_style))
    elif rows:
        has_errors = bool(view.errors)
        console.out(status_text(rows, console.out_style, verbose=verbose, has_errors=has_errors))
        console.out(
            left_over_text(
                [one for row in rows for one in row.left_over],
                view.registry.display,
                console.out_style,
            )
        )
    code = console.report(problems, view.no_tools)
    if code == ExitCode.OK and has_exit_code and not is_all_fresh:
        return ExitCode.FAILED
    return code


def _warn_running(view: ProjectView) -> list[Problem]:
    holder = find_holder(view.project.root)
    if holder is None:
        return []
    hint = "until it ends, what its tools write may be shown as edited or changed"
    return [build_warning("run-in-progress", holder.sentence, hint)]


def _last_runs(view: ProjectView, row: Row) -> list[tuple[str, str, str, float | None]]:
    """The latest runs of the tool: number of the run, start, status, seconds."""
    found: list[tuple[str, str, str, float | None]] = []
    for record in read_records(view.project.root):
        found += [
            (record.run, record.started, one.status, one.duration)
            for one in record.tools
            if one.module == row.tool.module and one.status != "not_run"
        ]
        if len(found) == LATEST:
            break
    return found


@click.command("accept", cls=ToolsCommand, short_help="Mark tools as fresh without running them.")
@tools_arguments
@wait_option
@json_option
@common_options
def accept_command(context: Context, arguments: ToolArguments, *, wait: bool, as_json: bool) -> int:
    """Mark the targets as fresh without running them.

    Use this after a change that makes no difference to the results. A tool that is downstream of a
    stale one, or whose declared output does not exist, stays stale.
    """
    if not arguments.targets:
        raise OrchUsage(
            "orch accept needs at least one target", "orch accept full accepts all tools"
        )
    values = read_values(arguments)
    view = view_of(arguments)
    plan = project_view.plan_targets(
        view, arguments.targets, exclude=arguments.exclude, values=values, is_partial=True
    )
    lock = acquire_lock(context, view, waits=wait, option="--wait")
    try:
        left = RemainingWork(view, values)
        unseen = left.warn_never_passed(plan)
        is_kept = left.accept(plan)
        freshness = RemainingWork(view, values).freshness(plan.steps)
    finally:
        lock.release()
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
    console = context.console
    if as_json:
        console.out(json.dumps({"version": 1, "accepted": names}) + "\n")
    elif names:
        shown = ", ".join(map(one_line, names))
        what = shown if len(names) <= MOST_NAMED else count(len(names), "tool")
        console.out(f"accepted as fresh: {what}\n")
    console.problems((*plan.warnings, *first_few(still_stale), *first_few(unseen)))
    return ExitCode.OK
