"""When a burst of file events is over: hints in, calm batches out.

In: hints (which path, what happened, when) and what one look at the path said. Out: when the batch is due,
and the batch. Time is an argument, and nothing here touches a file: the same hints give the same batches.
No path that was heard is ever lost, and no batch waits for ever: each has a cap. Numbers are seconds.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

#: What happened. `written`: closed after writing. `moved`: something was renamed onto this path, or moved in.
#: `created`: appeared, and may still be being written. `deleted`: gone, or moved away. `changed`: the system
#: does not say more. `lost`: events were lost, the path is "", and everything must be looked at.
Kind = Literal["written", "moved", "created", "deleted", "changed", "lost"]
#: What one look said: a module that parses, or any data file; an empty or unparsable module; nothing there.
Look = Literal["sound", "unsound", "missing"]

#: A finished write of a module that parses: just long enough for the other events of the same save.
SOUND = 0.002
#: A finished write that nobody looked at.
UNSEEN = 0.010
#: No end of the write was told: most writers put their chunks closer together than this.
UNFINISHED = 0.050
#: Gone: editors that delete or rename before they write bring the file back within this.
MISSING = 0.100
#: Empty or unparsable: truncated, and the content may follow.
UNSOUND = 0.150
#: From so many files on it is a checkout, a copy or a formatter; they pause longer between files.
STORM_FILES = 10
STORM = 0.075
#: A batch is never older than this: under constant writes a run must still start.
CAP = 1.0
STORM_CAP = 3.0
#: git may keep its lock or its rebase for minutes, while somebody resolves a conflict.
HOLD_CAP = 2.0
#: The end of git's lock rings no bell: while it holds, the caller must look again this often.
HOLD_LOOK = 0.050
#: Two runs in a row cancelled by newer saves: somebody saves at each keystroke. Twice 2 ms would not help
#: against 10 saves a second, so windows are at least this from then on, doubling with each further one.
PRESSED_RUNS = 2
PRESSED = 0.125
PRESSED_MOST = 0.250


class FileEvent(Struct, frozen=True, kw_only=True):
    """One event: `path` relative to the root with `/`, surrogateescape text; `at` in monotonic seconds."""

    kind: Kind
    path: str
    at: float
    is_folder: bool = False


class Batch(Struct, frozen=True, kw_only=True):
    """What came until it was calm: paths in the order of their first hints, without that of `lost`.

    `is_rescan`: events were lost, or a folder came or went, so that paths are not all there is to look at.
    """

    paths: tuple[str, ...]
    is_rescan: bool
    started: float
    hints: int


class Debouncer:
    """Collects hints until the quiet window of every path has passed."""

    def __init__(self, *, tells_end: bool = True, least: float = 0.0) -> None:
        """`tells_end`: the system says when a write is finished. `least`: no window is shorter."""
        self._tells_end = tells_end
        self._least = least
        self._cancelled = 0  # runs in a row
        self._was_calm = True  # whether the last batch ended by its windows, and not by its cap
        self._forget()

    def _forget(self) -> None:
        self._paths: dict[str, tuple[float, float]] = {}  # when it was last heard of, its window
        self._born: set[str] = set()  # was not there before this batch
        self._hints: int = 0
        self._started: float = 0.0
        self._last: float = float("-inf")
        self._lost: float = float("-inf")
        self._is_rescan: bool = False
        self._is_held: bool = False
        self._was_held: bool = False

    def hear(self, hint: FileEvent, look: Look | None = None) -> None:
        """Take one hint in; `look` is what the path looks like now, where somebody looked."""
        if not self._hints:
            self._started = hint.at
        self._hints += 1
        self._last = max(self._last, hint.at)
        self._started = min(self._started, hint.at)
        if hint.kind == "lost":
            self._is_rescan = True
            self._lost = max(self._lost, hint.at)
            return
        if hint.is_folder and hint.kind != "changed":
            self._is_rescan = True
        if hint.path not in self._paths and hint.kind == "created":
            self._born.add(hint.path)
        at, _ = self._paths.get(hint.path, (hint.at, 0.0))
        self._paths[hint.path] = (max(at, hint.at), self._window(hint, look))

    def hold(self, now: float, is_busy: bool) -> None:
        """git is in the middle of something, or (not `is_busy`) no more; call it whenever `due` is asked."""
        self._is_held = is_busy
        self._was_held |= is_busy and bool(self._hints) and now < self._started + HOLD_CAP

    def due(self, now: float) -> float | None:
        """Seconds until the batch is due, 0.0 when it is, None when nothing waits.

        While git holds it is the time until the next look at its lock, if that is sooner.
        """
        if not self._hints:
            return None
        if self._is_held and now < self._started + HOLD_CAP:
            return min(HOLD_LOOK, self._started + HOLD_CAP - now)
        return max(0.0, min(self._calm(), self._started + self._cap()) - now)

    def take(self, now: float) -> Batch:
        """Everything that was heard; forgets it."""
        self._was_calm = now >= self._calm()
        batch = Batch(
            paths=tuple(self._paths),
            is_rescan=self._is_rescan,
            started=self._started if self._hints else now,
            hints=self._hints,
        )
        self._forget()
        return batch

    def settle(self, was_cancelled: bool) -> None:
        """How the run of the last batch went. One that ended resets the windows, if saving had paused before it,
        and nothing has been saved since."""
        if was_cancelled:
            self._cancelled += 1
        elif self._was_calm and not self._hints:
            self._cancelled = 0

    def _window(self, hint: FileEvent, look: Look | None) -> float:
        if hint.kind == "deleted" and hint.path in self._born:
            return SOUND  # a temporary file, made and gone: nobody waits for it to come back
        if look == "missing" or (hint.kind == "deleted" and look is None):
            return MISSING
        if look == "unsound":
            return UNSOUND
        if hint.is_folder or not self._tells_end or hint.kind in ("created", "changed"):
            return UNFINISHED
        return SOUND if look == "sound" and hint.kind != "deleted" else UNSEEN

    def _calm(self) -> float:
        """When the last of the windows ends."""
        end = self._lost + self._stretched(STORM)
        if len(self._paths) >= STORM_FILES:
            end = max(end, self._last + self._stretched(STORM))
        for at, window in self._paths.values():
            end = max(end, at + self._stretched(window))
        return end

    def _stretched(self, window: float) -> float:
        if self._is_pressed():
            pressed = PRESSED * 2.0 ** min(self._cancelled - PRESSED_RUNS, 8)
            window = min(max(2 * window, pressed), PRESSED_MOST)
        return max(window, self._least)

    def _cap(self) -> float:
        cap = CAP
        if len(self._paths) >= STORM_FILES or self._is_pressed():
            cap = STORM_CAP
        elif self._was_held:
            cap = HOLD_CAP
        return max(cap, self._least)

    def _is_pressed(self) -> bool:
        return self._cancelled >= PRESSED_RUNS
