"""`orch graph`: stages and tools as a tree, with what each tool runs after, reads and writes."""

from __future__ import annotations

import json
import os

import click

from discover_orch.cli.options import (
    Context,
    common_options,
    exclude_option,
    json_option,
    targets_argument,
)
from discover_orch.model.errors import EmptyError
from discover_orch.planning import project_reader, project_view
from discover_orch.render.graph import graph_document, graph_text


@click.command("graph", short_help="Show stages and tools as a tree.")
@targets_argument
@exclude_option
@click.option("-v", "--verbose", is_flag=True, help="Name every file, also where there are many.")
@json_option
@common_options
@click.pass_obj
def command(
    context: Context,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    verbose: bool,
    as_json: bool,
) -> int:
    """Show stages and tools in order, with what each tool runs after, reads and writes."""
    view = project_reader.read_project(context.start, context.folder, os.environ)
    console = context.console
    try:
        chosen = project_view.select_readable(view, targets, exclude)
    except EmptyError:
        if as_json:
            console.out(json.dumps(graph_document(view.registry, ())) + "\n")
        raise
    document = graph_document(view.registry, chosen)
    if as_json:
        console.out(json.dumps(document) + "\n")
    else:
        console.out(graph_text(document, console.out_style, verbose=verbose))
    return console.report(
        (*view.errors, *view.warnings),
        has_tools=bool(view.registry.tools),
        no_tools=view.registry.no_tools,
    )
