"""How far a run is, and what becomes of a change."""

from __future__ import annotations

import pytest

from discover_orch.execution.run_state import DebuggerOpened, RunStarted, ToolFinished, ToolStarted
from discover_orch.watch.progress import Progress, decide

MIDDLE = Progress(waiting=("c", "d"), finished=frozenset({"a"}), running="b")


def test_it_follows_the_events_of_a_run() -> None:
    progress = Progress(waiting=("a", "b"))
    progress = progress.after(RunStarted(run="1", targets=(), tools=("a", "b")))
    progress = progress.after(ToolStarted(module="a"))
    assert progress == Progress(waiting=("b",), running="a")
    assert progress.after(DebuggerOpened(module="a")).is_debugged
    progress = progress.after(ToolFinished(module="a", status="passed"))
    assert progress == Progress(waiting=("b",), finished=frozenset({"a"}))
    progress = progress.after(ToolFinished(module="b", status="blocked"))
    assert progress == Progress(finished=frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("concerned", "more", "action"),
    [
        ("", {}, "none"),
        ("c", {}, "none"),
        ("c d", {"is_structural": True}, "hold"),
        ("x", {}, "after"),
        ("x c", {}, "after"),
        ("a", {}, "restart"),
        ("b", {}, "restart"),
        ("a c", {"is_structural": True}, "restart"),
        ("b", {"can_cancel": False}, "hold"),
        ("b", {"queues": True}, "after"),
        ("c", {"queues": True}, "none"),
    ],
)
def test_what_becomes_of_a_change(concerned: str, more: dict[str, bool], action: str) -> None:
    assert decide(MIDDLE, concerned.split(), **more) == action


def test_without_a_run_it_is_run() -> None:
    assert decide(None, ["a"]) == "run"
    assert decide(None, [], queues=True) == "run"


def test_a_run_that_only_closes_what_it_opened_is_not_cancelled() -> None:
    assert decide(Progress(finished=frozenset({"a"})), ["a"]) == "after"


def test_nobody_is_interrupted_at_the_prompt_of_a_debugger() -> None:
    debugged = Progress(running="b", is_debugged=True)
    assert decide(debugged, ["b"]) == "hold"
