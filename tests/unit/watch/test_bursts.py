"""What a watch receives, with a scripted clock, a scripted watcher, and real signals."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from discover_orch.model.errors import Problem
from discover_orch.watch.bursts import (
    AFTER_START,
    CONFIRM,
    FIRST_COMPARISON,
    HELD_PAUSE,
    QUEUED_PAUSE,
    QUEUED_WAIT,
    Bursts,
)
from discover_orch.watch.debounce import (
    CANCELLED_WINDOW,
    COMPLETE,
    GIT_CHECK,
    Batch,
    Debouncer,
    EventKind,
    FileCheck,
    FileEvent,
)
from discover_orch.watch.file_events import Mode, Watcher
from discover_orch.watch.watched_files import WatchedFiles

LIMITED = Problem(code="watch-limit", message="too many", severity="warning")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWatcher(Watcher):
    """Gives the events that the test adds; subscribes to nothing."""

    def __init__(self, clock: Clock) -> None:
        self.hints: list[FileEvent] = []
        self.problems: list[Problem] = []
        self.missed: list[tuple[str, ...]] = []
        self.pause = 2.0
        self.more = False
        self._clock = clock

    def says(self, kind: EventKind, path: str, *, is_folder: bool = False) -> None:
        hint = FileEvent(kind=kind, path=path, at=self._clock.now, is_folder=is_folder)
        self.hints.append(hint)

    def drain(self) -> list[FileEvent]:
        taken, self.hints = self.hints, []
        return taken

    def has_queued(self) -> bool:
        return self.more

    def drain_problems(self) -> list[Problem]:
        drained, self.problems = self.problems, []
        return drained

    def note_missed(self, paths: Collection[str]) -> None:
        self.missed.append(tuple(paths))

    @property
    def mode(self) -> Mode:
        return "events"

    def interval(self, duration: float) -> float:
        return self.pause + duration


class ScriptedFiles(WatchedFiles):
    """Looks at files that are not there: `looks` says what each path is worth, `changed` what differs."""

    def __init__(self) -> None:
        self.looks: dict[str, FileCheck] = {}
        self.judged: list[str] = []
        self.changed: dict[str, str] = {}
        self.silent: set[str] = set()  # the system sends no event for these
        self.looked = 0
        self.takes = 0.0  # seconds that a look takes
        self.clock: Clock | None = None

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        return not path.startswith("noise")

    def check_file(self, path: str) -> FileCheck:
        self.judged.append(path)
        return self.looks.get(path, "complete")

    def find_changed(self) -> dict[str, str]:
        self.looked += 1
        if self.clock is not None:
            self.clock.now += self.takes
        return {**self.changed}

    def has_event(self, path: str, signature: str) -> bool:
        return path not in self.silent


class Listening:
    """A `Bursts` and all that it listens to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.watcher = ScriptedWatcher(self.clock)
        self.files = ScriptedFiles()
        self.must_wait = False
        self.debouncer = Debouncer()
        self.bursts = Bursts(
            self.watcher,
            self.debouncer,
            self.files,
            lambda _: self.must_wait,
            root=str(root),
            clock=self.clock,
        )

        self.expected: list[Batch] = []

    def after(self, seconds: float) -> Batch | None:
        """The burst that is over; those that are only expected to be go to `expected`."""
        self.clock.now += seconds
        batch = self.bursts.drain()
        if batch is not None and not batch.is_over:
            self.expected.append(batch)
            return None
        return batch

    def saves(self, path: str, look: FileCheck = "complete") -> None:
        self.files.looks[path] = look
        self.watcher.says("written", path)
        assert self.after(0.0) is None


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


def burst(*paths: str, is_rescan: bool = False) -> Batch:
    return Batch(paths=paths, is_rescan=is_rescan)


def near(seconds: float) -> object:
    return pytest.approx(seconds, abs=1e-9)


# When a burst is over.


def test_nothing_has_come_at_first(listening: Listening) -> None:
    assert listening.bursts.drain() is None
    assert listening.bursts.poll_interval == near(FIRST_COMPARISON)


def test_a_save_counts_when_its_window_has_passed(listening: Listening) -> None:
    listening.saves("src/a.py")
    assert listening.bursts.poll_interval == near(COMPLETE)
    assert listening.after(COMPLETE / 2) is None
    assert listening.after(COMPLETE / 2 + 1e-6) == burst("src/a.py")
    assert listening.after(0.01) is None


