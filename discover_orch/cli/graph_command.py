"""`orch graph`: stages, tools, and what each waits for, as a tree."""

from __future__ import annotations

import json
import os

import click

from discover_orch.cli.app import Context, common_options
from discover_orch.cli.targets import TARGETS
from discover_orch.model.errors import EmptyError, ExitCode, no_tools
from discover_orch.planning import project_reader, project_view
from discover_orch.render.graph import graph_document, graph_text


@click.command("graph", short_help="Show stages and tools as a tree.")
@click.argument("targets", nargs=-1, type=TARGETS)
@click.option("--exclude", multiple=True, metavar="TARGET", type=TARGETS, help="Leave these out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@common_options
@click.pass_obj
def command(
    context: Context, targets: tuple[str, ...], exclude: tuple[str, ...], as_json: bool
) -> int:
    """Show stages and tools in their order, with what each waits for, reads and writes."""
    view = project_reader.read_project(context.start, context.folder, os.environ)
    console = context.console
    try:
        chosen = project_view.select_readable(view, targets, exclude)
    except EmptyError:
        if as_json:
            console.out(json.dumps(graph_document(view.registry, ())) + "\n")
        raise
    document = graph_document(view.registry, chosen)
    console.out(json.dumps(document) + "\n" if as_json else graph_text(document, console.out_style))
    console.problems((*view.errors, *view.warnings))
    if view.errors:
        return ExitCode.DISCOVERY
    if not view.registry.tools:
        console.problems([no_tools()])
        return ExitCode.EMPTY
    return ExitCode.OK
