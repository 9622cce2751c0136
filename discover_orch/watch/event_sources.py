"""What a watch listens to, in one place: signals, keys, file events, and the clock.

In: a source of each. Out: calm occurrences, one list at a time, and one descriptor to wait on. It decides when a
burst of events is over, and nothing of what that means.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from msgspec import Struct

from discover_orch.execution.session import Signals
from discover_orch.model.errors import Problem
from discover_orch.watch.files.debounce import Debouncer, FileEvent, Look
from discover_orch.watch.files.watcher import Watcher
from discover_orch.watch.snapshot import SnapshotDiff, is_git_busy, read_index

#: Seconds that a run has to itself before anything else is done beside it.
SOON = 0.1
#: What no event told of may still be being written: it counts when it is the same after so many seconds.
CONFIRM = 0.15
#: Looks take no more than this of the time, however large the project and slow its disk.
SHARE = 0.025
#: Seconds that a batch which is due waits for events on their way, and between two looks at them.
MORE, BREATH = 0.05, 0.001
#: Files of a burst that are looked at once more before it is told.
FEW = 10
#: At least so many seconds apart are two looks that nobody asked for.
LEAST = 0.2


class KeySource(Protocol):
    def listen(self, ring: Callable[[], None]) -> None:
        """Begin to read, and ring when a line has come."""

    def take(self) -> list[str]:
        """Lines that were typed since the last time, without their newlines."""


class ChangeDetector(Protocol):
    """Looks at files: what an event is worth, and what has changed without one."""

    def is_relevant(self, path: str, *, is_folder: bool) -> bool: ...

    def judge(self, path: str) -> Look: ...

    def look(self, hinted: Collection[str] = ()) -> SnapshotDiff: ...

    def differing(self) -> Mapping[str, Problem | None]: ...

    @property
    def folders(self) -> int:
        """How many the last look entered."""

    def __len__(self) -> int: ...


class SignalReceived(Struct, frozen=True, kw_only=True):
    """A signal: `interrupt`, `kill` or `suspend`."""

    wish: str


class KeyPressed(Struct, frozen=True, kw_only=True):
    key: str


class FilesChanged(Struct, frozen=True, kw_only=True):
    """A burst of file events is over: these paths, and with `is_rescan` perhaps others."""

    paths: tuple[str, ...]
    is_rescan: bool = False


class WatchProblem(Struct, frozen=True, kw_only=True):
    """Something about watching itself, that the user should know."""

    problem: Problem


SourceEvent = SignalReceived | KeyPressed | FilesChanged | WatchProblem


class EventSources:
    """Listens from the moment it is made; `detector` may be another one later."""

    def __init__(
        self,
        signals: Signals,
        watcher: Watcher,
        debouncer: Debouncer,
        detector: Callable[[], ChangeDetector],
        *,
        keys: KeySource | None,
        root: str,
        clock: Callable[[], float],
    ) -> None:
        self._signals, self._watcher, self._debouncer = signals, watcher, debouncer
        self._detector, self._keys, self._root, self._clock = detector, keys, root, clock
        self._next_look = clock() + LEAST
        self._suspects: dict[str, None] = {}  # found by a look alone, perhaps still being written
        self._index = read_index(root)
        self._more_since: float | None = None
        self._looks: dict[
            str, Look
        ] = {}  # what the files of this burst were like when they were heard of
        self.heard = 0  # events that were worth something

    @property
    def wake(self) -> int:
        return self._signals.wake

    @property
    def signal(self) -> int:
        return self._signals.signal

    @property
    def patience(self) -> float:
        """Seconds until something is to be done though nothing comes."""
        now = self._clock()
        due = self._debouncer.due(now)
        if due == 0.0 and self._more_since is not None:
            due = BREATH
        look = max(0.0, self._next_look - now)
        return look if due is None else min(due, look)

    def wait(self, most: float) -> None:
        """Until something comes, or is to be done; `most` seconds at the longest."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        poll.poll(min(self.patience, most) * 1000 + 0.3)

    def take(self) -> list[SourceEvent]:
        """What has come; file events only when they are calm."""
        found: list[SourceEvent] = [SignalReceived(wish=wish) for wish in self._signals.take()]
        if self._keys is not None:
            found += [KeyPressed(key=key) for key in self._keys.take()]
        for hint in self._watcher.take():
            self._hear(hint)
        if self._clock() >= self._next_look:
            found += self._look_round()
        now = self._clock()
        if self._debouncer.due(now) is not None:
            self._debouncer.hold(now, is_git_busy(self._root))
            if (
                self._debouncer.due(now) == 0.0
                and not self._must_hear_more(now)
                and not self._is_emptied(now)
            ):
                self._more_since = None
                self._looks.clear()
                batch = self._debouncer.take(now)
                index, self._index = self._index, read_index(self._root)
                # git has been at work: its other files may not have been told of yet
                is_rescan = batch.is_rescan or index != self._index
                found.append(FilesChanged(paths=batch.paths, is_rescan=is_rescan))
        return found

    def look_soon(self) -> None:
        """The next look at the whole disk is due as soon as a run that now begins has got going."""
        self._next_look = self._clock() + SOON

    def settle(self, *, was_cancelled: bool) -> None:
        """How the run of the last burst went: newer saves that cancel one after another ask for patience."""
        self._debouncer.settle(was_cancelled)

    def hear_again(self, paths: Collection[str]) -> None:
        """Paths that were found to have changed by somebody else's look."""
        for path in paths:
            self._hear(FileEvent(kind="changed", path=path, at=self._clock()))

    def _must_hear_more(self, now: float) -> bool:
        """Whether more of the burst is on its way, as on a busy machine; not asked for long, as tools write too."""
        if not self._watcher.has_more():
            self._more_since = None
            return False
        self._more_since = self._more_since or now
        return now < self._more_since + MORE

    def _is_emptied(self, now: float) -> bool:
        """Whether a file that was sound is being written again at this very moment: then it gets the time that one
        gets which was found so."""
        detector, emptied = self._detector(), False
        for path, look in self._looks.items():
            if look == "sound" and detector.judge(path) == "unsound":
                self._looks[path] = "unsound"
                self._debouncer.hear(FileEvent(kind="written", path=path, at=now), "unsound")
                emptied = True
        return emptied

    def _hear(self, hint: FileEvent) -> None:
        detector = self._detector()
        if hint.kind == "lost":
            self._debouncer.hear(hint)
        elif detector.is_relevant(hint.path, is_folder=hint.is_folder):
            self.heard += 1
            look = None if hint.is_folder else detector.judge(hint.path)
            if look is not None and len(self._looks) < FEW:
                self._looks[hint.path] = look
            self._debouncer.hear(hint, look)

    def _look_round(self) -> list[SourceEvent]:
        """Whatever the system lost or never told: the disk is compared, and the watcher's health is."""
        detector, started = self._detector(), self._clock()
        problems: list[Problem] = []
        if self._debouncer.due(self._clock()) is None:  # else the look at what is due finds it
            news = detector.look()
            still = [path for path in self._suspects if path not in news.paths]
            self._suspects = dict.fromkeys(news.paths)
            missed = [path for path in still if path in detector.differing()]
            self.hear_again(missed)
            # Of a change of permissions no event is asked for, so none has been missed.
            is_missed = any(
                problem is None for path, problem in detector.differing().items() if path in missed
            )
            is_deaf = self._watcher.note_missed() if is_missed else None
            problems += [is_deaf] if is_deaf else []
        problems += self._watcher.check(detector.folders)
        now = self._clock()
        pause = max(self._watcher.interval(len(detector)), (now - started) / SHARE, LEAST)
        self._next_look = now + (CONFIRM if self._suspects else pause)
        return [WatchProblem(problem=problem) for problem in problems]
