"""How a worker ends: in its own time after its work, late, killed, or though nobody had told it to.

In: that it has closed, why it was killed, its wait status, and what it wrote as it crashed. Out: when it is late, and
the last that is told of it, `WorkerDied` or `WorkerEnded`. It ends no process itself.
"""

from __future__ import annotations

import os

from msgspec import Struct

from discover_orch.worker.tracebacks import LOST_STATUS, describe_end, read_crash

TIME_TO_END = 2.0  # seconds from `Closed` until the worker is killed


class WorkerDied(Struct, frozen=True, kw_only=True):
    """The worker ended though nobody had told it to. `step` was running; None where none was.

    One of `exit_code` and `signal` (its name) is set. `traceback`, `path` and `line` say where the
    user's code was at a crash, as far as it could still be told.
    """

    sentence: str
    exit_code: int | None = None
    signal: str | None = None
    step: int | None = None
    traceback: str = ""
    path: str | None = None
    line: int | None = None


class WorkerEnded(Struct, frozen=True, kw_only=True):
    """The worker ended after `Closed`. Where it had to be killed or crashed, `sentence` says so.

    `threads` are those that kept it from ending, empty where it ended in time.
    """

    sentence: str = ""
    threads: tuple[str, ...] = ()


class WorkerExit:
    """Of one worker. `kill_reason` is empty as long as nobody has given one."""

    def __init__(self) -> None:
        self.kill_reason = ""
        self._closed_at: float | None = None
        self._threads: tuple[str, ...] = ()

    @property
    def has_closed(self) -> bool:
        return self._closed_at is not None

    def close(self, now: float, threads: tuple[str, ...]) -> None:
        """It has closed what it had opened, and these threads are still there."""
        self._closed_at, self._threads = now, threads

    def due(self) -> float | None:
        """When it is late; None as long as it has not closed, and where it is being killed already."""
        if self._closed_at is None or self.kill_reason:
            return None
        return self._closed_at + TIME_TO_END

    def is_late(self, now: float) -> bool:
        return self._closed_at is not None and now >= self._closed_at + TIME_TO_END

    def find_last_word(
        self, status: int | None, *, step: int | None, crash: str, root: str
    ) -> WorkerDied | WorkerEnded:
        """`step` was running; `crash` is what the fault handler wrote, of a project at `root`."""
        sentence, code, name = describe_end(status)
        if self.has_closed:
            if self.kill_reason:
                return WorkerEnded(sentence=self.kill_reason, threads=self._threads)
            return WorkerEnded(sentence="" if code == 0 else f"{sentence} while it ended")
        traceback, path, line = read_crash(crash, root)
        return WorkerDied(
            sentence=self.kill_reason or sentence,
            exit_code=code,
            signal=name,
            step=step,
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
