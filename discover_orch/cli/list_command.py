"""`orch list`: the tools of the project."""

from __future__ import annotations

import click
from msgspec.structs import replace

from discover_orch.cli.options import Context, changed_since_option, choosing_options
from discover_orch.model.errors import NO_TOOLS, NO_TOOLS_AT_ALL, EmptyError
from discover_orch.planning import project_view
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
    view = context.read_project()
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
    if as_json:
        console.json(listing)
    elif changed_since is not None and not listing.tools:
        console.out(f"no tool has changed since {changed_since}\n")
    else:
        console.out(listing_text(listing, console.out_style, verbose=verbose))
    no_tools = view.registry.no_tools
    if verbose and no_tools == NO_TOOLS:
        no_tools = NO_TOOLS_AT_ALL
    has_tools = bool(listing.tools or (changed_since is not None and view.registry.tools))
    return console.report((*listing.errors, *listing.warnings), None if has_tools else no_tools)
