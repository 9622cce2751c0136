"""Events of a run as JSON objects, and the report that counts them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    Report,
    Resumed,
    RunFinished,
    Running,
    RunNote,
    RunStarted,
    RunStatus,
    Suspended,
    Ticked,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    ToolStatus,
    event_document,
    nothing_to_do_documents,
)
from discover_orch.model.errors import ExitCode, Failure, Problem, Severity
from discover_orch.model.observation import Observation
from discover_orch.planning.plan import Plan
from tests.support.values import make_tool

NAMES = {"src.a": "a", "src.b": "b"}


def document(event: Event, report: Report | None = None) -> dict[str, object]:
    made = event_document(event, NAMES, report or Report())
    assert made is not None
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    moment = datetime.fromisoformat(str(made.pop("time")))
    assert abs(datetime.now(UTC) - moment).total_seconds() < 60
    return made


def test_the_beginning_names_the_tools() -> None:
    assert document(RunStarted(run="7", targets=("full",), tools=("src.a", "src.b"))) == {
        "event": "run_started",
        "run": "7",
        "targets": ["full"],
        "tools": ["a", "b"],
    }


def test_a_tool_begins_prints_and_ends() -> None:
    begin = {"event": "tool_started", "name": "a", "worker": 1}
    assert document(ToolStarted(module="src.a")) == begin
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
        report.add(event)
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
        Ticked(running=(Running(module="src.a", seconds=1),)),
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
    begun, a, b, end = nothing_to_do_documents(Plan(targets=("full",), fresh=fresh))
    assert (begun["event"], begun["targets"], begun["tools"]) == (
        "run_started",
        ["full"],
        ["a", "b"],
    )
    assert [(one["name"], one["status"]) for one in (a, b)] == [("a", "fresh"), ("b", "fresh")]
    assert set(a) == {*document(ToolFinished(module="src.a", status="passed")), "time"}
    assert (end["status"], end["exit_code"], end["counts"]) == ("passed", 0, {"fresh": 2})
    assert set(end) == {*document(RunFinished(status="passed", duration=0)), "time"}
    assert [one["event"] for one in nothing_to_do_documents(Plan())] == [
        "run_started",
        "run_finished",
    ]
    assert nothing_to_do_documents(Plan())[-1]["counts"] == {}


def build_report(*events: Event) -> Report:
    found = Report()
    for event in events:
        found.add(event)
    return found


def end(status: ToolStatus, module: str = "a") -> ToolFinished:
    return ToolFinished(module=module, status=status)


def over(status: RunStatus, signal: int = 0) -> RunFinished:
    return RunFinished(status=status, duration=1.5, signal=signal)


def notice(severity: Severity) -> RunNote:
    return RunNote(problem=Problem(code="x", message="x", severity=severity))


def test_a_run_in_which_all_passed_is_well() -> None:
    found = build_report(
        RunStarted(run="1", targets=("full",), tools=("a",)),
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text="x\n"),
        end("passed"),
        over("passed"),
    )
    assert (found.exit_code, found.status, found.duration) == (ExitCode.OK, "passed", 1.5)
    assert (found.failures, dict(found.counts)) == ((), {"passed": 1})


def test_a_failed_tool_is_exit_1_and_the_counts_are_by_status() -> None:
    found = build_report(
        end("passed"), end("failed", "b"), end("blocked", "c"), end("blocked", "d"), over("failed")
    )
    assert found.exit_code == ExitCode.FAILED
    assert [one.module for one in found.failures] == ["b"]
    assert list(found.counts.items()) == [("passed", 1), ("failed", 1), ("blocked", 2)]


def test_a_failed_run_is_exit_1_though_no_tool_failed() -> None:
    assert build_report(over("failed")).exit_code == ExitCode.FAILED


def test_a_resource_that_raises_when_it_is_closed_is_exit_1() -> None:
    assert build_report(end("passed"), notice("error"), over("passed")).exit_code == ExitCode.FAILED
    assert build_report(end("passed"), notice("warning"), over("passed")).exit_code == ExitCode.OK


@pytest.mark.parametrize(("signal", "code"), [(1, 129), (2, 130), (15, 143), (0, 130)])
def test_an_interrupted_run_answers_as_shells_do(signal: int, code: int) -> None:
    found = build_report(
        end("failed"), notice("error"), end("interrupted", "b"), over("interrupted", signal)
    )
    assert found.exit_code == code
