"""The report of a run as one HTML page. It needs no network and no other file, and it can be read without JavaScript.

Here are the head of the page, its parts, and what they are made of; `report_tools` has the list of tools.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.documents import GraphStage, GraphTool, list_used
from discover_orch.model.errors import Problem
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.secret_masking import secret_texts
from discover_orch.render.critical_path import (
    Wait,
    busy_seconds,
    find_critical_path,
    find_recorded_waits,
)
from discover_orch.render.graph import Graph
from discover_orch.render.graph_picture import build_picture, build_stage_picture
from discover_orch.render.graph_svg import MARKS, STYLE, picture_svg, read_page_file
from discover_orch.render.markup import NOTHING, Html, h, join
from discover_orch.render.report_results import checks_html, results_html
from discover_orch.render.report_tools import (
    ReportTool,
    facts_html,
    failures_html,
    params_html,
    section,
    tools_html,
)
from discover_orch.render.style import (
    Style,
    counts_text,
    duration,
    names_text,
    status_word,
    time_text,
)
from discover_orch.render.timeline_svg import timeline_svg
from discover_orch.staleness.made_files import MadeFile, read_made_files
from discover_orch.staleness.variables_and_packages import secret_variables
from discover_orch.state.journal import read_record, report_path
from discover_orch.state.recorded_run import RunRecord
from discover_orch.state.report_source import ReportSource, read_report_source
from discover_orch.state.sealed_files import replace_file

_WHY = {"depends": "", "worker": " (its worker was busy)", "order": " (its turn)"}
_NO_FILES: Mapping[str, Sequence[MadeFile]] = {}
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
#: Above so many tools, the page opens by stage.
MANY_TOOLS = 300
#: Of the critical path, so many tools are named.
MOST_ON_PATH = 12


def write_page(root: str, run: str, secrets: Sequence[str] = ()) -> str | Problem:
    """Writes the page of a run that has ended, and returns its path: "" if the run could not be recorded. In what the
    tools made, `secrets` are masked."""
    record = read_record(root, run)
    if record is None:  # it has said so
        return ""
    path = report_path(root, run)
    page = recorded_page(root, record, secrets)
    if replace_file(path, page.encode("utf-8", "backslashreplace")):
        return path
    return Problem(
        code="output-file",
        message=f"cannot write the report page {path}",
        hint="free some disk space, or make the folder writable",
        severity="warning",
    )


def recorded_page(root: str, record: RunRecord, secrets: Sequence[str] = ()) -> str:
    """The page of a run of the project at `root`; `secrets` are as of `write_page`."""
    project = os.path.basename(os.path.abspath(root)) or root
    made = read_made_files(root, record)
    texts = secret_texts([*secrets, *secret_variables(os.environ, root)]) if made else ()
    return report_html(read_report_source(root, record), project, made, texts)


def report_html(
    source: ReportSource,
    project: str,
    made: Mapping[str, Sequence[MadeFile]] = _NO_FILES,
    secrets: Sequence[str] = (),
) -> str:
    """`project` is the name of the project's folder; `made` has by module the files that the tools made, in which
    `secrets` are masked."""
    record = source.record
    waits = find_recorded_waits(record)
    path = find_critical_path(record, waits)
    tools = _build_tools(source, waits, path)
    title = f"Run {record.run} of {project}"
    parts = [
        h("h1", title),
        h("p", *_run_sentence(record), class_=f"said s-{record.status}"),
        _run_facts(record),
        failures_html(tools),
        checks_html(tools),
        results_html(tools, source.tables, made, secrets),
        _graph_section(tools),
        _timeline_section(record, tools, path),
        tools_html(tools, is_open=len(tools) <= MANY_TOOLS),
    ]
    return _page_html(title, join(filter(None, parts), "\n"))


def _page_html(title: str, body: Html) -> str:
    """The whole page. Its policy allows what is inside it and nothing from anywhere else."""
    style = read_page_file("report.css") + read_page_file(STYLE)
    script = read_page_file("report_graph.js") + read_page_file("report.js")
    head = (
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        h("meta", name="color-scheme", content="light dark"),
        h("title", title),
        h("style", Html(f"\n{style}")),
    )
    parts = (h("main", body), h("script", Html(f"\n{script}")))
    page = h("html", h("head", join(head, "\n")), h("body", join(parts, "\n")), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _run_sentence(record: RunRecord) -> tuple[Html, str]:
    """One line on what happened."""
    took = "" if record.duration is None else f" in {duration(record.duration)}"
    blamed = ""
    for word, status in (("Failed", "failed"), ("Outcome unknown", "unknown")):
        names = [tool.name for tool in record.tools if tool.status == status]
        blamed += f". {word}: {names_text(names, 5)}" if names else ""
    counts = counts_text(record.counts, Style()) or "no tools"
    return h("b", status_word(record.status)), f"{took}: {counts}{blamed}."


def _run_facts(record: RunRecord) -> Html:
    words = " ".join(record.targets) or ALL_STAGES
    versions = [f"orch {record.orch}" if record.orch else "", record.system]
    versions.insert(1, f"Python {record.python}" if record.python else "")
    given = {
        name: one for name, one in record.params.items() if one.origin and one.origin != "default"
    }
    rows = {
        "Started": time_text(record.started, has_seconds=True),
        "Targets": words + (" (watch)" if record.kind == "watch" else ""),
        "Resumes": f"run {record.resumes}" if record.resumes else "",
        "Checks": "did not run (--no-checks)" if record.is_unchecked else _checks(record),
        "Workers": str(record.workers) if record.workers > 1 else "",
        "Database": f"{record.database} ({record.database_origin})" if record.database else "",
        "Versions": " · ".join(filter(None, versions)),
        "Git commit": record.commit[:12],
        "Parameters": params_html(given),
    }
    return facts_html(rows, "facts")


def _checks(record: RunRecord) -> str:
    """`3 passed, 1 warned`."""
    return counts_text(
        Counter(check.status for tool in record.tools for check in tool.checks), Style()
    )


def _build_tools(
    source: ReportSource, waits: Mapping[str, Wait], path: Sequence[str]
) -> list[ReportTool]:
    """The tools of the run; `path` is the critical path."""
    record = source.record
    names = {tool.module: tool.name for tool in record.tools}
    critical = {*path}
    found = []
    rank = {module: place for place, module in enumerate(record.order)}
    ordered = sorted(record.tools, key=lambda tool: rank.get(tool.module, len(rank)))
    for number, tool in enumerate(ordered):
        module = tool.module
        wait = waits.get(module)
        used = source.used[module]
        found.append(
            ReportTool(
                number=number,
                record=tool,
                earlier=source.earlier.get(module, ()),
                reads=list_used(used.files_read, used.tables_read),
                writes=list_used(used.files_written, used.tables_written),
                wait=wait,
                waited_for=f"{names.get(wait.by, wait.by)}{_WHY[wait.why]}" if wait else "",
                is_critical=module in critical,
                log=source.logs.get(module),
            )
        )
    return found


#: How tools end, the worst first.
WORST_FIRST = ("failed", "unknown", "blocked", "interrupted", "not_run", "passed", "done", "fresh")


def _graph_section(tools: Sequence[ReportTool]) -> Html:
    graph = _graph_of_run(tools)
    if sum(len(stage.tools) for stage in graph) > MANY_TOOLS:
        svg = picture_svg(build_stage_picture(graph), title="Stages", is_inside=True)
        hint = h(
            "p",
            f"There are more than {MANY_TOOLS} tools, so this graph shows the stages. "
            "Select one to see its tools in the list.",
        )
    else:
        svg = picture_svg(build_picture(graph), title="Tools and data", is_inside=True)
        states = dict.fromkeys(tool.state for stage in graph for tool in stage.tools)
        legend = " · ".join(f"{MARKS[one]} {one}" for one in states if one in MARKS)
        hint = h("p", h("small", legend))
    return section("graph", "Graph", hint, _scrolled(svg, "Graph", key="graph"))


def _scrolled(svg: Html, name: str, key: str | None = None) -> Html:
    return h("div", svg, class_="scroll", id=key, tabindex=0, role="group", aria_label=name)


def _graph_of_run(tools: Sequence[ReportTool]) -> Graph:
    """The graph with the statuses of the run; `module` is the tool's number in the page, and its tip the duration."""
    by_tool: dict[str, list[ReportTool]] = {}
    for tool in tools:
        by_tool.setdefault(tool_of(tool.record.module), []).append(tool)
    names = {module: _graph_name(of_tool) for module, of_tool in by_tool.items()}
    stages: dict[str, list[GraphTool]] = {}
    for of_tool in by_tool.values():
        stages.setdefault(of_tool[0].record.stage, []).append(_graph_tool(of_tool, names))
    return tuple(GraphStage(name=stage, tools=tuple(of)) for stage, of in stages.items())


