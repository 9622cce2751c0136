"""Shows a run while it happens: each event becomes text or a JSON line, the report the exit code."""

from __future__ import annotations

import json
import os
from typing import cast

from discover_orch import __version__
from discover_orch.cli.app import Context
from discover_orch.cli.console import Console, HungUp
from discover_orch.cli.status_line import StatusLine
from discover_orch.config.project import masked_url
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.execution import session
from discover_orch.execution.event_json import event_document
from discover_orch.execution.report import Report
from discover_orch.execution.run_state import DebuggerOpened, Event, RunNote, Suspended, Ticked
from discover_orch.model.errors import BlockedInterrupt, ExitCode, Problem, UsageError
from discover_orch.planning import project_view
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.problems import few
from discover_orch.render.run import Output, RunHeader, RunRenderer
from discover_orch.staleness.memory import Memory
from discover_orch.state.lock import ProjectLock
from discover_orch.worker.protocol import INSIDE


def run_and_show(
    context: Context,
    view: ProjectView,
    plan: Plan,
    *,
    output: str,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    post_mortem: bool,
    again: str,
) -> int:
    """Runs the plan to its end and answers with the exit code. `again` is the command that would go on."""
    console, report = context.console, Report()
    console.problems(few((*project_view.warnings(view), *plan.warnings)))
    is_raw = output == "raw"
    events = session.run_plan(
        plan,
        view.registry,
        view.project,
        is_raw=is_raw,
        post_mortem=post_mortem,
        all_frames=verbose,
        interpreter=None if is_raw else context.take_interpreter(),
    )
    names = {tool.module: tool.name for tool in (*plan.fresh, *(one.tool for one in plan.steps))}
    screen = RunRenderer(
        plan,
        console.out_style,
        heading=heading(view),
        output=cast(Output, output),
        quiet=quiet,
        verbose=verbose,
        again=again,
        expected=lambda: Memory(view.project.root).durations(names),
    )
    shows_status = output != "raw" and not as_json
    status = StatusLine(console.terminal if shows_status else None, console.out_style)
    try:
        for event in events:
            report.take(event)
            if as_json:
                write_json(console, event, names, report)
            else:
                write_text(console, event, screen, report, status)
    except HungUp:
        return ExitCode.HANGUP
    except BlockedInterrupt:
        status.forget()
        raise
    finally:
        status.hide()
        events.close()
    return report.exit_code


def hold_project(view: ProjectView, *, waits: bool, console: Console) -> ProjectLock:
    """The lock of the project, for one run. Raises UsageError where another run holds it, unless this one `waits`."""
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
        hint = (
            "this command was started by a tool of that run: name all tools in one command instead"
        )
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
    screen: RunRenderer,
    report: Report,
    status: StatusLine,
) -> None:
    match event:
        case Ticked():
            status.show(screen.status(event, report))
        case RunNote():
            status.hide()
            console.err(screen.notice(event, console.err_style))
        case DebuggerOpened() | Suspended():
            status.hide()
        case _:
            text = screen.text(event, report)
            if text:
                status.hide()
                console.out(text)


def heading(view: ProjectView) -> RunHeader:
    registry, project = view.registry, view.project
    origin = project.database_origin
    url = masked_url(project.database)
    if uses_get_connection(registry, project):
        url, origin = "get_connection()", "orchconf.py"
    return RunHeader(
        version=__version__,
        root=project.root,
        config=project.config,
        tools=len(registry.tools),
        stages=len([stage for stage in registry.stages if stage.tools]),
        database=url,
        database_origin=origin,
    )
