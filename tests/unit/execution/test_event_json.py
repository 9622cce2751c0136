"""Events of a run as objects of JSON."""

from __future__ import annotations

import json
import math

import pytest

from discover_orch.execution.event_json import event_document, nothing_left
from discover_orch.execution.report import Report
from discover_orch.execution.run_state import (
    DebuggerOpened,
    Event,
    Resumed,
    RunFinished,
    RunNote,
    RunStarted,
    Suspended,
    Ticked,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.observation import Observation
from discover_orch.planning.plan import Plan
from tests.support.values import make_tool

NAMES = {"src.a": "a", "src.b": "b"}


def document(event: Event, report: Report | None = None) -> dict[str, object]:
    made = event_document(event, NAMES, report or Report())
    assert made is not None
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_the_beginning_names_the_tools() -> None:
    assert document(RunStarted(run="7", targets=("full",), tools=("src.a", "src.b"))) == {
        "event": "run_started",
        "run": "7",
        "targets": ["full"],
        "tools": ["a", "b"],
    }


def test_a_tool_begins_prints_and_ends() -> None:
    assert document(ToolStarted(module="src.a")) == {"event": "tool_started", "name": "a"}
    assert document(ToolOutput(module="src.a", stream="stderr", text="x\n")) == {
        "event": "tool_output",
        "name": "a",
        "stream": "stderr",
        "text": "x\n",
    }
    end = ToolFinished(
        module="src.a",
        status="passed",
        duration=1.23456789,
        metrics={"rows": 3, "mean": math.nan, "top": math.inf, "name": "x", "none": None},
        notes=("it committed by itself",),
        loaded={"src/a.py": "1"},
        seen=Observation(written=("out.csv",)),
    )
    assert document(end) == {
        "event": "tool_finished",
        "name": "a",
        "status": "passed",
        "duration": 1.234568,
        "error": None,
        "metrics": {"rows": 3, "mean": None, "top": None, "name": "x", "none": None},
        "attempt": 1,
        "notes": ["it committed by itself"],
    }


def test_an_error_has_no_traceback() -> None:
    error = Failure(
        kind="exception", type="E", message="m", path="a.py", line=3, traceback="...", hint="h"
    )
    made = document(ToolFinished(module="src.b", status="failed", error=error))
    assert made["error"] == {
        "kind": "exception",
        "type": "E",
        "message": "m",
        "path": "a.py",
        "line": 3,
    }


def test_the_end_has_what_the_report_counted() -> None:
    report = Report()
    end = RunFinished(status="failed", duration=0.12345678)
    for event in (
        ToolFinished(module="src.a", status="passed"),
        ToolFinished(module="src.b", status="failed"),
        end,
    ):
        report.take(event)
    assert document(end, report) == {
        "event": "run_finished",
        "status": "failed",
        "exit_code": 1,
        "counts": {"passed": 1, "failed": 1},
        "duration": 0.123457,
    }


@pytest.mark.parametrize(
    "event",
    [
        Ticked(module="src.a", seconds=1),
        Suspended(),
        Resumed(),
        DebuggerOpened(module="src.a"),
        RunNote(problem=Problem(code="x", message="m", hint="h")),
    ],
)
def test_what_only_a_terminal_cares_about_is_no_object(event: Event) -> None:
    assert event_document(event, NAMES, Report()) is None


def test_a_run_with_nothing_to_do_is_complete_all_the_same() -> None:
    fresh = (make_tool("src.a"), make_tool("src.b"))
    begun, a, b, end = nothing_left(Plan(words=("full",), fresh=fresh))
    assert (begun["event"], begun["targets"], begun["tools"]) == (
        "run_started",
        ["full"],
        ["a", "b"],
    )
    assert [(one["name"], one["status"]) for one in (a, b)] == [("a", "fresh"), ("b", "fresh")]
    assert set(a) == set(document(ToolFinished(module="src.a", status="passed")))
    assert (end["status"], end["exit_code"], end["counts"]) == ("passed", 0, {"fresh": 2})
    assert set(end) == set(document(RunFinished(status="passed", duration=0)))
    assert [one["event"] for one in nothing_left(Plan())] == ["run_started", "run_finished"]
    assert nothing_left(Plan())[-1]["counts"] == {}
