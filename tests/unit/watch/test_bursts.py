"""When a burst of events is over, with a scripted clock, watcher and disk; nothing waits."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discover_orch.watch.bursts import (
    AFTER_CANCELLED,
    AFTER_MANY,
    AFTER_START,
    CAP,
    FINISHED,
    FIRST_COMPARISON,
    GIT_PAUSE,
    HELD_PAUSE,
    INCOMPLETE,
    MANY_PATHS,
    QUEUED_PAUSE,
    QUEUED_WAIT,
    UNFINISHED,
    Bursts,
)
from discover_orch.watch.file_events import FileEvent, Mode, Watcher
from discover_orch.watch.watched_files import WatchedFiles

#: In a burst that asks for a comparison of all files.
ALL = "*"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWatcher(Watcher):
    """Gives the events that the test adds; subscribes to nothing."""

    def __init__(self, clock: Clock) -> None:
        self.events: list[FileEvent] = []
        self.missed: list[tuple[str, ...]] = []
        self.pause = 2.0
        self.more = False
        self.says_when = True
        self._clock = clock

    def says(
        self,
        path: str,
        *,
        is_finished: bool = True,
        is_folder: bool = False,
        is_late: bool = False,
    ) -> None:
        self.events.append(
            FileEvent(
                path=path,
                at=self._clock.now,
                is_finished=is_finished,
                is_folder=is_folder,
                is_late=is_late,
            )
        )

    def drain(self) -> list[FileEvent]:
        taken, self.events = self.events, []
        return taken

    def has_queued(self) -> bool:
        return self.more

    def note_missed(self, paths: Collection[str]) -> None:
        self.missed.append(tuple(paths))

    @property
    def mode(self) -> Mode:
        return "events"

    @property
    def announces_end(self) -> bool:
        return self.says_when

    def interval(self, duration: float) -> float:
        return self.pause + duration


class ScriptedFiles(WatchedFiles):
    """Looks at files that are not there: `incomplete` are such, and `changed` is what differs."""

    def __init__(self) -> None:
        self.incomplete: set[str] = set()
        self.changed: dict[str, str] = {}
        self.silent: set[str] = set()  # the system sends no event for these
        self.looked = 0
        self.takes = 0.0  # seconds that a comparison takes
        self.clock: Clock | None = None

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        return not path.startswith("noise")

    def is_complete(self, path: str) -> bool:
        return path not in self.incomplete

    def resolve(self, hinted: Collection[str]) -> list[str]:
        return [path or ALL for path in hinted]

    def find_changed(self) -> dict[str, str]:
        self.looked += 1
        if self.clock is not None:
            self.clock.now += self.takes
        return {**self.changed}

    def has_event(self, path: str, mark: str) -> bool:
        return path not in self.silent


class Listening:
    """A `Bursts` and all that it listens to."""

    def __init__(self, root: Path, shortest: float = 0.0) -> None:
        self.root = root
        self.clock = Clock()
        self.watcher = ScriptedWatcher(self.clock)
        self.files = ScriptedFiles()
        self.must_wait = False
        self.bursts = Bursts(
            self.watcher,
            self.files,
            lambda _: self.must_wait,
            root=str(root),
            clock=self.clock,
            shortest=shortest,
        )

    def after(self, seconds: float) -> list[str] | None:
        """The burst that is over."""
        self.clock.now += seconds
        return self.bursts.drain()

    def hears(self, *paths: str, is_finished: bool = True, is_folder: bool = False) -> None:
        for path in paths:
            self.watcher.says(path, is_finished=is_finished, is_folder=is_folder)
        assert self.after(0.0) is None

    def expects(self, seconds: float, *paths: str) -> None:
        """It is over after so many seconds, and not before."""
        self.watcher.pause = 100.0  # there are no other comparisons
        end = self.clock.now + seconds
        while (left := end - self.clock.now) > 1e-6:
            assert 0.0 < self.bursts.poll_interval <= left + 1e-6
            assert self.after(min(self.bursts.poll_interval, left - 1e-6) + 1e-9) is None
        assert self.after(2e-6) == [*paths]


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


def near(seconds: float) -> object:
    return pytest.approx(seconds, abs=1e-9)


# When a burst is over.


def test_nothing_has_come_at_first(listening: Listening) -> None:
    assert listening.bursts.drain() is None
    assert listening.bursts.poll_interval == near(FIRST_COMPARISON)


def test_a_finished_save_counts_almost_at_once(listening: Listening) -> None:
    listening.hears("src/a.py")
    assert listening.bursts.poll_interval == near(FINISHED)
    listening.expects(FINISHED, "src/a.py")
    assert listening.after(0.01) is None


def test_after_an_event_that_came_late_others_may_be_on_their_way(listening: Listening) -> None:
    listening.watcher.says("src/a.py", is_late=True)
    assert listening.after(FINISHED + 0.001) is None
    listening.watcher.says("src/b.py", is_late=True)
    assert listening.after(0.0) is None
    listening.expects(UNFINISHED, "src/a.py", "src/b.py")


def test_a_write_that_may_not_have_ended_has_more_time(listening: Listening) -> None:
    listening.hears("src/a.py", is_finished=False)
    listening.expects(UNFINISHED, "src/a.py")
    listening.watcher.says_when = False
    listening.hears("src/a.py")
    listening.expects(UNFINISHED, "src/a.py")


def test_a_new_file_that_is_closed_waits_no_longer(listening: Listening) -> None:
    listening.hears("src/a.py", is_finished=False)
    listening.clock.now += 0.01
    listening.hears("src/a.py")
    listening.expects(FINISHED, "src/a.py")


def test_a_file_that_is_missing_or_half_written_holds_the_whole_burst(
    listening: Listening,
) -> None:
    listening.files.incomplete.add("src/a.py")
    listening.hears("src/a.py", "src/b.py")
    listening.expects(INCOMPLETE, "src/a.py", "src/b.py")


def test_what_becomes_whole_meanwhile_waits_no_longer(listening: Listening) -> None:
    listening.files.incomplete.add("src/a.py")
    listening.hears("src/a.py")
    assert listening.after(INCOMPLETE - 0.001) is None
    listening.hears("src/a.py")
    assert listening.after(FINISHED + 1e-6) is None
    listening.files.incomplete.clear()
    listening.hears("src/a.py")
    listening.expects(FINISHED, "src/a.py")


def test_files_that_are_saved_together_are_one_burst(listening: Listening) -> None:
    listening.hears("src/a.py", "src/b.py", "src/a.py")
    listening.expects(FINISHED, "src/a.py", "src/b.py")


def test_many_files_have_more_time_between_them(listening: Listening) -> None:
    paths = [f"src/{number}.py" for number in range(MANY_PATHS)]
    listening.hears(*paths[:-1])
    assert listening.bursts.poll_interval == near(FINISHED)
    listening.hears(paths[-1])
    listening.expects(AFTER_MANY, *paths)


def test_the_setting_is_a_lower_bound_and_may_exceed_the_longest_wait(tmp_path: Path) -> None:
    for shortest in (0.5, 5.0):
        listening = Listening(tmp_path, shortest=shortest)
        listening.hears("src/a.py")
        listening.expects(shortest, "src/a.py")


@pytest.mark.parametrize("is_complete", [True, False])
def test_constant_writes_do_not_put_a_run_off_for_ever(
    listening: Listening, is_complete: bool
) -> None:
    listening.files.incomplete.update(() if is_complete else ["src/a.py"])
    found, started = None, listening.clock.now
    while found is None:
        listening.watcher.says("src/a.py", is_finished=False)
        found = listening.after(0.005)
    assert found == ["src/a.py"]
    assert listening.clock.now - started == pytest.approx(CAP, abs=0.011)


def test_an_event_that_arrives_late_counts_from_its_own_time(listening: Listening) -> None:
    listening.files.incomplete.add("src/a.py")
    listening.watcher.says("src/a.py")
    assert listening.after(INCOMPLETE + 0.001) == ["src/a.py"]


def test_a_burst_waits_for_events_that_are_on_their_way_and_not_for_long(
    listening: Listening,
) -> None:
    listening.hears("src/a.py")
    listening.watcher.more = True
    assert listening.after(FINISHED + 0.001) is None
    assert 0 < listening.bursts.poll_interval <= QUEUED_PAUSE
    listening.hears("src/b.py")
    listening.watcher.more = False
    listening.expects(FINISHED, "src/a.py", "src/b.py")
    listening.hears("src/a.py")
    listening.watcher.more = True  # and for ever, as where a tool writes all the time
    assert listening.after(FINISHED + 0.001) is None
    assert listening.after(QUEUED_WAIT) == ["src/a.py"]


def test_irrelevant_events_are_dropped(listening: Listening) -> None:
    listening.hears("noise.log")
    assert listening.after(0.1) is None


def test_lost_events_and_folders_ask_for_a_comparison_of_all_files(listening: Listening) -> None:
    listening.hears("", is_finished=False)
    listening.expects(UNFINISHED, ALL)
    listening.hears("src/new", is_finished=False, is_folder=True)
    listening.expects(UNFINISHED, ALL)


def test_paths_that_a_comparison_found_are_added(listening: Listening) -> None:
    listening.bursts.add_changed(["src/a.py", "noise.log", "src/b.py"])
    listening.expects(UNFINISHED, "src/a.py", "src/b.py")


def test_newer_saves_that_cancel_one_run_after_another_ask_for_patience(
    listening: Listening,
) -> None:
    for seconds in (FINISHED, FINISHED, AFTER_CANCELLED, AFTER_CANCELLED):
        listening.hears("src/a.py")
        listening.expects(seconds, "src/a.py")
        listening.bursts.note_run_end(was_cancelled=True)
    listening.hears("src/a.py")
    listening.bursts.note_run_end(was_cancelled=False)  # something was saved meanwhile
    listening.expects(AFTER_CANCELLED, "src/a.py")
    listening.bursts.note_run_end(was_cancelled=False)
    listening.hears("src/a.py")
    listening.expects(FINISHED, "src/a.py")


# git.


def test_while_git_holds_its_lock_nothing_is_due(listening: Listening) -> None:
    lock = listening.root / ".git/index.lock"
    lock.parent.mkdir()
    lock.touch()
    listening.hears("src/a.py")
    assert listening.after(FINISHED + 1e-6) is None
    assert listening.bursts.poll_interval == near(GIT_PAUSE)
    assert listening.after(GIT_PAUSE) is None
    listening.hears("src/b.py")
    lock.unlink()
    assert listening.after(GIT_PAUSE) == ["src/a.py", "src/b.py"]


def test_git_holds_a_burst_two_seconds_at_most(listening: Listening) -> None:
    lock = listening.root / ".git/index.lock"
    lock.parent.mkdir()
    lock.touch()
    listening.hears("src/a.py")
    assert listening.after(CAP - 0.001) is None
    assert listening.bursts.poll_interval <= GIT_PAUSE
    assert listening.after(GIT_PAUSE) == ["src/a.py"]


def test_after_a_git_command_everything_is_compared(listening: Listening) -> None:
    """The events of some files of a checkout may still be on their way."""
    index = listening.root / ".git/index"
    index.parent.mkdir()
    index.write_text("1")
    os.utime(index, (1, 1))
    listening.hears("src/a.py")
    assert listening.after(0.01) == ["src/a.py", ALL]
    listening.hears("src/a.py")
    assert listening.after(0.01) == ["src/a.py"]
    index.write_text("22")
    os.utime(index, (1, 1))
    listening.hears("src/a.py")
    assert listening.after(0.01) == ["src/a.py", ALL]


# Looks that no event asked for.


def test_a_comparison_finds_a_change_without_event_once_it_stays_the_same(
    listening: Listening,
) -> None:
    listening.files.changed = {"src/a.py": "1"}
    assert listening.after(FIRST_COMPARISON) is None
    assert listening.bursts.poll_interval == near(INCOMPLETE)
    assert listening.after(INCOMPLETE) is None
    assert (listening.files.looked, listening.watcher.missed) == (2, [("src/a.py",)])
    assert listening.after(0.06) == ["src/a.py"]


def test_a_file_that_changes_between_comparisons_is_still_being_written(
    listening: Listening,
) -> None:
    for mark in ("1", "2"):
        listening.files.changed = {"src/a.py": mark}
        assert listening.after(FIRST_COMPARISON) is None
    assert listening.watcher.missed == []
    listening.after(INCOMPLETE)
    assert listening.watcher.missed == [("src/a.py",)]


def test_a_change_whose_event_came_late_was_not_missed(listening: Listening) -> None:
    listening.files.changed = {"src/a.py": "1"}
    listening.after(FIRST_COMPARISON)
    listening.files.changed = {}  # its event came, and it was judged
    listening.after(INCOMPLETE)
    assert listening.watcher.missed == []
    assert listening.after(0.1) is None


def test_a_burst_that_cannot_be_judged_waits_with_all_that_comes_meanwhile(
    listening: Listening,
) -> None:
    listening.must_wait = True
    listening.hears("src/a.py")
    assert listening.after(0.01) is None
    assert listening.bursts.poll_interval == near(HELD_PAUSE - 0.06)
    listening.hears("src/b.py")
    assert (listening.after(3.0), listening.after(HELD_PAUSE)) == (None, None)
    assert listening.bursts.poll_interval == near(HELD_PAUSE)
    listening.must_wait = False
    assert listening.after(HELD_PAUSE) == ["src/a.py", "src/b.py"]


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
    listening.after(INCOMPLETE)
    assert listening.watcher.missed == [("src/b.py",)]


def test_during_a_burst_nothing_is_compared(
    listening: Listening,
) -> None:
    listening.clock.now += FIRST_COMPARISON - 0.001
    listening.files.incomplete.add("src/a.py")
    listening.hears("src/a.py")
    listening.files.changed = {"src/b.py": "1"}
    listening.after(0.002)
    assert (listening.files.looked, listening.watcher.missed) == (0, [])


def test_the_start_of_a_run_is_followed_by_a_comparison(listening: Listening) -> None:
    listening.after(FIRST_COMPARISON)
    listening.bursts.compare_soon()
    assert listening.bursts.poll_interval == near(AFTER_START)
    listening.after(AFTER_START)
    assert listening.files.looked == 2


# The law.

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hear", "hear", "hear", "look", "cancel", "end", "break", "fix")),
        st.integers(0, 14),
        st.floats(0.0, 0.4),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, shortest=st.sampled_from((0.0, 0.2, 4.0)))
def test_no_path_is_lost_and_no_burst_waits_for_ever(
    tmp_path: Path,
    steps: Iterable[tuple[str, int, float, bool, bool]],
    shortest: float,
) -> None:
    listening = Listening(tmp_path, shortest)
    bursts, longest = listening.bursts, max(CAP, shortest)
    heard: dict[str, None] = {}
    started = 0.0

    def look(seconds: float) -> None:
        found = listening.after(seconds)
        assert found in (None, [*heard])
        if found is not None:
            heard.clear()
        if heard:
            assert listening.clock.now < started + longest
            assert bursts.poll_interval <= started + longest - listening.clock.now + 1e-9

    for action, number, pause, is_finished, is_folder in steps:
        path = f"src/{number}.py"
        look(pause)
        match action:
            case "hear":
                started = started if heard else listening.clock.now
                listening.watcher.says(path, is_finished=is_finished, is_folder=is_folder)
                heard[ALL if is_folder else path] = None
                look(0.0)
            case "look":
                look(bursts.poll_interval)
            case "break":
                listening.files.incomplete.add(path)
            case "fix":
                listening.files.incomplete.discard(path)
            case _:
                bursts.note_run_end(was_cancelled=action == "cancel")
    look(longest + 1.0)
    assert not heard
