"""The graph of a project as a tree: stages, their tools, and what each tool runs after, reads and writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from discover_orch.discovery.registry import Registry
from discover_orch.render.style import Style, indent, one_line, wrap


def graph_document(registry: Registry, chosen: Collection[str]) -> dict[str, Any]:
    """`{"version": 1, "stages": [{"name", "tools": [{"name", "module", "after", "inputs", "outputs", "reads",
    "writes", "tables_read", "tables_written"}]}]}`; `after` from `AFTER` and from data. `inputs` and `outputs` are
    declared; `reads` and `writes` are all tables and files that a tool declares or was seen to use, as of
    `used_documents`."""
    stages = []
    for stage in registry.stages:
        tools = [_tool(registry, module) for module in stage.tools if module in chosen]
        if tools:
            stages.append({"name": stage.name, "tools": tools})
    return {"version": 1, "stages": stages}


def graph_text(document: Mapping[str, Any], style: Style) -> str:
    out: list[str] = []
    down, last, bar = (
        style.mark(*pair) for pair in (("├─ ", "|- "), ("└─ ", "`- "), ("│  ", "|  "))
    )
    for stage in document["stages"]:
        out.append(style.paint(one_line(stage["name"]), "stage"))
        tools = stage["tools"]
        for index, tool in enumerate(tools):
            is_last = index == len(tools) - 1
            name = one_line(tool["name"])
            after = "  after " + ", ".join(map(one_line, tool["after"])) if tool["after"] else ""
            line = style.paint(name, "bold") + style.paint(after, "dim")
            pad = ("   " if is_last else bar) + indent(len(name) + 2, style)
            out.append(wrap((last if is_last else down) + line, style, pad))
            rows = [
                (verb, f"table {one['table']}" if "table" in one else one["file"])
                for verb in ("reads", "writes")
                for one in tool[verb]
            ]
            for number, (verb, path) in enumerate(rows):
                lead = "   " if is_last else bar
                mark = last if number == len(rows) - 1 else down
                out.append(f"{lead}{mark}{verb} {one_line(path)}")
    return "\n".join(out) + "\n" if out else ""


def used_documents(files: Iterable[str], tables: Iterable[str]) -> list[dict[str, str]]:
    """`[{"table": "raw"}, {"file": "data/x.csv"}]`: tables first."""
    return [*({"table": name} for name in tables), *({"file": path} for path in files)]


def _tool(registry: Registry, module: str) -> dict[str, Any]:
    tool = registry.tools[module]
    flow = registry.flows[module]
    before = dict.fromkeys((*tool.after, *registry.flow.get(module, ())))
    return {
        "name": tool.name,
        "module": module,
        "after": [registry.display(other) for other in before],
        "inputs": list(tool.inputs),
        "outputs": list(tool.outputs),
        "reads": used_documents(flow.files_read, flow.tables_read),
        "writes": used_documents(flow.files_written, flow.tables_written),
        "tables_read": list(flow.tables_read),
        "tables_written": list(flow.tables_written),
    }
