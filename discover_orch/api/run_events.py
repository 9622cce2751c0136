"""The run of a plan, as the events that the caller of the API sees."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable
from contextlib import closing

from msgspec.structs import replace

from discover_orch.api.background import Interrupts, run_in_background
from discover_orch.api.values import Result
from discover_orch.execution import session
from discover_orch.execution.event_documents import (
    Event,
    Note,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TransactionEnded,
    build_event,
)
from discover_orch.execution.request import ReadyRun, RunSettings
from discover_orch.execution.run_events import Event as OwnEvent
from discover_orch.execution.run_events import Report, nothing_to_do_events
from discover_orch.model.documents import Outcome
from discover_orch.model.errors import Problem

#: Characters of the output of a tool that a result holds.
LONGEST_OUTPUT = 1_000_000


def run_events(
    ready: ReadyRun, notes: Iterable[Problem], max_failures: int | None
) -> Generator[Event, None, None]:
    """Runs the plan; `notes` are reported at its start. The caller holds the lock of the project. Raises OrchError."""
    view, plan = ready.view, ready.plan

    def start(interrupts: Interrupts) -> Generator[OwnEvent, None, None]:
        side = session.open_far_side(ready, is_guest=True)
        settings = RunSettings(max_failures=max_failures, jobs=ready.jobs)
        yield from session.run_plan(
            plan, view, settings, session.Host(side=side, requests=interrupts)
        )

    def events() -> Generator[OwnEvent, None, None]:
        yield from run_in_background(start) if plan.steps else nothing_to_do_events(plan)

    with closing(events()) as found:
        first = next(found)  # raises what is wrong with the executor
        yield from (Note(problem=problem) for problem in notes)
        report, end = Report(), None
        for event in itertools.chain([first], found):
            report.add(event)
            shown = build_event(event, plan.names, report)
            if isinstance(shown, RunFinished):
                end = shown  # it comes after the page
            elif shown is not None:
                yield shown
    if view.project.report and report.run:
        from discover_orch.render.report_page import write_page  # few projects ask for it

        written = write_page(view.project.root, report.run, plan.secrets)
        if isinstance(written, Problem):
            yield Note(problem=written)
    if end is not None:
        yield end


def build_result(events: Iterable[Event]) -> Result:
    """What is left of the events of a run when it has ended."""
    outcomes: dict[str, Outcome] = {}
    output: dict[str, str] = {}
    problems: list[Problem] = []
    run, status, seconds = "", "interrupted", 0.0
    for event in events:
        match event:
            case RunStarted():
                run = event.run or ""
            case ToolStarted():
                output[event.name] = ""
            case ToolOutput():
                printed = output.get(event.name, "") + event.text
                output[event.name] = printed[-LONGEST_OUTPUT:]
            case ToolFinished():
                outcomes[event.name] = event
            case TransactionEnded():
                outcomes = {
                    name: replace(one, status=event.status) if one.status == "done" else one
                    for name, one in outcomes.items()
                }
            case Note():
                problems.append(event.problem)
            case RunFinished():
                status, seconds = event.status, event.duration
            case _:
                pass
    return Result(
        run=run,
        status=status,
        duration=seconds,
        outcomes=outcomes,
        output=output,
        problems=tuple(problems),
    )
