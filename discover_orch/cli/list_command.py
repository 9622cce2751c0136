"""`orch list`: what was found. Warm, it is answered by `glance` and nothing else is loaded."""

from __future__ import annotations

import json
import os

import click

from discover_orch import __version__
from discover_orch.cli.app import Context, common_options
from discover_orch.cli.words import TARGETS
from discover_orch.config import find_root, fingerprint, read_config_bytes
from discover_orch.errors import ExitCode
from discover_orch.glance import read_listing
from discover_orch.render.listing import Document, listing_text
from discover_orch.store import open_index


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
    document = None
    if not (targets or exclude or verbose or sources):
        document = _remembered(context)
    if document is None:
        from discover_orch import looking

        view = looking.look(context.start, context.folder, os.environ, is_wide=verbose)
        document = looking.listing(
            view, targets, exclude=exclude, with_sources=sources, with_passed_over=verbose
        )
    return _show(context, document, as_json=as_json, verbose=verbose)


def _remembered(context: Context) -> Document | None:
    found = find_root(context.start, context.folder)
    root, config, _ = found
    key = fingerprint(found, read_config_bytes(root, config), os.environ)
    return read_listing(root, open_index(root, __version__), key)


def _show(context: Context, document: Document, *, as_json: bool, verbose: bool) -> int:
    voice = context.voice
    if as_json:
        voice.out(json.dumps(document) + "\n")
    else:
        voice.out(listing_text(document, voice.out_style, verbose=verbose))
    if document["errors"] or document["warnings"]:
        from discover_orch.render.problems import problems_of

        voice.problems(problems_of(document))
    if document["errors"]:
        return ExitCode.DISCOVERY
    if not document["tools"]:
        from discover_orch.cli.words import no_tools

        voice.problems([no_tools()])
        return ExitCode.EMPTY
    return ExitCode.OK
