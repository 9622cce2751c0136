"""`orch watch`: runs the targets, and again what a change affects, until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from typing import Any, cast

import click

from discover_orch.cli.app import Context, common_options
from discover_orch.cli.dynamic_command import VIEW, ToolsCommand, read_values, tools_arguments
from discover_orch.model.errors import OrchError, problem_json
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import few
from discover_orch.render.run import Output
from discover_orch.watch.watch_events import SCOPES, Scope


@click.command("watch", cls=ToolsCommand, short_help="Run, then run again what a change affects.")
@tools_arguments
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    help="What a change runs: every affected stage (the default), the affected tools, or these and "
    "all downstream of them.",
)
@click.option(
    "--no-initial", is_flag=True, help="Wait for the first change, and run nothing before."
)
@click.option(
    "--on-busy",
    type=click.Choice(["restart", "queue"]),
    help="A change during a run: cancel what is affected and start again (the default), or finish first.",
)
@click.option(
    "--poll", is_flag=True, help="Look at the files instead of waiting for the system to tell."
)
@click.option(
    "--debounce",
    type=click.FloatRange(0, 60),
    metavar="SECONDS",
    help="Wait at least so long after a save.",
)
@click.option(
    "--output",
    type=click.Choice(["live", "fail", "none"]),
    default="live",
    show_default=True,
    help="What tools print: as it comes, only of tools that fail, or nothing.",
)
@click.option(
    "--clear", is_flag=True, help="Clear the screen before each run (what scrolled off stays)."
)
@click.option("--bell", is_flag=True, help="Ring when a run has failed.")
@click.option("--title", is_flag=True, help="Show the state in the title of the window.")
@click.option("-q", "--quiet", is_flag=True, help="Only changes, failures and summaries.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Also reasons, values, notes, and imports ahead."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    pairs: tuple[str, ...],
    database: str | None,
    scope: str | None,
    no_initial: bool,
    on_busy: str | None,
    poll: bool,
    debounce: float | None,
    output: str,
    clear: bool,
    bell: bool,
    title: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Run the targets, then wait, and run again what a change affects.

    A change is a module that means something else, a file that a tool names as its input or was seen to read,
    orchconf.py or the configuration. Comments, formatting, and a save that changes nothing run nothing. Ctrl-C or q
    ends it.
    """
    context: Context = ctx.obj
    view: ProjectView = ctx.meta[VIEW]
    from discover_orch.cli.show_watch import DisplayOptions, show
    from discover_orch.watch.loop import WatchLoop, WatchOptions
    from discover_orch.watch.request import WatchRequest

    configured = view.project.watch
    try:
        values = read_values(view, targets, exclude, pairs, params)
        manner = WatchOptions(
            scope=cast(Scope, scope or configured.get("scope") or "stage"),
            queues=(on_busy or configured.get("on_busy")) == "queue",
            runs_at_start=not no_initial,
            must_poll=poll or bool(configured.get("poll")),
            debounce=_seconds(configured) if debounce is None else debounce,
            preload=read_preload(configured),
            all_frames=verbose,
        )
        request = WatchRequest(
            start=context.start,
            folder=context.folder,
            words=targets,
            exclude=exclude,
            values=values,
            database=database,
        )
        watching = WatchLoop(request, manner, dict(os.environ))
    except OrchError as error:
        if as_json:
            errors = [problem_json(problem) for problem in error.problems]
            context.console.out(
                json.dumps({"event": "broken", "errors": errors, "waiting": []}) + "\n"
            )
        raise
    context.console.problems(few((*view.warnings, *watching.watched.plan.warnings)))
    for number in (signal.SIGTTIN, signal.SIGTTOU):  # in the background of a shell: keep watching
        signal.signal(number, signal.SIG_IGN)
    shown = DisplayOptions(
        output=cast(Output, output),
        quiet=quiet,
        verbose=verbose,
        as_json=as_json,
        clears=clear,
        rings=bell,
        has_title=title,
    )
    return show(context, watching, shown)


def _seconds(configured: Mapping[str, object]) -> float:
    given = configured.get("debounce", 0.0)
    return float(given) if isinstance(given, int | float) else 0.0


def read_preload(configured: Mapping[str, object]) -> tuple[str, ...] | None:
    """None: what the tools import; a tuple: just these, none for `preload = false`."""
    given = configured.get("preload", True)
    if isinstance(given, bool):
        return None if given else ()
    return tuple(map(str, given)) if isinstance(given, tuple | list) else None
