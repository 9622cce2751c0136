"""The graph in the languages of Mermaid and Graphviz. Each has rules of its own for text of users. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from discover_orch.render.graph import Graph
from discover_orch.render.graph_picture import Node, Picture, build_picture
from discover_orch.render.graph_svg import MARKS
from discover_orch.render.style import Style, cut_name, one_line

#: Characters of a label.
LONGEST = 80
_MERMAID = str.maketrans({one: f"#{ord(one)};" for one in '"#&<>`\\%;'})
_DOT = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})
_SHAPES = {"tool": ("(", ")"), "stage": ("(", ")"), "table": ("[(", ")]"), "file": ("[/", "/]")}
_DOT_SHAPES = {"tool": "box", "stage": "box", "table": "cylinder", "file": "note"}


def mermaid_text(graph: Graph, selected: Collection[str] | None = None) -> str:
    """A flowchart. Codes like `#34;` stand for what Mermaid would read as its own."""
    picture = build_picture(graph, selected)
    out = ["flowchart LR"]
    for place, name, nodes in _stages(picture):
        out.append(f'  subgraph s{place}["{_text(name, _MERMAID)}"]')
        for node in nodes:
            start, end = _SHAPES[node.kind]
            out.append(f'    {node.key}{start}"{_label(node, _MERMAID)}"{end}')
        out.append("  end")
    out += [f"  {source} --> {target}" for source, target in picture.edges]
    for state, style in (
        ("stale", "stroke-dasharray: 5 3"),
        ("failed", "stroke-width: 3px"),
        ("dim", "opacity: 0.5"),
    ):
        keys = [
            one.key for one in picture.nodes if state in (one.state, "dim" if one.is_dim else "")
        ]
        if keys:
            out += [f"  classDef {state} {style}", f"  class {','.join(keys)} {state}"]
    return "\n".join(out) + "\n"


def dot_text(graph: Graph, selected: Collection[str] | None = None) -> str:
    """A digraph with a cluster for each stage."""
    picture = build_picture(graph, selected)
    out = [
        "digraph pipeline {",
        "  rankdir=LR;",
        '  node [fontname="sans-serif", fontsize=11];',
    ]
    for place, name, nodes in _stages(picture):
        out += [f"  subgraph cluster_{place} {{", f'    label="{_text(name, _DOT)}";']
        for node in nodes:
            style = "dashed" if node.state not in ("", "fresh", "passed") else "solid"
            colour = ', color="gray50", fontcolor="gray40"' if node.is_dim else ""
            shape = f"shape={_DOT_SHAPES[node.kind]}, style={style}{colour}"
            out.append(f'    {node.key} [label="{_label(node, _DOT)}", {shape}];')
        out.append("  }")
    out += [f"  {source} -> {target};" for source, target in picture.edges]
    return "\n".join([*out, "}"]) + "\n"


def _stages(picture: Picture) -> Iterator[tuple[int, str, list[Node]]]:
    """The stages that have nodes: number, name and nodes."""
    for place, name in enumerate(picture.stages):
        nodes = [node for node in picture.nodes if node.stage == place]
        if nodes:
            yield place, name, nodes


def _label(node: Node, escapes: Mapping[int, str]) -> str:
    return _text(f"{MARKS.get(node.state, '')} {node.label}".lstrip(), escapes)


def _text(text: str, escapes: Mapping[int, str]) -> str:
    return cut_name(one_line(text), LONGEST, Style()).translate(escapes)
