"""No name, value or message of a user commands the terminal or begins a line of its own."""

from __future__ import annotations

import pytest

from discover_orch.config.project import Project
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.execution.run_events import Event, Report, RunFinished
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.model.tool_events import RunNote, ToolFinished, ToolStarted
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.selection import TypedAt
from discover_orch.render.history import (
    comparison_text,
    log_text,
    metrics_text,
    run_text,
    runs_text,
)
from discover_orch.render.problems import problem_text
from discover_orch.render.run import DisplayOptions, RunRenderer, run_heading
from discover_orch.render.status import Row, status_text, tool_text
from discover_orch.render.style import Style
from discover_orch.render.watch import watch_event_text
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.staleness.tool_result import Inputs, LastOutcome, Success, ToolResult
from discover_orch.state.run_diff import compare_runs
from discover_orch.state.run_record import RecordedParam, RecordedStep, RunRecord, ToolRecord
from discover_orch.watch.watch_events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    WatchEvent,
    WatchWaiting,
)
from tests.support.values import make_facts, make_plan, make_registry, make_tool

EVIL = "a\x1b]0;t\x07\nb\u202e\udcff"
STYLES = (Style(unicode=False), Style(colour=True))


def assert_harmless(text: str) -> None:
    assert "\x1b]" not in text
    assert not set("\x07\u202e\udcff").intersection(text)
    assert "\nb" not in text
    assert text.strip()


def evil_run(number: str) -> RunRecord:
    kinds = ("file", "folder", "glob", "table", "env", "package")
    given = RecordedParam(texts=(EVIL,), origin="-" + EVIL)
    step = RecordedStep(module=EVIL, name=EVIL, params={EVIL: given}, code=number)
    tool = ToolRecord(
        name=EVIL,
        module=EVIL,
        status=EVIL,
        duration=1.0,
        metrics={EVIL: EVIL},
        error=Failure(kind=EVIL, type=EVIL, message=EVIL, path=EVIL, line=1),
        notes=(EVIL,),
        step=step,
        versions={f"{kind}:{EVIL}": f"{number} {EVIL}" for kind in kinds},
    )
    return RunRecord(
        run=number,
        status=EVIL,
        started=EVIL,
        kind=EVIL,
        targets=(EVIL,),
        tools=(tool,),
        plan=(step,),
        duration=1.0,
        exit_code=1,
        database=EVIL,
        database_origin=EVIL,
        resumes=EVIL,
        passed_before=(EVIL,),
        counts={EVIL: 1},
        sources={EVIL: number},
    )


@pytest.mark.parametrize("style", STYLES)
def test_of_the_history(style: Style) -> None:
    one, other = evil_run("1"), evil_run("2" + EVIL)
    assert_harmless(runs_text([one, other], style))
    assert_harmless(run_text(other, style))
    assert_harmless(comparison_text(compare_runs(one, other), style))
    assert_harmless(metrics_text([(one, one.tools[0])], style))


def test_of_a_log() -> None:
    data = b"a\x1b[31mred\x1b[0m\x1b[2J\nlast\r\xff"
    assert log_text(data, STYLES[0]) == "ared\\x1b[2J\nlast\\x0d\\udcff"
    assert "\x1b[31mred" in log_text(data, STYLES[1])
    assert "\x1b[2J" not in log_text(data, STYLES[1])


@pytest.mark.parametrize("style", STYLES)
def test_of_the_status(style: Style) -> None:
    inputs = Inputs(code={EVIL: ""}, other={f"param:{EVIL}": EVIL, f"package:{EVIL}": EVIL})
    success = Success(asof=0, ended=0, at=EVIL, inputs=inputs)
    last = LastOutcome(run=EVIL, status=EVIL, at=EVIL)
    row = Row(
        tool=make_tool("src.a"),
        stage=EVIL,
        freshness=Freshness(module="src.a", reasons=(EVIL, EVIL)),
        result=ToolResult(module=EVIL, last=last, success=success),
        flow=Dataflow(reads=(EVIL,), tables_written=(EVIL,), folders=(EVIL,), missed=(EVIL,)),
    )
    assert_harmless(tool_text(row, {EVIL: EVIL}, {}, [(EVIL, EVIL, EVIL, 1.0)], style))
    assert_harmless(status_text([row], style, verbose=True))


@pytest.mark.parametrize("style", STYLES)
def test_of_a_run(style: Style) -> None:
    registry = make_registry(make_facts("b"))
    project = Project(root=EVIL, database=EVIL, database_origin=EVIL)
    view = ProjectView(
        project=project,
        registry=registry,
        place=TypedAt(),
        folder=EVIL,
        sources=SourceFiles(project),
    )
    heading = run_heading(view, style, EVIL)
    assert_harmless("\n".join(heading))
    plan = make_plan(registry)
    screen = RunRenderer(plan, style, DisplayOptions(verbose=True), heading=heading)
    error = Failure(kind="exception", type=EVIL, message=EVIL, path=EVIL, hint=EVIL)
    events: list[Event] = [
        ToolStarted(module="b"),
        ToolFinished(module="b", status="failed", error=error, metrics={EVIL: EVIL}, notes=(EVIL,)),
        RunFinished(status="failed", duration=1),
    ]
    report = Report()
    for event in events:
        report.add(event)
        text = "".join(screen.texts(event, report))
        assert "\x1b]" not in text
        assert not set("\x07\u202e\udcff").intersection(text)
    note = RunNote(problem=Problem(code="x", message=EVIL, hint=EVIL), traceback="boom\x07\u202e")
    assert_harmless(screen.notice(note, style))


@pytest.mark.parametrize("style", STYLES)
def test_of_a_problem(style: Style) -> None:
    place = Location(path=EVIL)
    assert_harmless(
        problem_text(Problem(code="c", message=EVIL, hint=EVIL, source=EVIL).at(place), style)
    )


@pytest.mark.parametrize(
    "event",
    [
        WatchWaiting(tools=1, files=1, mode="events", scope="affected", failing=(EVIL,)),
        ChangesFound(paths=(EVIL,), tools=(EVIL,), stages=(EVIL,), gone=(EVIL,), left=(EVIL,)),
        NoMeaningfulChange(paths=(EVIL,)),
        KeyAnswered(key="x", sentence=EVIL),
        CannotRun(problems=(), waiting=(EVIL,)),
    ],
)
def test_of_a_watch(event: WatchEvent) -> None:
    for style in STYLES:
        assert_harmless(watch_event_text(event, style))
