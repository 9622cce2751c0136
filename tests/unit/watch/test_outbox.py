"""What is told, in which order, and how often."""

from __future__ import annotations

from discover_orch.model.errors import Location, Problem
from discover_orch.watch.outbox import GATHER, Outbox
from discover_orch.watch.watch_events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    WatchNote,
)

PROBLEM = Problem(code="syntax", message="bad", location=Location(path="src/a.py", line=3))
OTHER = Problem(code="syntax", message="worse")


def test_each_problem_is_told_once_until_it_is_mended() -> None:
    telling = Outbox()
    telling.problems([PROBLEM], ("a",))
    telling.problems([PROBLEM, OTHER])
    telling.problems([PROBLEM, OTHER])
    telling.problems([])
    telling.problems([PROBLEM])
    assert telling.take() == [
        CannotRun(problems=(PROBLEM,), waiting=("a",)),
        CannotRun(problems=(OTHER,)),
        CannotRun(problems=(PROBLEM,)),
    ]


def test_a_problem_that_comes_twice_at_once_is_told_once() -> None:
    telling = Outbox()
    telling.problems([PROBLEM, PROBLEM])
    assert telling.take() == [CannotRun(problems=(PROBLEM,))]


def test_of_problems_at_one_place_the_first_is_told() -> None:
    """The scan and the watch both find a broken tool, each in its own words."""
    telling = Outbox()
    same = Problem(code="broken", message="cannot be read", location=PROBLEM.location)
    telling.problems([PROBLEM, same, OTHER])
    telling.problems([PROBLEM])
    assert telling.take() == [CannotRun(problems=(PROBLEM, OTHER))]


def test_files_that_were_saved_are_told_together_when_it_is_calm() -> None:
    telling = Outbox()
    telling.saved(["a.py"], 10.0)
    telling.saved([], 11.0)
    telling.saved(["b.py", "a.py"], 10.0 + GATHER)
    telling.gather(10.0 + GATHER)
    assert (telling.take(), telling.is_gathering) == ([], True)
    telling.gather(10.1 + 2 * GATHER)
    assert telling.take() == [NoMeaningfulChange(paths=("a.py", "b.py"))]
    assert not telling.is_gathering


def test_what_was_saved_before_is_told_before() -> None:
    telling = Outbox()
    telling.saved(["a.py"], 10.0)
    telling.tell(ChangesFound(paths=("b.py",)))
    telling.answer("p", "paused")
    telling.remark(PROBLEM)
    assert bool(telling)
    assert telling.take() == [
        NoMeaningfulChange(paths=("a.py",)),
        ChangesFound(paths=("b.py",)),
        KeyAnswered(key="p", sentence="paused"),
        WatchNote(problem=PROBLEM),
    ]
    assert not telling
