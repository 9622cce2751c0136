"""`orch watch`: runs the targets, then runs again what a change affects, until it is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from discover_orch.cli.commands_with_tools import ToolsCommand, tools_arguments
from discover_orch.cli.options import (
    Context,
    common_options,
    display_options,
)
from discover_orch.config.project import Project
from discover_orch.execution.request import Request, ask_database
from discover_orch.model.errors import OrchError, Problem
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import first_few
from discover_orch.watch.watch_events import SCOPES, CannotRun, Scope

if TYPE_CHECKING:
    from discover_orch.render.run import DisplayOptions
    from discover_orch.watch.loop import WatchOptions


@click.command(
    "watch", cls=ToolsCommand, short_help="Run tools, then run again what a change affects."
)
@tools_arguments
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    help="What to run in the affected stages: the stale tools, all tools, or only those whose own code or "
    "inputs changed.  [default: affected]",
)
@click.option(
    "--no-initial", is_flag=True, help="Do not run at the start: wait for the first change."
)
@click.option(
    "--on-busy",
    type=click.Choice(["restart", "queue"]),
    help="If a change affects a run in progress: cancel it and start again, or finish it first.  "
    "[default: restart]",
)
@click.option(
    "--poll",
    is_flag=True,
    help="Compare files at intervals, instead of using file events.",
)
@click.option(
    "--debounce",
    type=click.FloatRange(0, 60),
    metavar="SECONDS",
    help="Wait at least this long after a save.  [default: 0]",
)
@click.option("--clear", is_flag=True, help="Clear the screen before each run.")
@display_options(
    "live",
    "fail",
    "none",
    quiet="Show only changes, failures and summaries.",
    verbose="Also show reasons, parameter values and notes.",
)
@common_options
def command(
    context: Context,
    view: ProjectView,
    request: Request,
    *,
    shown: DisplayOptions,
    clear: bool,
    **given: Any,
) -> int:
    """Run the targets, then run again what a change makes stale.

    A change is an edit to code, to the settings, or to a file that a tool reads. Press q and Enter,
    or Ctrl-C, to quit.
    """
    from discover_orch.cli.show_watch import show
    from discover_orch.watch.loop import WatchLoop
    from discover_orch.watch.watched_project import WatchRequest

    options_of = partial(_build_options, **given)
    request = replace(request, jobs=1, all_frames=shown.verbose)
    try:
        with ask_database(view, request, context.console.problems, runs=False):
            pass
        watched = WatchRequest(start=context.start, folder=context.folder, request=request)
        watching = WatchLoop(watched, options_of, os.environ)
    except OrchError as error:
        if shown.as_json:
            context.console.json_lines([CannotRun(problems=error.problems)])
        raise
    warnings = (*view.warnings, *watching.watched.plan.warnings, *_ignored(view.project))
    context.console.problems(first_few(warnings))
    for number in (signal.SIGTTIN, signal.SIGTTOU):  # keep watching in the background of a shell
        signal.signal(number, signal.SIG_IGN)
    return show(context, watching, replace(shown, clears=clear))


def _build_options(
    configured: Mapping[str, Any],
    *,
    scope: Scope | None,
    no_initial: bool,
    on_busy: str | None,
    poll: bool,
    debounce: float | None,
) -> WatchOptions:
    """With the settings in `watch`, which are `configured`, for what was not given."""
    from discover_orch.watch.loop import WatchOptions

    preload = configured.get("preload", True)
    return WatchOptions(
        scope=scope or configured.get("scope") or "affected",
        queues=(on_busy or configured.get("on_busy")) == "queue",
        runs_at_start=not no_initial,
        must_poll=poll or bool(configured.get("poll")),
        debounce=configured.get("debounce", 0.0) if debounce is None else debounce,
        preload=None if preload is True else preload or (),
    )


def _ignored(project: Project) -> tuple[Problem, ...]:
    if project.executor == "local":
        return ()
    message = (
        f"orch watch runs tools on this machine; executor = {project.executor} is for orch run"
    )
    return (Problem(code="executor", message=message, severity="warning"),)
