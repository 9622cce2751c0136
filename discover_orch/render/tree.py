"""The graph of a project as a tree: stages, the tools in them, what each waits for, reads and writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from discover_orch.registry import Registry
from discover_orch.render.style import Style, one_line


def graph_document(registry: Registry, chosen: Collection[str]) -> dict[str, Any]:
    """`{"version": 1, "stages": [{"name", "tools": [{"name", "module", "after", "inputs", "outputs"}]}]}`;
    `after` from `AFTER` and from declared files."""
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
            after = [one_line(name) for name in tool["after"]]
            note = style.paint("  after " + ", ".join(after), "dim") if after else ""
            out.append(
                (last if is_last else down) + style.paint(one_line(tool["name"]), "bold") + note
            )
            rows = [("reads", path) for path in tool["inputs"]]
            rows += [("writes", path) for path in tool["outputs"]]
            for number, (verb, path) in enumerate(rows):
                lead = "   " if is_last else bar
                mark = last if number == len(rows) - 1 else down
                out.append(f"{lead}{mark}{verb} {one_line(path)}")
    return "\n".join(out) + "\n" if out else ""


def _tool(registry: Registry, module: str) -> dict[str, Any]:
    tool = registry.tools[module]
    before = dict.fromkeys((*tool.after, *registry.flow.get(module, ())))
    return {
        "name": tool.name,
        "module": module,
        "after": [registry.display(other) for other in before],
        "inputs": list(tool.inputs),
        "outputs": list(tool.outputs),
    }
