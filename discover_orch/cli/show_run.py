"""Carries out a run and shows it: each event as text or as a line of JSON. The report gives the exit code."""

from __future__ import annotations

import json
import os

from discover_orch import __version__
from discover_orch.cli.console import Console, HungUp, StatusLine
from discover_orch.cli.options import Context
from discover_orch.config.project import masked_url
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
from discover_orch.model.errors import BlockedInterrupt, ExitCode, Problem, UsageError
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import first_few
from discover_orch.render.run import DisplayOptions, RunHeader, RunRenderer
from discover_orch.staleness.memory import Memory
from discover_orch.state.lock import ProjectLock
from discover_orch.worker.protocol import INSIDE
from discover_orch.worker.spawn import end_interpreter

#: Seconds for which a tool has no status line, so that a short run does not import what that needs.
QUICK = 0.3


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
    dask_address: str | None,
    resume_command: str,
) -> int:
    """Runs the plan to its end and returns the exit code."""
    console, report = context.console, Report()
    console.problems(first_few((*view.warnings, *plan.warnings)))
    is_raw = shown.output == "raw"
    side = session.open_far_side(
        plan,
        view.registry,
        view.project,
        jobs=jobs,
        has_jobs=has_jobs,
        dask_address=dask_address,
    )
    interpreter = None if is_raw else context.claim_interpreter()
    if side is not None and interpreter is not None:  # no worker is needed on this machine
        end_interpreter(interpreter)
        interpreter = None
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
    )
    names = {tool.module: tool.name for tool in (*plan.fresh, *(one.tool for one in plan.steps))}
    renderer = RunRenderer(
        plan,
        console.out_style,
        shown,
        heading=heading(view, side.shown if side else ""),
        resume_command=resume_command,
        expected=lambda: Memory(view.project.root).durations(names),
    )
    status = StatusLine(None if is_raw or shown.as_json else console.terminal, console.out_style)
    try:
        for event in events:
            report.add(event)
            if shown.as_json:
                write_json(console, event, names, report)
            else:
                write_text(console, event, renderer, report, status)
    except HungUp:
        return ExitCode.HANGUP
    except BlockedInterrupt:
        status.forget()
        raise
    finally:
        status.hide()
        events.close()
    return report.exit_code


def acquire_lock(view: ProjectView, *, waits: bool, console: Console) -> ProjectLock:
    """The lock of the project, for one run. If another run holds it, waits, or raises UsageError."""
    root = view.project.root
    lock = ProjectLock(root)
    is_inside = os.environ.get(INSIDE) == root
    holder = lock.acquire()
    if holder is not None and waits and not is_inside:
        console.err(f"{holder.sentence}; waiting for it to end\n")
        holder = lock.acquire(waits=True)
    if holder is None:
        console.problems(lock.new_warnings())
        return lock
    hint = "wait for it with --wait"
    if is_inside:
        hint = "a tool of that run started this command: name all tools in one orch run instead"
    raise UsageError(Problem(code="locked", message=holder.sentence, hint=hint))


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
            if event.seconds > QUICK:
                status.show_often(renderer.status(event, report))
        case RunNote():
            status.hide()
            console.err(renderer.notice(event, console.err_style))
        case DebuggerOpened() | Suspended():
            status.hide()
        case _:
            text = renderer.text(event, report)
            if text:
                shown = status.text
                status.hide()
                console.out(text)
                if renderer.has_progress:
                    status.show(shown)


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
