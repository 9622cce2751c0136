"""Times and workers of a recorded run, also where orch read the end of a tool late."""

from __future__ import annotations

import json

from discover_orch.state.run_details import read_details, read_ends


def line(event: str, second: float, **more: object) -> bytes:
    time = f"2026-11-24T14:03:{second:09.6f}Z"
    return (
        json.dumps({"event": event, **more, "time": time}, separators=(",", ":")).encode() + b"\n"
    )


def test_a_tool_starts_when_the_one_before_it_on_its_worker_has_ended() -> None:
    """`a` is read as started at 1.5, when it had been running for 0.5 s already."""
    lines = [
        line("run_started", 0, modules=["a", "b"], orch="0.1.0", workers=1),
        line("tool_started", 1.5, module="a"),
        line("tool_finished", 2.1, module="a", status="passed", duration=1.0),
        line("tool_started", 2.0, module="b"),
        line("tool_finished", 4.0, module="b", status="passed", duration=1.0),
    ]
    details = read_details(lines)
    times = {module: (one.start, one.end) for module, (one,) in details.attempts.items()}
    assert {name: (round(a, 3), round(b, 3)) for name, (a, b) in times.items()} == {
        "a": (1.0, 2.0),
        "b": (2.0, 3.0),
    }
    assert details.order == ("a", "b")


def test_each_attempt_is_kept_with_its_worker_and_an_end_may_be_missing() -> None:
    error = {"kind": "exception", "type": "OSError", "message": "no", "path": None, "line": None}
    lines = [
        line("run_started", 0, modules=["a", "b"], workers=2),
        line("tool_started", 1, module="a", worker=2),
        line(
            "tool_retried", 2, module="a", duration=1, error=error, traceback="Traceback", delay=1
        ),
        b"{torn",
        line("tool_started", 3, module="a", worker=1),
        line("tool_finished", 4, module="a", status="passed", duration=1, data={"files_read": "x"}),
        line("tool_finished", 4, module="a", status="passed", duration=1),
        line("tool_started", 4, module="b", worker=2),
    ]
    details = read_details(lines)
    assert [(one.worker, one.status, one.traceback) for one in details.attempts["a"]] == [
        (2, "failed", "Traceback"),
        (1, "passed", ""),
    ]
    assert [(one.start, one.end, one.status) for one in details.attempts["b"]] == [(4.0, 4.0, "")]
    assert [(one.module, one.status) for one in read_ends(lines)] == [
        ("a", "passed"),
        ("a", "passed"),
    ]
