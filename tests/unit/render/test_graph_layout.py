"""What every layout keeps, whatever the graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.render import graph_layout as layout
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


def test_a_chain_is_a_straight_line() -> None:
    boxes = boxes_in([0, 1, 2, 3, 4])
    placed = lay_out(boxes, [(str(n), str(n + 1)) for n in range(4)])
    middles = {round(one.y + one.height / 2, 3) for one in placed.places.values()}
    assert len(middles) == 1


def test_crossings_that_can_be_avoided_are() -> None:
    boxes = boxes_in([0, 0, 0, 1, 1, 1])
    placed = lay_out(boxes, [("0", "5"), ("1", "4"), ("2", "3")])
    tops = {key: place.y for key, place in placed.places.items()}
    left = sorted("012", key=lambda one: tops[one])
    right = sorted("345", key=lambda one: tops[one])
    assert [str(5 - int(one)) for one in left] == right


def test_nothing_has_a_layout_too() -> None:
    placed = lay_out([], [("a", "b")])
    assert (placed.places, placed.lines, placed.width, placed.height) == ({}, {}, 0.0, 0.0)


def test_lines_beyond_the_most_places_are_drawn_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = boxes_in([*range(20), *range(20)])
    edges = [(str(a), str(b)) for a in range(20) for b in range(20, 40) if a != b - 20]
    assert all(len(points) > 2 for points in lay_out(boxes, [("0", "39")]).lines.values())
    monkeypatch.setattr(layout, "MOST_PLACES", 40)
    lines = lay_out(boxes, edges).lines
    assert lines.keys() == set(edges)
    assert len(lines["0", "39"]) == 2
    assert len(lines["0", "22"]) == 4  # short lines get their places first
