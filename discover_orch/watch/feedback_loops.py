"""Files that set off one run after another, because each run writes them anew.

In: which files were changed between two runs, which ones during a run set off the next, and which ones tools were
seen to write. Out: those to let be, and the moments at which to tell. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

#: After so many runs in a row that a file set off which was written during the run before, it is let be.
MOST = 3
#: The same for a module that no tool was seen to write: the user may save it at each keystroke. It is never let be,
#: only told of, and does not cancel any more.
MOST_UNSEEN = 10


class FeedbackLoops:
    """Counts runs in a row, by file."""

    def __init__(self) -> None:
        self.muted: set[str] = set()
        self._times: dict[str, int] = {}
        self._written: set[str] = set()

    def note_written(self, paths: Iterable[str]) -> None:
        """Tools were seen to write these, or say that they do."""
        self._written.update(paths)

    def note_saved(self, paths: Iterable[str]) -> None:
        """These changed while nothing ran: the user's own saves."""
        for path in paths:
            self._times.pop(path, None)
            self.muted.discard(path)

    def note_end(self) -> None:
        """A run has ended, and set off no other."""
        self._times.clear()

    def blame(self, paths: Collection[str], *, data: Collection[str] = ()) -> list[tuple[str, int]]:
        """These changed during a run and ask for another one; of those that are `data` nobody saves many a second.

        Gives back (path, times) for each that the user should hear of now.
        """
        told = []
        for path in sorted(set(paths) - self.muted):
            times = self._times[path] = self._times.get(path, 0) + 1
            is_made = path in self._written or path in data
            if is_made and times > MOST:
                self.muted.add(path)
            if times == (MOST if is_made else MOST_UNSEEN) + 1:
                told.append((path, times - 1))
        return told

    def is_tiresome(self, paths: Collection[str]) -> bool:
        """Whether each of these has cancelled so many runs that the next one may finish."""
        return bool(paths) and all(self._times.get(path, 0) > MOST_UNSEEN for path in paths)
