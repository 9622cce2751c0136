"""What tools read and write, and the edges that follow from it.

In: for each tool the files that it declares (later also what it was seen to read and write). Out: which
tool must come before which. A path and a glob meet where the path matches; two globs meet where neither
rules the other out, so an edge is rather one too many than one too few. Pure.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

from discover_orch.value import value


@value
class Dataflow:
    """Paths and globs relative to the root; empty means that nothing is known, not that there is none."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def edges(flows: Mapping[str, Dataflow]) -> dict[str, tuple[str, ...]]:
    """For each reader the writers of what it reads, itself left out."""
    writers = [(tool, flow.writes) for tool, flow in flows.items() if flow.writes]
    found = {}
    for tool, flow in flows.items():
        if not flow.reads:
            continue
        before = tuple(
            writer
            for writer, writes in writers
            if writer != tool and any(meet(one, other) for one in flow.reads for other in writes)
        )
        if before:
            found[tool] = before
    return found


def meet(one: str, other: str) -> bool:
    """Whether some file can match both patterns."""
    if one == other:
        return True
    first, second = _literal_part(one), _literal_part(other)
    if first == one and second == other:
        return _is_inside(one, other) or _is_inside(other, one)
    if first == one:
        return _matches(one, other) or _is_inside(first=second, folder=one)
    if second == other:
        return _matches(other, one) or _is_inside(first=first, folder=other)
    return first.startswith(second) or second.startswith(first)


def _is_inside(first: str, folder: str) -> bool:
    return first.startswith(folder.rstrip("/") + "/")


def _matches(path: str, pattern: str) -> bool:
    """A star crosses folders here, and `**/` may stand for none; a folder that matches holds all below."""
    loose = pattern.replace("**/", "*")
    return fnmatch.fnmatchcase(path, loose) or fnmatch.fnmatchcase(path, loose.rstrip("/") + "/*")


def _literal_part(pattern: str) -> str:
    """The part before the first wildcard."""
    ends = [pattern.find(mark) for mark in "*?[" if mark in pattern]
    return pattern[: min(ends)] if ends else pattern