def _graph_name(tools: Sequence[ReportTool]) -> str:
    record = tools[0].record
    if len(tools) == 1:
        return record.name
    return f"{record.name.removesuffix(f' {item_text(record.module)}')} ({len(tools):,} items)"


def _graph_tool(tools: Sequence[ReportTool], names: Mapping[str, str]) -> GraphTool:
    """A tool, or all its items in one, as the worst of them ended."""
    worst = min(tools, key=lambda one: _rank(one.record.status))
    own = tool_of(worst.record.module)
    after = (tool_of(one) for tool in tools for one in tool.record.step.after)
    seconds = sum(tool.record.duration or 0.0 for tool in tools)
    return GraphTool(
        name=names[own],
        module=str(worst.number),
        after=tuple(names[one] for one in dict.fromkeys(after) if one in names and one != own),
        reads=tuple(dict.fromkeys(used for tool in tools for used in tool.reads)),
        writes=tuple(dict.fromkeys(used for tool in tools for used in tool.writes)),
        state=status_word(worst.record.status),
        reasons=(duration(seconds if len(tools) > 1 else worst.record.duration),),
    )


def _rank(status: str) -> int:
    """The worst comes first."""
    return WORST_FIRST.index(status) if status in WORST_FIRST else len(WORST_FIRST) - 3


def _timeline_section(record: RunRecord, tools: Sequence[ReportTool], path: Sequence[str]) -> Html:
    svg = timeline_svg(tools, record.duration or 0.0, most_rows=MANY_TOOLS)
    if not svg:
        return NOTHING
    by_module = {tool.module: tool for tool in record.tools}
    names = [by_module[module].name for module in path]
    shown = " → ".join(names[-MOST_ON_PATH:])
    if len(names) > MOST_ON_PATH:
        shown = f"{len(names) - MOST_ON_PATH:,} tools → {shown}"
    busy = duration(busy_seconds(by_module[module] for module in path))
    said = f"Critical path (◆), {busy}: {shown}. If a tool on it takes longer, so does the run."
    if record.workers == 1:
        said = (
            f"Longest chain of tools that depend on each other (◆), {busy}: {shown}. "
            "The run cannot be shorter than that, even with more workers."
        )
    # Of a run that did not get to its end, and of one tool, it would say nothing.
    says = record.status == "passed" and len(names) > 1
    return section("time", "Timeline", h("p", said) if says else None, _scrolled(svg, "Timeline"))
