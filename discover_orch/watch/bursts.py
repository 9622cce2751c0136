"""Bursts of file events: which files have changed, given when all of them are complete.

Events are hints: they say when to look, and where first. All files are compared at intervals too. What the changes
mean is not known here. All numbers are seconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping

from discover_orch.discovery.tree import read_file_mark
from discover_orch.state.git_files import find_git_folder, is_git_busy
from discover_orch.watch.file_events import FileEvent, Watcher
from discover_orch.watch.watched_files import WatchedFiles

#: After a finished write: just long enough for the other events of the same save.
FINISHED = 0.002
#: After a write whose end is not announced: most writers write their chunks closer together than this. Also after an
#: event that came late.
UNFINISHED = 0.050
#: While a file is missing, empty or unparsable: some editors delete or truncate it before they write. A change that no
#: event announced counts when it is the same after so long.
INCOMPLETE = 0.150
#: From this many paths on it is a checkout, a copy or a formatter, with longer pauses between files.
MANY_PATHS = 10
AFTER_MANY = 0.075
#: After two runs in a row that newer saves cancelled: an editor saves at each keystroke.
CANCELLED_RUNS = 2
AFTER_CANCELLED = 0.200
#: No burst is older than this: a run must start even under constant writes, and git may keep its lock or a rebase for
#: minutes, while the user resolves a conflict.
CAP = 2.0
#: No event announces that git released its lock, or that what holds a burst has ended: so these are the pauses between
#: two looks.
GIT_PAUSE, HELD_PAUSE = 0.050, 0.25
#: How long a burst waits for events that watchdog has queued, as on a busy machine, and the pause between two looks.
QUEUED_WAIT, QUEUED_PAUSE = 0.05, 0.001
#: A run has so long to itself before anything else is done beside it.
AFTER_START = 0.1
#: From the start of a watch to its first comparison that nothing asked for.
FIRST_COMPARISON = 0.2


class Bursts:
    """Receives from the moment it is made. `shortest`: no burst is over sooner after its last event."""

    def __init__(
        self,
        watcher: Watcher,
        files: WatchedFiles,
        must_wait: Callable[[Collection[str]], bool],
        *,
        root: str,
        clock: Callable[[], float],
        shortest: float = 0.0,
    ) -> None:
        """`must_wait` is asked when a burst is over: whether these paths cannot be judged now. Then it is asked again
        every `HELD_PAUSE` seconds, and what changes meanwhile belongs to the same burst."""
        self._watcher, self._files, self._must_wait = watcher, files, must_wait
        self._root, self._clock, self.shortest = root, clock, shortest
        self._cancelled = 0  # runs in a row
        self._next_comparison = clock() + FIRST_COMPARISON
        #: Found without an event, perhaps still being written, each with its mark.
        self._suspects: Mapping[str, str] = {}
        self._index = _read_index(root)
        self._clear()

    def _clear(self) -> None:
        self._paths: dict[str, None] = {}
        #: The first event, the last one, when it is quiet after it, and when to look.
        self._started = self._latest = self._quiet_at = self._next_look = math.inf

    @property
    def poll_interval(self) -> float:
        """Seconds until something must be done even if nothing arrives."""
        return max(0.0, min(self._next_look, self._next_comparison) - self._clock())

    def drain(self) -> list[str] | None:
        """The files that have changed, if a burst is over and can be judged now."""
        for event in self._watcher.drain():
            self._add(event)
        if self._clock() >= self._next_comparison:
            self._compare()
        now = self._clock()
        return self._look(now) if now >= self._next_look else None

    def compare_soon(self) -> None:
        """Compare everything as soon as a run that now begins has started its work."""
        self._next_comparison = self._clock() + AFTER_START

    def add_changed(self, paths: Collection[str]) -> None:
        """Paths that a comparison found to have changed."""
        for path in paths:
            self._add(FileEvent(path=path, at=self._clock()))

    def note_run_end(self, *, was_cancelled: bool) -> None:
        """A run that was not cancelled ends the longer pauses, if nothing was saved meanwhile."""
        if was_cancelled:
            self._cancelled += 1
        elif not self._paths:
            self._cancelled = 0

    def _add(self, event: FileEvent) -> None:
        """What is below a folder may have changed, and with the path "" anything."""
        if event.path and not self._files.is_relevant(event.path, is_folder=event.is_folder):
            return
        self._paths["" if event.is_folder else event.path] = None
        self._started, self._latest = min(self._started, event.at), event.at
        is_finished = event.is_finished and self._watcher.announces_end
        is_short = is_finished and not event.is_late
        pause = max(self.shortest, FINISHED if is_short else UNFINISHED)
        if len(self._paths) >= MANY_PATHS:
            pause = max(pause, AFTER_MANY)
        if self._cancelled >= CANCELLED_RUNS:
            pause = max(pause, AFTER_CANCELLED)
        self._quiet_at = event.at + pause
        self._next_look = min(self._quiet_at, self._latest_end)

    @property
    def _latest_end(self) -> float:
        return self._started + max(CAP, self.shortest)

    def _look(self, now: float) -> list[str] | None:
        """The files that have changed, unless more may come."""
        is_late = now >= self._latest_end
        if not is_late and is_git_busy(self._root):
            pause = GIT_PAUSE
        elif now < self._quiet_at + QUEUED_WAIT and self._watcher.has_queued():
            pause = QUEUED_PAUSE
        elif self._must_wait(self._paths):
            pause = HELD_PAUSE
        else:
            index = _read_index(self._root)
            # The events of other files of a git command may be on their way.
            if index != self._index:
                self._paths[""], self._index = None, index
            found, pause = self._files.resolve(self._paths), self._latest + INCOMPLETE - now
            if is_late or pause <= 0.0 or all(map(self._files.is_complete, found)):
                self._clear()
                return found
        self._next_look = now + pause
        return None

    def _compare(self) -> None:
        """Find the changes that no event announced."""
        files, started = self._files, self._clock()
        if not self._paths:  # else the end of the burst finds them
            changed = files.find_changed()
            missed = [path for path, one in self._suspects.items() if changed.get(path) == one]
            self._suspects = {path: one for path, one in changed.items() if path not in missed}
            self.add_changed(missed)
            unannounced = [path for path in missed if files.has_event(path, changed[path])]
            if unannounced:
                self._watcher.note_missed(unannounced)
        now = self._clock()
        pause = INCOMPLETE if self._suspects else self._watcher.interval(now - started)
        self._next_comparison = now + pause


def _read_index(root: str) -> str:
    """Changes whenever git has changed the working tree."""
    return read_file_mark(os.path.join(find_git_folder(root), "index"))
