"""A small directed graph over strings. It does not know what a node means.

`before` gives for each node those that must come before it.
"""

from __future__ import annotations

import graphlib
import heapq
from collections.abc import Iterable, Iterator, Mapping

Edges = Mapping[str, Iterable[str]]


class CycleError(Exception):
    """No order exists. `cycle` lists the nodes, each after one that it must follow; the first is the last too."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(cycle))
        self.cycle = cycle


def order(nodes: Iterable[str], before: Edges) -> tuple[str, ...]:
    """All nodes, each after those in `before[node]`; of the nodes that are ready the smallest is next.

    Edges to nodes outside `nodes` are ignored. Raises CycleError.
    """
    wanted = {*nodes}
    needed = {node: wanted.intersection(before.get(node, ())) for node in sorted(wanted)}
    if not any(needed.values()):
        return tuple(needed)
    sorter = graphlib.TopologicalSorter({node: sorted(few) for node, few in needed.items()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise CycleError(tuple(error.args[1])) from None
    ready: list[str] = []
    done: list[str] = []
    while sorter.is_active():
        for node in sorter.get_ready():
            heapq.heappush(ready, node)
        done.append(heapq.heappop(ready))
        sorter.done(done[-1])
    return tuple(done)


def reachable(starts: Iterable[str], edges: Edges) -> frozenset[str]:
    """Everything that can be reached from `starts` along `edges`, the starts themselves included."""
    seen: set[str] = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(edges.get(node, ()))
    return frozenset(seen)


def cyclic_groups(starts: Iterable[str], edges: Edges) -> list[frozenset[str]]:
    """The strongly connected components of two nodes or more that can be reached from `starts`."""
    return [frozenset(group) for group in components(starts, edges) if len(group) > 1]


def components(starts: Iterable[str], edges: Edges) -> Iterator[list[str]]:
    """The strongly connected components that can be reached from `starts`, each after all that it leads to.

    Tarjan's algorithm (1972), without recursion: `back` is the earliest node on the trail that can be reached again; a
    node from which only itself can be reached again closes a group.
    """
    number: dict[str, int] = {}
    back: dict[str, int] = {}
    left: dict[str, Iterator[str]] = {}
    trail: dict[str, None] = {}
    for start in starts:
        stack = [] if start in number else [start]
        while stack:
            node = stack[-1]
            if node not in number:
                number[node] = back[node] = len(number)
                left[node] = iter(edges.get(node, ()))
                trail[node] = None
            for other in left[node]:
                if other not in number:
                    stack.append(other)
                    break
                if other in trail:
                    back[node] = min(back[node], number[other])
            else:
                stack.pop()
                if stack:
                    back[stack[-1]] = min(back[stack[-1]], back[node])
                if back[node] == number[node]:
                    group = [trail.popitem()[0]]
                    while group[-1] != node:
                        group.append(trail.popitem()[0])
                    yield group


def reverse(edges: Edges) -> dict[str, tuple[str, ...]]:
    """The same edges in the other direction."""
    turned: dict[str, list[str]] = {}
    for node, others in edges.items():
        for other in others:
            turned.setdefault(other, []).append(node)
    return {node: tuple(others) for node, others in turned.items()}
