"""A run as a dialogue with an executor that is played, an interrupting user, and a clock that is told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.execution.executors import Executor
from discover_orch.execution.run_events import Event, Running, RunStarted, Ticked
from discover_orch.execution.run_state import Run
from discover_orch.execution.runner import TICK, RunHooks, run_steps
from discover_orch.model.errors import Failure
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool_events import (
    DebuggerOpened,
    RunFinished,
    RunNote,
    ToolFinished,
    ToolOrdered,
    ToolStarted,
    ToolStatus,
)
from discover_orch.planning.plan import Plan, Step
from tests.support.values import make_facts, make_plan, make_registry

CRASH = Failure(kind="crash", type="SIGKILL", message="was killed")
BEATS = 200  # a run that asks more often than this will never end


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class PlayedExecutor:
    """One worker. Each `events` is a beat: a tool begins, is silent for a while, or ends."""

    def __init__(
        self,
        clock: Clock,
        *,
        ends: Mapping[str, ToolStatus] | None = None,
        silent: Mapping[str, int] | None = None,
        says: Mapping[str, Sequence[Event]] | None = None,
        crashes: str = "",
        starting: int = 0,
        closing: int = 0,
        notices: Sequence[RunNote] = (),
    ) -> None:
        """`silent` beats of each tool, and what it `says` before them; beats before the first and after
        the last."""
        self.log: list[str] = []
        self.is_over = False
        self.beats = 0
        self._clock = clock
        self._ends, self._silent, self._says = (
            dict(ends or {}),
            dict(silent or {}),
            dict(says or {}),
        )
        self._crashes, self._starting = crashes, starting
        self._closing, self._notices = closing, notices
        self._waiting: list[str] = []
        self._running: str | None = None
        self._is_interrupted = self._is_closing = False

    @property
    def is_idle(self) -> bool:
        return self._running is None and not self._waiting

    @property
    def has_room(self) -> bool:
        return True

    def submit(self, step: Step) -> None:
        assert not self._is_closing
        self.log.append(f"submit {step.tool.module}")
        self._waiting.append(step.tool.module)

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        assert wake == Interruptions.wake
        self.beats += 1
        assert self.beats < BEATS, self.log
        if self._starting:
            self._starting -= 1
            self._clock.now += timeout
        elif self._running is not None:
            yield from self._go_on(self._running, timeout)
        elif self._waiting:
            self._running = self._waiting.pop(0)
            self.log.append(f"begin {self._running}")
            yield ToolStarted(module=self._running)
            yield from self._says.get(self._running, ())
        elif self._closing:
            self._closing -= 1
            self._clock.now += timeout
        elif self._is_closing:
            self.is_over = True
            yield from self._notices

    def _go_on(self, module: str, timeout: float) -> Iterator[Event]:
        if self._silent.get(module, 0) > 0:
            self._silent[module] -= 1
            self._clock.now += timeout
            return
        self._running = None
        status = "interrupted" if self._is_interrupted else self._ends.get(module, "passed")
        error = CRASH if module == self._crashes else None
        yield ToolFinished(
            module=module, status=status, duration=0.25 * (error is None), error=error
        )

    def control(self, word: str) -> None:
        self.log.append(word)
        if word in ("interrupt", "kill"):
            self._is_interrupted = True
            self._waiting.clear()
        if word == "kill":
            self._silent.clear()

    def finish(self, *, commits: bool = False, records: tuple[SuccessRecord, ...] = ()) -> bool:
        assert not self._is_closing
        self.log.append("finish")
        self._is_closing = True
        return True


class Interruptions:
    """What the user wishes at which beat."""

    wake = 7
    poll_interval = math.inf

    def __init__(
        self,
        executor: PlayedExecutor,
        clock: Clock,
        wishes: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self.signal = 0
        self._executor, self._clock = executor, clock
        self._wishes = dict(wishes or {})

    def drain(self) -> list[str]:
        wishes = list(self._wishes.pop(self._executor.beats, ()))
        if "interrupt" in wishes:
            self.signal = 2
        return wishes

    def pause(self) -> None:
        self._executor.log.append("pause")
        self._clock.now += 3600


class Played:
    """A whole run of tools a, b, c (b after a): its events, and what the executor was told."""

    def __init__(
        self,
        *targets: str,
        wishes: Mapping[int, Sequence[str]] | None = None,
        is_early: bool = False,
        **plays: object,
    ) -> None:
        registry = make_registry(make_facts("a"), make_facts("b", after="a"), make_facts("c"))
        clock = Clock()
        self.executor = PlayedExecutor(clock, **plays)  # type: ignore[arg-type]
        self.all_events = list(
            run_steps(
                Run(
                    make_plan(registry, *(targets or ("a", "b", "c"))),
                    registry,
                    has_known_flow=lambda _: True,
                ),
                cast(Executor, self.executor),
                Interruptions(self.executor, clock, wishes),
                RunHooks(prepare=(lambda step: None) if is_early else None),
                run_id="41",
                clock=clock,
            )
        )
        self.events = [one for one in self.all_events if not isinstance(one, ToolOrdered)]
        self.log = self.executor.log

    @property
    def told(self) -> list[str]:
        """The events in short."""
        return [_short(event) for event in self.events]

    @property
    def ends(self) -> dict[str, str]:
        return {one.module: one.status for one in self.events if isinstance(one, ToolFinished)}

    @property
    def last(self) -> RunFinished:
        event = self.events[-1]
        assert isinstance(event, RunFinished)
        return event


def _short(event: Event) -> str:
    match event:
        case RunStarted():
            return "start"
        case ToolStarted(module=module):
            return f"{module} begins"
        case ToolFinished(module=module, status=status):
            return f"{module} {status}"
        case Ticked(running=(Running(module=ticking, seconds=seconds),), is_ending=is_ending):
            return f"tick {ticking} {seconds:g}{' ending' * is_ending}"
        case Ticked(closing=seconds):
            return f"tick closing {seconds:g}"
        case RunFinished(status=status):
            return f"run {status}"
        case _:
            return type(event).__name__


def test_tools_run_in_the_order_of_the_plan() -> None:
    run = Played("c", "a", "b")
    assert run.told == [
        *("start", "c begins", "c passed", "a begins", "a passed", "b begins", "b passed"),
        "run passed",
    ]


@pytest.mark.parametrize("is_early", [False, True])
def test_a_step_may_be_submitted_before_the_end_of_the_one_before_it_is_seen(
    is_early: bool,
) -> None:
    run = Played("a", "c", is_early=is_early)
    assert run.log == ["submit a", "begin a", "submit c", "begin c", "finish"]
    told = [_short(one) for one in run.all_events]
    between = ["a passed", "ToolOrdered"]
    assert told[3:5] == (between[::-1] if is_early else between)


@pytest.mark.parametrize("is_early", [False, True])
def test_a_step_that_a_failure_blocks_is_not_submitted(is_early: bool) -> None:
    run = Played(ends={"a": "failed"}, is_early=is_early)
    assert run.told == [
        *("start", "a begins", "a failed", "b blocked", "c begins", "c passed", "run failed"),
    ]
    assert run.log == ["submit a", "begin a", "submit c", "begin c", "finish"]


def test_a_tool_that_passes_in_spite_of_the_interrupt_has_passed() -> None:
    run = Played("a", wishes={2: ["interrupt"]}, ends={"a": "passed"})
    assert run.ends == {"a": "passed"}
    assert run.last.status == "interrupted"


def test_an_interrupt_while_all_is_closed_is_passed_on() -> None:
    run = Played("a", wishes={3: ["interrupt"]}, closing=3)
    assert run.log == ["submit a", "begin a", "finish", "interrupt"]
    assert (run.ends, run.last.status) == ({"a": "passed"}, "interrupted")


def test_a_run_that_is_held_lets_its_tool_finish_and_begins_no_other() -> None:
    run = Played(wishes={2: ["hold"]}, silent={"a": 2})
    assert run.ends == {"a": "passed", "b": "not_run", "c": "not_run"}
    assert "interrupt" not in run.log
    assert run.last.status == "cancelled"


def test_a_cancel_that_comes_when_all_has_passed_changes_nothing() -> None:
    run = Played("a", wishes={3: ["cancel"]}, closing=3)
    assert (run.ends, run.last.status) == ({"a": "passed"}, "passed")


def test_a_wake_request_becomes_an_event() -> None:
    assert "Resumed" in Played("a", wishes={2: ["wake"]}, silent={"a": 1}).told


# Time.


def test_each_tool_has_its_own_time_and_so_has_the_closing() -> None:
    run = Played("a", "c", silent={"a": 1, "c": 1}, closing=2)
    ticks = [one for one in run.told if one.startswith("tick")]
    assert list(dict.fromkeys(ticks)) == [
        f"tick a {TICK:g}",
        f"tick c {TICK:g}",
        f"tick closing {TICK:g}",
        f"tick closing {2 * TICK:g}",
    ]
    assert run.last.duration == 4 * TICK


def test_nothing_ticks_on_the_terminal_while_one_debugs() -> None:
    run = Played("a", silent={"a": 3}, says={"a": [DebuggerOpened(module="a")]})
    assert run.told == ["start", "a begins", "DebuggerOpened", "a passed", "run passed"]


def test_a_pause_is_announced_first_and_does_not_count() -> None:
    run = Played("a", wishes={2: ["suspend"]}, silent={"a": 2})
    assert run.log == ["submit a", "begin a", "suspend", "pause", "resume", "finish"]
    assert run.told == [
        *("start", "a begins", "Suspended", f"tick a {2 * TICK:g}", "a passed", "run passed"),
    ]
    assert run.last.duration == 2 * TICK


def durations(run: Played) -> dict[str, float]:
    return {one.module: one.duration for one in run.events if isinstance(one, ToolFinished)}


def test_a_pause_is_taken_off_the_time_of_the_tool_that_it_fell_in() -> None:
    # the worker measured 0.25 s for each; the hour's pause is more than that
    run = Played("a", "c", wishes={2: ["suspend"]}, silent={"a": 1})
    assert durations(run) == {"a": 0.0, "c": 0.25}


# Whatever happens.

statuses: st.SearchStrategy[ToolStatus] = st.sampled_from(["passed", "failed", "interrupted"])
tools = st.sampled_from("abc")


@given(
    st.integers(0, 1),
    st.dictionaries(tools, statuses),
    st.dictionaries(tools, st.integers(0, 3)),
    st.dictionaries(
        st.integers(1, 12), st.lists(st.sampled_from(["interrupt", "kill", "suspend"]), max_size=3)
    ),
    st.integers(0, 2),
)
def test_every_tool_ends_once_and_all_is_closed_once(
    starting: int,
    ends: Mapping[str, ToolStatus],
    silent: Mapping[str, int],
    wishes: Mapping[int, Sequence[str]],
    closing: int,
) -> None:
    run = Played(ends=ends, silent=silent, wishes=wishes, starting=starting, closing=closing)
    finished = [event.module for event in run.events if isinstance(event, ToolFinished)]
    assert sorted(finished) == ["a", "b", "c"]
    started = [event.module for event in run.events if isinstance(event, ToolStarted)]
    ran = [one for one in finished if run.ends[one] != "blocked"]
    assert started == ran[: len(started)]
    assert (run.told[0], run.log.count("finish")) == ("start", 1)
    assert run.executor.is_over
    assert run.last.duration <= BEATS * TICK


def test_an_empty_plan_is_over_at_once() -> None:
    registry = make_registry()
    clock = Clock()
    executor = PlayedExecutor(clock)
    events = run_steps(
        Run(Plan(), registry, has_known_flow=lambda _: True),
        cast(Executor, executor),
        Interruptions(executor, clock),
        run_id="1",
        clock=clock,
    )
    assert [_short(event) for event in events] == ["start", "run passed"]


def test_an_order_is_announced_before_it_is_submitted() -> None:
    """Whoever keeps a journal then knows of each tool that may have begun, though nobody hears of it any more."""
    registry = make_registry(make_facts("a"))
    clock = Clock()
    executor = PlayedExecutor(clock)
    events = run_steps(
        Run(make_plan(registry), registry, has_known_flow=lambda _: True),
        cast(Executor, executor),
        Interruptions(executor, clock),
        run_id="1",
        clock=clock,
    )
    assert isinstance(next(events), RunStarted)
    assert (next(events), executor.log) == (ToolOrdered(module="a"), [])
    ordered = [one.module for one in Played().all_events if isinstance(one, ToolOrdered)]
    assert ordered == ["a", "b", "c"]
