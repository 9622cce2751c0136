"""The tools of the report page: what failed, and one entry for each tool with everything about it. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.model.documents import Used
from discover_orch.model.errors import Failure
from discover_orch.model.tool_events import ToolEnd
from discover_orch.render.graph import MOST_FILES, used_texts
from discover_orch.render.graph_svg import MARKS
from discover_orch.render.markup import clean_word, escape, escape_lines, number
from discover_orch.render.problems import failure_line, failure_place
from discover_orch.render.run_schedule import Wait
from discover_orch.render.style import Style, count, cut, duration, status_word
from discover_orch.state.report_source import PackedLog
from discover_orch.state.run_record import Attempt, RecordedParam, ToolRecord

#: A change of the duration is pointed out from this share on, and from so many seconds on.
NOTABLE_SHARE, NOTABLE_SECONDS, LEAST_EARLIER = 0.2, 0.05, 3
#: Of values and notes of one tool, so many are shown.
MOST_SHOWN = 50
#: Characters of why a tool failed.
LONGEST_ERROR = 1000
SPARK_WIDTH, SPARK_HEIGHT = 66, 18
SPARK_STEPS = SPARK_HEIGHT - 6


class ReportTool(Struct, frozen=True, kw_only=True):
    """One tool of a run; `number` is its place in the page. `earlier` are its latest successes before, oldest
    first."""

    number: int
    record: ToolRecord
    earlier: Sequence[ToolEnd] = ()
    reads: tuple[Used, ...] = ()
    writes: tuple[Used, ...] = ()
    wait: Wait | None = None
    waited_for: str = ""
    is_critical: bool = False
    log: PackedLog | None = None


def by_stage(tools: Sequence[ReportTool]) -> Mapping[str, list[ReportTool]]:
    """The tools by their stages, in order."""
    stages: dict[str, list[ReportTool]] = {}
    for tool in tools:
        stages.setdefault(tool.record.stage, []).append(tool)
    return stages


def failures_html(tools: Sequence[ReportTool]) -> str:
    """What failed, with the traceback and the end of the log."""
    failed = [tool for tool in tools if tool.record.status in ("failed", "unknown")]
    if not failed:
        return ""
    parts = [_failure(tool) for tool in failed]
    return (
        f'<section aria-labelledby="h-fail"><h2 id="h-fail">Failures</h2>{"".join(parts)}</section>'
    )


def _failure(tool: ReportTool) -> str:
    record = tool.record
    error = record.error
    shown = (
        escape(error_text(record, error))
        if error
        else "Its end is not recorded. It may have written to the database."
    )
    out = [
        f'<article class="failure"><h3><a href="#t{tool.number}" data-t="{tool.number}">'
        f"{escape(record.name)}</a></h3><p>{shown}</p>"
    ]
    if record.traceback:
        shown = escape_lines(record.traceback)
        out.append(f'<pre tabindex="0" aria-label="Traceback">{shown}</pre>')
    if tool.log is not None and tool.log.tail:
        shown = escape_lines(tool.log.tail)
        out.append(
            f'<h4>End of the log</h4><pre tabindex="0" aria-label="End of the log">{shown}</pre>'
        )
    return "".join([*out, "</article>"])


def error_text(record: ToolRecord, error: Failure) -> str:
    said = failure_line(error, record.traceback)
    return failure_place(error, ": ") + cut(said, LONGEST_ERROR, Style(), is_prose=False)


def tools_html(tools: Sequence[ReportTool], *, is_open: bool) -> str:
    """The list of all tools by stage; of many tools each stage is closed at first."""
    words = dict.fromkeys(tool.record.status for tool in tools)
    buttons = "".join(
        f'<button type="button" data-s="{clean_word(word)}" aria-pressed="true">'
        f"{escape(status_word(word))}</button>"
        for word in words
    )
    parts = [
        '<section aria-labelledby="h-tools"><h2 id="h-tools">Tools</h2>',
        '<div class="filter js"><label>Filter <input id="filter" type="search" '
        f'placeholder="name, stage or metric"></label><span role="group" aria-label="Statuses">{buttons}</span>'
        '<span id="found" role="status"></span></div>',
    ]
    for place, (stage, group) in enumerate(by_stage(tools).items()):
        opened = " open" if is_open else ""
        parts.append(
            f'<details class="stage" id="s{place}"{opened}><summary>{escape(stage or "without a stage")} '
            f"<small>{_stage_line(group)}</small></summary>"
        )
        parts += [_entry(tool) for tool in group]
        parts.append("</details>")
    return "\n".join([*parts, "</section>"])


def _stage_line(group: Sequence[ReportTool]) -> str:
    words = [tool.record.status for tool in group]
    others = [
        f"{words.count(one):,} {escape(status_word(one))}"
        for one in dict.fromkeys(words)
        if one not in ("passed", "fresh")
    ]
    seconds = sum(tool.record.duration or 0.0 for tool in group)
    return " · ".join([count(len(group), "tool"), *others, duration(seconds)])


def _entry(tool: ReportTool) -> str:
    record = tool.record
    usual = _median(tool.earlier)
    status, shown = _status(record.status)
    took = duration(record.duration)
    critical = ' <i title="on the critical path">◆</i>' if tool.is_critical else ""
    return (
        f'<details class="tool s-{status}" id="t{tool.number}" data-t="{tool.number}" data-s="{status}"><summary>'
        f"<b>{escape(record.name)}{critical}</b>{shown}"
        f'<span class="took">{took}{_change(tool, usual)}</span>{_spark(tool)}'
        f'<span class="metrics">{_metrics(tool)}</span></summary>{_more(tool, usual)}</details>'
    )


@functools.lru_cache(64)
def _status(status: str) -> tuple[str, str]:
    """The word of the status in the page, and the status as it is shown."""
    word = status_word(status)
    return clean_word(status), f'<span class="status">{MARKS.get(word, "")} {escape(word)}</span>'


def _change(tool: ReportTool, usual: float) -> str:
    """The change against the median of earlier runs, where it is notable. One or two runs are no measure."""
    if len(tool.earlier) < LEAST_EARLIER or tool.record.duration is None:
        return ""
    change = tool.record.duration - usual
    if abs(change) < max(NOTABLE_SECONDS, NOTABLE_SHARE * usual) or not usual:
        return ""
    return (
        f' <small title="median of earlier runs: {duration(usual)}">{change / usual:+.0%}</small>'
    )


def _median(ends: Sequence[ToolEnd]) -> float:
    """Of the durations; the module `statistics` takes 20 ms to import."""
    if not ends:
        return 0.0
    times = sorted([one.duration or 0.0 for one in ends])
    half = len(times) // 2
    return times[half] if len(times) % 2 else (times[half - 1] + times[half]) / 2


def _spark(tool: ReportTool) -> str:
    """The durations of earlier runs as a line, and this one as a dot."""
    times = [one.duration or 0.0 for one in tool.earlier]
    if tool.record.duration is not None:
        times.append(tool.record.duration)
    if len(times) < 2:
        return "<span></span>"
    scale, step = SPARK_STEPS / (max(times) or 1.0), (SPARK_WIDTH - 6) / (len(times) - 1)
    points = [
        f"{3 + place * step:.0f},{SPARK_HEIGHT - 3 - int(one * scale + 0.5)}"
        for place, one in enumerate(times)
    ]
    x, y = points[-1].split(",")
    return (
        f'<svg class="spark" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" aria-hidden="true">'
        f'<polyline points="{" ".join(points)}"/><circle cx="{x}" cy="{y}" r="2.5"/></svg>'
    )


def _metrics(tool: ReportTool) -> str:
    before = tool.earlier[-1].metrics if tool.earlier else {}
    shown = [
        f"{escape(name)} {escape(str(one))}{_difference(one, before.get(name))}"
        for name, one in [*tool.record.metrics.items()][:MOST_SHOWN]
    ]
    return ", ".join(shown)


def _difference(now: object, before: object) -> str:
    if isinstance(now, bool) or isinstance(before, bool) or now == before:
        return ""
    if isinstance(now, int) and isinstance(before, int):
        return f" <small>({now - before:+,})</small>"
    if not (isinstance(now, int | float) and isinstance(before, int | float)):
        return ""
    try:
        return f" <small>({now - before:+,g})</small>"
    except OverflowError:  # an integer that no float can hold
        return ""


def _more(tool: ReportTool, usual: float) -> str:
    """What is known of the tool, as a list of names and texts."""
    record = tool.record
    attempts = record.attempts if len(record.attempts) > 1 else ()
    earlier = count(len(tool.earlier), "earlier run")
    rows = {
        "About": escape(record.step.doc),
        "Error": escape(error_text(record, record.error)) if record.error else "",
        "Blocked by": escape(record.blocked_by),
        "Why": escape(record.step.reason),
        "Waited for": escape(tool.waited_for),
        "Attempts": "<br>".join(_attempt(record, one) for one in attempts),
        "Parameters": params_html(record.step.arguments),
        "Reads": _used(tool.reads),
        "Writes": _used(tool.writes),
        "Earlier": f"median {duration(usual)} of {earlier}" if tool.earlier else "",
        "Notes": "<br>".join(map(escape, record.notes[:MOST_SHOWN])),
        "Module": f"{escape(record.module)} <small>{escape(record.step.path)}</small>",
    }
    return f'<div class="more">{facts_html(rows)}{_log(tool)}</div>'


def facts_html(rows: Mapping[str, str], attributes: str = "") -> str:
    """A list of names and what is known, as HTML, without what is empty."""
    shown = [f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows.items() if text]
    return f"<dl{attributes}>{''.join(shown)}</dl>"


def params_html(params: Mapping[str, RecordedParam]) -> str:
    shown = [
        f"{escape(name)} = {escape(one.shown)} <small>{escape(one.origin)}</small>"
        for name, one in [*params.items()][:MOST_SHOWN]
    ]
    return "<br>".join([*shown, "…"] if len(params) > MOST_SHOWN else shown)


def _attempt(record: ToolRecord, one: Attempt) -> str:
    said = f": {escape(error_text(record, one.error))}" if one.error else ""
    return f"{escape(one.status or 'no end')} after {duration(one.end - one.start)}{said}"


def _used(used: Sequence[Used]) -> str:
    return ", ".join(map(escape, used_texts(used, MOST_FILES)))


def size_text(size: int) -> str:
    if size < 1000:
        return count(size, "byte")
    return f"{number(size / 1000)} kB" if size < 999_950 else f"{number(size / 1e6)} MB"


def _log(tool: ReportTool) -> str:
    """A button and the log behind it, packed."""
    log = tool.log
    if log is None:
        return ""
    size = size_text(log.size)
    return (
        f'<p><button type="button" class="log js" data-cut="{log.cut}">Show the log ({size})</button></p>'
        f'<template class="log">{log.packed}</template>'
    )
