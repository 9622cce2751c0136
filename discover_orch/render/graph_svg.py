"""The graph as SVG: a file of its own, or a part of a page.

Colours follow the light or dark theme of whoever looks. A state also shows in a mark and in the line of the box, never
in its colour alone. Pure.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from discover_orch.discovery.registry import Registry
from discover_orch.render.graph import Graph, build_graph
from discover_orch.render.graph_layout import Box, Layout, Place, lay_out
from discover_orch.render.graph_picture import Node, Picture, build_picture
from discover_orch.render.markup import Html, clean_word, fit, h, join, number, text_width, tip
from discover_orch.render.style import count
from discover_orch.staleness.reason_sentences import Freshness

#: The widest label, in pixels; the space beside it; and the heights of boxes.
WIDEST, MARGIN, TOOL_HEIGHT, DATA_HEIGHT = 190.0, 12.0, 30.0, 24.0
#: Around the whole graph, and above it for the names of the stages.
EDGE, HEAD = 16.0, 30.0
MARKS = {
    "passed": "✓",
    "fresh": "≡",
    "stale": "○",
    "never": "·",
    "failed": "✗",
    "unknown": "?",
    "blocked": "⊘",
    "not run": "·",
    "interrupted": "!",
    "cancelled": "!",
    "running": "▸",
    "rolled back": "↶",
}
#: Variables that a page may set; these are the colours of a graph that stands alone.
_COLOURS = "graph_colours.css"
#: Everything is below `.orch-graph`, since the style of an SVG inside a page counts for the whole page.
STYLE = "graph.css"


def read_page_file(name: str) -> str:
    """A style sheet or a script of this package."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def graph_svg(
    graph: Graph, selected: Collection[str] | None = None, *, title: str = "Pipeline"
) -> Html:
    """`selected` as in `build_picture`."""
    return picture_svg(build_picture(graph, selected), title=title)


def project_html(root: str, registry: Registry, freshness: Mapping[str, Freshness]) -> Html:
    """How a project looks in a notebook: its graph below one line. `freshness` is that of the tools, by module."""
    graph = build_graph(registry, registry.order, freshness)
    total = count(len(registry.tools), "tool")
    return join([h("div", f"{root}: {total}"), graph_svg(graph)])


def picture_svg(picture: Picture, *, title: str, is_inside: bool = False) -> Html:
    """With `is_inside` it has no style of its own: the page has the style sheet `STYLE`, the colours, and for each
    stage a place with its key as id."""
    boxes = [_box(node) for node in picture.nodes]
    layout = lay_out(boxes, picture.edges)
    width, height = layout.width + 2 * EDGE, layout.height + HEAD + 2 * EDGE
    has_links = is_inside and any(node.kind == "stage" for node in picture.nodes)
    is_chosen = any(one.is_dim for one in picture.nodes)
    drawn = _edges(picture, layout)
    for one in picture.nodes:
        node = _node(one, layout.places[one.key], is_chosen=is_chosen)
        is_link = is_inside and one.kind == "stage"
        drawn.append(h("a", node, href=f"#{one.key}") if is_link else node)
    style = Html(read_page_file(_COLOURS) + read_page_file(STYLE))
    move = f"translate({number(EDGE)} {number(HEAD + EDGE)})"
    parts = [
        h("title", title),
        h("desc", _describe(picture)),
        *([] if is_inside else [h("style", style)]),
        *_bands(picture, layout, height),
        h("g", join(drawn, "\n"), transform=move),
    ]
    svg = h(
        "svg",
        join(parts, "\n"),
        xmlns="http://www.w3.org/2000/svg",
        class_="orch-graph",
        role="group" if has_links else "img",
        aria_label=title if has_links else None,
        width=width,
        height=height,
        viewBox=f"0 0 {number(width)} {number(height)}",
    )
    return Html(svg + "\n")


def _box(node: Node) -> Box:
    mark = 16.0 if node.state in MARKS else 0.0
    room = min(text_width(node.label[:200]), WIDEST)
    height = DATA_HEIGHT if node.kind in ("table", "file") else TOOL_HEIGHT
    return Box(key=node.key, layer=node.layer, width=room + 2 * MARGIN + mark, height=height)