def test_a_burst_of_finished_writes_is_expected_once_to_be_over(listening: Listening) -> None:
    listening.saves("src/a.py")
    assert listening.expected == [Batch(paths=("src/a.py",), is_over=False)]
    listening.saves("src/b.py")
    assert listening.after(COMPLETE / 2) is None
    assert listening.after(COMPLETE) == burst("src/a.py", "src/b.py")
    assert len(listening.expected) == 1
    listening.saves("src/a.py")
    assert len(listening.expected) == 2


def test_a_burst_that_must_wait_or_is_incomplete_is_not_expected_to_be_over(
    listening: Listening,
) -> None:
    listening.saves("src/a.py", "incomplete")
    listening.saves("src/b.py")
    assert listening.after(1.0) == burst("src/a.py", "src/b.py")
    listening.must_wait = True
    listening.saves("src/a.py")
    listening.must_wait = False
    assert listening.after(1.0) == burst("src/a.py")
    listening.watcher.says("created", "src/new", is_folder=True)
    listening.saves("src/a.py")
    assert listening.expected == []


def test_what_becomes_whole_meanwhile_waits_no_longer(listening: Listening) -> None:
    listening.saves("src/a.py", "incomplete")
    listening.clock.now += 0.050
    listening.saves("src/a.py")
    assert listening.after(COMPLETE + 1e-6) == burst("src/a.py")


def test_files_that_are_saved_together_are_one_burst(listening: Listening) -> None:
    for path in ("src/a.py", "src/b.py", "src/a.py"):
        listening.watcher.says("written", path)
    assert listening.after(0.0) is None
    assert listening.after(0.01) == burst("src/a.py", "src/b.py")


def test_a_burst_waits_for_events_that_are_on_their_way_and_not_for_long(
    listening: Listening,
) -> None:
    listening.saves("src/a.py")
    listening.watcher.more = True
    assert listening.after(COMPLETE + 0.001) is None
    assert 0 < listening.bursts.poll_interval <= QUEUED_PAUSE
    listening.saves("src/b.py")
    listening.watcher.more = False
    assert listening.after(COMPLETE + 0.001) == burst("src/a.py", "src/b.py")
    listening.saves("src/a.py")
    listening.watcher.more = True  # and for ever, as where a tool writes all the time
    assert listening.after(COMPLETE + 0.001) is None
    assert listening.after(QUEUED_WAIT) == burst("src/a.py")


def test_irrelevant_events_are_dropped(listening: Listening) -> None:
    listening.watcher.says("written", "noise.log")
    assert (listening.after(0.0), listening.after(0.1)) == (None, None)
    assert listening.files.judged == []
    listening.saves("src/a.py")
    assert listening.files.judged == ["src/a.py"]


def test_a_folder_is_not_checked_and_asks_for_a_rescan(listening: Listening) -> None:
    listening.watcher.says("created", "src/new", is_folder=True)
    listening.bursts.drain()
    assert listening.files.judged == []
    assert listening.after(0.1) == burst("src/new", is_rescan=True)


def test_paths_that_a_comparison_found_are_added(listening: Listening) -> None:
    listening.bursts.add_changed(["src/a.py", "noise.log", "src/b.py"])
    assert listening.after(0.0) is None
    assert listening.after(0.06) == burst("src/a.py", "src/b.py")


def test_newer_saves_that_cancel_one_run_after_another_ask_for_patience(
    listening: Listening,
) -> None:
    for _ in range(2):
        listening.debouncer.note_run_end(was_cancelled=True)
    listening.saves("src/a.py")
    assert listening.bursts.poll_interval == near(CANCELLED_WINDOW)
    assert listening.after(CANCELLED_WINDOW - 0.001) is None
    assert listening.after(0.002) == burst("src/a.py")


# git.


def test_while_git_holds_its_lock_nothing_is_due(listening: Listening) -> None:
    lock = listening.root / ".git/index.lock"
    lock.parent.mkdir()
    lock.touch()
    listening.saves("src/a.py")
    assert listening.bursts.poll_interval == near(GIT_CHECK)
    assert listening.after(GIT_CHECK) is None
    listening.saves("src/b.py")
    lock.unlink()
    assert listening.after(GIT_CHECK) == burst("src/a.py", "src/b.py")


