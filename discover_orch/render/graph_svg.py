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
from discover_orch.render.markup import clean_word, escape, fit, number, text_width, tip
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
) -> str:
    """`selected` as in `build_picture`."""
    return picture_svg(build_picture(graph, selected), title=title)


def project_html(root: str, registry: Registry, freshness: Mapping[str, Freshness]) -> str:
    """How a project looks in a notebook: its graph below one line. `freshness` is that of the tools, by module."""
    graph = build_graph(registry, registry.order, freshness)
    total = count(len(registry.tools), "tool")
    return f"<div>{escape(root)}: {total}</div>{graph_svg(graph)}"


def picture_svg(picture: Picture, *, title: str, is_inside: bool = False) -> str:
    """With `is_inside` it has no style of its own: the page has the style sheet `STYLE`, the colours, and for each
    stage a place with its key as id."""
    boxes = [_box(node) for node in picture.nodes]
    layout = lay_out(boxes, picture.edges)
    width, height = layout.width + 2 * EDGE, layout.height + HEAD + 2 * EDGE
    has_links = is_inside and any(node.kind == "stage" for node in picture.nodes)
    role = f'group" aria-label="{escape(title)}' if has_links else "img"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="orch-graph" role="{role}" width="{number(width)}" '
        f'height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}">',
        f"<title>{escape(title)}</title><desc>{escape(_describe(picture))}</desc>",
    ]
    if not is_inside:
        style = read_page_file(_COLOURS) + read_page_file(STYLE)
        out.append(f"<style>{style}</style>")
    out += _bands(picture, layout, height)
    out.append(f'<g transform="translate({number(EDGE)} {number(HEAD + EDGE)})">')
    out += _edges(picture, layout)
    is_chosen = any(one.is_dim for one in picture.nodes)
    for one in picture.nodes:
        drawn = _node(one, layout.places[one.key], is_chosen=is_chosen)
        is_link = is_inside and one.kind == "stage"
        out.append(f'<a href="#{one.key}">{drawn}</a>' if is_link else drawn)
    out.append("</g></svg>")
    return "\n".join(out) + "\n"


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


def _bands(picture: Picture, layout: Layout, height: float) -> list[str]:
    """A band and a heading for each stage."""
    layers: dict[int, list[int]] = {}
    for node in picture.nodes:
        layers.setdefault(node.stage, []).append(node.layer)
    out = []
    for stage, found in sorted(layers.items()):
        left = layout.columns[min(found)][0] + EDGE - 10
        right = layout.columns[max(found)][1] + EDGE + 10
        name = picture.stages[stage]
        shown = escape(fit(name, max(right - left - 20, 40)))
        out.append(
            f'<rect class="band" x="{number(left)}" y="6" width="{number(right - left)}" '
            f'height="{number(height - 12)}" rx="8"/>'
            f'<text class="heading" x="{number(left + 10)}" y="26">{shown}</text>'
        )
    return out


def _edges(picture: Picture, layout: Layout) -> list[str]:
    out = []
    for source, target in picture.edges:
        points = layout.lines.get((source, target))
        if points is None:
            continue
        (x, y), before = points[-1], points[-2]
        back = -6.0 if before[0] <= x else 6.0
        path = _curve((*points[:-1], (x + back, y)))
        out.append(
            f'<path class="edge" data-from="{source}" data-to="{target}" d="{path}"/>'
            f'<path class="head" d="M{number(x)} {number(y)}l{number(back * 1.2)} -3.5v7z"/>'
        )
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


def _node(node: Node, place: Place, *, is_chosen: bool) -> str:
    x, y, width, height = place.x, place.y, place.width, place.height
    classes = [node.kind, f"s-{clean_word(node.state)}" if node.state else "", _tone(node.state)]
    is_chosen = is_chosen and node.kind == "tool"
    classes.append("dim" if node.is_dim else "chosen" if is_chosen else "")
    mark = MARKS.get(node.state, "")
    left = x + MARGIN + (16 if mark else 0)
    shown = escape(fit(node.label, WIDEST))
    about = "\n".join(filter(None, (f"{node.kind} {node.label}", node.state, node.tip)))
    tool = f' data-tool="{escape(node.module)}"' if node.module else ""
    shape = _shape(node.kind, x, y, width, height)
    drawn = f'<text class="mark" x="{number(x + MARGIN - 2)}" y="{number(y + height / 2 + 4)}">{mark}</text>'
    return (
        f'<g class="{" ".join(filter(None, classes))}" data-key="{node.key}"{tool}><title>{tip(about)}</title>'
        f"{shape}{drawn if mark else ''}"
        f'<text x="{number(left)}" y="{number(y + height / 2 + 4)}">{shown}</text></g>'
    )


def _tone(state: str) -> str:
    if state in ("passed", "fresh"):
        return "good"
    if state in ("failed", "unknown"):
        return "bad"
    return "warn" if state else ""


def _shape(kind: str, x: float, y: float, width: float, height: float) -> str:
    """A tool is a rounded box, a table has a bar for its heading, a file a folded corner."""
    left, top, right, bottom = (number(one) for one in (x, y, x + width, y + height))
    if kind == "file":
        corner = number(x + width - 8)
        return (
            f'<path class="box" d="M{left} {top}H{corner}L{right} {number(y + 8)}V{bottom}H{left}z"/>'
            f'<path class="fold" d="M{corner} {top}V{number(y + 8)}H{right}"/>'
        )
    radius = 2 if kind == "table" else 7
    box = (
        f'<rect class="box" x="{left}" y="{top}" width="{number(width)}" height="{number(height)}" '
        f'rx="{radius}"/>'
    )
    if kind == "table":
        box += f'<path class="fold" d="M{left} {number(y + 4)}H{right}"/>'
    return box
