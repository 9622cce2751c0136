"""What happened, counted, and the exit code that follows."""

from __future__ import annotations

import pytest

from discover_orch.execution.report import Report
from discover_orch.execution.run_state import (
    Event,
    RunFinished,
    RunNote,
    RunStarted,
    RunStatus,
    Status,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.errors import ExitCode, Problem, Severity


def report(*events: Event) -> Report:
    found = Report()
    for event in events:
        found.take(event)
    return found


def end(status: Status, module: str = "a") -> ToolFinished:
    return ToolFinished(module=module, status=status)


def over(status: RunStatus, signal: int = 0) -> RunFinished:
    return RunFinished(status=status, duration=1.5, signal=signal)


def notice(severity: Severity) -> RunNote:
    return RunNote(problem=Problem(code="x", message="x", severity=severity))


def test_a_run_in_which_all_passed_is_well() -> None:
    found = report(
        RunStarted(run="1", targets=("full",), tools=("a",)),
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text="x\n"),
        end("passed"),
        over("passed"),
    )
    assert (found.exit_code, found.status, found.duration) == (ExitCode.OK, "passed", 1.5)
    assert (found.failures, dict(found.counts)) == ((), {"passed": 1})


def test_a_failed_tool_is_exit_1_and_the_counts_are_by_status() -> None:
    found = report(
        end("passed"), end("failed", "b"), end("blocked", "c"), end("blocked", "d"), over("failed")
    )
    assert found.exit_code == ExitCode.FAILED
    assert [one.module for one in found.failures] == ["b"]
    assert list(found.counts.items()) == [("passed", 1), ("failed", 1), ("blocked", 2)]


def test_a_failed_run_is_exit_1_though_no_tool_failed() -> None:
    assert report(over("failed")).exit_code == ExitCode.FAILED


def test_a_resource_that_raises_when_it_is_closed_is_exit_1() -> None:
    assert report(end("passed"), notice("error"), over("passed")).exit_code == ExitCode.FAILED
    assert report(end("passed"), notice("warning"), over("passed")).exit_code == ExitCode.OK


@pytest.mark.parametrize(("signal", "code"), [(1, 129), (2, 130), (15, 143), (0, 130)])
def test_an_interrupted_run_answers_as_shells_do(signal: int, code: int) -> None:
    found = report(
        end("failed"), notice("error"), end("interrupted", "b"), over("interrupted", signal)
    )
    assert found.exit_code == code
