"""A small directed graph over strings that does not know what a node means.

In: nodes in a preferred order, and for each node those that must come before it. Out: an order that
respects every edge, ancestors and descendants, or the cycle. Pure; linear but for the heap of `order`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

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
    ready: list[str] = []
    waiting: dict[str, int] = {}
    after: dict[str, list[str]] = {}
    for node in wanted:
        needed = wanted.intersection(before.get(node, ()))
        if not needed:
            ready.append(node)
            continue
        waiting[node] = len(needed)
        for other in needed:
            after.setdefault(other, []).append(node)
    if not waiting:
        return tuple(sorted(ready))
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


def cyclic_groups(starts: Iterable[str], edges: Edges) -> list[frozenset[str]]:
    """The largest groups, of two nodes or more, in which each can be reached from each other one.

    Only what can be reached from `starts` is looked at. Tarjan's way (1972), without recursion: `back` is
    the earliest node on the trail that can be got back to; a node that gets no further than itself closes
    a group.
    """
    found: list[frozenset[str]] = []
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
                    if len(group) > 1:
                        found.append(frozenset(group))
    return found


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
