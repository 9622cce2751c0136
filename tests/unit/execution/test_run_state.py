"""A run as a dialogue: events go in, `ready()` is asked."""

from __future__ import annotations

import math

from discover_orch.discovery.registry import Registry
from discover_orch.execution.request import Request
from discover_orch.execution.run_events import ToolRetried
from discover_orch.execution.run_state import Run
from discover_orch.model.errors import Problem
from discover_orch.model.tool_events import (
    RunNote,
    ToolFinished,
    ToolStarted,
    ToolStatus,
)
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


def begin(
    *targets: str,
    registry: Registry | None = None,
    known: str = "abcde",
    max_failures: int | None = None,
) -> Run:
    """`known`: the tools whose data flow is known."""
    found = registry or sample()
    return Run(
        make_plan(found, *targets),
        found,
        Request(max_failures=max_failures),
        has_known_flow=lambda tool: tool.module in known,
    )


def start(run: Run) -> str:
    module = run.ready()
    assert module is not None
    run.mark_submitted(module)
    run.apply(ToolStarted(module=module))
    return module


def finish(run: Run, module: str, status: ToolStatus = "passed") -> dict[str, str]:
    """The tools that this blocks, each with the tool that blocks it."""
    end = ToolFinished(module=module, status=status)
    run.apply(end)
    return {one.module: one.blocked_by for one in run.drain_blocked(end)}


def go_on(run: Run) -> list[str]:
    """The tools that run from here, all of which pass."""
    ran = []
    while run.ready():
        ran.append(start(run))
        finish(run, ran[-1])
    return ran


def ends(run: Run) -> dict[str, str]:
    return {one.module: one.status for one in run.unstarted()}


def test_a_failure_blocks_what_is_downstream_and_the_rest_runs() -> None:
    run = begin()
    assert finish(run, start(run), "failed") == {"c": "a", "e": "a"}
    assert go_on(run) == ["b", "d"]
    assert (ends(run), run.status) == ({}, "failed")


def test_a_failure_blocks_nothing_before_it() -> None:
    run = begin("e", "b", "a")
    assert finish(run, start(run), "failed") == {}
    assert go_on(run) == ["b", "a"]


def test_a_tool_of_which_nothing_is_known_is_blocked_by_any_failure_before_it() -> None:
    run = begin("d", "a", "b", "c", known="ab")
    assert go_on_until(run, "a") == ["d"]
    assert finish(run, start(run), "failed") == {"c": "a"}
    run = begin("a", "d", "b", known="")
    assert finish(run, start(run), "failed") == {"d": "a"}, "b declares its outputs"
    assert go_on(run) == ["b"]


def go_on_until(run: Run, module: str) -> list[str]:
    ran = []
    while run.ready() != module:
        ran.append(start(run))
        finish(run, ran[-1])
    return ran


def test_what_depends_on_a_blocked_tool_is_blocked_by_the_same_failure() -> None:
    registry = make_registry(
        make_facts("a"), make_facts("b"), make_facts("c", after="b"), make_facts("d", after=())
    )
    run = begin(registry=registry, known="")
    assert finish(run, start(run), "failed") == {"b": "a", "c": "a"}
    assert go_on(run) == ["d"]


def test_the_run_stops_after_so_many_failures() -> None:
    run = begin("a", "b", "d", max_failures=2)
    finish(run, start(run), "failed")
    assert run.ready() == "b"
    finish(run, start(run), "failed")
    assert (run.ready(), run.is_over, ends(run)) == (None, True, {"d": "not_run"})


def test_a_failure_blocks_through_tools_that_are_not_selected() -> None:
    registry = make_registry(
        make_facts("a"), make_facts("b", after="a"), make_facts("c", after="b")
    )
    run = begin("a", "c", registry=registry)
    assert finish(run, start(run), "failed") == {"c": "a"}


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
    assert finish(run, first, "failed")
    assert run.status == "failed"


# Tried again.


def fail(run: Run, now: float = 0.0) -> ToolRetried | ToolFinished:
    """The end of the next tool, which fails."""
    end = run.classify(ToolFinished(module=start(run), status="failed"))
    run.apply(end, now)
    assert isinstance(end, ToolRetried | ToolFinished)
    return end


def trying(retries: int, delay: float = 10.0) -> Run:
    orch: dict[str, object] = {"retries": retries, "retry_delay": delay}
    return begin(registry=make_registry(make_facts("a", orch=orch), make_facts("b")), known="ab")


def test_a_tool_is_tried_again_when_its_delay_is_over() -> None:
    run = trying(retries=1)
    end = fail(run, now=100.0)
    assert isinstance(end, ToolRetried)
    assert (run.ready(109.9), run.wait_time(109.0), run.is_over) == (None, 1.0, False)
    assert (run.ready(110.0), run.wait_time(110.0)) == ("a", math.inf)
    last = run.classify(ToolFinished(module=start(run), status="passed"))
    assert last == ToolFinished(module="a", status="passed", attempt=2)


def test_the_delay_doubles_up_to_its_limit() -> None:
    run = trying(retries=2000, delay=1.0)
    delays = []
    for _ in range(1100):
        end = fail(run)
        assert isinstance(end, ToolRetried)
        delays.append(end.delay)
    assert delays[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(delays) == Run.LONGEST_DELAY


def test_a_run_that_ends_between_two_attempts_says_how_the_last_one_failed() -> None:
    run = trying(retries=1)
    end = fail(run)
    assert isinstance(end, ToolRetried)
    run.interrupt()
    assert run.unstarted() == [end.end, ToolFinished(module="b", status="not_run")]
