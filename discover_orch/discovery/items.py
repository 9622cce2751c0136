"""The items of the tools with `"each"`: finds them, and puts the steps of each item in the place of its tool.

Lists folders; reads no file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.item_steps import guess_flows, place_steps
from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem
from discover_orch.model.items import (
    FilePattern,
    Grid,
    Item,
    Period,
    SameItems,
    describe_no_items,
    key_of,
    matching,
    read_period,
    sorted_items,
    tool_of,
)
from discover_orch.model.parameter import ConvertError, Param, Scalar
from discover_orch.model.tool import Tool


class Found(Struct, frozen=True, kw_only=True):
    """The items of one tool, in their order, and what is to be said of its files."""

    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()


def with_items(
    registry: Registry, root: str, observed: Mapping[str, Dataflow], now: datetime | None = None
) -> Registry:
    """The registry with the steps of items in place of the tools that have any. `observed` is the data flow of steps
    by key. `now` is in UTC without a time zone."""
    if not any(tool.each for tool in registry.tools.values()):
        return registry
    return _place_items(registry, root, observed, now or datetime.now(UTC).replace(tzinfo=None))


def with_new_items(registry: Registry, root: str, observed: Mapping[str, Dataflow]) -> Registry:
    """The same registry with items whose files have come since; those that it has stay, also where a file is gone."""
    if registry.whole is None:
        return registry
    known = {
        module: tuple(registry.tools[key].item for key in keys)
        for module, keys in registry.steps.items()
    }
    return _place_items(registry.whole, root, observed, datetime.min, known)


def _place_items(
    registry: Registry,
    root: str,
    observed: Mapping[str, Dataflow],
    moment: datetime,
    known: Mapping[str, tuple[Item, ...]] = MappingProxyType({}),
) -> Registry:
    """With the items that are `known`, if any are, and those whose files are there."""
    found: dict[str, tuple[Item, ...]] = {}
    steps: dict[str, list[Tool]] = {}
    flows: dict[str, Dataflow] = {}
    problems: list[Problem] = []
    for module in order_by_items(registry):
        tool = registry.tools[module]
        promised = [path for flow in flows.values() for path in flow.writes]
        if known and isinstance(tool.each, Grid):
            one = Found(items=known[module])
        else:
            before = known.get(module, ())
            one = _find(tool, registry, root, found, observed, moment, promised, before)
        found[module] = one.items
        problems += one.problems
        steps[module] = [_step_of(tool, item) for item in one.items]
        flows |= guess_flows(registry, {module: steps[module]}, observed)
    expanded = place_steps(registry, steps, flows, observed)
    return replace(expanded, warnings=(*registry.warnings, *problems))


def order_by_items(registry: Registry) -> list[str]:
    """The tools with items, each behind the one whose items it has."""
    left = [module for module in registry.order if registry.tools[module].each]
    found: list[str] = []
    while left:
        ready = [one for one in left if _upstream_of(one, registry) not in left] or left
        found += ready
        left = [one for one in left if one not in ready]
    return found


def _upstream_of(module: str, registry: Registry) -> str:
    """The tool with the same items; "" for none."""
    same = registry.same_items.get(module)
    return same.module if same else ""


def _step_of(tool: Tool, item: Item) -> Tool:
    def filled(patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(item.fill, patterns)) if patterns else patterns

    key = key_of(tool.module, item)
    return replace(
        tool,
        module=key,
        name=f"{tool.name}{key[len(tool.module) :]}",
        item=item,
        inputs=filled(tool.inputs),
        outputs=filled(tool.outputs),
        replaces=filled(tool.replaces),
    )


def _find(
    tool: Tool,
    registry: Registry,
    root: str,
    known: Mapping[str, tuple[Item, ...]],
    observed: Mapping[str, Dataflow],
    now: datetime,
    promised: Sequence[str] = (),
    before: Sequence[Item] = (),
) -> Found:
    """`promised`: the files that the steps of items before it make, or are expected to make. `before` are items that
    it has in any case."""
    params = {param.name: param for param in tool.params}
    upstream = [*_renamed(known, registry, tool.module)]
    match tool.each:
        case SameItems():
            return Found(items=tuple(_typed(upstream, params)))
        case Grid() as grid:
            return Found(items=tuple(_typed(grid.find(now), params)))
        case FilePattern() as pattern:
            withdrawn = _files_of_withdrawn(registry, known, observed)
            there = (one for one in find_files(root, pattern.pattern) if one not in withdrawn)
            paths = {**dict.fromkeys(promised, True), **dict.fromkeys(there, False)}
            expected = (replace(one, is_expected=True) for one in upstream)
            return _read_files(tool, pattern, paths, params, [*expected, *before])
    return Found()


def _renamed(
    known: Mapping[str, tuple[Item, ...]], registry: Registry, module: str
) -> Iterator[Item]:
    """The items of the tool upstream with the same ones, as this tool calls their parameters."""
    same = registry.same_items.get(module)
    if same is None:
        return
    for item in known.get(same.module, ()):
        values = {name: item.values[other] for name, other in same.names.items()}
        yield Item(values=values, end=item.end, is_expected=item.is_expected)


def _files_of_withdrawn(
    registry: Registry,
    known: Mapping[str, tuple[Item, ...]],
    observed: Mapping[str, Dataflow],
) -> frozenset[str]:
    """The files that only items made that are gone."""
    keys = {key_of(module, item) for module, items in known.items() for item in items}
    gone: set[str] = set()
    made: set[str] = set()
    for key, flow in observed.items():
        is_gone = tool_of(key) in known and key not in keys
        (gone if is_gone else made).update(flow.writes)
    return frozenset(gone - made)


def _typed(items: Iterable[Item], params: Mapping[str, Param]) -> Iterator[Item]:
    """With the texts that become the arguments of these parameters."""
    for item in items:
        given = {
            name: text
            for name, shown in item.values.items()
            if (text := _given(shown, params.get(name))) != shown
        }
        yield replace(item, given=given)


def _given(text: str, param: Param | None) -> str:
    """The text that becomes the argument: of a period its begin."""
    base = param.type.base if param else None
    if not isinstance(base, Scalar) or base.kind not in ("date", "datetime"):
        return text
    period = read_period(text)
    if not isinstance(period, Period):
        return text
    return (period.begin.date() if base.kind == "date" else period.begin).isoformat()


# Files.


def find_key(tool: Tool, path: str) -> str:
    """The key of the step whose item comes from this file; "" where the pattern of the tool does not match it."""
    if not isinstance(tool.each, FilePattern):
        return ""
    match = matching(tool.each.pattern).fullmatch(path)
    return "" if match is None else key_of(tool.module, Item(values=_values_of(tool.each, match)))


def _values_of(pattern: FilePattern, match: re.Match[str]) -> dict[str, str]:
    return {pattern.whole: match.string} if pattern.whole else match.groupdict()


def _read_files(
    tool: Tool,
    pattern: FilePattern,
    paths: Mapping[str, bool],
    params: Mapping[str, Param],
    others: Sequence[Item],
) -> Found:
    """One item for the values of each file, and these `others`. `paths` say whether the file is only expected. Of
    texts that are one value, as `2026-01-09` and `20260109` of a date, only the one counts that the value is shown as,
    or else the first: `run()` could not tell which file is meant."""
    shape = matching(pattern.pattern)
    read: list[tuple[list[object], Item, str]] = []
    wrong: list[tuple[str, str]] = []

    def add(values: Mapping[str, str], path: str, *, is_expected: bool) -> None:
        (item,) = _typed([Item(values=values, is_expected=is_expected)], params)
        try:
            texts = {name: item.given_for(name) for name in values}
            keys = [_sort_key(params[name].convert([text])) for name, text in texts.items()]
        except (ConvertError, KeyError) as error:
            wrong.append((path, str(error)))
        else:
            read.append((keys, item, path))

    for path, is_expected in paths.items():
        match = shape.fullmatch(path)
        if match is not None:
            add(_values_of(pattern, match), path, is_expected=is_expected)
    for item in others:
        add(item.values, item.text, is_expected=item.is_expected)
    found: dict[str, tuple[list[object], Item]] = {}
    sources: dict[tuple[str, ...], tuple[str, str]] = {}
    for keys, item, path in sorted(
        read, key=lambda one: [*map(str, one[0])] != [*one[1].values.values()]
    ):
        text, other = sources.setdefault(tuple(map(repr, keys)), (item.text, path))
        if text == item.text:
            found.setdefault(text, (keys, item))
        else:
            wrong.append((path, f"it has the same {' and '.join(item.values)} as {other}"))
    problems = []
    if wrong:
        problems.append(_passed_over(tool, wrong))
    if not found:
        why, hint = describe_no_items(pattern)
        problems.append(_warning(tool, "no-items", f"{tool.name} has no items yet: {why}", hint))
    return Found(items=tuple(sorted_items([*found.values()])), problems=tuple(problems))


def _sort_key(value: object) -> object:
    return str(value) if isinstance(value, os.PathLike) else value


def _passed_over(tool: Tool, wrong: Sequence[tuple[str, str]]) -> Problem:
    (path, why), *others = wrong
    files = "file" if len(others) == 1 else "files"
    more = f" (and {len(others):,} more {files} like it)" if others else ""
    message = f"{path} is not an item of {tool.name}: {why}{more}"
    return _warning(
        tool, "no-item", message, "rename the file, or change the type of the parameter"
    )


def _warning(tool: Tool, code: str, message: str, hint: str) -> Problem:
    return Problem(
        code=code, message=message, hint=hint, severity="warning", path=tool.path, line=tool.line
    )


def find_gone_file(tool: Tool, root: str) -> str:
    """The file that the item of this step came from, or their pattern, if nothing of it is there any more; else ""."""
    each, item = tool.each, tool.item
    if not isinstance(each, FilePattern) or item.is_expected:
        return ""
    path = item.values[each.whole] if each.whole else item.fill(each.pattern)
    if each.whole or not set(each.pattern) & set("*?["):
        return "" if os.path.isfile(os.path.join(root, path)) else path
    escaped = Item(values={name: _escape(text) for name, text in item.values.items()})
    return path if next(find_files(root, escaped.fill(each.pattern)), None) is None else ""


def _escape(text: str) -> str:
    """As part of a pattern that matches this text alone."""
    return re.sub(r"([*?[{])", r"[\1]", text)


def find_files(root: str, pattern: str) -> Iterator[str]:
    """The paths of the files that the pattern matches, as it is written: relative to the root, or absolute. Hidden
    ones are left out where the pattern does not name them."""
    pieces = pattern.split("/")
    yield from _walk(root, "", pieces)


def _walk(root: str, start: str, pieces: Sequence[str]) -> Iterator[str]:
    """The files below `start`, which is "" or ends in `/`, that the rest of the pattern matches."""
    piece, *rest = pieces
    if rest and not set(piece) & set("*?[{"):
        yield from _walk(root, f"{start}{piece}/", rest)
        return
    if piece == "**" and rest:
        yield from _walk(root, start, rest)
    matches = _matcher(piece)
    with suppress(OSError), os.scandir(os.path.join(root, start)) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            name = entry.name
            if (name[:1] == "." and piece[:1] != ".") or not matches(name):
                continue
            with suppress(OSError):
                if not rest and entry.is_file():
                    yield f"{start}{name}"
                elif rest and entry.is_dir(follow_symlinks=piece != "**"):
                    yield from _walk(root, f"{start}{name}/", pieces if piece == "**" else rest)


def _matcher(piece: str) -> Callable[[str], object]:
    if piece == "**":
        return lambda _: True
    return matching(piece).fullmatch
