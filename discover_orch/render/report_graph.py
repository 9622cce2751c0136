"""The graph of the report page: tools and data with what became of them or, of many tools, the stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from discover_orch.model.dataflow import Dataflow
from discover_orch.render.graph_picture import build_picture, build_stage_picture
from discover_orch.render.graph_svg import MARKS, picture_svg
from discover_orch.render.markup import escape
from discover_orch.render.report_tools import ReportTool
from discover_orch.render.style import duration, status_word
from discover_orch.state.run_record import UsedData

#: Above so many tools, the page opens by stage.
MANY_TOOLS = 300


def graph_section(tools: Sequence[ReportTool]) -> str:
    document = graph_of_run(tools)
    hint = ""
    if len(tools) > MANY_TOOLS:
        svg = picture_svg(build_stage_picture(document), title="Stages", is_inside=True)
        hint = (
            f"<p>There are more than {MANY_TOOLS} tools, so this graph shows the stages. "
            "Select one to see its tools in the list.</p>"
        )
    else:
        svg = picture_svg(build_picture(document), title="Tools and data", is_inside=True)
        states = dict.fromkeys(
            row["state"] for stage in document["stages"] for row in stage["tools"]
        )
        legend = " · ".join(f"{MARKS[one]} {escape(one)}" for one in states if one in MARKS)
        hint = f"<p><small>{legend}</small></p>"
    return (
        '<section aria-labelledby="h-graph"><h2 id="h-graph">Graph</h2>'
        f"{hint}"
        '<div class="scroll" id="graph" tabindex="0" role="group" aria-label="Graph">'
        f"{svg}</div></section>"
    )


def used_data(
    data: UsedData, flow: Dataflow | None
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What a tool read and wrote, as a `graph_document` has it: in this run, or else when it was last observed."""
    used = data if data != UsedData() or flow is None else flow
    reads, writes = (
        [{"table": name} for name in tables] + [{"file": path} for path in files]
        for files, tables in (
            (used.files_read, used.tables_read),
            (used.files_written, used.tables_written),
        )
    )
    return reads, writes


def graph_of_run(tools: Sequence[ReportTool]) -> Mapping[str, Any]:
    """A `graph_document` with the statuses of the run; `module` is the tool's number in the page."""
    names = {tool.record.module: tool.record.name for tool in tools}
    stages: dict[str, list[dict[str, Any]]] = {}
    for tool in tools:
        record = tool.record
        stages.setdefault(record.stage, []).append(
            {
                "name": record.name,
                "module": str(tool.number),
                "after": [names[one] for one in tool.step.after if one in names],
                "reads": tool.reads,
                "writes": tool.writes,
                "state": status_word(record.status),
                "tip": "" if record.duration is None else duration(record.duration),
            }
        )
    return {"stages": [{"name": name, "tools": rows} for name, rows in stages.items()]}
