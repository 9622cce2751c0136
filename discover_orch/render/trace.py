"""A recorded run in the Chrome trace format, which https://ui.perfetto.dev shows: one row for each worker, and one for
orch.

The file is the format's array of events. Times are in microseconds since orch started.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from discover_orch.render.problems import failure_line
from discover_orch.render.style import json_text, status_word
from discover_orch.state.recorded_run import Attempt, RunRecord, ToolRecord

PROCESS = 1
#: The row of orch itself: the time in which no tool ran.
OWN_ROW = 0
#: Characters of an error's message.
LONGEST_MESSAGE = 500

Element = dict[str, Any]


def trace_text(record: RunRecord) -> str:
    attempts = [(one, tool) for tool in record.tools for one in tool.attempts]
    attempts.sort(key=lambda found: (found[0].end, found[0].start))
    rows = {OWN_ROW: "orch"}
    rows.update((one.worker, f"worker {one.worker}") for one, _ in attempts)
    found = [_name(OWN_ROW, "process_name", name=f"orch run {record.run}")]
    for row in sorted(rows):
        found.append(_name(row, "thread_name", name=rows[row]))
        found.append(_name(row, "thread_sort_index", sort_index=row))
    found += _attempts(record, attempts)
    for note in record.notes:
        problem = note.problem
        said = {"severity": problem.severity, "hint": problem.hint}
        found.append(_mark(problem.message, OWN_ROW, _time(record, note.at), **said))
    found += _overhead(record, [one for one, _ in attempts])
    found.append(_mark(f"run {status_word(record.status)}", OWN_ROW, _time(record, record.ended)))
    return "[\n" + ",\n".join(map(json_text, found)) + "\n]\n"


def _attempts(record: RunRecord, attempts: Sequence[tuple[Attempt, ToolRecord]]) -> list[Element]:
    """Each attempt with its commit inside, a mark where another one follows, and arrows from the tools before it."""
    found: list[Element] = []
    ended: dict[str, Element] = {}  # the last attempt of each tool
    arrows = 0
    for one, tool in attempts:
        row, start, end = one.worker, _time(record, one.start), _time(record, one.end)
        own = _slice(tool.name, "tool", row, start, end, **_facts(tool, one))
        found.append(own)
        if one.commit_seconds:
            begun = max(start, end - round(one.commit_seconds * 1e6))
            found.append(_slice("commit", "database", row, begun, end))
        for before in tool.step.after:
            if before in ended and (arrow := _arrow(ended[before], own, arrows + 1)):
                found += arrow
                arrows += 1
        if one.delay is None:
            ended[tool.module] = own
        else:
            again = f"{tool.name} is tried again"
            found.append(_mark(again, row, end, attempt=one.number, delay=one.delay))
    return found


def _facts(tool: ToolRecord, one: Attempt) -> Element:
    is_last, error = one.delay is None, one.error
    facts = {
        "status": tool.status if is_last else one.status,
        "stage": tool.stage,
        "module": tool.module,
        "attempt": one.number,
        "seconds": round(one.end - one.start, 6),
        **{f"metric {name}": str(value) for name, value in tool.metrics.items() if is_last},
    }
    if error is not None:
        facts["error"] = failure_line(error, LONGEST_MESSAGE)
    return facts


def _overhead(record: RunRecord, attempts: Sequence[Attempt]) -> list[Element]:
    """When no tool ran: before the first, between two, and after the last."""
    found, last, name = [], 0, "start"
    for one in sorted(attempts, key=lambda one: one.start):
        if (start := _time(record, one.start)) > last:
            found.append(_slice(name, "orch", OWN_ROW, last, start))
        last, name = max(last, _time(record, one.end)), "between tools"
    if (end := _time(record, record.ended)) > last:
        found.append(_slice("end" if attempts else "start", "orch", OWN_ROW, last, end))
    return found


def _time(record: RunRecord, seconds: float) -> int:
    """From seconds since the start of the run."""
    return max(0, round((seconds + record.age) * 1e6))


def _slice(name: str, kind: str, row: int, start: int, end: int, **said: object) -> Element:
    about = {"ph": "X", "name": name, "cat": kind, "pid": PROCESS, "tid": row, "ts": start}
    return about | {"dur": max(0, end - start), "args": said}


def _mark(name: str, row: int, at: int, **said: object) -> Element:
    short = name[:LONGEST_MESSAGE]
    about = {"ph": "i", "name": short, "cat": "orch", "pid": PROCESS, "tid": row}
    return about | {"ts": at, "s": "t", "args": said}


def _arrow(source: Element, target: Element, number: int) -> Sequence[Element]:
    """From the last moment of a tool to the start of one that depends on it. Perfetto refuses an arrow that begins
    or ends where no slice is open, and a slice is not open any more at its end."""
    begun = source["ts"] + source["dur"] - 1
    ended = max(target["ts"], begun)
    if begun < source["ts"] or ended >= target["ts"] + target["dur"]:
        return ()
    both = {"name": "after", "cat": "after", "id": number, "pid": PROCESS}
    return (
        both | {"ph": "s", "tid": source["tid"], "ts": begun},
        both | {"ph": "f", "bp": "e", "tid": target["tid"], "ts": ended},
    )


def _name(row: int, what: str, **said: object) -> Element:
    return {"ph": "M", "pid": PROCESS, "tid": row, "name": what, "args": said}
