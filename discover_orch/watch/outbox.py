"""What a watch has still to tell: moments that came up while a run was going on, or that are gathered first.

In: moments, problems, saved files, and the time. Out: moments, in their order, each problem once. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from discover_orch.model.errors import Problem
from discover_orch.watch.watch_events import (
    CannotRun,
    KeyAnswered,
    NoMeaningfulChange,
    WatchEvent,
    WatchNote,
)

#: Seconds of calm after which files that were saved without a change are told, all in one line.
GATHER = 0.3


class Outbox:
    """A queue that knows what has been told already."""

    def __init__(self) -> None:
        self._queue: list[WatchEvent] = []
        self._standing: set[Problem] = set()  # told, and not mended
        self._saved: dict[str, None] = {}
        self._saved_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_gathering(self) -> bool:
        """Whether files that were saved wait to be told together."""
        return bool(self._saved)

    def take(self) -> list[WatchEvent]:
        taken, self._queue = self._queue, []
        return taken

    def tell(self, moment: WatchEvent) -> None:
        """Behind whatever was saved before it."""
        self.flush()
        self._queue.append(moment)

    def remark(self, problem: Problem) -> None:
        self.tell(WatchNote(problem=problem))

    def answer(self, key: str, sentence: str) -> None:
        self.tell(KeyAnswered(key=key, sentence=sentence))

    def problems(self, problems: Collection[Problem], waiting: tuple[str, ...] = ()) -> None:
        """What stands in the way now; each is told once, until it is mended."""
        now = _one_of_each_place(problems)
        new = [problem for problem in now if problem not in self._standing]
        self._standing = set(now)
        if new:
            self.tell(CannotRun(problems=tuple(new), waiting=waiting))

    def saved(self, paths: Collection[str], now: float) -> None:
        """Files of which nothing comes: a formatter saves many, one after another."""
        if paths:
            self._saved |= dict.fromkeys(paths)
            self._saved_at = now

    def gather(self, now: float) -> None:
        """Tell what was saved, if it has been calm since."""
        if now > self._saved_at + GATHER:
            self.flush()

    def flush(self) -> None:
        if self._saved:
            self._queue.append(NoMeaningfulChange(paths=tuple(self._saved)))
            self._saved.clear()


def _one_of_each_place(problems: Collection[Problem]) -> list[Problem]:
    """A broken tool is found by the scan and by the watch."""
    found: dict[object, Problem] = {}
    for problem in problems:
        place = problem.location
        found.setdefault((place.path, place.line) if place else problem, problem)
    return list(found.values())
