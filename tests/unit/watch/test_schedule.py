"""What runs next in a watch, and what becomes of the run that is going on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch.execution.run_state import Status, ToolFinished, ToolStarted
from discover_orch.model.errors import Problem
from discover_orch.planning.params import Values
from discover_orch.watch.changes import WISHES
from discover_orch.watch.progress import Progress
from discover_orch.watch.project_state import Ground
from discover_orch.watch.request import Request
from discover_orch.watch.schedule import Course
from tests.conftest import Project
from tests.support.watched import ALL, FILES, SENTINEL, Watch, tool

# What a failure owes.


def test_tools_whose_turn_never_came_have_it_when_the_failure_is_mended(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", body="raise ValueError")})
    (first,) = watched.runs
    assert (first.ends["a"], first.ends["b"]) == ("failed", "blocked")
    assert first.ends["c"] in ("blocked", "not_run")
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.tools, run.status) == (ALL, "passed")
    assert run.reasons["b"] == "its turn had not come"
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


# What a change means for the run that is going on.


class Deciding:
    """The course of a watch, in whose run a has finished, b runs and c waits, unless told otherwise."""

    def __init__(self, root: Path, **manner: Any) -> None:
        request = Request(start=str(root), folder=None, values=Values(folder=str(root)))
        self.course = Course(Ground(request, {}), **{"scope": "tool", **manner})

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
        self.course.progress = Progress(
            waiting=tuple(f"src.{one}" for one in waiting.split()),
            finished=frozenset(f"src.{one}" for one in finished.split()),
            running=f"src.{running}" if running else None,
            is_debugged=is_debugged,
        )
        reasons = {f"src.{one}": "why" for one in found.split()}
        action = self.course.decide(reasons, is_structural=is_structural)
        return WISHES.get(action, []), action


Decision = tuple[list[str], str]
NOTHING: Decision = ([], "none")
AFTER: Decision = ([], "after")
HOLD = (["hold"], "hold")
RESTART = (["cancel"], "restart")


@pytest.fixture
def deciding(project: Project) -> Callable[..., Deciding]:
    def make(files: Mapping[str, str] | None = None, **manner: Any) -> Deciding:
        return Deciding(project({**FILES, **(files or {})}), **manner)

    return make


def test_without_a_run_a_change_runs(deciding: Callable[..., Deciding]) -> None:
    assert deciding().course.decide(["src.a"], is_structural=False) == "run"


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
def course(deciding: Callable[..., Deciding]) -> Course:
    return deciding().course


A, B, C = ("src.a", "src.b", "src.c")


def finish(course: Course, module: str, status: Status = "passed") -> None:
    course.follow(ToolStarted(module=module))
    course.follow(ToolFinished(module=module, status=status))


def test_a_run_takes_what_was_put_down(course: Course) -> None:
    assert (course.has_next, course.must_run) == (False, False)
    assert course.put_down([A, C], "why") == [A, C]
    assert course.must_run
    assert (course.is_put_down(A), course.is_put_down(B)) == (True, False)
    assert course.take() == {A: "why", C: "why"}
    assert (course.has_next, course.is_running) == (False, False)
    course.begin((A, C))
    assert (course.is_running, course.latest) == (True, (A, C))
    course.end("passed")
    assert (course.is_running, course.has_next, course.is_over) == (False, False, False)


def test_in_a_pause_only_what_a_key_asks_for_runs(course: Course) -> None:
    course.is_paused = True
    course.put_down([A], "why")
    assert not course.must_run
    course.make_way()
    assert course.must_run
    course.take()
    course.put_down([A], "why")
    assert not course.must_run


def test_a_run_that_made_way_comes_again_less_what_has_passed(course: Course) -> None:
    course.begin((A, B, C))
    finish(course, A)
    course.restarts = True
    course.end("cancelled")
    assert course.take() == dict.fromkeys((B, C), "its run was cancelled")


def test_of_a_run_that_the_user_cancelled_nothing_is_owed(course: Course) -> None:
    course.begin((A, B))
    finish(course, A)
    course.follow(ToolFinished(module=B, status="not_run"))
    course.end("cancelled")
    assert not course.has_next
    assert course.plan_next({A: "why"}, "run") == (A,)
    assert course.take() == {A: "why"}


def test_a_run_that_was_interrupted_ends_all(course: Course) -> None:
    course.begin((A, B))
    course.end("interrupted")
    assert (course.is_over, course.has_next) == (True, False)


def test_it_knows_what_failed(course: Course) -> None:
    course.begin((A, B))
    finish(course, A, "failed")
    finish(course, B)
    assert course.failed == {A}
    finish(course, A)
    assert course.failed == frozenset()


def test_the_newest_reason_holds(course: Course) -> None:
    course.put_down([A], "first")
    assert course.plan_next({A: "second"}, "after") == (A,)
    assert course.plan_next({C: "third"}, "none") == (C,)
    assert course.take() == {A: "second"}


def test_what_depends_on_a_broken_file_is_put_off_and_holds_the_run(project: Project) -> None:
    made = Deciding(project({**FILES, "src/helper.py": "x = (\n"})).course
    assert made.put_down([A, B], "why") == [A]
    problems = [Problem(code="syntax", message="bad")]
    assert not made.must_hold(problems)
    made.begin((A, B))
    assert (made.must_hold(problems), made.must_hold([])) == (True, False)
    made.begin((A,))
    assert not made.must_hold(problems)