def test_after_a_git_command_everything_is_compared(listening: Listening) -> None:
    """The events of some files of a checkout may still be on their way."""
    index = listening.root / ".git/index"
    index.parent.mkdir()
    index.write_text("1")
    os.utime(index, (1, 1))
    listening.saves("src/a.py")
    assert listening.after(0.01) == burst("src/a.py", is_rescan=True)
    listening.saves("src/a.py")
    assert listening.after(0.01) == burst("src/a.py")
    index.write_text("22")
    os.utime(index, (1, 1))
    listening.saves("src/a.py")
    assert listening.after(0.01) == burst("src/a.py", is_rescan=True)


# Looks that no event asked for.


def test_a_comparison_finds_a_change_without_event_once_it_stays_the_same(
    listening: Listening,
) -> None:
    listening.files.changed = {"src/a.py": "1"}
    assert listening.after(FIRST_COMPARISON) is None
    assert listening.bursts.poll_interval == near(CONFIRM)
    assert listening.after(CONFIRM) is None
    assert (listening.files.looked, listening.watcher.missed) == (2, [("src/a.py",)])
    assert listening.after(0.06) == burst("src/a.py")


def test_a_file_that_changes_between_comparisons_is_still_being_written(
    listening: Listening,
) -> None:
    for signature in ("1", "2"):
        listening.files.changed = {"src/a.py": signature}
        assert listening.after(FIRST_COMPARISON) is None
    assert listening.watcher.missed == []
    listening.after(CONFIRM)
    assert listening.watcher.missed == [("src/a.py",)]


def test_a_change_whose_event_came_late_was_not_missed(listening: Listening) -> None:
    listening.files.changed = {"src/a.py": "1"}
    listening.after(FIRST_COMPARISON)
    listening.files.changed = {}  # its event came, and it was judged
    listening.after(CONFIRM)
    assert listening.watcher.missed == []
    assert listening.after(0.1) is None


def test_a_burst_that_cannot_be_judged_waits_with_all_that_comes_meanwhile(
    listening: Listening,
) -> None:
    listening.must_wait = True
    listening.saves("src/a.py")
    assert listening.after(0.01) is None
    assert listening.bursts.poll_interval == near(HELD_PAUSE - 0.06)
    listening.saves("src/b.py")
    assert (listening.after(3.0), listening.after(HELD_PAUSE)) == (None, None)
    assert listening.bursts.poll_interval == near(HELD_PAUSE)
    listening.must_wait = False
    assert listening.after(0.0) == burst("src/a.py", "src/b.py")


def test_comparisons_are_as_far_apart_as_the_watcher_says(listening: Listening) -> None:
    listening.after(FIRST_COMPARISON)
    assert listening.bursts.poll_interval == near(2.0)
    listening.after(1.999)
    assert listening.files.looked == 1
    listening.after(0.002)
    assert listening.files.looked == 2


def test_the_watcher_is_given_the_duration_of_a_comparison(listening: Listening) -> None:
    listening.files.clock, listening.files.takes = listening.clock, 0.5
    listening.after(FIRST_COMPARISON)
    assert listening.bursts.poll_interval == near(2.5)


def test_a_comparison_that_finds_nothing_reports_nothing_missed(listening: Listening) -> None:
    listening.after(FIRST_COMPARISON)
    assert (listening.files.looked, listening.watcher.missed) == (1, [])


def test_a_change_that_the_system_does_not_announce_was_not_missed(listening: Listening) -> None:
    """No events are subscribed to for permissions."""
    listening.files.silent.add("src/a.py")
    listening.files.changed = {"src/a.py": "1", "src/b.py": "1"}
    listening.after(FIRST_COMPARISON)
    listening.after(CONFIRM)
    assert listening.watcher.missed == [("src/b.py",)]


def test_during_a_burst_nothing_is_compared(
    listening: Listening,
) -> None:
    listening.clock.now += FIRST_COMPARISON - 0.001
    listening.saves("src/a.py", "incomplete")
    listening.files.changed = {"src/b.py": "1"}
    listening.after(0.002)
    assert (listening.files.looked, listening.watcher.missed) == (0, [])


def test_the_start_of_a_run_is_followed_by_a_comparison(listening: Listening) -> None:
    listening.after(FIRST_COMPARISON)
    listening.bursts.compare_soon()
    assert listening.bursts.poll_interval == near(AFTER_START)
    listening.after(AFTER_START)
    assert listening.files.looked == 2
