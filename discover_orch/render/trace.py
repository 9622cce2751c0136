"""A run in the Chrome trace format, which https://ui.perfetto.dev shows: one row for each worker, and one for orch.

The file is the format's array of events. The format allows the array to end early, so the trace of a run that was
killed can be opened too. Times are in microseconds since orch started.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from discover_orch.execution.events import Event, RunFinished, RunStarted, ToolRetried
from discover_orch.model.errors import Failure
from discover_orch.model.run_events import RunNote, ToolFinished, ToolStarted
from discover_orch.planning.plan import Plan
from discover_orch.render.style import json_text

PROCESS = 1
#: The row of orch itself: the time in which no tool ran.
OWN_ROW = 0
#: Characters of an error's message.
LONGEST_MESSAGE = 500
NOT_STARTED = ("blocked", "not_run", "fresh")


class _Slice(Struct, frozen=True, kw_only=True):
    """An attempt that was drawn, in microseconds."""

    row: int
    start: int
    end: int


class TraceOutput:
    """`begun` is when orch started, in seconds by the clock of `add`."""

    def __init__(self, plan: Plan, begun: float) -> None:
        self._steps = {step.tool.module: step for step in plan.steps}
        self._begun = begun
        self._is_first = True
        self._row_ends: dict[int, float] = {}  # of each worker that is known
        self._started: dict[str, tuple[int, float]] = {}  # the row and the time of tools that run
        self._busy: list[tuple[float, float]] = []  # when tools ran
        self._ends: dict[str, _Slice] = {}  # of tools that passed
        self._arrows = 0

    def add(self, event: Event, now: float) -> str:
        match event:
            case RunStarted(run=run):
                process = _name_row(OWN_ROW, "process_name", name=f"orch run {run}")
                return self._text(process, *_new_row(OWN_ROW, "orch"))
            case ToolStarted(module=module, worker=worker):
                self._started[module] = worker, now
                return self._text(*self._add_row(worker))
            case ToolFinished() if event.status not in NOT_STARTED:
                return self._text(*self._end(event, now))
            case ToolRetried(end=end, delay=delay):
                slices = self._end(end, now)
                row = self._ends.pop(end.module).row
                name = f"{self._name(end.module)} is tried again"
                mark = self._mark(name, row, now, attempt=end.attempt, delay=delay)
                return self._text(*slices, mark)
            case RunNote(problem=problem):
                said = {"severity": problem.severity, "hint": problem.hint}
                return self._text(self._mark(problem.message, OWN_ROW, now, **said))
            case RunFinished(status=status) if not self._is_first:
                last = self._mark(f"run {status}", OWN_ROW, now)
                return self._text(*self._overhead(now), last) + "\n]\n"
            case _:
                return ""

    def _add_row(self, worker: int) -> Sequence[dict[str, object]]:
        if worker in self._row_ends:
            return ()
        self._row_ends[worker] = 0.0
        return _new_row(worker, f"worker {worker}")

    def _end(self, end: ToolFinished, now: float) -> list[dict[str, object]]:
        """The slice of an attempt, with its commit inside. Where start and end were read together, the start follows
        from the duration."""
        module = end.module
        row, started = self._started.pop(module, (1, now))  # it may not have started
        new = self._add_row(row)
        start = max(min(started, now - end.duration), self._row_ends[row], self._begun)
        self._row_ends[row] = now
        self._busy.append((start, now))
        step = self._steps[module]
        said = {
            "status": end.status,
            "stage": step.stage,
            "module": module,
            "attempt": end.attempt,
            "seconds": round(end.duration, 6),
            **{f"metric {name}": str(value) for name, value in end.metrics.items()},
            **_error(end.error),
        }
        found = [*new, self._slice(self._name(module), "tool", row, start, now, **said)]
        if end.commit_seconds:
            begun = max(start, now - end.commit_seconds)
            found.append(self._slice("commit", "database", row, begun, now))
        own = _Slice(row=row, start=self._time(start), end=self._time(now))
        for one in step.after:
            if one in self._ends:
                found += self._arrow(self._ends[one], own)
        self._ends[module] = own
        return found

    def _overhead(self, now: float) -> list[dict[str, object]]:
        """When no tool ran: before the first, between two, and after the last."""
        found, last, name = [], self._begun, "start"
        for start, end in sorted(self._busy):
            if start > last:
                found.append(self._slice(name, "orch", OWN_ROW, last, start))
            last, name = max(last, end), "between tools"
        if now > last:
            name = "end" if self._busy else "start"
            found.append(self._slice(name, "orch", OWN_ROW, last, now))
        return found

    def _name(self, module: str) -> str:
        return self._steps[module].tool.name

    def _slice(
        self, name: str, kind: str, row: int, start: float, end: float, **said: object
    ) -> dict[str, object]:
        begun = self._time(start)
        about = {"ph": "X", "name": name, "cat": kind, "pid": PROCESS, "tid": row, "ts": begun}
        return about | {"dur": max(0, self._time(end) - begun), "args": said}

    def _mark(self, name: str, row: int, now: float, **said: object) -> dict[str, object]:
        short = name[:LONGEST_MESSAGE]
        about = {"ph": "i", "name": short, "cat": "orch", "pid": PROCESS, "tid": row}
        return about | {"ts": self._time(now), "s": "t", "args": said}

    def _arrow(self, source: _Slice, target: _Slice) -> Sequence[dict[str, object]]:
        """From the last moment of a tool to the start of one that depends on it. Perfetto refuses an arrow that begins
        or ends where no slice is open, and a slice is not open any more at its end."""
        begun = source.end - 1
        ended = max(target.start, begun)
        if begun < source.start or ended >= target.end:
            return ()
        self._arrows += 1
        both = {"name": "after", "cat": "after", "id": self._arrows, "pid": PROCESS}
        return (
            both | {"ph": "s", "tid": source.row, "ts": begun},
            both | {"ph": "f", "bp": "e", "tid": target.row, "ts": ended},
        )

    def _time(self, now: float) -> int:
        return max(0, round((now - self._begun) * 1e6))

    def _text(self, *events: dict[str, object]) -> str:
        """The events, each on a line, as elements of the array."""
        text = ""
        for one in events:
            text += ("[\n" if self._is_first else ",\n") + json_text(one)
            self._is_first = False
        return text


def _error(error: Failure | None) -> dict[str, object]:
    if error is None:
        return {}
    place = f"{error.path}:{error.line}" if error.path else ""
    return {"error": f"{error.type}: {error.message}"[:LONGEST_MESSAGE], "place": place}


def _new_row(row: int, name: str) -> Sequence[dict[str, object]]:
    return (
        _name_row(row, "thread_name", name=name),
        _name_row(row, "thread_sort_index", sort_index=row),
    )


def _name_row(row: int, what: str, **said: object) -> dict[str, object]:
    return {"ph": "M", "pid": PROCESS, "tid": row, "name": what, "args": said}
