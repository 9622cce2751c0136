"""The report of a run as one HTML page. It needs no network and no other file, and it can be read without JavaScript.

Here are the head of the page, its parts, and what they are made of; `report_tools` has the list of tools.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.model.conventions import ALL_STAGES
from discover_orch.render.graph_svg import STYLE
from discover_orch.render.markup import escape
from discover_orch.render.report_graph import MANY_TOOLS, graph_section, used_data
from discover_orch.render.report_tools import ReportTool, failures_html, tools_html
from discover_orch.render.run_schedule import Wait, busy_seconds, find_critical_path, find_waits
from discover_orch.render.style import duration, names_text, time_text
from discover_orch.render.timeline_svg import Bar, timeline_svg
from discover_orch.state.report_source import ReportSource
from discover_orch.state.run_record import RunRecord

_WHY = {"depends": "", "worker": " (its worker was busy)", "order": " (its turn)"}
#: Of the critical path, so many tools are named.
MOST_ON_PATH = 12


class PageFiles(Struct, frozen=True, kw_only=True):
    """The style sheet and the script of the page."""

    style: str
    script: str


def read_page_files() -> PageFiles:
    """The style sheet and the script, which are files of this package."""
    folder = os.path.dirname(__file__)
    texts = []
    for name in ("report.css", "report_graph.js", "report.js"):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts.append(file.read())
    return PageFiles(style=texts[0], script="".join(texts[1:]))


def report_html(source: ReportSource, project: str, files: PageFiles) -> str:
    """`project` is the name of the project's folder."""
    record = source.record
    waits = find_waits(source.details)
    path = find_critical_path(source.details, waits)
    tools = _build_tools(source, waits, path)
    title = f"Run {record.run} of {project}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="said s-{escape(record.status)}">{_run_sentence(record)}</p>',
        _run_facts(source),
        failures_html(tools),
        graph_section(source, tools),
        _timeline_section(source, tools, path),
        tools_html(tools, is_open=len(tools) <= MANY_TOOLS),
    ]
    return _page_html(title, "\n".join(filter(None, parts)), files, source.logs.blocks)


