"""What is done for a worker that is to stop, and when: the signals that follow an interrupt.

In: the moment of the interrupt, and the time. Out: which signals are due, and when the next one is. Pure: it sends
none, and reads no clock.
"""

from __future__ import annotations

import signal

# From an interrupt on: seconds, and what the worker's process group is sent then.
LADDER = ((0.0, signal.SIGINT), (2.0, signal.SIGTERM), (3.0, signal.SIGKILL))
# And when a nudge: Python sees a signal that came just before a system call only when that call ends,
# and SIGCONT, which harms nobody, ends it (the worker has a handler for it, which does nothing).
NUDGES = (0.02, 0.1, 0.5, 1.0)


def rung(elapsed: float) -> int:
    """How many rungs of the ladder are due, so many seconds after the interrupt."""
    return sum(elapsed >= at for at, _ in LADDER)


def next_rung(elapsed: float) -> float | None:
    """Seconds until the next rung is due; None after the last."""
    return min((at - elapsed for at, _ in LADDER if at > elapsed), default=None)


class StopSignals:
    """For one worker; `begin` is the interrupt."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._rungs = 0
        self._nudges = 0

    @property
    def has_begun(self) -> bool:
        return self._began_at is not None

    def begin(self, now: float) -> None:
        self._began_at = now

    def due(self, now: float) -> float | None:
        """When the next signal is due; None before the interrupt, and after the last."""
        if self._began_at is None:
            return None
        elapsed = now - self._began_at
        due = [*NUDGES[self._nudges : self._nudges + 1]]
        left = next_rung(elapsed)
        if left is not None:
            due.append(elapsed + left)
        return min(due) + self._began_at if due else None

    def take_nudge(self, now: float) -> bool:
        """Whether a nudge is due now; it then counts as given."""
        if self._began_at is None or self._nudges >= len(NUDGES):
            return False
        is_due = now - self._began_at >= NUDGES[self._nudges]
        self._nudges += is_due
        return is_due

    def take_rungs(self, now: float) -> tuple[tuple[float, signal.Signals], ...]:
        """The rungs that are due now and were not before: (seconds after the interrupt, signal)."""
        if self._began_at is None:
            return ()
        due = rung(now - self._began_at)
        taken = LADDER[self._rungs : due]
        self._rungs = max(self._rungs, due)
        return taken
