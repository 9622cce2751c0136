"""What a watch hears, with a clock that is told, a watcher that is scripted, and real signals."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from discover_orch.execution.session import Signals
from discover_orch.model.errors import Problem
from discover_orch.watch.event_sources import (
    BREATH,
    CONFIRM,
    LEAST,
    MORE,
    SHARE,
    SOON,
    EventSources,
    FilesChanged,
    KeyPressed,
    SignalReceived,
    SourceEvent,
    WatchProblem,
)
from discover_orch.watch.files.debounce import (
    HOLD_CAP,
    HOLD_LOOK,
    MISSING,
    PRESSED,
    SOUND,
    UNSOUND,
    Debouncer,
    FileEvent,
    Kind,
    Look,
)
from discover_orch.watch.files.watcher import Mode, Watcher
from discover_orch.watch.snapshot import SnapshotDiff

DEAF = Problem(code="no-events", message="nothing is told", severity="warning")
SICK = Problem(code="watch-limit", message="too many", severity="warning")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWatcher(Watcher):
    """Gives the hints that it was told; subscribes to nothing."""

    def __init__(self, clock: Clock) -> None:
        self.hints: list[FileEvent] = []
        self.checked: list[int | None] = []
        self.news: list[Problem] = []
        self.missed: Problem | None = None
        self.misses = 0
        self.pause = 2.0
        self.more = False
        self._clock = clock

    def says(self, kind: Kind, path: str, *, is_folder: bool = False) -> None:
        hint = FileEvent(kind=kind, path=path, at=self._clock.now, is_folder=is_folder)
        self.hints.append(hint)

    def take(self) -> list[FileEvent]:
        taken, self.hints = self.hints, []
        return taken

    def has_more(self) -> bool:
        return self.more

    def check(self, folders: int | None = None) -> tuple[Problem, ...]:
        self.checked.append(folders)
        told, self.news = tuple(self.news), []
        return told

    def note_missed(self) -> Problem | None:
        self.misses += 1
        return self.missed

    @property
    def mode(self) -> Mode:
        return "events"

    def interval(self, files: int) -> float:
        assert files == 3
        return self.pause


class ScriptedEye:
    """Looks at files that are not there: `looks` says what each path is worth."""

    folders = 7

    def __init__(self) -> None:
        self.looks: dict[str, Look] = {}
        self.judged: list[str] = []
        self.changed: tuple[str, ...] = ()
        self.differs: dict[str, Problem | None] = {}
        self.looked = 0
        self.takes = 0.0  # seconds that a look takes
        self.clock: Clock | None = None

    def __len__(self) -> int:
        return 3

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        return not path.startswith("noise")

    def judge(self, path: str) -> Look:
        self.judged.append(path)
        return self.looks.get(path, "sound")

    def look(self, hinted: Collection[str] = ()) -> SnapshotDiff:
        assert not hinted
        self.looked += 1
        if self.clock is not None:
            self.clock.now += self.takes
        found, self.changed = self.changed, ()
        self.differs |= dict.fromkeys(found)
        return SnapshotDiff(paths=found)

    def differing(self) -> dict[str, Problem | None]:
        return self.differs


class TypedKeys:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def listen(self, ring: Callable[[], None]) -> None:
        raise AssertionError("whoever made it listens")

    def take(self) -> list[str]:
        taken, self.lines = self.lines, []
        return taken


class Listening:
    """An `EventSources` and all that it listens to."""

    def __init__(self, root: Path, *, least: float = 0.0) -> None:
        self.root = root
        self.clock = Clock()
        self.signals = Signals()
        self.watcher = ScriptedWatcher(self.clock)
        self.detector = ScriptedEye()
        self.keys = TypedKeys()
        self.attention = EventSources(
            self.signals,
            self.watcher,
            Debouncer(least=least),
            lambda: self.detector,
            keys=self.keys,
            root=str(root),
            clock=self.clock,
        )

    def after(self, seconds: float) -> list[SourceEvent]:
        self.clock.now += seconds
        return self.attention.take()

    def saves(self, path: str, look: Look = "sound") -> None:
        self.detector.looks[path] = look
        self.watcher.says("written", path)
        assert self.attention.take() == []


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTSTP)}
    made = Listening(tmp_path)
    with made.signals:
        yield made
    made.signals.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def calm(*paths: str, is_rescan: bool = False) -> list[SourceEvent]:
    return [FilesChanged(paths=paths, is_rescan=is_rescan)]


def near(seconds: float) -> object:
    return pytest.approx(seconds, abs=1e-9)


# When a burst is over.


def test_nothing_has_come_at_first(listening: Listening) -> None:
    assert listening.attention.take() == []
    assert listening.attention.patience == near(LEAST)


def test_a_save_is_told_when_its_window_has_passed(listening: Listening) -> None:
    listening.saves("src/a.py")
    assert listening.attention.patience == near(SOUND)
    assert listening.after(SOUND / 2) == []
    assert listening.after(SOUND / 2 + 1e-6) == calm("src/a.py")
    assert listening.after(0.01) == []


@pytest.mark.parametrize(("look", "window"), [("unsound", UNSOUND), ("missing", MISSING)])
def test_a_file_that_is_half_written_or_gone_waits_longer(
    listening: Listening, look: Look, window: float
) -> None:
    listening.saves("src/a.py", look)
    assert listening.attention.patience == near(window)
    assert listening.after(window - 0.001) == []
    assert listening.after(0.002) == calm("src/a.py")


def test_what_becomes_whole_meanwhile_waits_no_longer(listening: Listening) -> None:
    listening.saves("src/a.py", "unsound")
    listening.clock.now += 0.050
    listening.saves("src/a.py")
    assert listening.after(SOUND + 1e-6) == calm("src/a.py")


def test_files_that_are_saved_together_are_one_burst(listening: Listening) -> None:
    for path in ("src/a.py", "src/b.py", "src/a.py"):
        listening.watcher.says("written", path)
    assert listening.attention.take() == []
    assert listening.after(0.01) == calm("src/a.py", "src/b.py")


def test_a_burst_waits_for_events_that_are_on_their_way_and_not_for_long(
    listening: Listening,
) -> None:
    listening.saves("src/a.py")
    listening.watcher.more = True
    assert listening.after(SOUND + 0.001) == []
    assert 0 < listening.attention.patience <= BREATH
    listening.saves("src/b.py")
    listening.watcher.more = False
    assert listening.after(SOUND + 0.001) == [FilesChanged(paths=("src/a.py", "src/b.py"))]
    listening.saves("src/a.py")
    listening.watcher.more = True  # and for ever, as where a tool writes all the time
    assert listening.after(SOUND + 0.001) == []
    assert listening.after(MORE) == [FilesChanged(paths=("src/a.py",))]


def test_what_cannot_matter_is_not_heard(listening: Listening) -> None:
    listening.watcher.says("written", "noise.log")
    assert listening.after(0.0) == listening.after(0.1) == []
    assert (listening.detector.judged, listening.attention.heard) == ([], 0)
    listening.saves("src/a.py")
    assert (listening.detector.judged, listening.attention.heard) == (["src/a.py"], 1)


def test_a_folder_is_not_judged_and_asks_for_a_look_at_everything(listening: Listening) -> None:
    listening.watcher.says("created", "src/new", is_folder=True)
    listening.attention.take()
    assert listening.detector.judged == []
    assert listening.after(0.1) == calm("src/new", is_rescan=True)


def test_lost_events_ask_for_a_look_at_everything(listening: Listening) -> None:
    listening.watcher.says("lost", "")
    listening.attention.take()
    assert listening.after(0.1) == calm(is_rescan=True)


def test_paths_that_somebody_else_found_are_heard_too(listening: Listening) -> None:
    listening.attention.hear_again(["src/a.py", "noise.log", "src/b.py"])
    assert listening.after(0.0) == []
    assert listening.after(0.06) == calm("src/a.py", "src/b.py")


def test_newer_saves_that_cancel_one_run_after_another_ask_for_patience(
    listening: Listening,
) -> None:
    for _ in range(2):
        listening.attention.settle(was_cancelled=True)
    listening.saves("src/a.py")
    assert listening.attention.patience == near(PRESSED)
    assert listening.after(PRESSED - 0.001) == []
    assert listening.after(0.002) == calm("src/a.py")


def test_the_user_may_ask_for_longer_windows(tmp_path: Path) -> None:
    patient = Listening(tmp_path, least=0.15)
    patient.saves("src/a.py")
    assert patient.after(0.14) == []
    assert patient.after(0.02) == calm("src/a.py")
    patient.signals.close()


# git.


def test_while_git_holds_its_lock_nothing_is_told(listening: Listening) -> None:
    lock = listening.root / ".git/index.lock"
    lock.parent.mkdir()
    lock.touch()
    listening.saves("src/a.py")
    assert listening.attention.patience == near(HOLD_LOOK)
    assert listening.after(HOLD_LOOK) == []
    listening.saves("src/b.py")
    lock.unlink()
    assert listening.after(HOLD_LOOK) == calm("src/a.py", "src/b.py")


def test_a_lock_that_stays_is_waited_for_only_so_long(listening: Listening) -> None:
    (listening.root / ".git").mkdir()
    (listening.root / ".git/index.lock").touch()
    listening.saves("src/a.py")
    assert listening.after(HOLD_CAP - 0.001) == []
    assert listening.after(0.002) == calm("src/a.py")


def test_when_git_has_been_at_work_everything_is_looked_at(listening: Listening) -> None:
    """Of a checkout of many files some may not have been told of yet."""
    index = listening.root / ".git/index"
    index.parent.mkdir()
    index.write_text("1")
    listening.saves("src/a.py")
    assert listening.after(0.01) == calm("src/a.py", is_rescan=True)
    listening.saves("src/a.py")
    assert listening.after(0.01) == calm("src/a.py")
    index.write_text("22")
    listening.saves("src/a.py")
    assert listening.after(0.01) == calm("src/a.py", is_rescan=True)


# Looks that no event asked for.


def test_a_look_finds_what_no_event_told_once_it_stays_as_it_is(listening: Listening) -> None:
    listening.detector.changed = ("src/a.py",)
    assert listening.after(LEAST) == []
    assert listening.attention.patience == near(CONFIRM)
    assert listening.after(CONFIRM) == []
    assert (listening.detector.looked, listening.watcher.misses) == (2, 1)
    assert listening.after(0.06) == calm("src/a.py")


def test_what_changes_from_look_to_look_is_still_being_written(listening: Listening) -> None:
    listening.detector.changed = ("src/a.py",)
    listening.after(LEAST)
    listening.detector.changed = ("src/a.py",)
    assert listening.after(CONFIRM) == []
    assert (listening.watcher.misses, listening.attention.heard) == (0, 0)
    listening.after(CONFIRM)
    assert (listening.watcher.misses, listening.attention.heard) == (1, 1)


def test_what_was_told_of_after_all_was_not_missed(listening: Listening) -> None:
    listening.detector.changed = ("src/a.py",)
    listening.after(LEAST)
    listening.detector.differs.clear()  # its event came, and a run is about it
    listening.after(CONFIRM)
    assert listening.watcher.misses == 0
    assert listening.after(0.1) == []


def test_looks_are_as_far_apart_as_the_watcher_says(listening: Listening) -> None:
    listening.after(LEAST)
    assert listening.attention.patience == near(2.0)
    listening.after(1.999)
    assert listening.detector.looked == 1
    listening.watcher.pause = 0.0
    listening.after(0.002)
    assert listening.detector.looked == 2
    assert listening.attention.patience == near(LEAST)


def test_looks_that_take_long_are_further_apart(listening: Listening) -> None:
    listening.detector.clock, listening.detector.takes = listening.clock, 0.5
    listening.after(LEAST)
    assert listening.attention.patience == near(0.5 / SHARE)


def test_a_look_that_finds_nothing_is_no_miss(listening: Listening) -> None:
    listening.after(LEAST)
    assert (listening.detector.looked, listening.watcher.misses) == (1, 0)


def test_the_second_miss_is_told(listening: Listening) -> None:
    listening.watcher.missed = DEAF
    listening.detector.changed = ("src/a.py",)
    listening.after(LEAST)
    assert listening.after(CONFIRM) == [WatchProblem(problem=DEAF)]


def test_the_health_of_the_watcher_is_looked_at_with_the_folders_that_were_found(
    listening: Listening,
) -> None:
    listening.watcher.news = [SICK]
    assert listening.after(LEAST) == [WatchProblem(problem=SICK)]
    assert listening.after(2.0) == []
    assert listening.watcher.checked == [7, 7]


def test_while_a_burst_goes_on_the_disk_is_left_to_the_look_at_its_end(
    listening: Listening,
) -> None:
    listening.clock.now += LEAST - 0.001
    listening.saves("src/a.py", "unsound")
    listening.detector.changed = ("src/b.py",)
    listening.after(0.002)
    assert (listening.detector.looked, listening.watcher.misses) == (0, 0)
    assert listening.watcher.checked == [7]


def test_a_run_that_begins_is_followed_by_a_look(listening: Listening) -> None:
    listening.after(LEAST)
    listening.attention.look_soon()
    assert listening.attention.patience == near(SOON)
    listening.after(SOON)
    assert listening.detector.looked == 2


# Keys and signals.


def test_keys_and_signals_never_wait_and_come_first(listening: Listening) -> None:
    listening.saves("src/a.py")
    listening.keys.lines = ["a", ""]
    os.kill(os.getpid(), signal.SIGINT)
    assert listening.after(SOUND + 1e-6) == [
        SignalReceived(wish="interrupt"),
        KeyPressed(key="a"),
        KeyPressed(key=""),
        *calm("src/a.py"),
    ]
    assert listening.attention.signal == signal.SIGINT


def test_they_pass_while_a_burst_goes_on_and_the_burst_is_not_lost(listening: Listening) -> None:
    listening.saves("src/a.py", "unsound")
    listening.keys.lines = ["q"]
    assert listening.after(0.0) == [KeyPressed(key="q")]
    os.kill(os.getpid(), signal.SIGTSTP)
    assert listening.after(0.0) == [SignalReceived(wish="suspend")]
    assert listening.after(UNSOUND) == calm("src/a.py")


def test_it_waits_without_keys(tmp_path: Path) -> None:
    clock, signals = Clock(), Signals()
    attention = EventSources(
        signals,
        ScriptedWatcher(clock),
        Debouncer(),
        ScriptedEye,
        keys=None,
        root=str(tmp_path),
        clock=clock,
    )
    assert attention.take() == []
    signals.close()


def test_a_bell_ends_the_wait_at_once(listening: Listening) -> None:
    listening.watcher.pause = 3600.0
    listening.after(LEAST)
    assert listening.attention.patience > 3000
    listening.signals.ring()
    listening.attention.wait(math.inf)
    assert listening.attention.wake == listening.signals.wake


def test_it_waits_no_longer_than_until_something_is_due(listening: Listening) -> None:
    listening.saves("src/a.py")
    listening.attention.wait(math.inf)  # by the real clock: a window that the told one never ends
    assert listening.attention.patience == near(SOUND)


def test_it_waits_no_longer_than_it_is_told_to(listening: Listening) -> None:
    listening.watcher.pause = 3600.0
    listening.after(LEAST)
    listening.attention.wait(0.001)
