"""`orch graph`: stages and tools with what each runs after, reads and writes, as a tree or as a picture."""

from __future__ import annotations

import os

import click
from msgspec.structs import replace

from discover_orch.cli.console import document_text
from discover_orch.cli.file_output import (
    STANDARD_OUTPUT,
    check_file_option,
    write_and_open,
)
from discover_orch.cli.options import Context, OrchUsage, choosing_options
from discover_orch.model.errors import EmptyError
from discover_orch.model.keys import file_key
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.graph import Graph, build_graph, graph_text
from discover_orch.render.style import one_line
from discover_orch.state.sealed_files import FOLDER

FORMATS = ("text", "mermaid", "dot", "json", "svg")
_ENDINGS = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".json": "json",
    ".txt": "text",
}
#: Where a picture is written that is only to be opened.
DEFAULT_FILE = os.path.join(FOLDER, "graph.svg")


@click.command("graph", short_help="Show stages and tools as a tree or as a picture.")
@choosing_options(
    click.option(
        "--format",
        "kind",
        type=click.Choice(FORMATS),
        help="How to show it.  [default: text, or what the ending of FILE says]",
    ),
    click.option(
        "-o",
        "--output-file",
        "file",
        metavar="FILE",
        help="Write it to this file; - is the standard output.",
    ),
    click.option("--open", "opens", is_flag=True, help="Open the picture in the browser."),
    click.option("-v", "--verbose", is_flag=True, help="Name every file, even if there are many."),
)
def command(
    context: Context,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    kind: str | None,
    file: str | None,
    opens: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Show stages and tools in order, with what each tool runs after, reads and writes.

    As a picture, the targets are highlighted, beside the tools that share tables and files with them.
    """
    check_file_option(file, *(["--open"] if opens else ()))
    kind = _format(kind, file, opens=opens, as_json=as_json)
    file = None if file == STANDARD_OUTPUT else file
    view = context.read_project()
    console = context.console
    try:
        chosen = project_view.select_readable(view, targets, exclude)
    except EmptyError:
        if kind == "json":
            console.json({"stages": ()})
        raise
    work = RemainingWork(view, GivenParams(folder=view.folder))
    freshness = work.freshness()

    def is_there(path: str) -> bool:
        return work.is_there(file_key(path))

    if kind in ("text", "json"):
        graph, style = build_graph(view.registry, chosen, freshness, is_there), console.out_style
        style = style if file is None else replace(style, colour=False)
        text = document_text({"stages": graph})
        text = text if kind == "json" else graph_text(graph, style, verbose=verbose)
    else:
        text = _render(
            view, build_graph(view.registry, view.registry.tools, freshness, is_there), chosen, kind
        )
    if not view.registry.tools and kind != "json":
        return console.report((*view.errors, *view.warnings), view.no_tools)
    if file is None and not opens:
        console.out(text)
    else:
        own = os.path.join(view.project.root, DEFAULT_FILE)
        path = file or os.path.relpath(own, context.start)
        said = "" if as_json else None
        write_and_open(context, text, path, is_own=file is None, opens=opens, said=said)
    return console.report((*view.errors, *view.warnings), view.no_tools)


def _format(kind: str | None, file: str | None, *, opens: bool, as_json: bool) -> str:
    if as_json:
        if kind not in (None, "json"):
            raise OrchUsage(f"--json cannot be combined with --format {kind}", "use one of them")
        kind = "json"
    if kind is None and file is not None:
        ending = os.path.splitext(file)[1]
        kind = _ENDINGS.get(ending.lower())
        if kind is None and ending:
            raise OrchUsage(
                f"orch graph cannot write a file that ends in {one_line(ending)}",
                f"use one of {', '.join(_ENDINGS)}, or add --format with one of {', '.join(FORMATS)}",
            )
    if opens and kind not in (None, "svg"):
        raise OrchUsage(f"--open cannot be combined with the format {kind}", "use --format svg")
    return kind or ("svg" if opens else "text")


def _render(
    view: ProjectView,
    graph: Graph,
    chosen: frozenset[str],
    kind: str,
) -> str:
    selected = chosen if len(chosen) < len(view.registry.order) else None
    if kind == "svg":
        from discover_orch.render.graph_svg import graph_svg

        return graph_svg(graph, selected, title=f"Pipeline {os.path.basename(view.project.root)}")
    from discover_orch.render.graph_languages import dot_text, mermaid_text

    return dot_text(graph, selected) if kind == "dot" else mermaid_text(graph, selected)
