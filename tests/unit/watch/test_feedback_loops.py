"""Files that set off one run after another."""

from __future__ import annotations

from discover_orch.watch.feedback_loops import MOST, MOST_UNSEEN, FeedbackLoops


def test_a_file_that_tools_write_is_let_be_after_a_few_runs_and_told_of_once() -> None:
    loops = FeedbackLoops()
    loops.note_written(["made.py"])
    told = [loops.blame(["made.py"]) for _ in range(MOST + 3)]
    assert told == [[]] * MOST + [[("made.py", MOST)]] + [[]] * 2
    assert loops.muted == {"made.py"}


def test_data_that_nobody_was_seen_to_write_is_let_be_too() -> None:
    loops = FeedbackLoops()
    for _ in range(MOST + 1):
        loops.blame(["x.parquet"], data=["x.parquet"])
    assert loops.muted == {"x.parquet"}


def test_a_module_that_nobody_was_seen_to_write_is_never_let_be_but_told_of_and_cancels_no_more() -> (
    None
):
    loops = FeedbackLoops()
    told = []
    for _ in range(MOST_UNSEEN + 5):
        told += loops.blame(["a.py"])
    assert told == [("a.py", MOST_UNSEEN)]
    assert loops.muted == set()
    assert loops.is_tiresome(["a.py"])
    assert not loops.is_tiresome(["a.py", "b.py"])
    assert not loops.is_tiresome([])


def test_a_save_between_two_runs_starts_the_count_again_and_makes_it_count() -> None:
    loops = FeedbackLoops()
    loops.note_written(["made.py"])
    for _ in range(MOST + 1):
        loops.blame(["made.py"])
    loops.note_saved(["made.py"])
    assert loops.muted == set()
    assert loops.blame(["made.py"]) == []


def test_a_run_that_sets_off_no_other_starts_the_count_again() -> None:
    loops = FeedbackLoops()
    loops.note_written(["made.py"])
    for _ in range(10 * MOST):
        loops.blame(["made.py"])
        loops.note_end()
    assert loops.muted == set()
