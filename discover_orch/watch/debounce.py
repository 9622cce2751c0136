"""Decides when a burst of file events is over: events in, batches of paths out.

Time is an argument, and no file is touched: the same events give the same batches. No path is ever lost, and
no batch waits forever: each has a cap. All numbers are seconds.
"""

from __future__ import annotations

import math
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
#: A write whose end is not announced: most writers write their chunks closer together than this.
UNFINISHED = 0.050
#: Gone: editors that delete or rename before they write bring the file back within this.
MISSING = 0.100
#: Empty or unparsable: truncated, and the content may follow.
INCOMPLETE = 0.150
#: From this many files on it is a checkout, a copy or a formatter, with longer pauses between files. So it is where
#: events were lost.
MANY_FILES = 10
MANY_FILES_WINDOW = 0.075
#: Two runs in a row cancelled by newer saves: an editor saves at each keystroke. Then a window is at least this long.
CANCELLED_RUNS = 2
CANCELLED_WINDOW = 0.200
#: A batch is never older than this: a run must start even under constant writes, and git may keep its lock or a
#: rebase for minutes, while the user resolves a conflict.
CAP = 2.0
#: No event announces that git released its lock: meanwhile the caller must check this often.
GIT_CHECK = 0.050


class FileEvent(Struct, frozen=True, kw_only=True):
    """One event: `path` relative to the root with `/`, surrogateescape text; `at` in monotonic seconds."""

    kind: EventKind
    path: str
    at: float
    is_folder: bool = False


class Batch(Struct, frozen=True, kw_only=True):
    """The events of one burst: their paths in the order of their first events.

    `is_rescan`: events were lost, or a folder came or went, so that other paths may have changed too. `is_over`: not
    if more of it may come.
    """

    paths: tuple[str, ...]
    is_rescan: bool = False
    is_over: bool = True


class Debouncer:
    """Collects events until the quiet window of every path has passed."""

    def __init__(self, *, announces_end: bool = True, shortest: float = 0.0) -> None:
        """`announces_end`: the system says when a write is finished. `shortest`: no window is shorter."""
        self._announces_end, self.shortest = announces_end, shortest
        self._cancelled = 0  # runs in a row
        self._clear()

    def _clear(self) -> None:
        #: The time of the last event of each path, and its window. The path of lost events is "".
        self._pending: dict[str, tuple[float, float]] = {}
        self._new: set[str] = set()  # created within this batch
        self._started = math.inf
        self._is_rescan = self._is_git_busy = False

    def add(self, event: FileEvent, check: FileCheck | None = None) -> None:
        """`check`: what the path looks like now, None for a folder."""
        self._started = min(self._started, event.at)
        self._is_rescan |= event.kind == "lost" or (event.is_folder and event.kind != "changed")
        if event.kind == "created" and event.path not in self._pending:
            self._new.add(event.path)
        at, _ = self._pending.get(event.path, (event.at, 0.0))
        self._pending[event.path] = (max(at, event.at), self._window(event, check))

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(filter(None, self._pending))

    @property
    def complete(self) -> list[str]:
        """The paths that were complete when they were checked."""
        return [path for path, (_, window) in self._pending.items() if path and window < MISSING]

    def note_git(self, *, is_busy: bool) -> None:
        """Whether git is in the middle of something; to be called before each `due`."""
        self._is_git_busy = is_busy

    def due(self, now: float) -> float | None:
        """Seconds until the batch is due: 0.0 when it is, None when there is none.

        While git is busy it is the time until the next check of its lock, if that is sooner.
        """
        if not self._pending:
            return None
        left = GIT_CHECK if self._is_git_busy else self._quiet_at() - now
        return max(0.0, min(left, self._started + max(CAP, self.shortest) - now))

    @property
    def is_complete(self) -> bool:
        """Whether the batch consists of finished writes, so that it is due unless more comes at once."""
        ends = [at + COMPLETE for at, _ in self._pending.values()]
        is_held = self._is_rescan or self._is_git_busy
        return bool(ends) and not is_held and self._quiet_at() <= max(ends)

    def drain(self) -> Batch:
        """Everything that was added since the last call."""
        batch = Batch(paths=self.paths, is_rescan=self._is_rescan)
        self._clear()
        return batch

    def note_run_end(self, *, was_cancelled: bool) -> None:
        """A run that was not cancelled resets the windows, if nothing was saved meanwhile."""
        if was_cancelled:
            self._cancelled += 1
        elif not self._pending:
            self._cancelled = 0

    def _window(self, event: FileEvent, check: FileCheck | None) -> float:
        if event.kind == "lost":
            return MANY_FILES_WINDOW
        if event.kind == "deleted" and event.path in self._new:
            return COMPLETE  # a temporary file, created and deleted: it does not come back
        if check == "missing" or (event.kind == "deleted" and check is None):
            return MISSING
        if check == "incomplete":
            return INCOMPLETE
        is_finished = event.kind in ("written", "moved") and not event.is_folder
        return COMPLETE if is_finished and self._announces_end else UNFINISHED

    def _quiet_at(self) -> float:
        """When the last of the windows ends."""
        least = MANY_FILES_WINDOW if len(self._pending) >= MANY_FILES else 0.0
        if self._cancelled >= CANCELLED_RUNS:
            least = max(least, CANCELLED_WINDOW)
        least = max(least, self.shortest)
        return max(at + max(window, least) for at, window in self._pending.values())
