"""How long the rest of a run takes: plays the rest of the plan with the times that its tools took before.

Nothing here runs anything or reads the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence

from discover_orch.execution.events import Running
from discover_orch.execution.step_queue import StepQueue

#: Steps that are left, for each second until the rest is played again: 1,000 take some milliseconds.
STEPS_PER_SECOND = 1000


class TimeLeft:
    """`queue` has all steps of the run, and `workers` carry them out. `expected` are the seconds that a tool is
    expected to take, None if that is not known; it is asked once for each tool."""

    def __init__(
        self, queue: StepQueue, workers: int, expected: Callable[[str], float | None]
    ) -> None:
        self._queue, self._workers, self._find = queue, workers, expected
        self._known: dict[str, float | None] = {}
        self._left: float | None = None
        self._played_at = 0.0
        self._next = 0.0  # when it is played again

    def expected(self, module: str) -> float | None:
        if module not in self._known:
            self._known[module] = self._find(module)
        return self._known[module]

    def estimate(
        self, running: Sequence[Running], finished: Collection[str], now: float
    ) -> float | None:
        """Seconds until the last step ends. None if that of a step that is left is not known."""
        if now >= self._next:
            left = [module for module in self._queue.modules if module not in finished]
            is_known = all(self.expected(module) is not None for module in left)
            self._left = self._play(running, finished) if is_known else None
            self._played_at, self._next = now, now + len(left) / STEPS_PER_SECOND
        return None if self._left is None else max(0.0, self._left - (now - self._played_at))

    def _play(self, running: Sequence[Running], finished: Collection[str]) -> float:
        queue = self._queue.restarted()
        for module in finished:
            queue.end(module)
        ends = []
        for one in running:
            queue.take(one.module)
            ends.append((max(0.0, (one.expected or 0.0) - one.seconds), one.module))
        heapq.heapify(ends)
        now = 0.0
        while True:
            while len(ends) < self._workers and (ready := queue.next(now)) is not None:
                queue.take(ready)
                heapq.heappush(ends, (now + (self.expected(ready) or 0.0), ready))
            if not ends:
                return now
            now, ended = heapq.heappop(ends)
            queue.end(ended)
