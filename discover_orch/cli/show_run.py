"""Carries out a run and shows it: each event as text or as a line of JSON. The report gives the exit code."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from discover_orch.cli.console import Console, HungUp, StatusLine
from discover_orch.cli.options import Context
from discover_orch.execution import session
from discover_orch.execution.event_documents import Note, build_event
from discover_orch.execution.request import ReadyRun
from discover_orch.execution.run_events import Event, Report, StepsAdded, Suspended, Ticked
from discover_orch.model.errors import BlockedInterrupt, ExitCode, Problem
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import DebuggerOpened, RunNote, ToolProgress
from discover_orch.planning.plan import Plan
from discover_orch.render.problems import first_few
from discover_orch.render.run import DisplayOptions, Resume, RunRenderer, run_heading
from discover_orch.render.style import one_line

if TYPE_CHECKING:
    from discover_orch.cli.report_run import RunOutputs


def run_and_show(
    context: Context,
    ready: ReadyRun,
    shown: DisplayOptions,
    resume: Resume,
    outputs: RunOutputs | None = None,
) -> int:
    """Runs the plan to its end and returns the exit code."""
    view, plan, request = ready.view, ready.plan, ready.request
    console, writer = context.console, RunWriter(context.console, shown)
    warnings = _find_terminal_warning() if request.post_mortem else ()
    console.problems((*warnings, *first_few((*view.warnings, *plan.warnings))))
    side = session.open_far_side(ready)
    if side is not None:  # no worker is needed on this machine
        context.end_interpreter()
    host = session.Host(
        interpreter=None if request.is_raw else context.claim_interpreter(),
        side=side,
        keep=None if outputs is None else outputs.lines.append,
        predicts=writer.terminal is not None,
    )
    events = session.run_plan(ready, host)
    heading = run_heading(view, console.out_style, side.shown if side else "")
    writer.begin(plan, heading=heading, resume=resume)
    ended = writer.follow(events)
    if ended is not None:
        return ended
    if view.project.report:
        from discover_orch.render.report_page import write_page  # few projects ask for it

        written = write_page(view.project.root, writer.report.run, plan.secrets)
        _show_page(context, written, as_json=shown.as_json)
    return writer.report.exit_code


def _show_page(context: Context, written: str | Problem, *, as_json: bool) -> None:
    """Prints the path of the page that was written. Failing to write it is a warning."""
    from discover_orch.cli.file_output import shown_path

    console = context.console
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


class RunWriter:
    """Writes the events of one run after another, as text or as lines of JSON. `report` counts those of the last run;
    `status` is the line at the bottom."""

    def __init__(self, console: Console, shown: DisplayOptions) -> None:
        self._console, self._shown = console, shown
        is_bare = shown.as_json or shown.output == "raw"
        self.terminal = None if is_bare else console.terminal
        self.status = StatusLine(self.terminal, console.out_style)
        self.report = Report()
        self._tools: dict[str, Tool] = {}

    def begin(self, plan: Plan, **about: Any) -> None:
        """A run of this plan; `about` it is what the renderer shows besides."""
        self.report = Report()
        self._tools.update(plan.tools)
        self._renderer = RunRenderer(plan, self._console.out_style, self._shown, **about)

    def follow(self, events: Generator[Any, None, int | None]) -> int | None:
        """Writes them to their end, and returns what the generator returns; an exit code if the terminal is gone."""
        try:
            while True:
                self.write(next(events))
        except StopIteration as end:
            code: int | None = end.value
            return code
        except HungUp:
            return ExitCode.HANGUP
        except BrokenPipeError as error:
            events.throw(error)
            raise
        except BlockedInterrupt:
            self.status.forget()
            raise
        finally:
            self.status.hide()
            events.close()

    def write(self, event: Event) -> None:
        self.report.add(event)
        if isinstance(event, StepsAdded):
            self._tools.update(event.plan.tools)
        if self._shown.as_json:
            shown = build_event(event, self._tools)
            if isinstance(shown, Note):
                self._console.problems([shown.problem])
            elif shown is not None:
                self._console.json_lines([shown])
        else:
            self._write_text(event)

    def _write_text(self, event: Event) -> None:
        console, renderer, status = self._console, self._renderer, self.status
        match event:
            case Ticked():
                status.show(renderer.progress.text(event, self.report))
            case ToolProgress():
                renderer.note_progress(event)
            case RunNote():
                status.hide()
                console.err(renderer.notice(event, console.err_style))
            case DebuggerOpened() | Suspended():
                status.hide()
            case _:
                is_shown = status.is_shown
                for text in filter(None, renderer.texts(event, self.report)):
                    status.hide()
                    console.out(text)
                if is_shown and not status.is_shown:
                    status.show(renderer.progress.text_again(self.report))
