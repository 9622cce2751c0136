"""Which nodes and edges a graph of stages has: the report page shows it of many tools."""

from __future__ import annotations

from typing import Any

from discover_orch.render.graph_picture import Picture, build_stage_picture


def tool(name: str, **more: Any) -> dict[str, Any]:
    """`reads` and `writes`: words, of which those with a `.` are files."""
    sides = {
        side: [{"file" if "." in one else "table": one} for one in more.pop(side, "").split()]
        for side in ("reads", "writes")
    }
    return {"name": name, "module": f"src.{name}", "after": [], **sides, **more}


def document(**stages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"stages": [{"name": name, "tools": tools} for name, tools in stages.items()]}


def edges(picture: Picture) -> set[str]:
    label = {node.key: node.label for node in picture.nodes}
    return {f"{label[a]} > {label[b]}" for a, b in picture.edges}


def test_stages_stand_for_their_tools() -> None:
    whole = document(
        a=[tool("x", writes="t", state="blocked"), tool("y", state="failed")],
        b=[tool("z", reads="t", state="blocked")],
        c=[tool("w", after=["y"], state="passed")],
    )
    picture = build_stage_picture(whole)
    assert edges(picture) == {"a (2 tools) > b (1 tool)", "a (2 tools) > c (1 tool)"}
    assert [node.state for node in picture.nodes] == ["failed", "blocked", "passed"]
