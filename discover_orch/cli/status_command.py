"""`orch status`: which tools are fresh, which stale, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from discover_orch.cli.app import Context, common_options
from discover_orch.cli.dynamic_command import (
    VIEW,
    ToolsCommand,
    read_values,
    refuse_wrong,
    tools_arguments,
)
from discover_orch.model.errors import ExitCode, no_tools
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.incremental import RemainingWork
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.status import (
    LATEST,
    Row,
    status_document,
    status_text,
    tool_text,
)
from discover_orch.state.journal import find_runs, read_record


@click.command(
    "status", cls=ToolsCommand, short_help="Show which tools are fresh or stale, and why."
)
@tools_arguments
@click.option("-v", "--verbose", is_flag=True, help="Every reason, and what each reads and writes.")
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
    verbose: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Show where each tool stands: fresh, or stale and why.

    Compared is with what the same words behind `orch run` would pass. Of a single tool everything is told.
    Reads source text and files only; nothing of yours is imported.
    """
    context: Context = ctx.obj
    view: ProjectView = ctx.meta[VIEW]
    values = read_values(view, targets, exclude, pairs, params)
    if database is not None:
        view = project_reader.with_database(view, database)
    chosen = project_view.select_readable(view, targets, exclude)
    refuse_wrong(view, chosen, values)
    left = RemainingWork(view.project, view.registry, values, view.signatures)
    freshness = left.freshness()
    rows = [
        Row(
            tool=view.registry.tools[module],
            stage=view.registry.stages[view.registry.rank[module]].name,
            freshness=freshness[module],
            result=left.results.get(module),
            flow=view.registry.flows[module],
        )
        for module in view.registry.order
        if module in chosen
    ]
    said = (
        *targets,
        *exclude,
        *pairs,
        *values.options,
        *view.warnings,
        *view.errors,
    )
    if rows and database is None and not said and all(row.freshness.is_fresh for row in rows):
        left.write_all_fresh(view.key)
    console = context.console
    if as_json:
        console.out(json.dumps(status_document(rows)) + "\n")
    elif len(rows) == 1 and targets:
        console.out(
            tool_text(
                rows[0], left.params_of(rows[0].tool), _last_runs(view, rows[0]), console.out_style
            )
        )
    elif rows:
        console.out(status_text(rows, console.out_style, verbose=verbose))
    errors = view.errors
    console.problems((*errors, *view.warnings))
    if errors:
        return ExitCode.DISCOVERY
    if not view.registry.tools:
        console.problems([no_tools()])
        return ExitCode.EMPTY
    return ExitCode.OK


def _last_runs(view: ProjectView, row: Row) -> list[tuple[str, str, str, float | None]]:
    """The latest runs in which the tool was: id, when, how it ended, seconds."""
    found: list[tuple[str, str, str, float | None]] = []
    root = view.project.root
    for run in find_runs(root):
        record = read_record(root, run)
        found += [
            (run, record.started, one.status, one.duration)
            for one in (record.tools if record else ())
            if record and one.module == row.tool.module and one.status != "not_run"
        ]
        if len(found) == LATEST:
            break
    return found
