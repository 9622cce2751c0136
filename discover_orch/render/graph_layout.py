"""Places the boxes of a layered graph and routes its lines, for SVG and for the report page. Pure.

The layer of each box is given. The method is that of Sugiyama, Tagawa and Toda (1981): a line that passes a layer gets
a place in it, barycentre sweeps order the layers, and each layer is then moved as near to its neighbours as the gaps
between its boxes allow. That last step is a least-squares problem, solved exactly by pooling adjacent violators.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

#: Pixels between two boxes of a layer, between two passing lines, and between two layers.
GAP, LINE_GAP, LAYER_GAP = 14.0, 7.0, 48.0
#: Places for passing lines. Longer lines beyond that are drawn straight, so that a large graph stays fast.
MOST_PLACES = 20_000
#: The order with the fewest crossings is searched for in graphs of at most so many segments.
MOST_COUNTED = 4_000
SWEEPS = 6
#: How much a passing line is drawn towards its own next segment, compared with a box.
STRAIGHTNESS = 6.0

Point = tuple[float, float]


class Box(Struct, frozen=True, kw_only=True):
    """A box of `width` and `height` pixels in the column `layer`, which counts from 0."""

    key: str
    layer: int
    width: float
    height: float


class Place(Struct, frozen=True, kw_only=True):
    """The left upper corner of a box, in pixels, and its size."""

    x: float
    y: float
    width: float
    height: float


class Layout(Struct, frozen=True, kw_only=True):
    """Where everything is. `lines` has the points of each edge from its source to its target; `columns` the left and
    right end of each layer."""

    places: Mapping[str, Place]
    lines: Mapping[tuple[str, str], tuple[Point, ...]]
    columns: tuple[tuple[float, float], ...]
    width: float
    height: float


def lay_out(boxes: Sequence[Box], edges: Iterable[tuple[str, str]]) -> Layout:
    """Boxes of one layer keep their order where nothing speaks against it. Edges to unknown boxes are left out."""
    number = {box.key: index for index, box in enumerate(boxes)}
    pairs = [
        (number[a], number[b])
        for a, b in dict.fromkeys(edges)
        if a in number and b in number and a != b
    ]
    grid = _Grid(boxes)
    routes = grid.add_lines(pairs)
    grid.order_layers()
    middles = grid.place_layers()
    columns = _place_columns(boxes)
    places = {
        box.key: Place(
            x=(columns[box.layer][0] + columns[box.layer][1] - box.width) / 2,
            y=middles[index] - box.height / 2,
            width=box.width,
            height=box.height,
        )
        for index, box in enumerate(boxes)
    }
    lines = {}
    for (source, target), route in routes.items():
        start, end = boxes[source], boxes[target]
        passed = [(columns[grid.layer[place]], middles[place]) for place in route]
        lines[start.key, end.key] = _line(start, end, places, columns, passed)
    return Layout(
        places=places,
        lines=lines,
        columns=columns,
        width=columns[-1][1] if columns else 0.0,
        height=max((one.y + one.height for one in places.values()), default=0.0),
    )


def _place_columns(boxes: Sequence[Box]) -> tuple[tuple[float, float], ...]:
    widths = [0.0] * (max((box.layer for box in boxes), default=-1) + 1)
    for box in boxes:
        widths[box.layer] = max(widths[box.layer], box.width)
    columns, x = [], 0.0
    for width in widths:
        columns.append((x, x + width))
        x += width + LAYER_GAP
    return tuple(columns)


def _line(
    source: Box,
    target: Box,
    places: Mapping[str, Place],
    columns: Sequence[tuple[float, float]],
    passed: Sequence[tuple[tuple[float, float], float]],
) -> tuple[Point, ...]:
    """From the side of one box to the facing side of the other, through columns that are `passed` at some height."""
    a, b = places[source.key], places[target.key]
    if source.layer == target.layer:  # around the right side
        x, y, end = a.x + a.width, a.y + a.height / 2, b.y + b.height / 2
        far = columns[source.layer][1] + LAYER_GAP / 3
        return (x, y), (far, (y + end) / 2), (b.x + b.width, end)
    is_forward = source.layer < target.layer
    left, right = (a, b) if is_forward else (b, a)
    points = [(left.x + left.width, left.y + left.height / 2)]
    for (start, stop), height in passed:
        points += [(start, height), (stop, height)]
    points.append((right.x, right.y + right.height / 2))
    return tuple(points if is_forward else points[::-1])


class _Grid:
    """The boxes and the places of passing lines, by number: `layer`, `height` and the neighbours on both sides."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.layer = [box.layer for box in boxes]
        self._height = [box.height for box in boxes]
        self._boxes = len(boxes)
        self._left: list[list[int]] = [[] for _ in boxes]
        self._right: list[list[int]] = [[] for _ in boxes]
        self._rows: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        for index, layer in enumerate(self.layer):
            self._rows[layer].append(index)
        self._segments = 0

    def add_lines(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, ...]]:
        """The places that each line passes, from left to right. Lines from one box share theirs."""
        routes: dict[tuple[int, int], tuple[int, ...]] = {}
        shared: dict[tuple[int, int], int] = {}
        known: set[tuple[int, int]] = set()
        span = {pair: abs(self.layer[pair[0]] - self.layer[pair[1]]) for pair in pairs}
        for pair in sorted(pairs, key=span.__getitem__):
            left, right = pair if self.layer[pair[0]] < self.layer[pair[1]] else pair[::-1]
            route: list[int] = []
            if len(self.layer) - self._boxes + span[pair] <= MOST_PLACES:
                for layer in range(self.layer[left] + 1, self.layer[right]):
                    place = shared.get((left, layer))
                    if place is None:
                        place = shared[left, layer] = self._add_place(layer)
                    route.append(place)
            routes[pair] = tuple(route)
            stops = [left, *route, right]
            if span[pair]:
                for one, other in itertools.pairwise(stops):
                    if (one, other) not in known:
                        known.add((one, other))
                        self._right[one].append(other)
                        self._left[other].append(one)
        self._segments = len(known)
        return routes

    def _add_place(self, layer: int) -> int:
        place = len(self.layer)
        self.layer.append(layer)
        self._height.append(0.0)
        self._left.append([])
        self._right.append([])
        self._rows[layer].append(place)
        return place

    # The order within each layer.

    def order_layers(self) -> None:
        best, fewest = self._rows, -1
        is_counted = self._segments <= MOST_COUNTED
        rank = [0] * len(self.layer)
        for row in self._rows:
            _rank(row, rank)
        for _ in range(SWEEPS):
            for row in self._rows[1:]:
                _sort_by_middle(row, self._left, rank)
            for row in self._rows[-2::-1]:
                _sort_by_middle(row, self._right, rank)
            if is_counted:
                crossings = sum(_count_crossings(row, self._right, rank) for row in self._rows[:-1])
                if fewest < 0 or crossings < fewest:
                    best, fewest = [list(row) for row in self._rows], crossings
                if not crossings:
                    break
        self._rows = best

    # The height of each box.

    def place_layers(self) -> list[float]:
        """The middle of each box and place, from the top."""
        middles = [0.0] * len(self.layer)
        steps = [self._steps(row) for row in self._rows]
        for row, gaps in zip(self._rows, steps, strict=True):
            y = 0.0
            for one, gap in zip(row, gaps, strict=True):
                y += gap
                middles[one] = y
        for turn in range(5):
            rows = [*zip(self._rows, steps, strict=True)]
            sides = (
                [self._left, self._right] if turn == 4 else [(self._left, self._right)[turn % 2]]
            )
            for row, gaps in rows if turn % 2 == 0 else rows[::-1]:
                self._move(row, gaps, sides, middles)
        top = min(
            (middles[one] - self._height[one] / 2 for one in range(len(self.layer))), default=0.0
        )
        return [one - top for one in middles]

    def _steps(self, row: Sequence[int]) -> list[float]:
        """The least distance of each middle from that of the one above."""
        gaps = [0.0]
        for one, other in itertools.pairwise(row):
            are_lines = one >= self._boxes and other >= self._boxes
            space = LINE_GAP if are_lines else GAP
            gaps.append((self._height[one] + self._height[other]) / 2 + space)
        return gaps[: len(row)]

    def _move(
        self,
        row: Sequence[int],
        gaps: Sequence[float],
        sides: Sequence[list[list[int]]],
        middles: list[float],
    ) -> None:
        """As near to the middle of its neighbours as the gaps allow: pooling adjacent violators."""
        pools: list[tuple[float, float, int]] = []  # where, weight, how many
        offset = 0.0
        for one, gap in zip(row, gaps, strict=True):
            offset += gap
            total = weight = 0.0
            for side in sides:
                for other in side[one]:
                    pull = STRAIGHTNESS if one >= self._boxes or other >= self._boxes else 1.0
                    total += pull * middles[other]
                    weight += pull
            if not weight:
                total, weight = middles[one] * 0.01, 0.01
            where, size = total / weight - offset, 1
            while pools and pools[-1][0] > where:
                before, heavy, many = pools.pop()
                where = (where * weight + before * heavy) / (weight + heavy)
                weight, size = weight + heavy, size + many
            pools.append((where, weight, size))
        index, offset = 0, 0.0
        for where, _, size in pools:
            for one in row[index : index + size]:
                offset += gaps[index]
                middles[one] = where + offset
                index += 1


def _rank(row: Sequence[int], rank: list[int]) -> None:
    for place, one in enumerate(row):
        rank[one] = place


def _sort_by_middle(row: list[int], side: Sequence[Sequence[int]], rank: list[int]) -> None:
    """By the barycentre of the neighbours on one side. What has none there keeps its rank."""
    middle = {
        one: sum(rank[other] for other in side[one]) / len(side[one]) if side[one] else rank[one]
        for one in row
    }
    row.sort(key=middle.__getitem__)
    _rank(row, rank)


def _count_crossings(
    row: Sequence[int], right: Sequence[Sequence[int]], rank: Sequence[int]
) -> int:
    """Of the lines from this layer to the next one."""
    seen: list[int] = []
    crossings = 0
    for one in row:
        ends = sorted(rank[other] for other in right[one])
        for end in ends:
            crossings += len(seen) - bisect_right(seen, end)
        for end in ends:
            insort(seen, end)
    return crossings
