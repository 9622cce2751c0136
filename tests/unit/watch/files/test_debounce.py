"""The debouncer: when a burst of hints is over. Time is told, nothing waits."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.watch.files.debounce import (
    CAP,
    HOLD_CAP,
    HOLD_LOOK,
    MISSING,
    PRESSED_MOST,
    SOUND,
    STORM,
    STORM_CAP,
    STORM_FILES,
    UNFINISHED,
    UNSEEN,
    UNSOUND,
    Batch,
    Debouncer,
    FileEvent,
    Kind,
    Look,
)


def hint(
    kind: Kind, path: str = "src/a.py", at: float = 0.0, *, is_folder: bool = False
) -> FileEvent:
    return FileEvent(kind=kind, path=path, at=at, is_folder=is_folder)


def due(debouncer: Debouncer, now: float = 0.0) -> float:
    left = debouncer.due(now)
    assert left is not None
    return left


@pytest.mark.parametrize(
    ("kind", "look", "window"),
    [
        ("written", "sound", SOUND),
        ("moved", "sound", SOUND),
        ("written", None, UNSEEN),
        ("moved", None, UNSEEN),
        ("written", "unsound", UNSOUND),
        ("moved", "unsound", UNSOUND),
        ("written", "missing", MISSING),
        ("deleted", None, MISSING),
        ("deleted", "missing", MISSING),
        ("deleted", "sound", UNSEEN),
        ("created", None, UNFINISHED),
        ("created", "sound", UNFINISHED),
        ("created", "unsound", UNSOUND),
        ("changed", "sound", UNFINISHED),
    ],
)
def test_the_quiet_window_follows_from_what_happened_and_what_is_there(
    kind: Kind, look: Look | None, window: float
) -> None:
    debouncer = Debouncer()
    debouncer.hear(hint(kind), look)
    assert due(debouncer) == pytest.approx(window)
    assert due(debouncer, window) == 0.0


@pytest.mark.parametrize("kind", ["written", "moved", "created", "changed"])
def test_where_no_end_of_a_write_is_told_each_file_is_waited_for(kind: Kind) -> None:
    debouncer = Debouncer(tells_end=False)
    debouncer.hear(hint(kind), "sound")
    assert due(debouncer) == pytest.approx(UNFINISHED)


def test_nothing_is_due_when_nothing_was_heard() -> None:
    debouncer = Debouncer()
    assert debouncer.due(5.0) is None
    assert debouncer.take(5.0) == Batch(paths=(), is_rescan=False, started=5.0, hints=0)


def test_a_save_by_rename_is_due_at_once_though_its_temporary_file_is_gone() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("created", "src/tmp.py"), "unsound")
    debouncer.hear(hint("written", "src/tmp.py", 0.001), "missing")
    debouncer.hear(hint("deleted", "src/tmp.py", 0.001), "missing")
    debouncer.hear(hint("moved", at=0.001), "sound")
    assert due(debouncer, 0.001) == pytest.approx(SOUND)


def test_a_file_that_comes_back_is_waited_for_no_longer() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("deleted"), "missing")
    debouncer.hear(hint("created", at=0.05), "unsound")
    debouncer.hear(hint("written", at=0.06), "sound")
    assert due(debouncer, 0.06) == pytest.approx(SOUND)


def test_a_truncated_module_waits_for_its_content() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written"), "unsound")
    assert due(debouncer, 0.149) > 0.0
    debouncer.hear(hint("written", at=0.149), "sound")
    assert due(debouncer, 0.149 + SOUND) == 0.0


def test_one_unsound_file_holds_the_whole_batch() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written", "src/a.py"), "unsound")
    debouncer.hear(hint("written", "src/b.py"), "sound")
    assert due(debouncer) == pytest.approx(UNSOUND)


def test_many_files_are_a_storm_that_is_waited_out() -> None:
    debouncer = Debouncer()
    for number in range(STORM_FILES - 1):
        debouncer.hear(hint("written", f"src/{number}.py"), "sound")
    assert due(debouncer) == pytest.approx(SOUND)
    debouncer.hear(hint("written", "src/last.py", 0.001), "sound")
    assert due(debouncer, 0.001) == pytest.approx(STORM)


@pytest.mark.parametrize(("files", "cap"), [(1, CAP), (STORM_FILES, STORM_CAP)])
def test_constant_writes_do_not_put_a_run_off_for_ever(files: int, cap: float) -> None:
    debouncer = Debouncer()
    for number in range(files):  # all at once, so that the storm is one from the beginning
        debouncer.hear(hint("written", f"src/{number}.py"), "unsound")
    at = 0.0
    while due(debouncer, at) > 0.0:
        at += 0.005
        debouncer.hear(hint("written", f"src/{round(at * 200) % files}.py", at), "unsound")
    assert at == pytest.approx(cap, abs=0.006)


def test_a_hint_that_was_heard_late_counts_from_when_it_was() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written", at=1.0), "unsound")
    assert due(debouncer, 30.0) == 0.0


def test_lost_events_and_folders_ask_for_a_look_at_everything() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("lost", "", 1.0))
    assert due(debouncer, 1.0) == pytest.approx(STORM)
    assert debouncer.take(2.0) == Batch(paths=(), is_rescan=True, started=1.0, hints=1)
    for kind in ("created", "moved", "deleted"):
        debouncer.hear(hint(kind, "src/sub", 3.0, is_folder=True))
        assert debouncer.take(4.0).is_rescan, kind
    debouncer.hear(hint("deleted", "src/a.py", 5.0))
    assert not debouncer.take(6.0).is_rescan


def test_a_batch_tells_paths_in_the_order_of_their_first_hints() -> None:
    debouncer = Debouncer()
    for at, path in enumerate(("b", "a", "b", "c")):
        debouncer.hear(hint("written", path, float(at)), "sound")
    assert debouncer.take(9.0) == Batch(
        paths=("b", "a", "c"), is_rescan=False, started=0.0, hints=4
    )


def test_while_git_holds_its_lock_nothing_is_due_but_the_next_look_at_it() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written"), "sound")
    debouncer.hold(0.0, is_busy=True)
    assert due(debouncer) == HOLD_LOOK
    debouncer.hold(0.3, is_busy=True)
    assert due(debouncer, 0.3) == HOLD_LOOK
    debouncer.hold(0.35, is_busy=False)
    assert due(debouncer, 0.35) == 0.0


def test_git_holds_a_batch_two_seconds_at_most() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written"), "sound")
    debouncer.hold(0.0, is_busy=True)
    assert 0.0 < due(debouncer, HOLD_CAP - 0.01) <= 0.0101
    debouncer.hold(HOLD_CAP, is_busy=True)
    assert due(debouncer, HOLD_CAP) == 0.0


def test_what_git_wrote_last_has_its_window_after_a_hold() -> None:
    debouncer = Debouncer()
    debouncer.hear(hint("written"), "sound")
    debouncer.hold(0.0, is_busy=True)
    debouncer.hear(hint("written", "src/b.py", 1.5), "unsound")
    debouncer.hold(1.5, is_busy=False)
    assert due(debouncer, 1.5) == pytest.approx(UNSOUND)


def test_the_setting_is_a_lower_bound_and_may_exceed_the_cap() -> None:
    debouncer = Debouncer(least=0.5)
    debouncer.hear(hint("written"), "sound")
    assert due(debouncer) == pytest.approx(0.5)
    patient = Debouncer(least=5.0)
    patient.hear(hint("written"), "sound")
    assert due(patient) == pytest.approx(5.0)


def test_windows_grow_after_two_cancelled_runs_up_to_a_quarter_second() -> None:
    debouncer = Debouncer()
    windows = []
    for _ in range(6):
        debouncer.hear(hint("written"), "sound")
        windows.append(due(debouncer))
        debouncer.take(due(debouncer))
        debouncer.settle(was_cancelled=True)
    assert windows[0] == windows[1] == pytest.approx(SOUND)
    assert SOUND < windows[2] < windows[3]
    assert windows[3:] == pytest.approx([PRESSED_MOST] * 3)
    debouncer.hear(hint("written"), "unsound")
    assert due(debouncer) == pytest.approx(PRESSED_MOST)


def test_a_run_that_ended_after_a_pause_resets_the_windows() -> None:
    debouncer = Debouncer()
    for was_cancelled in (True, True, False):
        debouncer.hear(hint("written"), "sound")
        debouncer.take(1.0)
        debouncer.settle(was_cancelled)
    debouncer.hear(hint("written"), "sound")
    assert due(debouncer) == pytest.approx(SOUND)


@pytest.mark.parametrize("length", [0.05, 0.3, 0.7, 1.1, 2.5])
def test_saves_at_each_keystroke_start_few_runs_and_the_last_content_wins(length: float) -> None:
    """Ten saves a second for five seconds, each run so many seconds long."""
    debouncer = Debouncer()
    saves = [number / 10 for number in range(50)]
    starts: list[float] = []
    running_until: float | None = None
    last_taken = -1.0
    for step in range(9_000):
        now = step / 1000
        while saves and saves[0] <= now:
            debouncer.hear(hint("written", at=saves.pop(0)), "sound")
        if running_until is not None and now >= running_until:
            running_until = None
            debouncer.settle(was_cancelled=False)
        if debouncer.due(now) == 0.0:
            if running_until is not None:
                debouncer.settle(was_cancelled=True)
            debouncer.take(now)
            last_taken = now
            starts.append(now)
            running_until = now + length
    assert last_taken >= 4.9
    if length > 0.1:  # shorter ones are never cancelled: each save is seen at once
        assert len(starts) <= 6, starts


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hear", "hear", "hear", "take", "hold", "release", "cancel", "end")),
        st.sampled_from(get_args(Kind)),
        st.sampled_from((None, *get_args(Look))),
        st.integers(0, 14),
        st.floats(0.0, 0.4),
        st.booleans(),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS, tells_end=st.booleans(), least=st.sampled_from((0.0, 0.2, 4.0)))
def test_no_path_is_lost_and_no_batch_waits_for_ever(
    steps: list[tuple[str, Kind, Look | None, int, float, bool]], tells_end: bool, least: float
) -> None:
    debouncer = Debouncer(tells_end=tells_end, least=least)
    now = 0.0
    heard: list[str] = []
    hints, must_rescan, started = 0, False, 0.0

    def take() -> None:
        nonlocal heard, hints, must_rescan
        batch = debouncer.take(now)
        assert batch.paths == tuple(dict.fromkeys(heard))
        assert (batch.hints, batch.is_rescan) == (hints, must_rescan)
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
            debouncer.hear(hint(kind, path, now, is_folder=is_folder), look)
        elif action == "take":
            take()
        elif action in ("hold", "release"):
            debouncer.hold(now, action == "hold")
        else:
            debouncer.settle(action == "cancel")
        left = debouncer.due(now)
        assert (left is None) == (hints == 0)
        if left is not None:
            assert 0.0 <= left <= max(0.0, started + max(STORM_CAP, least) - now) + 1e-9
    now = started + max(STORM_CAP, least) + 1.0
    assert not hints or debouncer.due(now) == 0.0
    take()
