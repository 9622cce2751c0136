"""What runs next in a watch, and what becomes of the run in progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch.execution.events import ToolFinished, ToolStarted, ToolStatus
from discover_orch.model.errors import Problem
from discover_orch.planning.param_values import GivenParams
from discover_orch.watch.changes import REQUESTS
from discover_orch.watch.project_state import WatchedProject
from discover_orch.watch.request import WatchRequest
from discover_orch.watch.schedule import Progress, Schedule
from tests.conftest import Project
from tests.support.watched import ALL, FILES, SENTINEL, Watch, tool

# What a failure owes.


def test_tools_whose_turn_never_came_run_when_the_failure_is_fixed(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", body="raise ValueError")})
    (first,) = watched.runs
    assert (first.ends["a"], first.ends["b"]) == ("failed", "blocked")
    assert first.ends["c"] in ("blocked", "not_run")
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.tools, run.status) == (ALL, "passed")
    assert run.reasons["b"] == "it did not run last time"
    assert watched.settle() == []


def test_what_needs_the_failure_waits_while_it_is_not_run_again(watch: Watch) -> None:
    """c and b are owed, but b is behind the failure."""
    free = "AFTER = ()\nORCH = {'inputs': 'none', 'outputs': 'nothing'}"
    watched = watch(
        {
            "orch.toml": "",
            "src/a.py": tool("a0", top=free, body="raise ValueError"),
            "src/b.py": tool("b0", top=free.replace("()", "'a'")),
            "src/c.py": tool("c0", top=free),
            SENTINEL: tool("sentinel", stage="zz", top=free),
        }
    )
    assert watched.runs[0].ends["b"] == "blocked"
    assert watched.runs[0].ends["c"] == "not_run"
    watched.save({"src/c.py": tool("c1", top=free)})
    assert watched.next_run().tools == ("c", "sentinel")


# What a change means for the run in progress.


class Deciding:
    """A schedule in whose run a has finished, b runs and c waits, unless the arguments say otherwise."""

    def __init__(self, root: Path, **options: Any) -> None:
        request = WatchRequest(start=str(root), folder=None, values=GivenParams(folder=str(root)))
        self.schedule = Schedule(WatchedProject(request, {}), **{"scope": "tool", **options})

    def decide(
        self,
        found: str,
        *,
        finished: str = "a",
        running: str = "b",
        waiting: str = "c sentinel",
        is_structural: bool = False,
        is_debugged: bool = False,
    ) -> Decision:
        self.schedule.progress = Progress(
            waiting=tuple(f"src.{one}" for one in waiting.split()),
            finished=frozenset(f"src.{one}" for one in finished.split()),
            running=f"src.{running}" if running else None,
            is_debugged=is_debugged,
        )
        reasons = {f"src.{one}": "why" for one in found.split()}
        action = self.schedule.decide(reasons, is_structural=is_structural)
        return REQUESTS.get(action, []), action


Decision = tuple[list[str], str]
NOTHING: Decision = ([], "none")
AFTER: Decision = ([], "after")
HOLD = (["hold"], "hold")
RESTART = (["cancel"], "restart")


@pytest.fixture
def deciding(project: Project) -> Callable[..., Deciding]:
    def make(files: Mapping[str, str] | None = None, **options: Any) -> Deciding:
        return Deciding(project({**FILES, **(files or {})}), **options)

    return make


def test_without_a_run_a_change_runs(deciding: Callable[..., Deciding]) -> None:
    assert deciding().schedule.decide(["src.a"], is_structural=False) == "run"


@pytest.mark.parametrize(
    ("found", "more", "decision"),
    [
        ("", {}, NOTHING),
        ("c", {}, NOTHING),
        ("c sentinel", {}, NOTHING),
        ("c", {"is_structural": True}, HOLD),
        ("", {"is_structural": True}, NOTHING),
        ("new", {}, AFTER),
        ("new", {"is_structural": True}, AFTER),
        ("new c", {}, AFTER),
        ("a", {}, RESTART),
        ("b", {}, RESTART),
        ("a c", {"is_structural": True}, RESTART),
        ("b", {"is_debugged": True}, HOLD),
        ("c", {"is_debugged": True}, NOTHING),
        ("a", {"finished": "a b", "running": "", "waiting": "c"}, RESTART),
        ("a", {"finished": "a b c sentinel", "running": "", "waiting": ""}, AFTER),
        ("a", {"finished": "", "running": "", "waiting": "a b c sentinel"}, NOTHING),
    ],
)
def test_what_a_change_means_for_a_run(
    deciding: Callable[..., Deciding],
    found: str,
    more: dict[str, Any],
    decision: Decision,
) -> None:
    assert deciding().decide(found, **more) == decision


@pytest.mark.parametrize(
    ("found", "decision"), [("a", AFTER), ("b", AFTER), ("c", NOTHING), ("new", AFTER)]
)
def test_where_changes_queue_no_run_is_cancelled(
    deciding: Callable[..., Deciding], found: str, decision: Decision
) -> None:
    assert deciding(queues=True).decide(found) == decision


def test_a_tool_that_must_not_be_cancelled_is_waited_for_whatever_it_is_that_changed(
    deciding: Callable[..., Deciding],
) -> None:
    made = deciding({"src/b.py": tool(top="ORCH = {'cancel': False}")})
    assert made.decide("b") == made.decide("a") == HOLD


def test_with_the_scope_downstream_what_is_downstream_is_concerned_too(
    deciding: Callable[..., Deciding],
) -> None:
    more: dict[str, Any] = {"finished": "b", "running": "c", "waiting": "a sentinel"}
    assert deciding().decide("a", **more) == NOTHING
    assert deciding(scope="downstream").decide("a", **more) == RESTART


# From one run to the next.


@pytest.fixture
def schedule(deciding: Callable[..., Deciding]) -> Schedule:
    return deciding().schedule


A, B, C = ("src.a", "src.b", "src.c")


def finish(schedule: Schedule, module: str, status: ToolStatus = "passed") -> None:
    schedule.follow(ToolStarted(module=module))
    schedule.follow(ToolFinished(module=module, status=status))


def test_a_run_takes_the_pending_tools(schedule: Schedule) -> None:
    assert (schedule.has_next, schedule.must_run) == (False, False)
    assert schedule.enqueue([A, C], "why") == [A, C]
    assert schedule.must_run
    assert (schedule.is_pending(A), schedule.is_pending(B)) == (True, False)
    assert schedule.drain() == {A: "why", C: "why"}
    assert (schedule.has_next, schedule.is_running) == (False, False)
    schedule.begin((A, C))
    assert (schedule.is_running, schedule.latest) == (True, (A, C))
    schedule.end("passed")
    assert (schedule.is_running, schedule.has_next, schedule.is_over) == (False, False, False)


def test_in_a_pause_only_what_a_key_asks_for_runs(schedule: Schedule) -> None:
    schedule.is_paused = True
    schedule.enqueue([A], "why")
    assert not schedule.must_run
    schedule.request_run()
    assert schedule.must_run
    schedule.drain()
    schedule.enqueue([A], "why")
    assert not schedule.must_run


def test_the_unfinished_tools_of_a_stopped_run_run_again(schedule: Schedule) -> None:
    schedule.begin((A, B, C))
    finish(schedule, A)
    schedule.restarts = True
    schedule.end("cancelled")
    assert schedule.drain() == dict.fromkeys((B, C), "its run was cancelled")


def test_a_run_that_the_user_cancelled_is_not_repeated(schedule: Schedule) -> None:
    schedule.begin((A, B))
    finish(schedule, A)
    schedule.follow(ToolFinished(module=B, status="not_run"))
    schedule.end("cancelled")
    assert not schedule.has_next
    assert schedule.plan_next({A: "why"}, "run") == (A,)
    assert schedule.drain() == {A: "why"}


def test_a_run_that_was_interrupted_ends_all(schedule: Schedule) -> None:
    schedule.begin((A, B))
    schedule.end("interrupted")
    assert (schedule.is_over, schedule.has_next) == (True, False)


def test_it_knows_what_failed(schedule: Schedule) -> None:
    schedule.begin((A, B))
    finish(schedule, A, "failed")
    finish(schedule, B)
    assert schedule.failed == {A}
    finish(schedule, A)
    assert schedule.failed == frozenset()


def test_the_newest_reason_counts(schedule: Schedule) -> None:
    schedule.enqueue([A], "first")
    assert schedule.plan_next({A: "second"}, "after") == (A,)
    assert schedule.plan_next({C: "third"}, "none") == (C,)
    assert schedule.drain() == {A: "second"}


def test_a_tool_that_depends_on_a_broken_file_is_deferred_and_holds_the_run(
    project: Project,
) -> None:
    made = Deciding(project({**FILES, "src/helper.py": "x = (\n"})).schedule
    assert made.enqueue([A, B], "why") == [A]
    problems = [Problem(code="syntax", message="bad")]
    assert not made.must_hold(problems)
    made.begin((A, B))
    assert (made.must_hold(problems), made.must_hold([])) == (True, False)
    made.begin((A,))
    assert not made.must_hold(problems)
