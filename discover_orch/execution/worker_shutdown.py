"""How a worker is stopped, and how it ended.

`WorkerExit` says which signals are due and when, and turns what is known of the end into `WorkerDied` or
`WorkerEnded`. It sends no signal, and does not read the clock.
"""

from __future__ import annotations

import math
import os
import signal

from msgspec import Struct

from discover_orch.worker.tracebacks import LOST_STATUS, describe_exit, read_crash

#: Seconds from `Closed` until the worker is killed.
TIME_TO_END = 2.0
#: Seconds after an interrupt, and the signal that the worker's process group gets then. Python notices a signal that
#: came just before a system call only when that call ends. SIGCONT ends it and does nothing else.
STOP_SIGNALS: tuple[tuple[float, signal.Signals], ...] = (
    (0.0, signal.SIGINT),
    (0.02, signal.SIGCONT),
    (0.1, signal.SIGCONT),
    (0.5, signal.SIGCONT),
    (1.0, signal.SIGCONT),
    (2.0, signal.SIGTERM),
    (3.0, signal.SIGKILL),
)


class WorkerDied(Struct, frozen=True, kw_only=True):
    """The worker ended before it was asked to.

    One of `exit_code` and `signal` (its name) is set. `traceback`, `path` and `line` say where the user's code
    was when it crashed, if that is known.
    """

    sentence: str
    exit_code: int | None = None
    signal: str | None = None
    traceback: str = ""
    path: str | None = None
    line: int | None = None


class WorkerEnded(Struct, frozen=True, kw_only=True):
    """The worker ended after `Closed`. If it was killed or crashed, `sentence` says so.

    `threads` are those that kept it from ending; empty if it ended in time.
    """

    sentence: str = ""
    threads: tuple[str, ...] = ()


class WorkerExit:
    """What is known of the end of one worker. `kill_reason` is empty until it is killed for a reason."""

    def __init__(self) -> None:
        self.kill_reason = ""
        self._has_closed = False
        self._threads: tuple[str, ...] = ()
        self._began_at: float | None = None  # the interrupt, or the end of its work
        self._signals = STOP_SIGNALS  # that it has not got

    def interrupt(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now

    def close(self, now: float, threads: tuple[str, ...]) -> None:
        """The worker has closed its resources; `threads` are still running in it."""
        self._has_closed, self._threads = True, threads
        self._began_at, self._signals = now, ((TIME_TO_END, signal.SIGKILL),)

    def due(self) -> float:
        """When the next signal is due; infinite if none is."""
        if self._began_at is None or not self._signals:
            return math.inf
        return self._began_at + self._signals[0][0]

    def drain(self, now: float) -> list[signal.Signals]:
        """The signals that became due since the last call."""
        found = []
        while self.due() <= now:
            (at, number), *rest = self._signals
            self._signals = tuple(rest)
            found.append(number)
            if self._has_closed:
                late = f"did not end within {at:g} s of finishing its work and was killed"
                self.kill_reason = self.kill_reason or late
            elif number in (signal.SIGTERM, signal.SIGKILL):
                self.kill_reason = f"did not stop within {at:g} s of the interrupt and was killed"
        return found

    def final_event(self, status: int | None, crash: str, root: str) -> WorkerDied | WorkerEnded:
        """`status` is the wait status, `crash` is what the fault handler wrote in the project at `root`."""
        sentence, code, name = describe_exit(status)
        if self._has_closed:
            if self.kill_reason:
                return WorkerEnded(sentence=self.kill_reason, threads=self._threads)
            return WorkerEnded(sentence="" if code == 0 else f"{sentence} while it ended")
        traceback, path, line = read_crash(crash, root)
        return WorkerDied(
            sentence=self.kill_reason or sentence,
            exit_code=code,
            signal=name,
            traceback=traceback,
            path=path,
            line=line,
        )


def read_status(pid: int, *, reap: bool) -> int | None:
    """The wait status of a process that has ended; None while it runs."""
    try:
        if not reap:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return None if ended is None else 0
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return LOST_STATUS
    return status if found else None
