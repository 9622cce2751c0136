"""A run as a person reads it, and as programs do: events in, text or objects out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    Running,
    RunNote,
    RunStarted,
    Ticked,
    ToolFinished,
    ToolOutput,
    ToolProgress,
    ToolStarted,
)
from discover_orch.model.errors import Failure, Problem
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from discover_orch.render.run import DisplayOptions, Output, Resume, RunHeader, RunRenderer
from discover_orch.render.style import Style
from tests.support.values import make_argument, make_facts, make_plan, make_registry

HEADING = RunHeader(
    version="1.0",
    root="/project",
    config="orch.toml",
    tools=3,
    stages=1,
    database="sqlite:///data.db",
    database_origin="default",
)
BOOM = Failure(
    kind="exception",
    type="ValueError",
    message="no\nsuch row",
    path="src/b.py",
    line=7,
    traceback="Traceback (most recent call last):\nValueError: no\nsuch row\n",
    hint="look",
)
GOOD: list[Event] = [
    RunStarted(run="1", targets=("full",), tools=("a",)),
    ToolStarted(module="a"),
    ToolOutput(module="a", stream="stdout", text="one\n\ntwo"),
    ToolFinished(module="a", status="passed", duration=0.5, metrics={"rows": 344}),
    RunFinished(status="passed", duration=0.6),
]
BAD: list[Event] = [
    RunStarted(run="1", targets=("full",), tools=("a", "b", "c")),
    ToolStarted(module="a"),
    ToolOutput(module="a", stream="stdout", text="from a\n"),
    ToolFinished(module="a", status="passed", duration=0.5),
    ToolStarted(module="b"),
    ToolOutput(module="b", stream="stderr", text="from b\n"),
    ToolFinished(module="b", status="failed", duration=1, error=BOOM, notes=("kept a commit",)),
    ToolFinished(module="c", status="blocked"),
    RunFinished(status="failed", duration=1.6),
]


def make(values: GivenParams | None = None) -> Plan:
    secret = make_argument("token")
    registry = make_registry(
        make_facts("a", arguments=[secret]), make_facts("b"), make_facts("c", after="b")
    )
    return make_plan(registry, values=values)


def show(
    events: list[Event],
    *,
    output: Output = "live",
    quiet: bool = False,
    verbose: bool = False,
    again: str = "",
    plan: Plan | None = None,
    values: GivenParams | None = None,
    style: Style | None = None,
) -> str:
    screen = RunRenderer(
        plan or make(values),
        style or Style(),
        DisplayOptions(output=output, quiet=quiet, verbose=verbose),
        heading=HEADING,
        resume=Resume(command=again) if again else None,
    )
    report = Report()
    text = ""
    for event in events:
        report.add(event)
        text += screen.text(event, report)
    return text


def test_a_run_that_goes_well_reads_from_header_to_summary() -> None:
    assert show(GOOD).splitlines() == [
        "orch 1.0 · /project · orch.toml · 3 tools in 1 stage",
        "database sqlite:///data.db (default)",
        "running 3 tools: a, b, c",
        "[1/3] ingest › a",
        "    one",
        "",
        "    two",
        "    ✓ 0.50 s  rows=344",
        "1 passed in 0.60 s",
    ]


def test_a_cancelled_run_says_so_first_and_not_why_it_ran() -> None:
    events: list[Event] = [
        *GOOD[:-1],
        ToolFinished(module="b", status="cancelled", duration=0.2),
        ToolFinished(module="c", status="not_run"),
        RunFinished(status="cancelled", duration=0.9),
    ]
    last = "run cancelled after 0.90 s: 1 cancelled, 1 passed, 1 not run"
    assert show(events).splitlines()[-1] == last
    between = [*GOOD[:-1], ToolFinished(module="b", status="not_run"), events[-1]]
    assert show(between).splitlines()[-1] == "run cancelled after 0.90 s: 1 passed, 1 not run"


def test_a_tool_is_named_before_its_output() -> None:
    screen = RunRenderer(make(), Style(), DisplayOptions(), heading=HEADING)
    assert screen.text(ToolStarted(module="b"), Report()) == "[2/3] ingest › b\n"


def test_a_failure_is_shown_and_the_short_summary_stands_last() -> None:
    lines = show(BAD).splitlines()
    body = lines.index("Traceback (most recent call last):")
    assert lines[body + 1 : body + 4] == ["ValueError: no", "such row", "hint: look"]
    assert lines[-2:] == [
        "FAILED b src/b.py:7  ValueError: no",
        "1 failed, 1 passed, 1 blocked in 1.60 s",
    ]
    assert "      kept a commit" in lines


@pytest.mark.parametrize(
    ("output", "seen"),
    [("live", ["from a", "from b"]), ("fail", ["from b"]), ("none", []), ("raw", [])],
)
def test_output_of_tools_is_shown_as_asked(output: Output, seen: list[str]) -> None:
    text = show(BAD, output=output)
    assert [word for word in ("from a", "from b") if word in text] == seen


def test_verbose_shows_reasons_values_and_notes_but_no_secret() -> None:
    values = GivenParams(options={"token": ("hunter2",)})
    text = show(BAD, verbose=True, values=values)
    assert "all tools were selected  token=***" in text
    assert "hunter2" not in text


def test_the_command_to_resume_is_shown_if_something_did_not_pass() -> None:
    assert "  resume with: orch run\\x07\n" in show(BAD, again="orch run\x07")
    assert "resume with" not in show(BAD)
    end = RunFinished(status="passed", duration=1)
    passed = [ToolFinished(module=module, status="passed") for module in "abc"]
    fresh = [ToolFinished(module=module, status="fresh") for module in "abc"]
    assert "resume with" not in show([*passed, end], again="orch run")
    assert "resume with" not in show([*fresh, end], again="orch run")


def test_a_plan_shows_its_intro_and_counts_only_its_own_steps() -> None:
    plan = make()
    plan = replace(plan, steps=plan.steps[1:], intro="2 of 3 are stale\x07")
    events: list[Event] = [
        RunStarted(run="1", targets=("full",), tools=("b", "c")),
        ToolFinished(module="a", status="fresh"),
        ToolStarted(module="b"),
    ]
    assert show(events, plan=plan).splitlines()[2:] == [
        "2 of 3 are stale\\x07",
        "running 2 tools: b, c",
        "[1/2] ingest › b",
    ]


def test_an_interrupted_run_says_so_whenever_it_came() -> None:
    end: list[Event] = [
        ToolFinished(module="a", status="passed"),
        ToolFinished(module="b", status="not_run"),
        RunFinished(status="interrupted", duration=1, signal=2),
    ]
    assert show(end).splitlines()[-1] == "interrupted, 1 passed, 1 not run in 1.00 s"
    while_running: list[Event] = [ToolFinished(module="a", status="interrupted"), end[-1]]
    assert show(while_running).splitlines()[-1] == "1 interrupted in 1.00 s"


def test_a_failure_without_a_place_names_where_run_stands() -> None:
    crash = Failure(kind="crash", type="", message="ended by SIGSEGV")
    for error, last in ((crash, "FAILED b b.py:3  ended by SIGSEGV"), (None, "FAILED b b.py:3")):
        end = ToolFinished(module="b", status="failed", error=error)
        text = show([end, RunFinished(status="failed", duration=1)])
        assert last in text.splitlines()


def test_text_in_errors_and_metrics_is_cleaned() -> None:
    error = Failure(
        kind="exception", type="E\x07", message="m\x07", traceback="t\x1b[2J", hint="h\x07"
    )
    end = ToolFinished(module="b", status="failed", error=error, metrics={"k\x07": "v\n"})
    text = show([end, RunFinished(status="failed", duration=1)], style=Style(colour=True))
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert "v\\n" in text


def test_the_exception_is_shown_whole_once_and_cut_to_a_line_in_the_summary() -> None:
    message = "the row " + "that is wrong " * 20
    error = Failure(
        kind="exception",
        type="ValueError",
        message=message,
        path="src/b.py",
        line=7,
        traceback=f"Traceback (most recent call last):\nValueError: {message}\n",
    )
    end = ToolFinished(module="b", status="failed", error=error)
    events: list[Event] = [end, RunFinished(status="failed", duration=1)]
    lines = show(events, style=Style(is_terminal=True)).splitlines()
    assert sum(message.strip() in line for line in show(events).splitlines()) == 1
    assert (
        lines[-2] == "FAILED b src/b.py:7  ValueError: the row that is wrong that is wrong that is…"
    )
    assert len(lines[-2]) <= 80
    in_pipe = show(events).splitlines()[-2]
    assert in_pipe.startswith(lines[-2].removesuffix("…"))
    assert 200 < len(in_pipe) <= 240, "a log has room for more of it"


def test_behind_a_long_place_the_exception_has_a_line_of_its_own() -> None:
    path = f"src/{'deep/' * 9}b.py"
    error = Failure(
        kind="exception", type="KeyError", message="x " * 99, path=path, line=7, traceback="T"
    )
    end = ToolFinished(module="b", status="failed", error=error)
    events: list[Event] = [end, RunFinished(status="failed", duration=1)]
    lines = show(events, style=Style(is_terminal=True)).splitlines()
    assert lines[-3] == f"FAILED b {path}:7"
    assert lines[-2].startswith("  KeyError: x x ")
    assert len(lines[-2]) <= 80


def test_long_selections_are_echoed_shortened() -> None:
    registry = make_registry(*(make_facts(f"t{number:02}") for number in range(30)))
    plan = make_plan(registry)
    screen = RunRenderer(plan, Style(), DisplayOptions(), heading=HEADING)
    tools = tuple(step.tool.module for step in plan.steps)
    text = screen.text(RunStarted(run="1", targets=("full",), tools=tools), Report())
    assert "running 30 tools: t00, t01" in text
    assert text.endswith("t19 and 10 more\n")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_note_is_shown_with_its_traceback() -> None:
    problem = Problem(code="x", message="http raised when it was closed", hint="mend it")
    event = RunNote(problem=problem, traceback="Traceback:\n\n  boom\x07\n")
    screen = RunRenderer(make(), Style(), DisplayOptions(), heading=HEADING)
    assert screen.notice(event, Style()) == (
        "error: http raised when it was closed\n  hint: mend it\n  Traceback:\n\n    boom\\x07\n"
    )


def test_the_status_line_says_what_runs_and_how_much_is_left() -> None:
    screen, report = RunRenderer(make(), Style(), DisplayOptions(), heading=HEADING), Report()
    running = (Running(module="a", seconds=2),)
    assert screen.status(Ticked(running=running), report) == "    a 2.00 s, 2 left to run"
    known = (Running(module="a", seconds=2, expected=130),)
    predicted = screen.status(Ticked(running=known, left=400), report)
    assert predicted == "    a 2.00 s of about 2 min, 2 left to run, about 7 min left"
    assert screen.status(Ticked(closing=2), report) == "    closing resources 2.00 s"
    ending = screen.status(Ticked(running=running, is_ending=True), report)
    assert "waiting for it to end" in ending


def test_the_board_has_a_line_for_each_running_tool() -> None:
    screen, report = RunRenderer(make(), Style(), DisplayOptions(), heading=HEADING), Report()
    screen.text(RunStarted(run="1", targets=("full",), tools=("a", "b", "c"), workers=2), report)
    screen.text(ToolOutput(module="a", stream="stdout", text="one\n\x1b[2Jtwo\n\n"), report)
    screen.note_progress(ToolProgress(module="b", text="50%|#### | 2/4"))
    a, b = Running(module="a", seconds=2, expected=30), Running(module="b", seconds=61.2)
    assert screen.status(Ticked(running=(b, a), left=94), report).split("\n") == [
        "    a  2 s of about 30 s  \\x1b[2Jtwo",
        "    b  61 s               50%|#### | 2/4",
        "    0 of 3 done, about 94 s left",
    ]
    end = ToolFinished(module="a", status="failed", duration=2)
    report.add(end)
    screen.text(end, report)
    assert screen.status_again(report).split("\n") == [
        "    b  61 s  50%|#### | 2/4",
        "    1 of 3 done, 1 failed, about 94 s left",
    ]
    report.add(ToolFinished(module="c", status="blocked", blocked_by="a"))
    assert "1 of 3 done, 1 failed, 1 blocked, about" in screen.status_again(report)
    ending = screen.status(Ticked(running=(b,), is_ending=True), report)
    assert "waiting for the running tools to end" in ending
    screen.text(RunFinished(status="failed", duration=3), report)
    assert screen.status_again(report) == ""


def test_tools_that_run_side_by_side_are_counted_in_the_order_in_which_they_end() -> None:
    screen, report = RunRenderer(make(), Style(), DisplayOptions(), heading=HEADING), Report()
    screen.text(RunStarted(run="1", targets=("full",), tools=("a", "b", "c"), workers=2), report)
    for module in "abc":
        assert screen.text(ToolStarted(module=module), report) == ""
    ends = [ToolFinished(module=module, status="passed", duration=1) for module in "cab"]
    shown = [screen.text(end, report).partition("\n")[0] for end in ends]
    assert shown == ["[1/3] ingest › c", "[2/3] ingest › a", "[3/3] ingest › b"]


def test_a_board_without_output_shows_none() -> None:
    shown = DisplayOptions(output="none")
    screen, report = RunRenderer(make(), Style(), shown, heading=HEADING), Report()
    screen.text(RunStarted(run="1", targets=("full",), tools=("a", "b", "c"), workers=2), report)
    screen.text(ToolOutput(module="a", stream="stdout", text="one\n"), report)
    tick = Ticked(running=(Running(module="a", seconds=2),))
    assert screen.status(tick, report) == "    a  2 s\n    0 of 3 done"


def test_a_tick_prints_nothing() -> None:
    assert show([Ticked(running=(Running(module="a", seconds=1),))]) == ""
