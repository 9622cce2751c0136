"""What a watch runs next, and what a change means for the run in progress: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pytest

from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    ToolFinished,
    ToolStarted,
    ToolStatus,
    TransactionEnded,
)
from discover_orch.staleness.change import Change
from discover_orch.staleness.reasons import Freshness
from discover_orch.watch.events import Scope
from discover_orch.watch.project import WatchedProject
from discover_orch.watch.schedule import (
    MOST_RUNS,
    MOST_UNSEEN_RUNS,
    Affected,
    FeedbackLoops,
    Running,
    Schedule,
)
from tests.support.values import make_facts, make_registry

OUTPUTS = ("src/made.py", "src.a")

# Stage one: a and b, which is downstream of a; stage two: c, downstream of b; stage three: d, which is alone.


class StatusByHand:
    """Tools that a test has called stale or held; what is downstream follows from the registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.reasons: dict[str, str] = {}
        self.broken: set[str] = set()
        self.idle: set[str] = set()  # stale, but that starts nothing

    def freshness(self) -> Mapping[str, Freshness]:
        stale = self.spread(self.reasons)
        return {
            module: Freshness(
                module=module,
                reasons=(self.reasons[module],) if module in self.reasons else (),
                upstream=("upstream is stale",) if module in stale else (),
                starts_nothing=module in self.idle,
            )
            for module in self.registry.order
        }

    def spread(self, seeds: Iterable[str]) -> dict[str, str]:
        chosen = [*seeds]
        below = self.registry.downstream(chosen) if chosen else frozenset()
        return {
            module: self.reasons.get(module, "upstream is stale")
            for module in self.registry.order
            if module in below
        }

    def is_held(self, module: str) -> bool:
        return module in self.broken


class Scheduled:
    """A schedule of all four tools, and what it asks of the project that is watched."""

    def __init__(self, scope: Scope = "affected", *, queues: bool = False) -> None:
        self.registry = make_registry(
            make_facts("src.a", "one", orch={"outputs": ["a.txt"], "inputs": ["in"]}),
            make_facts("src.b", "one", orch={"inputs": ["a.txt"], "outputs": ["b.txt"]}),
            make_facts("src.c", "two", orch={"inputs": ["b.txt"], "outputs": ["c.txt"]}),
            make_facts("src.d", "three", orch={"inputs": ["other"], "outputs": ["d.txt"]}),
            stages=["one", "two", "three"],
        )
        self.status = StatusByHand(self.registry)
        self.targets: tuple[str, ...] = self.registry.order
        self.problems: tuple[str, ...] = ()
        self.failing: tuple[str, ...] = ()
        self.schedule = Schedule(cast(WatchedProject, self), scope, queues=queues)

    def is_output(self, path: str) -> bool:
        return path in OUTPUTS

    def touch(self, names: str, **more: Any) -> Affected:
        """These tools are stale because of a change from outside."""
        touched = {f"src.{name}": f"{name} changed" for name in names.split()}
        self.status.reasons |= touched
        change = Change(
            touched=touched,
            causes={module: (f"code:{module}",) for module in touched},
            **more,
        )
        return self.schedule.affected(change)

    def left(self, found: Affected) -> str:
        return short(self.schedule.find_left(found.runs)[0])

    def decide(self, names: str, **more: Any) -> str:
        return self.schedule.decide(self.touch(names, **more))

    def begin(self, finished: str = "", current: str = "", waiting: str = "") -> None:
        """A run of these tools is so far."""
        names = [*finished.split(), *current.split(), *waiting.split()]
        self.schedule.enqueue([f"src.{name}" for name in names], "requested", requested=True)
        self.schedule.start()
        self.schedule.begin(tuple(f"src.{name}" for name in names))
        for name in finished.split():
            self.finish(name)
        if current:
            self.schedule.follow(ToolStarted(module=f"src.{current}"))

    def finish(self, name: str, status: ToolStatus = "passed") -> None:
        self.follow(ToolStarted(module=f"src.{name}"))
        self.follow(ToolFinished(module=f"src.{name}", status=status))
        if status == "passed":
            self.status.reasons.pop(f"src.{name}", None)

    def follow(self, event: Event) -> None:
        self.schedule.follow(event)

    def start(self) -> str:
        return short(self.schedule.start())

    def must_run(self) -> bool:
        return self.schedule.must_run()


