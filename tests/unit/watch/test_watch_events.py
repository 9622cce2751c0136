"""What a watch reports, in which order, and how often."""

from __future__ import annotations

from discover_orch.model.errors import Problem
from discover_orch.watch.watch_events import (
    CannotRun,
    Outbox,
)

PROBLEM = Problem(code="syntax", message="bad", path="src/a.py", line=3)
OTHER = Problem(code="syntax", message="worse")


def test_each_problem_is_reported_once_until_it_is_fixed() -> None:
    outbox = Outbox()
    outbox.add_problems([PROBLEM], ("a",))
    outbox.add_problems([PROBLEM, OTHER])
    outbox.add_problems([PROBLEM, OTHER])
    outbox.add_problems([])
    outbox.add_problems([PROBLEM])
    assert outbox.drain() == [
        CannotRun(problems=(PROBLEM,), waiting=("a",)),
        CannotRun(problems=(OTHER,)),
        CannotRun(problems=(PROBLEM,)),
    ]


def test_a_problem_that_comes_twice_at_once_is_reported_once() -> None:
    outbox = Outbox()
    outbox.add_problems([PROBLEM, PROBLEM])
    assert outbox.drain() == [CannotRun(problems=(PROBLEM,))]


def test_of_problems_at_one_place_the_first_is_reported() -> None:
    """The scan and the watch both find a broken tool, each in its own words."""
    outbox = Outbox()
    same = Problem(code="broken", message="cannot be read").at(PROBLEM.location)
    outbox.add_problems([PROBLEM, same, OTHER])
    outbox.add_problems([PROBLEM])
    assert outbox.drain() == [CannotRun(problems=(PROBLEM, OTHER))]
