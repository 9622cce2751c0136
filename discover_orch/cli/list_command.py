"""`orch list`: what was found. Warm, it is answered by `glance` and nothing else is loaded."""

from __future__ import annotations

import json
import os

import click

from discover_orch import __version__
from discover_orch.cli.app import Context, common_options
from discover_orch.cli.targets import TARGETS
from discover_orch.config.file import config_key, find_root, read_config_bytes
from discover_orch.discovery.listing_cache import (
    ListingSummary,
    build_summary,
    is_unchanged,
    read_document,
    read_summary,
)
from discover_orch.model.errors import EmptyError, ExitCode
from discover_orch.render.listing import listing_text
from discover_orch.state.store import flows_stamp, open_index


@click.command("list")
@click.argument("targets", nargs=-1, type=TARGETS)
@click.option("--exclude", multiple=True, metavar="TARGET", type=TARGETS, help="Leave these out.")
@click.option("-v", "--verbose", is_flag=True, help="Also what was passed over, and why.")
@click.option("--sources", is_flag=True, help="Also the project files that each tool depends on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@common_options
@click.pass_obj
def command(
    context: Context,
    targets: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    verbose: bool = False,
    sources: bool = False,
    as_json: bool = False,
) -> int:
    """Show the tools that were found, by stage.

    Reads source text only; nothing of yours is imported.
    """
    console = context.console
    if not (targets or exclude or verbose or sources):
        kept = _kept(context, as_json=as_json)
        if kept is not None:
            text, brief = kept
            console.out(text)
            return _judge(context, brief)

    from discover_orch.planning import project_reader, project_view

    view = project_reader.read_project(context.start, context.folder, os.environ, is_wide=verbose)
    try:
        document = project_view.listing_document(
            view, targets, exclude=exclude, with_sources=sources, with_passed_over=verbose
        )
    except EmptyError:
        if as_json:
            console.out(json.dumps(project_view.empty_listing_document(view)) + "\n")
        raise
    brief = build_summary(document)
    if as_json:
        console.out(json.dumps(document) + "\n")
    else:
        console.out(listing_text(brief, console.out_style, verbose=verbose))
    return _judge(context, brief)


def _kept(context: Context, *, as_json: bool) -> tuple[str, ListingSummary] | None:
    """What an unchanged project was found to be the last time, as text or JSON."""
    found = find_root(context.start, context.folder)
    root, config, _ = found
    key = config_key(found, read_config_bytes(root, config), os.environ) + flows_stamp(root)
    index = open_index(root, __version__)
    if index is None or not is_unchanged(root, index, key):
        return None
    kept = read_summary(index)
    if kept is None:
        return None
    brief, is_clean = kept
    if not as_json:
        return listing_text(brief, context.console.out_style, is_clean=is_clean), brief
    document = read_document(index, root)
    return None if document is None else (document + "\n", brief)


def _judge(context: Context, brief: ListingSummary) -> int:
    """Tells the problems, and answers with the exit code."""
    if brief["errors"] or brief["warnings"]:
        from discover_orch.render.problems import problems_of

        context.console.problems(problems_of(brief))
    if brief["errors"]:
        return ExitCode.DISCOVERY
    if not brief["stages"] and not brief["disabled"]:
        from discover_orch.model.errors import no_tools

        context.console.problems([no_tools()])
        return ExitCode.EMPTY
    return ExitCode.OK
