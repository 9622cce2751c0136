"""When a burst of events is over. Time is an argument; nothing waits."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.watch.debounce import (
    CANCELLED_WINDOW,
    CAP,
    COMPLETE,
    GIT_CHECK,
    INCOMPLETE,
    MANY_FILES,
    MANY_FILES_WINDOW,
    MISSING,
    UNFINISHED,
    Batch,
    Debouncer,
    EventKind,
    FileCheck,
    FileEvent,
)


def make_event(
    kind: EventKind, path: str = "src/a.py", at: float = 0.0, *, is_folder: bool = False
) -> FileEvent:
    return FileEvent(kind=kind, path=path, at=at, is_folder=is_folder)


def due(debouncer: Debouncer, now: float = 0.0) -> float:
    left = debouncer.due(now)
    assert left is not None
    return left


@pytest.mark.parametrize(
    ("kind", "look", "window"),
    [
        ("written", "complete", COMPLETE),
        ("moved", "complete", COMPLETE),
        ("written", "incomplete", INCOMPLETE),
        ("moved", "incomplete", INCOMPLETE),
        ("written", "missing", MISSING),
        ("deleted", None, MISSING),
        ("deleted", "missing", MISSING),
        ("deleted", "complete", UNFINISHED),
        ("created", None, UNFINISHED),
        ("created", "complete", UNFINISHED),
        ("created", "incomplete", INCOMPLETE),
        ("changed", "complete", UNFINISHED),
    ],
)
def test_the_quiet_window_follows_from_what_happened_and_what_is_there(
    kind: EventKind, look: FileCheck | None, window: float
) -> None:
    debouncer = Debouncer()
    debouncer.add(make_event(kind), look)
    assert due(debouncer) == pytest.approx(window)
    assert due(debouncer, window) == 0.0


@pytest.mark.parametrize("kind", ["written", "moved", "created", "changed"])
def test_where_the_end_of_a_write_is_not_announced_each_file_has_a_longer_window(
    kind: EventKind,
) -> None:
    debouncer = Debouncer(announces_end=False)
    debouncer.add(make_event(kind), "complete")
    assert due(debouncer) == pytest.approx(UNFINISHED)


def test_a_save_by_rename_is_due_at_once_though_its_temporary_file_is_gone() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("created", "src/tmp.py"), "incomplete")
    debouncer.add(make_event("written", "src/tmp.py", 0.001), "missing")
    debouncer.add(make_event("deleted", "src/tmp.py", 0.001), "missing")
    debouncer.add(make_event("moved", at=0.001), "complete")
    assert due(debouncer, 0.001) == pytest.approx(COMPLETE)


def test_a_file_that_comes_back_is_waited_for_no_longer() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("deleted"), "missing")
    debouncer.add(make_event("created", at=0.05), "incomplete")
    debouncer.add(make_event("written", at=0.06), "complete")
    assert due(debouncer, 0.06) == pytest.approx(COMPLETE)


def test_a_truncated_module_waits_for_its_content() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written"), "incomplete")
    assert due(debouncer, 0.149) > 0.0
    debouncer.add(make_event("written", at=0.149), "complete")
    assert due(debouncer, 0.149 + COMPLETE) == 0.0


def test_one_incomplete_file_holds_the_whole_batch() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written", "src/a.py"), "incomplete")
    debouncer.add(make_event("written", "src/b.py"), "complete")
    assert due(debouncer) == pytest.approx(INCOMPLETE)


def test_many_files_have_a_longer_window() -> None:
    debouncer = Debouncer()
    for number in range(MANY_FILES - 1):
        debouncer.add(make_event("written", f"src/{number}.py"), "complete")
    assert due(debouncer) == pytest.approx(COMPLETE)
    debouncer.add(make_event("written", "src/last.py", 0.001), "complete")
    assert due(debouncer, 0.001) == pytest.approx(MANY_FILES_WINDOW)


@pytest.mark.parametrize("files", [1, MANY_FILES])
def test_constant_writes_do_not_put_a_run_off_for_ever(files: int) -> None:
    debouncer = Debouncer()
    for number in range(files):  # all at once, so that the storm is one from the beginning
        debouncer.add(make_event("written", f"src/{number}.py"), "incomplete")
    at = 0.0
    while due(debouncer, at) > 0.0:
        at += 0.005
        debouncer.add(make_event("written", f"src/{round(at * 200) % files}.py", at), "incomplete")
    assert at == pytest.approx(CAP, abs=0.006)


def test_an_event_that_arrives_late_counts_from_its_own_time() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written", at=1.0), "incomplete")
    assert due(debouncer, 30.0) == 0.0


def test_lost_events_and_folders_ask_for_a_rescan() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("lost", "", 1.0))
    assert due(debouncer, 1.0) == pytest.approx(MANY_FILES_WINDOW)
    assert debouncer.drain() == Batch(paths=(), is_rescan=True)
    for kind in ("created", "moved", "deleted"):
        debouncer.add(make_event(kind, "src/sub", 3.0, is_folder=True))
        assert debouncer.drain().is_rescan, kind
    debouncer.add(make_event("deleted", "src/a.py", 5.0))
    assert not debouncer.drain().is_rescan


def test_while_git_is_busy_only_the_next_check_of_its_lock_is_due() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written"), "complete")
    debouncer.note_git(is_busy=True)
    assert due(debouncer) == GIT_CHECK
    assert due(debouncer, 0.3) == GIT_CHECK
    debouncer.note_git(is_busy=False)
    assert due(debouncer, 0.35) == 0.0


def test_git_holds_a_batch_two_seconds_at_most() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written"), "complete")
    debouncer.note_git(is_busy=True)
    assert 0.0 < due(debouncer, CAP - 0.01) <= 0.0101
    debouncer.note_git(is_busy=True)
    assert due(debouncer, CAP) == 0.0


def test_what_git_wrote_last_has_its_window_after_a_hold() -> None:
    debouncer = Debouncer()
    debouncer.add(make_event("written"), "complete")
    debouncer.note_git(is_busy=True)
    debouncer.add(make_event("written", "src/b.py", 1.5), "incomplete")
    debouncer.note_git(is_busy=False)
    assert due(debouncer, 1.5) == pytest.approx(INCOMPLETE)


def test_the_setting_is_a_lower_bound_and_may_exceed_the_cap() -> None:
    debouncer = Debouncer(shortest=0.5)
    debouncer.add(make_event("written"), "complete")
    assert due(debouncer) == pytest.approx(0.5)
    patient = Debouncer(shortest=5.0)
    patient.add(make_event("written"), "complete")
    assert due(patient) == pytest.approx(5.0)


def test_after_two_cancelled_runs_a_window_is_longer() -> None:
    debouncer = Debouncer()
    windows = []
    for _ in range(4):
        debouncer.add(make_event("written"), "complete")
        windows.append(due(debouncer))
        debouncer.drain()
        debouncer.note_run_end(was_cancelled=True)
    assert windows == pytest.approx([COMPLETE, COMPLETE, CANCELLED_WINDOW, CANCELLED_WINDOW])


def test_a_run_that_ended_after_a_pause_resets_the_windows() -> None:
    debouncer = Debouncer()
    for was_cancelled in (True, True, False):
        debouncer.add(make_event("written"), "complete")
        debouncer.drain()
        debouncer.note_run_end(was_cancelled=was_cancelled)
    debouncer.add(make_event("written"), "complete")
    assert due(debouncer) == pytest.approx(COMPLETE)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hear", "hear", "hear", "take", "hold", "release", "cancel", "end")),
        st.sampled_from(get_args(EventKind)),
        st.sampled_from((None, *get_args(FileCheck))),
        st.integers(0, 14),
        st.floats(0.0, 0.4),
        st.booleans(),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS, announces_end=st.booleans(), shortest=st.sampled_from((0.0, 0.2, 4.0)))
def test_no_path_is_lost_and_no_batch_waits_for_ever(
    steps: list[tuple[str, EventKind, FileCheck | None, int, float, bool]],
    announces_end: bool,
    shortest: float,
) -> None:
    debouncer = Debouncer(announces_end=announces_end, shortest=shortest)
    now = 0.0
    heard: list[str] = []
    hints, must_rescan, started = 0, False, 0.0

    def take() -> None:
        nonlocal heard, hints, must_rescan
        batch = debouncer.drain()
        assert batch.paths == tuple(dict.fromkeys(heard))
        assert batch.is_rescan == must_rescan
        assert debouncer.due(now) is None
        heard, hints, must_rescan = [], 0, False

    for action, kind, look, number, pause, is_folder in steps:
        now += pause
        if action == "hear":
            if not hints:
                started = now
            hints += 1
            if kind == "lost":
                must_rescan = True
            else:
                heard.append(f"src/{number}.py")
                must_rescan |= is_folder and kind != "changed"
            path = "" if kind == "lost" else f"src/{number}.py"
            debouncer.add(make_event(kind, path, now, is_folder=is_folder), look)
        elif action == "take":
            take()
        elif action in ("hold", "release"):
            debouncer.note_git(is_busy=action == "hold")
        else:
            debouncer.note_run_end(was_cancelled=action == "cancel")
        left = debouncer.due(now)
        assert (left is None) == (hints == 0)
        if left is not None:
            assert 0.0 <= left <= max(0.0, started + max(CAP, shortest) - now) + 1e-9
    now = started + max(CAP, shortest) + 1.0
    assert not hints or debouncer.due(now) == 0.0
    take()