def _describe(picture: Picture) -> str:
    """For those who do not see it: what there is, and the tools by stage."""
    kinds = [node.kind for node in picture.nodes]
    parts = [count(kinds.count("tool"), "tool")]
    parts += [count(kinds.count(kind), kind) for kind in ("table", "file") if kind in kinds]
    return ", ".join(parts) + f", in {count(len(picture.stages), 'stage')}."


def _bands(picture: Picture, layout: Layout, height: float) -> list[Html]:
    """A band and a heading for each stage."""
    layers: dict[int, list[int]] = {}
    for node in picture.nodes:
        layers.setdefault(node.stage, []).append(node.layer)
    out = []
    for stage, found in sorted(layers.items()):
        left = layout.columns[min(found)][0] + EDGE - 10
        right = layout.columns[max(found)][1] + EDGE + 10
        name = picture.stages[stage]
        shown, wide = fit(name, max(right - left - 20, 40)), right - left
        out += [
            h("rect", class_="band", x=left, y=6, width=wide, height=height - 12, rx=8),
            h("text", shown, class_="heading", x=left + 10, y=26),
        ]
    return out


def _edges(picture: Picture, layout: Layout) -> list[Html]:
    out = []
    for source, target in picture.edges:
        points = layout.lines.get((source, target))
        if points is None:
            continue
        (x, y), before = points[-1], points[-2]
        back = -6.0 if before[0] <= x else 6.0
        path = _curve((*points[:-1], (x + back, y)))
        head = f"M{number(x)} {number(y)}l{number(back * 1.2)} -3.5v7z"
        out += [
            h("path", class_="edge", data_from=source, data_to=target, d=path),
            h("path", class_="head", d=head),
        ]
    return out


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Smooth between layers, straight through them."""
    x, y = points[0]
    out = [f"M{number(x)} {number(y)}"]
    for next_x, next_y in points[1:]:
        if y == next_y:
            out.append(f"H{number(next_x)}")
        else:
            middle = number((x + next_x) / 2)
            out.append(
                f"C{middle} {number(y)} {middle} {number(next_y)} {number(next_x)} {number(next_y)}"
            )
        x, y = next_x, next_y
    return "".join(out)


def _node(node: Node, place: Place, *, is_chosen: bool) -> Html:
    x, y, width, height = place.x, place.y, place.width, place.height
    classes = [node.kind, f"s-{clean_word(node.state)}" if node.state else "", _tone(node.state)]
    is_chosen = is_chosen and node.kind == "tool"
    classes.append("dim" if node.is_dim else "chosen" if is_chosen else "")
    mark, line = MARKS.get(node.state, ""), y + height / 2 + 4
    about = "\n".join(filter(None, (f"{node.kind} {node.label}", node.state, node.tip)))
    return h(
        "g",
        tip(about),
        *_shape(node.kind, x, y, width, height),
        h("text", mark, class_="mark", x=x + MARGIN - 2, y=line) if mark else None,
        h("text", fit(node.label, WIDEST), x=x + MARGIN + (16 if mark else 0), y=line),
        class_=" ".join(filter(None, classes)),
        data_key=node.key,
        data_tool=node.module or None,
    )


def _tone(state: str) -> str:
    if state in ("passed", "fresh"):
        return "good"
    if state in ("failed", "unknown"):
        return "bad"
    return "warn" if state else ""


def _shape(kind: str, x: float, y: float, width: float, height: float) -> list[Html]:
    """A tool is a rounded box, a table has a bar for its heading, a file a folded corner."""
    left, top, right, bottom = (number(one) for one in (x, y, x + width, y + height))
    if kind == "file":
        corner, fold = number(x + width - 8), number(y + 8)
        box = f"M{left} {top}H{corner}L{right} {fold}V{bottom}H{left}z"
        corner = f"M{corner} {top}V{fold}H{right}"
        return [h("path", class_="box", d=box), h("path", class_="fold", d=corner)]
    radius = 2 if kind == "table" else 7
    drawn = [h("rect", class_="box", x=x, y=y, width=width, height=height, rx=radius)]
    if kind == "table":
        drawn.append(h("path", class_="fold", d=f"M{left} {number(y + 4)}H{right}"))
    return drawn
