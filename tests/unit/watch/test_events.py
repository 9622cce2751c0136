"""What a watch reports, in which order, and how often."""

from __future__ import annotations

from discover_orch.model.errors import Location, Problem
from discover_orch.watch.events import (
    SAVED_PAUSE,
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    Outbox,
    WatchNote,
)

PROBLEM = Problem(code="syntax", message="bad", location=Location(path="src/a.py", line=3))
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
    same = Problem(code="broken", message="cannot be read", location=PROBLEM.location)
    outbox.add_problems([PROBLEM, same, OTHER])
    outbox.add_problems([PROBLEM])
    assert outbox.drain() == [CannotRun(problems=(PROBLEM, OTHER))]


def test_files_that_were_saved_are_reported_together_after_a_pause() -> None:
    outbox = Outbox()
    outbox.add_saved(["a.py"], 10.0)
    outbox.add_saved([], 11.0)
    outbox.add_saved(["b.py", "a.py"], 10.0 + SAVED_PAUSE)
    outbox.report_saved(10.0 + SAVED_PAUSE)
    assert (outbox.drain(), outbox.has_saved) == ([], True)
    outbox.report_saved(10.1 + 2 * SAVED_PAUSE)
    assert outbox.drain() == [NoMeaningfulChange(paths=("a.py", "b.py"))]
    assert not outbox.has_saved


def test_what_was_saved_before_is_reported_before() -> None:
    outbox = Outbox()
    outbox.add_saved(["a.py"], 10.0)
    outbox.add(ChangesFound(paths=("b.py",)))
    outbox.add(KeyAnswered(key="p", sentence="paused"))
    outbox.add_note(PROBLEM)
    assert bool(outbox)
    assert outbox.drain() == [
        NoMeaningfulChange(paths=("a.py",)),
        ChangesFound(paths=("b.py",)),
        KeyAnswered(key="p", sentence="paused"),
        WatchNote(problem=PROBLEM),
    ]
    assert not outbox
