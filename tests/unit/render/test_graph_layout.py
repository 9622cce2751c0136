"""What every layout keeps, whatever the graph."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.render.graph_layout import GAP, Box, lay_out

GRAPHS = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(0, 6), min_size=size, max_size=size),
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=80),
    )
)


def boxes_in(layers: list[int]) -> list[Box]:
    return [
        Box(key=str(n), layer=layer, width=20.0 + n, height=10.0 + n % 7)
        for n, layer in enumerate(layers)
    ]


@given(GRAPHS)
def test_boxes_of_a_layer_never_touch_and_lines_end_at_their_boxes(
    graph: tuple[list[int], list[tuple[int, int]]],
) -> None:
    layers, pairs = graph
    boxes = boxes_in(layers)
    placed = lay_out(boxes, [(str(a), str(b)) for a, b in pairs])
    for layer in set(layers):
        places = sorted(
            (placed.places[box.key] for box in boxes if box.layer == layer), key=lambda one: one.y
        )
        for one, other in pairwise(places):
            assert one.y + one.height + GAP / 2 < other.y + 1e-6
    for box in boxes:
        place = placed.places[box.key]
        left, right = placed.columns[box.layer]
        assert left - 1e-6 <= place.x
        assert place.x + place.width <= right + 1e-6
        assert place.y >= -1e-6
        assert place.y + place.height <= placed.height + 1e-6
    assert placed.lines.keys() == {(str(a), str(b)) for a, b in pairs if a != b}
    for (source, target), points in placed.lines.items():
        for key, (x, y) in ((source, points[0]), (target, points[-1])):
            place = placed.places[key]
            assert abs(y - place.y - place.height / 2) < 1e-6
            assert min(abs(x - place.x), abs(x - place.x - place.width)) < 1e-6