def short(modules: Iterable[str]) -> str:
    return " ".join(module.removeprefix("src.") for module in modules)


# Scopes and targets.


@pytest.mark.parametrize(
    ("scope", "touched", "runs", "left", "fresh", "stages"),
    [
        ("affected", "a", "a b c", "", "", "one two"),
        ("affected", "b", "b c", "", "a", "one two"),
        ("affected", "d", "d", "", "", "three"),
        ("affected", "", "", "", "", ""),
        ("stage", "b", "a b c", "", "a", "one two"),
        ("stage", "c", "c", "", "", "two"),
        ("tool", "a", "a", "b c", "", "one"),
        ("tool", "a c", "a c", "b", "", "one two"),
    ],
)
def test_the_scope_says_how_much_of_what_is_stale_runs(
    scope: Scope, touched: str, runs: str, left: str, fresh: str, stages: str
) -> None:
    made = Scheduled(scope)
    found = made.touch(touched)
    is_fresh = {module: one.is_fresh for module, one in made.status.freshness().items()}
    assert short(found.runs) == runs
    assert made.left(found) == left
    assert (
        short(module for module in made.targets if module in found.inside and is_fresh[module])
        == fresh
    )
    assert found.stages == tuple(stages.split())


def test_what_was_stale_before_runs_with_its_stage_and_is_named_elsewhere() -> None:
    made = Scheduled()
    made.status.reasons = {"src.d": "failed"}
    assert made.left(made.touch("c")) == "d"
    made.status.reasons |= {"src.a": "failed"}
    assert short(made.touch("b").runs) == "a b c"


def test_what_is_always_stale_runs_only_where_the_change_reaches_it() -> None:
    made = Scheduled()
    made.status.reasons, made.status.idle = {"src.a": '"always" is set'}, {"src.a"}
    assert (short(made.touch("b").runs), made.left(made.touch("b"))) == ("b c", "a")
    assert short(made.touch("a").runs) == "a b c"


@pytest.mark.parametrize("scope", ["affected", "stage", "tool"])
def test_targets_limit_and_a_change_outside_them_runs_nothing(scope: Scope) -> None:
    made = Scheduled(scope)
    made.targets = ("src.b", "src.d")
    found = made.touch("a")
    assert (found.hit, found.runs, made.left(found)) == ({}, (), "b")
    assert short(made.touch("b").runs) == "b"


# What a change means for the run in progress.


@pytest.mark.parametrize(
    ("touched", "more", "action"),
    [
        ("", {}, "none"),
        ("c", {}, "none"),
        ("c", {"is_structural": True}, "hold"),
        ("", {"is_structural": True}, "none"),
        ("d", {}, "after"),
        ("c d", {}, "after"),
        ("b", {}, "restart"),
        ("a", {}, "restart"),
        ("a d", {"is_structural": True}, "restart"),
    ],
)
def test_only_a_change_that_makes_begun_work_stale_stops_the_run(
    touched: str, more: dict[str, Any], action: str
) -> None:
    made = Scheduled()
    made.begin(finished="a", current="b", waiting="c")
    assert made.decide(touched, **more) == action


@pytest.mark.parametrize("touched", ["", "c", "d"])
def test_a_running_tool_that_was_deleted_is_cancelled(touched: str) -> None:
    made = Scheduled()
    made.begin(current="gone", waiting="c")
    assert made.decide(touched, is_structural=True) == "restart"
    patient = Scheduled(queues=True)
    patient.begin(current="gone", waiting="c")
    assert patient.decide(touched, is_structural=True) == "after"


def test_a_change_upstream_of_what_has_begun_stops_it_unless_the_scope_is_tool() -> None:
    actions: dict[Scope, str] = {"affected": "restart", "stage": "restart", "tool": "after"}
    for scope, action in actions.items():
        made = Scheduled(scope)
        made.begin(finished="", current="b", waiting="c")
        assert made.decide("a") == action


