"""`orch list`: the tools of the project. If nothing has changed, the listing kept in the index is shown.

What a listing from the index does not need is imported inside the functions: a warm listing takes
a few milliseconds.
"""

from __future__ import annotations

import os

import click
from msgspec import convert, to_builtins
from msgspec.structs import replace

from discover_orch.cli.options import Context, changed_since_option, choosing_options
from discover_orch.discovery.listing_cache import (
    ListingSummary,
    build_summary,
    open_listing,
)
from discover_orch.model.errors import NO_TOOLS, NO_TOOLS_AT_ALL, EmptyError, Problem
from discover_orch.render.listing import listing_text


@click.command("list", short_help="List the tools of the project, by stage.")
@choosing_options(
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Also show modules that look like tools and are not, and why.",
    ),
    click.option(
        "--sources", is_flag=True, help="Also show the project files that each tool depends on."
    ),
    changed_since_option,
)
def command(
    context: Context,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    verbose: bool,
    sources: bool,
    changed_since: str | None,
    as_json: bool,
) -> int:
    """List the tools of the project, by stage.

    Only reads source text: your code is not imported.
    """
    console = context.console
    if not (targets or exclude or verbose or sources or changed_since is not None):
        kept = _kept(context, as_json=as_json)
        if kept is not None:
            text, summary = kept
            console.out(text)
            return _report(context, summary)

    from discover_orch.planning import project_view

    view = context.read_project(is_wide=verbose)
    changed = None
    if changed_since is not None:
        from discover_orch.planning.changed_since import find_changed

        changed = find_changed(view, changed_since)
    try:
        listing = project_view.build_listing(
            view,
            targets,
            exclude=exclude,
            among=changed,
            with_sources=sources,
            with_passed_over=verbose,
        )
    except EmptyError:
        if as_json:
            console.json(replace(project_view.build_listing(view), stages=(), tools=()))
        raise
    summary = build_summary(to_builtins(listing))
    if as_json:
        console.json(listing)
    elif changed_since is not None and not listing.tools:
        console.out(f"no tool has changed since {changed_since}\n")
    else:
        console.out(listing_text(summary, console.out_style, verbose=verbose))
    no_tools: Problem | None = view.registry.no_tools
    if verbose and no_tools == NO_TOOLS:
        no_tools = NO_TOOLS_AT_ALL
    if changed_since is not None and view.registry.tools:
        no_tools = None
    return _report(context, summary, no_tools)


def _kept(context: Context, *, as_json: bool) -> tuple[str, ListingSummary] | None:
    """The listing in the index, as text or JSON, if it is still valid."""
    found = open_listing(context.start, context.folder, os.environ)
    if found is None:
        return None
    kept, root = found
    summary = kept.summary
    if not (summary["stages"] or summary["disabled"]):
        return None  # why there are no tools is not kept
    if as_json:
        return kept.json(root) + "\n", summary
    return listing_text(summary, context.console.out_style), summary


def _report(context: Context, summary: ListingSummary, no_tools: Problem | None = NO_TOOLS) -> int:
    """Shows the problems and returns the exit code."""
    rows = [*summary["errors"], *summary["warnings"]]
    problems = convert(rows, list[Problem]) if rows else []
    has_tools = bool(summary["stages"] or summary["disabled"])
    return context.console.report(problems, None if has_tools else no_tools)
