"""Which nodes and edges a graph of stages has: the report page shows it of many tools."""

from __future__ import annotations

from typing import Any

from discover_orch.model.documents import GraphStage, GraphTool, list_used
from discover_orch.render.graph_picture import Picture, build_stage_picture


def tool(name: str, *, reads: str = "", writes: str = "", **more: Any) -> GraphTool:
    return GraphTool(
        name=name,
        module=f"src.{name}",
        reads=list_used((), reads.split()),
        writes=list_used((), writes.split()),
        **more,
    )


def edges(picture: Picture) -> set[str]:
    label = {node.key: node.label for node in picture.nodes}
    return {f"{label[a]} > {label[b]}" for a, b in picture.edges}


def test_stages_stand_for_their_tools() -> None:
    stages = {
        "a": (tool("x", writes="t", state="blocked"), tool("y", state="failed")),
        "b": (tool("z", reads="t", state="blocked"),),
        "c": (tool("w", after=("y",), state="passed"),),
    }
    graph = tuple(GraphStage(name=name, tools=tools) for name, tools in stages.items())
    picture = build_stage_picture(graph)
    assert edges(picture) == {"a (2 tools) > b (1 tool)", "a (2 tools) > c (1 tool)"}
    assert [node.state for node in picture.nodes] == ["failed", "blocked", "passed"]