def test_without_a_run_a_change_runs() -> None:
    assert Scheduled().decide("a") == "run"


def test_a_run_may_be_finished_first() -> None:
    made = Scheduled(queues=True)
    made.begin(finished="a", current="b", waiting="c")
    assert made.decide("b") == "after"


def test_a_tool_in_the_debugger_is_not_cancelled() -> None:
    made = Scheduled()
    made.begin(finished="a", current="b", waiting="c")
    made.follow(DebuggerOpened(module="src.b"))
    assert made.decide("b") == "hold"


def test_a_run_that_is_about_to_end_is_not_cancelled() -> None:
    made = Scheduled()
    made.begin(finished="a b")
    assert made.decide("a") == "after"


# What runs next.


def test_what_became_fresh_meanwhile_does_not_run_unless_it_was_asked_for() -> None:
    made = Scheduled()
    made.schedule.enqueue_affected(made.touch("c"))
    made.schedule.enqueue(["src.d"], "requested", requested=True)
    made.status.reasons.clear()
    assert made.start() == "d"
    assert not made.must_run()


def test_a_tool_that_is_gone_is_dropped() -> None:
    made = Scheduled()
    made.schedule.enqueue(["src.gone"], "requested", requested=True)
    assert made.start() == ""


def test_the_newest_reason_of_a_change_counts_and_says_what_it_was() -> None:
    made = Scheduled()
    made.schedule.enqueue(["src.b"], "requested", requested=True)
    made.schedule.enqueue_affected(made.touch("b"))
    reasons = made.schedule.start()
    assert reasons == {"src.b": "b changed", "src.c": "upstream is stale"}
    assert made.schedule.causes == ["b changed"]
    made = Scheduled("stage")
    made.schedule.enqueue_affected(made.touch("b"))
    assert made.schedule.queue["src.a"].why == "its stage is affected"
    assert made.start() == "a b c"


def test_the_unfinished_tools_of_a_run_that_made_way_run_again() -> None:
    made = Scheduled()
    made.begin(finished="a", current="b", waiting="c")
    made.schedule.restarts = True
    made.finish("b", "cancelled")
    made.schedule.end("cancelled")
    reasons = made.schedule.start()
    assert reasons == dict.fromkeys(("src.b", "src.c"), "its run was cancelled")


def test_a_run_that_the_user_cancelled_is_not_repeated() -> None:
    made = Scheduled()
    made.begin(finished="a", current="b", waiting="c")
    made.schedule.end("cancelled")
    assert not made.must_run()


def test_a_run_that_was_interrupted_ends_all() -> None:
    made = Scheduled()
    made.begin(current="a")
    made.schedule.end("interrupted")
    assert made.schedule.is_over
    assert not made.schedule.queue


def test_in_a_pause_only_what_a_key_asks_for_runs() -> None:
    made = Scheduled()
    made.schedule.is_paused = True
    made.schedule.enqueue(["src.a"], "requested", requested=True)
    assert not made.must_run()
    made.schedule.request_run()
    assert made.must_run()
    made.start()
    made.schedule.enqueue(["src.a"], "requested", requested=True)
    assert not made.must_run()


# What waits for a fix.


def test_a_tool_that_imports_a_broken_file_and_what_is_downstream_wait_for_the_fix() -> None:
    made = Scheduled()
    made.status.broken = {"src.b"}
    made.schedule.enqueue_affected(made.touch("a"))
    assert made.start() == "a"
    assert short(made.schedule.queue) == "b c"
    assert not made.must_run()
    made.status.broken.clear()
    assert made.must_run()
    assert made.start() == "b c"


def test_what_was_changed_itself_does_not_wait_for_what_is_upstream() -> None:
    made = Scheduled()
    made.status.broken = {"src.b"}
    made.schedule.enqueue_affected(made.touch("a c"))
    assert made.start() == "a c"


