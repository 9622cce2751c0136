"""Carries out a run and shows it: each event as text or as a line of JSON. The report gives the exit code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from discover_orch import __version__
from discover_orch.cli.console import Console, HungUp, StatusLine
from discover_orch.cli.options import Context
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.execution import session
from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    Report,
    RunNote,
    Suspended,
    Ticked,
    ToolProgress,
    event_document,
)
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.database_url import (
    masked_url,
)
from discover_orch.model.errors import BlockedInterrupt, ExitCode, Problem
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import first_few
from discover_orch.render.run import DisplayOptions, Resume, RunHeader, RunRenderer
from discover_orch.render.style import one_line

if TYPE_CHECKING:
    from discover_orch.cli.observers import RunObservers


def run_and_show(
    context: Context,
    view: ProjectView,
    plan: Plan,
    *,
    shown: DisplayOptions,
    post_mortem: bool,
    max_failures: int | None,
    jobs: int,
    has_jobs: bool,
    resume: Resume,
    observers: RunObservers | None = None,
) -> int:
    """Runs the plan to its end and returns the exit code."""
    console, report = context.console, Report()
    warnings = _find_terminal_warning() if post_mortem else ()
    console.problems((*warnings, *first_few((*view.warnings, *plan.warnings))))
    is_raw = shown.output == "raw"
    terminal = None if is_raw or shown.as_json else console.terminal
    side = session.open_far_side(
        plan,
        view.registry,
        view.project,
        jobs=jobs,
        has_jobs=has_jobs,
    )
    if side is not None:  # no worker is needed on this machine
        context.end_interpreter()
    interpreter = None if is_raw else context.claim_interpreter()
    events = session.run_plan(
        plan,
        view.registry,
        view.project,
        is_raw=is_raw,
        post_mortem=post_mortem,
        max_failures=max_failures,
        jobs=jobs,
        all_frames=shown.verbose,
        interpreter=interpreter,
        side=side,
        scanned=view.scanned,
        predicts=terminal is not None,
    )
    names = plan.names
    renderer = RunRenderer(
        plan,
        console.out_style,
        shown,
        heading=heading(view, side.shown if side else ""),
        resume=resume,
        root=view.project.root,
    )
    status = StatusLine(terminal, console.out_style)
    try:
        for event in events:
            report.add(event)
            if observers is not None and (problems := observers.add(event)):
                status.hide()
                console.problems(problems)
            if shown.as_json:
                write_json(console, event, names, report)
            else:
                write_text(console, event, renderer, report, status)
    except HungUp:
        return ExitCode.HANGUP
    except BrokenPipeError as error:
        events.throw(error)
        raise
    except BlockedInterrupt:
        status.forget()
        raise
    finally:
        status.hide()
        events.close()
    if view.project.report:
        _write_page(context, view.project.root, report.run, as_json=shown.as_json)
    return report.exit_code


def _write_page(context: Context, root: str, run: str, *, as_json: bool) -> None:
    """Writes the page of the run and prints its path. Failing to write it is a warning."""
    from discover_orch.cli.file_output import shown_path
    from discover_orch.render.report_page import write_page  # few projects ask for it

    console, written = context.console, write_page(root, run)
    if isinstance(written, Problem):
        console.problems([written])
    elif written:
        show = console.err if as_json else console.out
        show(f"report: {one_line(shown_path(written, context.start))}\n")


def _find_terminal_warning() -> tuple[Problem, ...]:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        message = "--pdb needs a terminal, and there is none: no debugger opens"
        hint = "run orch from a terminal"
        return (Problem(code="no-terminal", message=message, hint=hint, severity="warning"),)
    return ()


def write_json(console: Console, event: Event, names: dict[str, str], report: Report) -> None:
    document = event_document(event, names, report)
    if document is not None:
        console.out(json.dumps(document) + "\n")
    elif isinstance(event, RunNote):
        console.problems([event.problem])


def write_text(
    console: Console,
    event: Event,
    renderer: RunRenderer,
    report: Report,
    status: StatusLine,
) -> None:
    match event:
        case Ticked():
            status.show(renderer.status(event, report))
        case ToolProgress():
            renderer.note_progress(event)
        case RunNote():
            status.hide()
            console.err(renderer.notice(event, console.err_style))
        case DebuggerOpened() | Suspended():
            status.hide()
        case _:
            is_shown = status.is_shown
            for text in filter(None, renderer.texts(event, report)):
                status.hide()
                console.out(text)
            if is_shown and not status.is_shown:
                status.show(renderer.status_again(report))


def heading(view: ProjectView, executor: str = "") -> RunHeader:
    registry, project = view.registry, view.project
    origin = project.database_origin
    url = masked_url(project.database)
    if uses_get_connection(registry, project):
        url, origin = "get_connection()", CONF_FILE
    return RunHeader(
        version=__version__,
        root=project.root,
        config=project.config,
        tools=len(registry.tools),
        stages=len([stage for stage in registry.stages if stage.tools]),
        database=url,
        database_origin=origin,
        executor=executor,
    )
