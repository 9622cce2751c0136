"""The ladder as a function of time."""

from __future__ import annotations

import signal

from discover_orch.execution.stop_signals import LADDER, NUDGES, StopSignals, next_rung, rung


def test_the_ladder_is_int_two_seconds_term_one_second_kill() -> None:
    assert [number for _, number in LADDER] == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    assert [rung(at) for at in (0, 1.9, 2, 2.9, 3, 99)] == [1, 1, 2, 2, 3, 3]
    assert next_rung(0) == 2
    assert next_rung(2) == 1
    assert next_rung(3) is None


def test_nothing_is_due_before_the_interrupt() -> None:
    ladder = StopSignals()
    assert (ladder.has_begun, ladder.due(10.0)) == (False, None)
    assert (ladder.take_nudge(10.0), ladder.take_rungs(10.0)) == (False, ())


def test_each_rung_is_taken_once_and_none_is_left_out() -> None:
    ladder = StopSignals()
    ladder.begin(10.0)
    assert ladder.has_begun
    assert ladder.take_rungs(10.0) == ((0.0, signal.SIGINT),)
    assert ladder.take_rungs(11.9) == ()
    assert ladder.take_rungs(20.0) == ((2.0, signal.SIGTERM), (3.0, signal.SIGKILL))
    assert ladder.take_rungs(30.0) == ()


def test_nudges_come_between_the_rungs_one_at_a_time() -> None:
    ladder = StopSignals()
    ladder.begin(0.0)
    ladder.take_rungs(0.0)
    taken = []
    due = ladder.due(0.0)
    while due is not None and due < 3.0:
        if ladder.take_nudge(due):
            taken.append(due)
        ladder.take_rungs(due)
        due = ladder.due(due)
    assert tuple(taken) == NUDGES
    assert not ladder.take_nudge(99.0)
    assert ladder.due(99.0) is None
