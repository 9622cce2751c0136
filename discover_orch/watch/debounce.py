"""Decides when a burst of file events is over: events in, batches of paths out.

Time is an argument, and no file is touched: the same events give the same batches. No path is ever lost, and
no batch waits forever: each has a cap. All numbers are seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from msgspec import Struct

#: What happened. `written`: closed after writing. `moved`: something was renamed to this path. `created`: appeared,
#: and may still be being written. `deleted`: gone, or moved away. `changed`: the system does not say more.
#: `lost`: events were lost, the path is "", and everything must be compared.
EventKind = Literal["written", "moved", "created", "deleted", "changed", "lost"]
#: What a path looks like: a module that parses, or any data file; an empty or unparsable module; nothing there.
FileCheck = Literal["complete", "incomplete", "missing"]

#: A finished write of a module that parses: just long enough for the other events of the same save.
COMPLETE = 0.002
#: A finished write of a file that was not checked.
UNCHECKED = 0.010
#: A write whose end is not announced: most writers write their chunks closer together than this.
UNFINISHED = 0.050
#: Gone: editors that delete or rename before they write bring the file back within this.
MISSING = 0.100
#: Empty or unparsable: truncated, and the content may follow.
INCOMPLETE = 0.150
#: From this many files on it is a checkout, a copy or a formatter, with longer pauses between files.
MANY_FILES = 10
MANY_FILES_WINDOW = 0.075
#: A batch is never older than this: a run must start even under constant writes.
CAP = 1.0
MANY_FILES_CAP = 3.0
#: git may keep its lock or a rebase for minutes, while the user resolves a conflict.
GIT_CAP = 2.0
#: No event announces that git released its lock: meanwhile the caller must check this often.
GIT_CHECK = 0.050
#: Two runs in a row cancelled by newer saves: an editor saves at each keystroke. From then on a window is at
#: least this long, and doubles with each further cancelled run up to the maximum.
CANCELLED_RUNS = 2
CANCELLED_WINDOW = 0.125
LONGEST_CANCELLED_WINDOW = 0.250


class FileEvent(Struct, frozen=True, kw_only=True):
    """One event: `path` relative to the root with `/`, surrogateescape text; `at` in monotonic seconds."""

    kind: EventKind
    path: str
    at: float
    is_folder: bool = False


class Batch(Struct, frozen=True, kw_only=True):
    """The events of one burst: their paths in the order of their first events.

    `is_rescan`: events were lost, or a folder came or went, so that other paths may have changed too.
    """

    paths: tuple[str, ...]
    is_rescan: bool


class Debouncer:
    """Collects events until the quiet window of every path has passed."""

    def __init__(self, *, announces_end: bool = True, shortest: float = 0.0) -> None:
        """`announces_end`: the system says when a write is finished. `shortest`: no window is shorter."""
        self._announces_end = announces_end
        self._shortest = shortest
        self._cancelled = 0  # runs in a row
        self._was_quiet = True  # whether the last batch ended by its windows, and not by its cap
        self._clear()

    def _clear(self) -> None:
        self._paths: dict[str, tuple[float, float]] = {}  # time of the last event, window
        self._new: set[str] = set()  # created within this batch
        self._is_empty: bool = True
        self._started: float = 0.0
        self._last: float = float("-inf")
        self._lost: float = float("-inf")
        self._is_rescan: bool = False
        self._is_git_busy: bool = False
        self._was_git_busy: bool = False

    def add(self, event: FileEvent, check: FileCheck | None = None) -> None:
        """`check`: what the path looks like now, where it was checked."""
        self._started = event.at if self._is_empty else min(self._started, event.at)
        self._last = max(self._last, event.at)
        self._is_empty = False
        if event.kind == "lost":
            self._is_rescan = True
            self._lost = max(self._lost, event.at)
            return
        if event.is_folder and event.kind != "changed":
            self._is_rescan = True
        if event.path not in self._paths and event.kind == "created":
            self._new.add(event.path)
        at, _ = self._paths.get(event.path, (event.at, 0.0))
        self._paths[event.path] = (max(at, event.at), self._window(event, check))

    @property
    def paths(self) -> Collection[str]:
        return self._paths.keys()

    def note_git(self, now: float, *, is_busy: bool) -> None:
        """Whether git is in the middle of something; to be called before each `due`."""
        self._is_git_busy = is_busy
        self._was_git_busy |= is_busy and not self._is_empty and now < self._started + GIT_CAP

    def due(self, now: float) -> float | None:
        """Seconds until the batch is due: 0.0 when it is, None when there is none.

        While git is busy it is the time until the next check of its lock, if that is sooner.
        """
        if self._is_empty:
            return None
        if self._is_git_busy and now < self._started + GIT_CAP:
            return min(GIT_CHECK, self._started + GIT_CAP - now)
        return max(0.0, min(self._quiet_at(), self._started + self._cap()) - now)

    def drain(self, now: float) -> Batch:
        """Everything that was added since the last call."""
        self._was_quiet = now >= self._quiet_at()
        batch = Batch(paths=tuple(self._paths), is_rescan=self._is_rescan)
        self._clear()
        return batch

    def note_run_end(self, *, was_cancelled: bool) -> None:
        """A run that was not cancelled resets the windows, if saving had paused before it and nothing was saved
        since."""
        if was_cancelled:
            self._cancelled += 1
        elif self._was_quiet and self._is_empty:
            self._cancelled = 0

    def _window(self, event: FileEvent, check: FileCheck | None) -> float:
        if event.kind == "deleted" and event.path in self._new:
            return COMPLETE  # a temporary file, created and deleted: it does not come back
        if check == "missing" or (event.kind == "deleted" and check is None):
            return MISSING
        if check == "incomplete":
            return INCOMPLETE
        if event.is_folder or not self._announces_end or event.kind in ("created", "changed"):
            return UNFINISHED
        return COMPLETE if check == "complete" and event.kind != "deleted" else UNCHECKED

    def _quiet_at(self) -> float:
        """When the last of the windows ends."""
        end = self._lost + self._stretched(MANY_FILES_WINDOW)
        if len(self._paths) >= MANY_FILES:
            end = max(end, self._last + self._stretched(MANY_FILES_WINDOW))
        for at, window in self._paths.values():
            end = max(end, at + self._stretched(window))
        return end

    def _stretched(self, window: float) -> float:
        if self._cancelled >= CANCELLED_RUNS:
            least = CANCELLED_WINDOW * 2.0 ** min(self._cancelled - CANCELLED_RUNS, 8)
            window = min(max(2 * window, least), LONGEST_CANCELLED_WINDOW)
        return max(window, self._shortest)

    def _cap(self) -> float:
        cap = CAP
        if len(self._paths) >= MANY_FILES or self._cancelled >= CANCELLED_RUNS:
            cap = MANY_FILES_CAP
        elif self._was_git_busy:
            cap = GIT_CAP
        return max(cap, self._shortest)
