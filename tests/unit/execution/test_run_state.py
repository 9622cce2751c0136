"""A run as a dialogue: events go in, `ready()` is asked."""

from __future__ import annotations

from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import (
    RunNote,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    ToolStatus,
)
from discover_orch.execution.run_state import Run
from discover_orch.model.errors import Problem
from tests.support.values import make_facts, make_plan, make_registry


def sample() -> Registry:
    """c depends on a, d on nothing; the later stage on all whose writes are not known."""
    return make_registry(
        make_facts("a"),
        make_facts("b", orch={"outputs": "x"}),
        make_facts("c", after="a"),
        make_facts("d"),
        make_facts("e", "later", orch={"inputs": "x"}),
    )


def begin(*targets: str, registry: Registry | None = None) -> Run:
    found = registry or sample()
    return Run(make_plan(found, *targets), found)


def start(run: Run) -> str:
    module = run.ready()
    assert module is not None
    run.mark_submitted(module)
    run.apply(ToolStarted(module=module))
    return module


def finish(run: Run, module: str, status: ToolStatus = "passed") -> None:
    run.apply(ToolFinished(module=module, status=status))


def ends(run: Run) -> dict[str, str]:
    return {one.module: one.status for one in run.unstarted()}


def test_what_is_downstream_of_a_failure_is_blocked_and_the_rest_not_run() -> None:
    run = begin()
    finish(run, start(run), "failed")
    assert ends(run) == {"b": "not_run", "c": "blocked", "d": "not_run", "e": "blocked"}


def test_a_failure_blocks_only_what_depends_on_it() -> None:
    run = begin("e", "b", "a")
    finish(run, start(run), "failed")
    assert ends(run) == {"b": "not_run", "a": "not_run"}


def test_a_failure_blocks_through_tools_that_are_not_selected() -> None:
    registry = make_registry(
        make_facts("a"), make_facts("b", after="a"), make_facts("c", after="b")
    )
    run = begin("a", "c", registry=registry)
    finish(run, start(run), "failed")
    assert ends(run) == {"c": "blocked"}


def test_an_interrupt_between_tools_ends_the_run() -> None:
    run = begin()
    finish(run, start(run))
    run.interrupt()
    assert (run.is_over, run.ready(), run.status) == (True, None, "interrupted")
    assert set(ends(run).values()) == {"not_run"}


def test_an_interrupt_after_a_failure_is_an_interrupted_run() -> None:
    run = begin()
    finish(run, start(run), "failed")
    run.interrupt()
    assert run.status == "interrupted"


# Cancelled.


def test_an_interrupt_wins_over_a_cancel_whichever_came_first() -> None:
    for order in ("cancel interrupt", "interrupt cancel"):
        run = begin()
        end = ToolFinished(module=start(run), status="interrupted")
        for wish in order.split():
            getattr(run, wish)()
        assert run.classify(end) is end
        run.apply(end)
        assert run.status == "interrupted"


def test_what_ends_by_itself_in_a_cancelled_run_has_ended_so() -> None:
    statuses: tuple[ToolStatus, ...] = ("passed", "failed")
    for status in statuses:
        run = begin()
        end = ToolFinished(module=start(run), status=status)
        run.cancel()
        assert run.classify(end) is end


def test_only_ends_of_tools_are_settled() -> None:
    run = begin()
    run.cancel()
    said = ToolOutput(module="a", stream="stdout", text="interrupted")
    assert run.classify(said) is said


def test_what_raises_on_closing_fails_a_run_that_was_cancelled_too_late() -> None:
    run = begin("a")
    finish(run, start(run))
    run.cancel()
    run.apply(RunNote(problem=Problem(code="closing", message="it raised")))
    assert run.status == "failed"


def test_a_failure_in_a_cancelled_run_is_a_failure() -> None:
    run = begin()
    first = start(run)
    run.cancel()
    finish(run, first, "failed")
    assert run.status == "failed"
    assert "blocked" in ends(run).values()
