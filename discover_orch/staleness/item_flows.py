"""What the items of a tool use, as one, for `orch.lock`: with the names of their values in the paths, so that a new
item changes nothing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from posixpath import isabs
from typing import Any

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import ITEM_PATHS, Dataflow, merge_flows, union
from discover_orch.model.items import Item, as_glob, item_text, tool_of, values_in
from discover_orch.state.flow_lock import kind_of


def merge_items(seen: Sequence[tuple[Item, Dataflow]]) -> Dataflow:
    """What the items of a tool use, as one: with the names of their values where all items agree on the path. Of the
    other files that only some of them read or write, those of one kind in a folder are one pattern, so that a new item
    changes nothing."""
    if not seen[0][0].values:
        return seen[0][1]
    named: list[dict[str, Any]] = [{} for _ in seen]
    for name in ITEM_PATHS:
        found = _name_paths([(item, getattr(flow, name)) for item, flow in seen])
        for of_item, paths in zip(named, found, strict=True):
            of_item[name] = paths
    flows = {
        str(place): replace(flow, **of_item)
        for place, ((_, flow), of_item) in enumerate(zip(seen, named, strict=True))
    }
    merged = merge_flows(flows, lambda _: "")[""]
    reads, inputs = _fold([flow.reads for flow in flows.values()])
    writes, outputs = _fold([flow.writes for flow in flows.values()])
    return replace(merged, reads=reads, inputs=inputs, writes=writes, outputs=outputs)


def find_patterns(
    registry: Registry, merged: Mapping[str, Dataflow], flows: Mapping[str, Dataflow]
) -> dict[str, str]:
    """For each file of an item the pattern for those of all items of its tool. Those of items that are no more are
    remembered by tools that read them."""
    items = {
        module: [registry.tools[key].item for key in registry.steps[module]]
        for module in registry.steps
    }
    for key in flows.keys() - registry.tools.keys():
        if (module := tool_of(key)) in items and (text := item_text(key)):
            names = registry.item_params(module)
            items[module].append(Item(values=dict(zip(names, values_in(text), strict=False))))
    return {
        item.fill(path): as_glob(path)
        for module, of_tool in items.items()
        if (flow := merged.get(module)) is not None
        for path in (*flow.reads, *flow.writes)
        if as_glob(path) != path
        for item in of_tool
    }


def with_patterns(flow: Dataflow, patterns: Mapping[str, str]) -> Dataflow:
    """With one pattern in place of the files of items that it reads."""
    globs = tuple(dict.fromkeys(patterns[path] for path in flow.reads if path in patterns))
    if not globs:
        return flow
    reads = tuple(path for path in flow.reads if path not in patterns)
    return replace(flow, reads=reads, inputs=union(flow.inputs, globs))


def _name_paths(seen: Sequence[tuple[Item, Sequence[str]]]) -> list[tuple[str, ...]]:
    """The paths of each item, with the names of its values in those that each item has with its own."""
    paths_of = [frozenset(paths) for _, paths in seen]
    templates = dict.fromkeys(_with_names(path, item) for item, paths in seen for path in paths)
    common = {
        template
        for template in templates
        if all(
            item.fill(template) in paths
            for (item, _), paths in zip(reversed(seen), reversed(paths_of), strict=True)
        )
    }
    found = []
    for item, paths in seen:
        filled = {item.fill(template): template for template in common}
        found.append(tuple([filled.get(path, path) for path in paths]))
    return found


def _with_names(path: str, item: Item) -> str:
    """The path with the names of the values in braces in their place."""
    pieces = [path]  # text, name, text, ...
    for name, text in sorted(item.values.items(), key=lambda one: -len(one[1])):
        pieces = [
            part
            for place, piece in enumerate(pieces)
            for part in (_split(piece, text, f"{{{name}}}") if place % 2 == 0 else (piece,))
        ]
    return "".join(pieces)


def _split(text: str, value: str, name: str) -> Iterator[str]:
    """The text around the value, where it stands by itself, and the name between: `a` is not in `raw`, nor 1 in 12."""
    start = at = 0
    while value and (at := text.find(value, at)) >= 0:
        end = at + len(value)
        if _is_apart(text[at - 1 : at], value[0]) and _is_apart(value[-1], text[end : end + 1]):
            yield text[start:at]
            yield name
            start = end
        at = end
    yield text[start:]


def _is_apart(one: str, other: str) -> bool:
    return not ((one.isalpha() and other.isalpha()) or (one.isdigit() and other.isdigit()))


def _fold(seen: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths, and the patterns for those that only some of these have, where several are of one kind."""
    counts = Counter(path for paths in seen for path in paths)
    kinds: dict[str, list[str]] = {}
    for path, number in counts.items():
        if number < len(seen) and not isabs(path):
            kinds.setdefault(kind_of(path), []).append(path)
    patterns = {kind: paths for kind, paths in kinds.items() if len(paths) > 1}
    folded = {path for paths in patterns.values() for path in paths}
    return tuple(path for path in counts if path not in folded), tuple(patterns)
