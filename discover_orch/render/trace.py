"""A recorded run in the Chrome trace format, which https://ui.perfetto.dev shows: one row for each worker, and one for
orch.

The file is the format's array of events. Times are in microseconds since orch started.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from discover_orch.model.errors import Failure
from discover_orch.render.style import json_text
from discover_orch.state.run_record import Attempt, RunRecord, ToolRecord

PROCESS = 1
#: The row of orch itself: the time in which no tool ran.
OWN_ROW = 0
#: Characters of an error's message.
LONGEST_MESSAGE = 500

Row = dict[str, object]


class _Slice(Struct, frozen=True, kw_only=True):
    """An attempt that was drawn, in microseconds."""

    row: int
    start: int
    end: int


def trace_text(record: RunRecord) -> str:
    attempts = [(one, tool) for tool in record.tools for one in tool.attempts]
    attempts.sort(key=lambda found: (found[0].end, found[0].start))
    workers = sorted({one.worker for one, _ in attempts})
    rows = [
        _name_row(OWN_ROW, "process_name", name=f"orch run {record.run}"),
        *_new_row(OWN_ROW, "orch"),
        *(row for one in workers for row in _new_row(one, f"worker {one}")),
        *_attempt_rows(record, attempts),
    ]
    for note in record.notes:
        problem = note.problem
        said = {"severity": problem.severity, "hint": problem.hint}
        rows.append(_mark(problem.message, OWN_ROW, _time(record, note.at), **said))
    rows += _overhead_rows(record, [one for one, _ in attempts])
    rows.append(_mark(f"run {record.status}", OWN_ROW, _time(record, record.ended)))
    return "[\n" + ",\n".join(map(json_text, rows)) + "\n]\n"


def _attempt_rows(record: RunRecord, attempts: Sequence[tuple[Attempt, ToolRecord]]) -> list[Row]:
    """Each attempt with its commit inside, a mark where another one follows, and arrows from the tools before it."""
    rows: list[Row] = []
    row_ends: dict[int, int] = {}
    passed: dict[str, _Slice] = {}
    arrows = 0
    for one, tool in attempts:
        row, end = one.worker, _time(record, one.end)
        start = max(_time(record, one.start), row_ends.get(row, 0))
        own = _Slice(row=row, start=min(start, end), end=end)
        row_ends[row] = end
        rows.append(_slice(tool.name, "tool", own, **_facts(tool, one)))
        if one.commit_seconds:
            start = max(own.start, end - round(one.commit_seconds * 1e6))
            rows.append(_slice("commit", "database", _Slice(row=row, start=start, end=end)))
        for before in tool.step.after:
            if before in passed and (arrow := _arrow(passed[before], own, arrows + 1)):
                rows += arrow
                arrows += 1
        if one.delay is None:
            passed[tool.module] = own
        else:
            again = f"{tool.name} is tried again"
            rows.append(_mark(again, row, end, attempt=one.number, delay=one.delay))
    return rows


def _facts(tool: ToolRecord, one: Attempt) -> Row:
    metrics = tool.metrics if one.delay is None else {}
    return {
        "status": tool.status if one.delay is None else one.status,
        "stage": tool.stage,
        "module": tool.module,
        "attempt": one.number,
        "seconds": round(one.end - one.start, 6),
        **{f"metric {name}": str(value) for name, value in metrics.items()},
        **_error(one.error),
    }


def _overhead_rows(record: RunRecord, attempts: Sequence[Attempt]) -> list[Row]:
    """When no tool ran: before the first, between two, and after the last."""
    rows, last, name = [], 0, "start"
    for one in sorted(attempts, key=lambda one: one.start):
        start = _time(record, one.start)
        if start > last:
            rows.append(_slice(name, "orch", _Slice(row=OWN_ROW, start=last, end=start)))
        last, name = max(last, _time(record, one.end)), "between tools"
    if (end := _time(record, record.ended)) > last:
        name = "end" if attempts else "start"
        rows.append(_slice(name, "orch", _Slice(row=OWN_ROW, start=last, end=end)))
    return rows


def _time(record: RunRecord, seconds: float) -> int:
    """From seconds since the start of the run."""
    return max(0, round((seconds + record.age) * 1e6))


def _slice(name: str, kind: str, own: _Slice, **said: object) -> Row:
    about = {"ph": "X", "name": name, "cat": kind, "pid": PROCESS, "tid": own.row, "ts": own.start}
    return about | {"dur": max(0, own.end - own.start), "args": said}


def _mark(name: str, row: int, at: int, **said: object) -> Row:
    short = name[:LONGEST_MESSAGE]
    about = {"ph": "i", "name": short, "cat": "orch", "pid": PROCESS, "tid": row}
    return about | {"ts": at, "s": "t", "args": said}


def _arrow(source: _Slice, target: _Slice, number: int) -> Sequence[Row]:
    """From the last moment of a tool to the start of one that depends on it. Perfetto refuses an arrow that begins
    or ends where no slice is open, and a slice is not open any more at its end."""
    begun = source.end - 1
    ended = max(target.start, begun)
    if begun < source.start or ended >= target.end:
        return ()
    both = {"name": "after", "cat": "after", "id": number, "pid": PROCESS}
    return (
        both | {"ph": "s", "tid": source.row, "ts": begun},
        both | {"ph": "f", "bp": "e", "tid": target.row, "ts": ended},
    )


def _error(error: Failure | None) -> Row:
    if error is None:
        return {}
    place = f"{error.path}:{error.line}" if error.path else ""
    return {"error": f"{error.type}: {error.message}"[:LONGEST_MESSAGE], "place": place}


def _new_row(row: int, name: str) -> Sequence[Row]:
    return (
        _name_row(row, "thread_name", name=name),
        _name_row(row, "thread_sort_index", sort_index=row),
    )


def _name_row(row: int, what: str, **said: object) -> Row:
    return {"ph": "M", "pid": PROCESS, "tid": row, "name": what, "args": said}