def _page_html(title: str, body: str, files: PageFiles, blocks: Sequence[str]) -> str:
    """The whole page. Its policy allows what is inside it and nothing from anywhere else."""
    logs = "\n".join(
        f'<template id="log{place}">{block}</template>' for place, block in enumerate(blocks)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'\">\n"
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{files.style}{STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n{logs}\n"
        f"<script>\n{files.script}</script>\n</body>\n</html>\n"
    )


def _run_sentence(record: RunRecord) -> str:
    """One line on what happened."""
    took = "" if record.duration is None else f" in {duration(record.duration)}"
    counts = [
        f"{number:,} {escape(word.replace('_', ' '))}" for word, number in record.counts.items()
    ]
    blamed = ""
    for word, status in (("Failed", "failed"), ("Outcome unknown", "unknown")):
        names = [tool.name for tool in record.tools if tool.status == status]
        blamed += f". {word}: {escape(names_text(names, 5))}" if names else ""
    status = escape(record.status.replace("_", " "))
    return f"<b>{status}</b>{took}: {', '.join(counts) or 'no tools'}{blamed}."


def _run_facts(source: ReportSource) -> str:
    record, details = source.record, source.details
    words = " ".join(record.targets) or ALL_STAGES
    versions = [f"orch {details.orch}" if details.orch else "", details.system]
    versions.insert(1, f"Python {details.python}" if details.python else "")
    rows = {
        "Started": time_text(record.started, has_seconds=True),
        "Targets": words + (" (watch)" if record.kind == "watch" else ""),
        "Resumes": f"run {record.resumes}" if record.resumes else "",
        "Workers": str(details.workers) if details.workers > 1 else "",
        "Database": f"{record.database} ({record.database_origin})" if record.database else "",
        "Versions": " · ".join(filter(None, versions)),
        "Git commit": details.commit[:12],
    }
    out = [
        f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in rows.items() if text
    ]
    params = [
        f"{escape(name)} = {escape(one.shown)} <small>{escape(one.origin)}</small>"
        for name, one in record.params.items()
        if one.origin and one.origin != "default"
    ]
    if params:
        shown = "<br>".join(params[:40]) + ("<br>…" if len(params) > 40 else "")
        out.append(f"<div><dt>Parameters</dt><dd>{shown}</dd></div>")
    return f'<dl class="facts">{"".join(out)}</dl>'


def _build_tools(
    source: ReportSource, waits: Mapping[str, Wait], path: Sequence[str]
) -> list[ReportTool]:
    """The tools of the run; `path` is the critical path."""
    record, details = source.record, source.details
    critical = {*path}
    names = {tool.module: tool.name for tool in record.tools}
    plan = {step.module: step for step in record.plan}
    found = []
    rank = {module: place for place, module in enumerate(details.order)}
    ordered = sorted(record.tools, key=lambda tool: rank.get(tool.module, len(rank)))
    for number, tool in enumerate(ordered):
        module = tool.module
        step, wait = details.steps.get(module), waits.get(module)
        planned = plan.get(module)
        waited = f"{names.get(wait.by, wait.by)}{_WHY[wait.why]}" if wait else ""
        reads, writes = used_data(source, module)
        found.append(
            ReportTool(
                number=number,
                record=tool,
                stage=details.stages.get(module) or (planned.stage if planned else ""),
                path=step.path if step else "",
                reason=step.reason if step else "",
                attempts=details.attempts.get(module, ()),
                params=planned.arguments if planned else {},
                earlier=source.earlier.get(module, ()),
                reads=reads,
                writes=writes,
                waited_for=waited,
                is_critical=module in critical,
                blocked_by=details.blocked_by.get(module, ""),
                log=source.logs.places.get(module),
                log_end=source.logs.tails.get(module, ""),
                wait=wait,
            )
        )
    return found


def _timeline_section(
    source: ReportSource, tools: Sequence[ReportTool], path: Sequence[str]
) -> str:
    record, details = source.record, source.details
    svg = _timeline_of_run(record, tools)
    if not svg:
        return ""
    name_of = {tool.module: tool.name for tool in record.tools}
    names = [name_of.get(module, module) for module in path]
    shown = " → ".join(map(escape, names[-MOST_ON_PATH:]))
    if len(names) > MOST_ON_PATH:
        shown = f"{len(names) - MOST_ON_PATH:,} tools → {shown}"
    busy = duration(busy_seconds(details, path))
    said = f"Critical path (◆), {busy}: {shown}. No tool on it can take longer without the run taking longer."
    if details.workers == 1:
        said = (
            f"Longest chain of tools that depend on each other (◆), {busy}: {shown}. "
            "The run cannot be shorter than that, even with more workers."
        )
    # Of a run that did not get to its end, and of one tool, it would say nothing.
    says = record.status == "passed" and len(names) > 1
    return (
        '<section aria-labelledby="h-time"><h2 id="h-time">Timeline</h2>'
        + (f"<p>{said}</p>" if says else "")
        + f'<div class="scroll" tabindex="0" role="group" aria-label="Timeline">{svg}</div></section>'
    )


def _timeline_of_run(record: RunRecord, tools: Sequence[ReportTool]) -> str:
    stages = {stage: place for place, stage in enumerate(dict.fromkeys(one.stage for one in tools))}
    bars = [
        Bar(
            number=tool.number,
            name=tool.record.name,
            stage=tool.stage,
            link=f"#s{stages[tool.stage]}",
            status=tool.record.status,
            attempts=tool.attempts,
            wait=tool.wait,
            waited_for=tool.waited_for,
            is_critical=tool.is_critical,
        )
        for tool in tools
    ]
    return timeline_svg(bars, record.duration or 0.0, most_rows=MANY_TOOLS)
