"""What happened, as a value that knows its counts and its exit code.

In: the events of a run. Out: a `Report`. Pure; prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from discover_orch.execution.run_state import Event, RunFinished, RunNote, RunStatus, ToolFinished
from discover_orch.model.errors import ExitCode


class Report:
    """Grows with the events. `signal` is the number of the one that interrupted the run, or 0."""

    def __init__(self) -> None:
        self.finished: list[ToolFinished] = []
        self.errors = 0  # that are no tool's end: a resource that raised when it was closed
        self.status: RunStatus = "passed"
        self.duration = 0.0
        self.signal = 0

    def take(self, event: Event) -> None:
        match event:
            case ToolFinished():
                self.finished.append(event)
            case RunNote(problem=problem):
                self.errors += problem.severity == "error"
            case RunFinished(status=status, duration=duration, signal=signal):
                self.status, self.duration, self.signal = status, duration, signal
            case _:
                pass

    @property
    def failures(self) -> tuple[ToolFinished, ...]:
        return tuple(one for one in self.finished if one.status == "failed")

    @property
    def counts(self) -> Mapping[str, int]:
        """By status word, only those that occur, in the order in which they first did."""
        return dict(Counter(one.status for one in self.finished))

    @property
    def exit_code(self) -> int:
        """128 + the signal's number for an interrupted run, as shells have it."""
        if self.status == "interrupted":
            return 128 + self.signal if self.signal else ExitCode.INTERRUPTED
        if self.failures or self.status == "failed" or self.errors:
            return ExitCode.FAILED
        return ExitCode.OK
