"""A small directed graph over strings that does not know what a node means.

In: nodes in a preferred order, and for each node those that must come before it. Out: an order that
respects every edge, ancestors and descendants, or the cycle. Pure; linear but for the heap of `order`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

Edges = Mapping[str, Iterable[str]]


class CycleError(Exception):
    """No order exists; `cycle` lists the nodes, each after the one it waits for, first = last."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(cycle))
        self.cycle = cycle


def order(nodes: Iterable[str], before: Edges) -> tuple[str, ...]:
    """All nodes so that each follows those in `before[node]`; of the ready ones the smallest goes next.

    Edges to nodes outside `nodes` are ignored. Raises CycleError.
    """
    wanted = set(nodes)
    waiting: dict[str, int] = {}
    after: dict[str, list[str]] = {}
    for node in wanted:
        needed = {other for other in before.get(node, ()) if other in wanted}
        waiting[node] = len(needed)
        for other in needed:
            after.setdefault(other, []).append(node)
    ready = [node for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    done: list[str] = []
    while ready:
        node = heapq.heappop(ready)
        done.append(node)
        for follower in after.get(node, ()):
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
    if len(done) < len(wanted):
        raise CycleError(_cycle(sorted(wanted.difference(done)), before))
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


def reverse(edges: Edges) -> dict[str, tuple[str, ...]]:
    """The same edges seen from the other end."""
    turned: dict[str, list[str]] = {}
    for node, others in edges.items():
        for other in others:
            turned.setdefault(other, []).append(node)
    return {node: tuple(others) for node, others in turned.items()}


def _cycle(stuck: list[str], before: Edges) -> tuple[str, ...]:
    """One cycle among nodes of which each waits for, or lies behind, a cycle."""
    inside = set(stuck)
    path: list[str] = []
    position: dict[str, int] = {}
    node = stuck[0]
    while node not in position:
        position[node] = len(path)
        path.append(node)
        node = min(other for other in before[node] if other in inside)
    return (*reversed(path[position[node] :]), path[-1])
