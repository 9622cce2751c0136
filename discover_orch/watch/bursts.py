"""Bursts of file events: which files have changed, given when each of them is complete.

Events are hints, so all files are compared at intervals too. What the changes mean is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from discover_orch.discovery.tree import signature_of
from discover_orch.state.git_files import find_git_folder, is_git_busy
from discover_orch.watch.debounce import Batch, Debouncer, FileEvent
from discover_orch.watch.file_events import Watcher
from discover_orch.watch.watched_files import WatchedFiles

#: Seconds that a run has to itself before anything else is done beside it.
AFTER_START = 0.1
#: A change that no event announced may still be being written: it counts when it is the same after so many seconds.
CONFIRM = 0.15
#: Seconds that a due batch waits for events that watchdog has queued, and the pause between two checks of them.
QUEUED_WAIT, QUEUED_PAUSE = 0.05, 0.001
#: Seconds between two checks whether a burst that must wait can be judged.
HELD_PAUSE = 0.25
#: Seconds from the start of a watch to its first comparison that nothing asked for.
FIRST_COMPARISON = 0.2


class Bursts:
    """Receives from the moment it is made."""

    def __init__(
        self,
        watcher: Watcher,
        debouncer: Debouncer,
        files: WatchedFiles,
        must_wait: Callable[[Collection[str]], bool],
        *,
        root: str,
        clock: Callable[[], float],
    ) -> None:
        """`must_wait` is asked when a burst is over: whether these paths cannot be judged now. Then it is asked again
        every `HELD_PAUSE` seconds, and what changes meanwhile belongs to the same burst."""
        self._watcher, self._debouncer, self._files = watcher, debouncer, files
        self._must_wait, self._root, self._clock = must_wait, root, clock
        self._next_comparison = clock() + FIRST_COMPARISON
        #: Found without an event, perhaps still being written, each with its signature.
        self._suspects: Mapping[str, str] = {}
        self._index = _read_index(root)
        self._queued_since: float | None = None
        self._is_held = self._is_expected = False

    @property
    def poll_interval(self) -> float:
        """Seconds until something must be done even if nothing arrives."""
        now = self._clock()
        due = self._debouncer.due(now)
        if due == 0.0 and self._is_held:
            due = HELD_PAUSE
        elif due == 0.0 and self._queued_since is not None:
            due = QUEUED_PAUSE
        comparison = max(0.0, self._next_comparison - now)
        return comparison if due is None else min(due, comparison)

    def drain(self) -> Batch | None:
        """The burst that is over, if there is one that can be judged now; or once, ahead of that, one that is over
        unless more comes at once."""
        for event in self._watcher.drain():
            self._add(event)
        if self._clock() >= self._next_comparison:
            self._compare()
        now = self._clock()
        if self._debouncer.due(now) is None:
            return None
        self._debouncer.note_git(is_busy=is_git_busy(self._root))
        is_over = (
            self._debouncer.due(now) == 0.0
            and not self._must_wait_for_queued(now)
            and not self._is_rewritten(now)
        )
        self._is_held = is_over and self._must_wait(self._debouncer.paths)
        if self._is_held:
            return None
        if not is_over:
            return self._expect()
        self._queued_since, self._is_expected = None, False
        batch = self._debouncer.drain()
        index, self._index = self._index, _read_index(self._root)
        # After a git command the events of its other files may still be on their way.
        return replace(batch, is_rescan=batch.is_rescan or index != self._index)

    def _expect(self) -> Batch | None:
        paths = self._debouncer.paths
        if self._is_expected or not self._debouncer.is_complete or self._must_wait(paths):
            return None
        self._is_expected = True
        return Batch(paths=paths, is_over=False)

    def compare_soon(self) -> None:
        """Compare everything as soon as a run that now begins has started its work."""
        self._next_comparison = self._clock() + AFTER_START

    def add_changed(self, paths: Collection[str]) -> None:
        """Paths that a comparison found to have changed."""
        for path in paths:
            self._add(FileEvent(kind="changed", path=path, at=self._clock()))

    def _must_wait_for_queued(self, now: float) -> bool:
        """Whether more of the burst is queued, as on a busy machine. It does not wait long, because tools write
        too."""
        if not self._watcher.has_queued():
            self._queued_since = None
            return False
        self._queued_since = self._queued_since or now
        return now < self._queued_since + QUEUED_WAIT

    def _is_rewritten(self, now: float) -> bool:
        """Whether a file that was complete is being written again just now: then it gets the time of an incomplete
        one."""
        again = [
            path
            for path in self._debouncer.complete
            if self._files.check_file(path) == "incomplete"
        ]
        for path in again:
            self._debouncer.add(FileEvent(kind="written", path=path, at=now), "incomplete")
        return bool(again)

    def _add(self, event: FileEvent) -> None:
        files = self._files
        if event.kind == "lost":
            self._debouncer.add(event)
        elif files.is_relevant(event.path, is_folder=event.is_folder):
            check = None if event.is_folder else files.check_file(event.path)
            self._debouncer.add(event, check)

    def _compare(self) -> None:
        """Find the changes that no event announced."""
        files, started = self._files, self._clock()
        if self._debouncer.due(started) is None:  # else the comparison of the batch finds them
            changed = files.find_changed()
            missed = [path for path, one in self._suspects.items() if changed.get(path) == one]
            self._suspects = {path: one for path, one in changed.items() if path not in missed}
            self.add_changed(missed)
            unannounced = [path for path in missed if files.has_event(path, changed[path])]
            if unannounced:
                self._watcher.note_missed(unannounced)
        now = self._clock()
        pause = CONFIRM if self._suspects else self._watcher.interval(now - started)
        self._next_comparison = now + pause


def _read_index(root: str) -> str:
    """Changes whenever git has changed the working tree."""
    return signature_of(os.path.join(find_git_folder(root), "index"))
