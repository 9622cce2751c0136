"""Runs of the project that other commands make while it is watched: what they write is no change of the user's.

In: the ids of the watch's own runs. Out: whether another run goes on, and which tools took part in those that have
ended. Reads the journal, and tries the lock; writes nothing else.
"""

from __future__ import annotations

from discover_orch.state.journal import find_runs, read_record
from discover_orch.state.lock import ProjectLock


class OtherRuns:
    """From the moment on at which it is made. `is_awaited`: one of them was found to be going on."""

    def __init__(self, root: str, lock: ProjectLock) -> None:
        self._root, self._lock = root, lock
        self._known = max(map(int, find_runs(root)), default=0)
        self._own: set[str] = set()
        self.is_awaited = False

    def note_own(self, run: str) -> None:
        """A run of the watch itself has begun."""
        self._own.add(run)

    def have_ended(self) -> bool:
        """Whether those that were awaited go on no more; said once."""
        if not self.is_awaited or self._is_held():
            return False
        self.is_awaited = False
        return True

    def find_tools(self) -> tuple[str, ...] | None:
        """The tools that others have run since the last time; None while one of these runs goes on. Not to be asked
        while the lock is ours."""
        runs = [run for run in find_runs(self._root) if int(run) > self._known]
        others = [run for run in runs if run not in self._own]
        if others and self._is_held():
            self.is_awaited = True
            return None
        self._known = max(map(int, runs), default=self._known)
        self._own.clear()
        records = [read_record(self._root, run) for run in others]
        tools = [one for record in records if record is not None for one in record.tools]
        return tuple(dict.fromkeys(one.module for one in tools if one.has_started))

    def _is_held(self) -> bool:
        if self._lock.acquire() is not None:
            return True
        self._lock.release()
        return False
