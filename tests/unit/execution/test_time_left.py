"""The time left is that of the same plan with the times that its tools took before; unknown where one is unknown."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.execution.events import Running
from discover_orch.execution.step_queue import OneByOne, SideBySide
from discover_orch.execution.time_left import TimeLeft
from discover_orch.planning.parallel import Waits

SECONDS = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0}


def side_by_side(
    *waits: Waits, tokens: Mapping[str, Mapping[str, int]] | None = None
) -> SideBySide:
    return SideBySide("abcd"[: len(waits)], waits, tokens or {}, {"gpu": 1})


def left(
    queue: OneByOne | SideBySide,
    workers: int = 2,
    *running: Running,
    finished: str = "",
    seconds: Mapping[str, float] = SECONDS,
) -> float | None:
    return TimeLeft(queue, workers, seconds.get).estimate(running, finished, now=0.0)


def test_one_after_another_the_times_add_up() -> None:
    queue = OneByOne("abcd")
    assert left(queue, 1) == 100
    assert left(queue, 1, Running(module="b", seconds=5, expected=20), finished="a") == 85


def test_a_tool_that_takes_longer_than_before_takes_no_less_than_nothing() -> None:
    assert left(OneByOne("ab"), 1, Running(module="b", seconds=50, expected=20), finished="a") == 0


def test_side_by_side_the_longest_chain_of_one_worker_counts() -> None:
    free = Waits(0)
    assert left(side_by_side(free, free, free, free), workers=2) == 60, "a and c, b and d"
    assert left(side_by_side(free, free, free, free), workers=4) == 40
    assert left(side_by_side(free, Waits(0, (0,)), Waits(0, (1,))), workers=4) == 60, "a chain"
    assert left(side_by_side(free, free, Waits(2), Waits(2)), workers=4) == 60, "two stages"
    gpu = {name: {"gpu": 1} for name in "abcd"}
    assert left(side_by_side(free, free, free, tokens=gpu), workers=4) == 60, "one token"


def test_without_a_time_of_each_tool_that_is_left_there_is_none() -> None:
    seconds = {"b": 20.0}
    assert left(OneByOne("ab"), 1, seconds=seconds) is None
    assert left(OneByOne("ab"), 1, finished="a", seconds=seconds) == 20


def test_in_between_time_passes_and_a_long_plan_is_not_played_at_every_moment() -> None:
    time_left = TimeLeft(OneByOne("abcd"), 1, SECONDS.get)
    running = Running(module="a", seconds=0, expected=10)
    assert time_left.estimate([running], "", now=1.0) == 100
    assert time_left.estimate([running], "", now=1.002) == 100 - 0.002
    assert time_left.estimate([running], "", now=1.5) == 100, "played again"


@given(st.data(), st.integers(1, 4))
def test_more_workers_take_between_all_of_the_time_and_their_share(
    data: st.DataObject, workers: int
) -> None:
    waits = [
        Waits(0, tuple(data.draw(st.sets(st.integers(0, place - 1)) if place else st.just(set()))))
        for place in range(4)
    ]
    found = left(side_by_side(*waits), workers)
    assert found is not None
    assert 100 / workers <= found <= 100