def test_nothing_runs_while_the_configuration_cannot_be_read() -> None:
    made = Scheduled()
    made.problems = ("broken",)
    made.schedule.enqueue(["src.a"], "requested", requested=True)
    assert not made.must_run()


def test_a_waiting_tool_that_breaks_holds_the_run() -> None:
    made = Scheduled()
    made.begin(finished="a", current="b", waiting="c")
    made.status.broken = {"src.b"}
    assert not made.schedule.must_hold()
    made.status.broken = {"src.c"}
    assert made.schedule.must_hold()


# Files that start one run after another.

MADE, SAVED = "code:src/made.py", "code:src/saved.py"


def make_loops() -> FeedbackLoops:
    return FeedbackLoops(lambda path: path in OUTPUTS)


def loop(loops: FeedbackLoops, key: str, *, times: int) -> list[tuple[str, int]]:
    """The run before this change had changed the file, and so on."""
    reported = []
    for _ in range(times):
        loops.note_end([key])
        reported += loops.count([key], [key], is_running=False)
    return reported


def test_a_file_that_tools_write_is_muted_after_a_few_runs_and_reported_once() -> None:
    loops = make_loops()
    assert loop(loops, MADE, times=MOST_RUNS) == []
    assert not loops.is_muted([MADE])
    assert loop(loops, MADE, times=3) == [(MADE, MOST_RUNS)]
    assert loops.is_muted([MADE])
    assert not loops.is_muted([])
    assert not loops.is_muted([MADE, "code:src/a.py"])


def test_a_muted_file_starts_nothing() -> None:
    made = Scheduled()
    loop(made.schedule.loops, "code:src.a", times=MOST_RUNS + 1)
    assert short(made.touch("a d").runs) == "d"


def test_data_that_no_tool_was_seen_to_write_is_muted_too() -> None:
    loops = make_loops()
    loop(loops, "file:x.parquet", times=MOST_RUNS + 1)
    assert loops.is_muted(["file:x.parquet"])


def test_a_module_that_no_tool_was_seen_to_write_is_reported_and_no_longer_cancels() -> None:
    loops = make_loops()
    reported = []
    for _ in range(MOST_UNSEEN_RUNS + 5):
        reported += loops.count([SAVED], [SAVED], is_running=True)
    assert reported == [(SAVED, MOST_UNSEEN_RUNS)]
    assert not loops.is_muted([SAVED])
    assert loops.must_not_cancel([SAVED])
    assert not loops.must_not_cancel([SAVED, "code:src/a.py"])
    assert not loops.must_not_cancel([])


def test_a_save_between_two_runs_starts_the_count_again_and_makes_it_count() -> None:
    loops = make_loops()
    loop(loops, MADE, times=MOST_RUNS + 1)
    assert loops.is_muted([MADE])
    loops.count([], [MADE], is_running=False)
    assert not loops.is_muted([MADE])
    assert loop(loops, MADE, times=MOST_RUNS) == []


def test_a_run_that_sets_off_no_other_starts_the_count_again() -> None:
    loops = make_loops()
    for _ in range(10 * MOST_RUNS):
        loop(loops, MADE, times=1)
        loops.note_quiet()
    assert loops.muted == set()


def test_tools_of_a_run_that_is_one_transaction_have_finished_only_when_it_is_committed() -> None:
    def run_to(*events: Event) -> Running:
        run = Running(("a", "b"))
        for event in events:
            run.add(event)
        return run

    done: list[Event] = [ToolStarted(module="a"), ToolFinished(module="a", status="done")]
    run = run_to(*done)
    assert (run.waiting, run.begun, run.passed) == (("b",), frozenset("a"), frozenset())
    cut: list[Event] = [
        *done,
        ToolStarted(module="b"),
        ToolFinished(module="b", status="interrupted"),
    ]
    undone = run_to(*cut, TransactionEnded(status="rolled_back"))
    assert (undone.waiting, undone.begun, undone.passed) == (("a",), frozenset("b"), frozenset())
    committed = run_to(*cut, TransactionEnded(status="passed"))
    assert (committed.waiting, committed.passed) == ((), frozenset("a"))
