"""Which items of the selected tools were asked for: values, ranges and globs of their parameters. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.errors import EmptyError, Problem, UsageError
from discover_orch.model.items import Period, read_period
from discover_orch.model.parameter import ConvertError, Param
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import (
    GivenParams,
    KeyValue,
    has_param,
    is_for,
    is_same_name,
)
from discover_orch.planning.selection import Selection, describe_empty, describe_items


def pick_items(
    selection: Selection, registry: Registry, values: GivenParams, *, is_strict: bool = True
) -> Selection:
    """The selection with those items alone that the values ask for. If it `is_strict`, raises UsageError for a value
    that no selected tool has, and EmptyError for a range or a glob in which there is none, or where the tools that
    take the value have no items yet."""
    if not registry.steps or not (values.options or values.pairs):
        return selection
    if is_strict:
        _refuse_empty(selection, registry, values)
    by_tool: dict[str, list[Tool]] = {}
    for key in selection.tools:
        step = registry.tools[key]
        if step.item.values:
            by_tool.setdefault(step.source_module, []).append(step)
    dropped: set[str] = set()
    typed: dict[str, tuple[str, ...]] = {}
    found: dict[tuple[str, str], bool] = {}  # whether a tool has an item for this text
    for steps in by_tool.values():
        for name in steps[0].item.values:
            key, texts = _texts_for(steps[0], name, values, registry)
            if texts:
                typed[key] = texts
            wanted: set[str] = set()
            for text in texts:
                chosen = _choose(text, name, steps)
                wanted |= chosen
                found[name, text] = found.get((name, text), False) or bool(chosen)
            if texts:
                dropped.update(step.module for step in steps if step.module not in wanted)
    missing = [pair for pair, has_items in found.items() if not has_items]
    if missing and is_strict:
        _refuse(missing, [step for steps in by_tool.values() for step in steps])
    tools = tuple(key for key in selection.tools if key not in dropped)
    return replace(selection, tools=tools, items=typed)


def values_of(items: Mapping[str, tuple[str, ...]]) -> GivenParams:
    """The same values as given on a command line; `items` is as of `Selection`."""
    options = {key: texts for key, texts in items.items() if "." not in key}
    pairs = [
        KeyValue(tool=key.rpartition(".")[0], name=key.rpartition(".")[2], text=text)
        for key, texts in items.items()
        if "." in key
        for text in texts
    ]
    return GivenParams(options=options, pairs=tuple(pairs))


def _texts_for(
    tool: Tool, name: str, values: GivenParams, registry: Registry
) -> tuple[str, tuple[str, ...]]:
    """What was given for the parameter, and by which name. That for this tool alone comes first, as for any
    parameter."""
    pairs = [one for one in values.pairs if is_same_name(one.name, name)]
    own = tuple(one.text for one in pairs if one.tool and is_for(one, tool, registry))
    shared = tuple(one.text for one in pairs if one.tool is None)
    if own:
        return f"{tool.source_module}.{name}", own
    return name, values.options.get(name, ()) or shared


def _choose(text: str, name: str, steps: Sequence[Tool]) -> set[str]:
    """The steps that the text asks for."""
    equal = {step.module for step in steps if step.item.values[name] == text}
    if equal:
        return equal
    param = steps[0].param(name)
    start, dots, stop = text.partition("..")
    if param is not None and (dots or read_period(text)):
        low, high = _end(start, param), _end(stop if dots else text, param)
        return {
            step.module
            for step in steps
            if _is_between(step.item.given_for(name), param, low, high)
        }
    if GLOB_CHARACTERS & set(text):
        return {step.module for step in steps if fnmatch.fnmatchcase(step.item.values[name], text)}
    return {step.module for step in steps if param and _is_equal(step, name, text, param)}


def _is_equal(step: Tool, name: str, text: str, param: Param) -> bool:
    """Whether the text is another way to write the value: `1` for `1.0`."""
    try:
        return bool(param.convert([step.item.given_for(name)]) == param.convert([text]))
    except ConvertError:
        return False


def _end(text: str, param: Param) -> object:
    """The end of a range, None where it is open. Raises UsageError."""
    if not text:
        return None
    period = read_period(text)
    try:
        found = param.convert([text]) if period is None else period
    except ConvertError as error:
        message = f"invalid {param.flag}: {error}"
        raise UsageError.of("wrong-type", message, "write a range as A..B, A.. or ..B") from None
    if isinstance(found, str | bool):
        message = f"{param.flag} takes no range: its values have no order"
        raise UsageError.of(
            "usage", message, f"repeat the option, or use a glob: {param.flag} 'A*'"
        )
    return found


def _is_between(text: str, param: Param, low: object, high: object) -> bool:
    value = param.convert([text])
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    moment = datetime.combine(value, datetime.min.time()) if is_day else value  # type: ignore[arg-type]
    period = read_period(text)
    if isinstance(moment, str) and period is not None:
        moment = period.begin

    def begin(end: object) -> object:
        return end.begin if isinstance(end, Period) else end

    try:
        is_late = low is None or moment >= begin(low)  # type: ignore[operator]
        is_early = (
            high is None
            or (isinstance(high, Period) and moment < high.end)  # type: ignore[operator]
            or (not isinstance(high, Period) and moment <= high)  # type: ignore[operator]
        )
    except TypeError:
        return False
    return is_late and is_early


def _refuse_empty(selection: Selection, registry: Registry, values: GivenParams) -> None:
    """Raises EmptyError for a value that only selected tools without items take."""
    given = [KeyValue(tool=None, name=name, text="") for name in values.options]
    for one in (*given, *values.pairs):

        def takes(tool: Tool, one: KeyValue = one) -> bool:
            return is_for(one, tool, registry) and has_param(tool, one.name)

        empty = [key for key in selection.empty if takes(registry.by_tool.tools[key])]
        if empty and not any(takes(registry.tools[key]) for key in selection.tools):
            raise EmptyError(*describe_empty(empty, registry))


def _refuse(missing: Collection[tuple[str, str]], steps: Sequence[Tool]) -> None:
    """Raises UsageError for a value that is no item, else EmptyError."""
    problems = []
    for name, text in missing:
        takers = [step for step in steps if name in step.item.values]
        flag = f"--{name.replace('_', '-')}"
        if ".." in text or GLOB_CHARACTERS & set(text) or _is_longer(text, _values(takers, name)):
            message = f"{_tools(takers)} has no item in {flag} {text}"
            hint = describe_items(_values(takers, name), "")
            problems.append(Problem(code="empty", message=message, hint=hint))
            continue
        hint = describe_items(_values(takers, name), text)
        message = f"{_tools(takers)} has no item {flag} {text}"
        problems.append(Problem(code="no-item", message=message, hint=hint))
    if any(one.code == "no-item" for one in problems):
        raise UsageError(*problems)
    raise EmptyError(*problems)


def _is_longer(text: str, values: Sequence[str]) -> bool:
    """Whether it is a month where the items are days, for example, so that it asks for all days of the month."""
    asked = read_period(text)
    units = {period.unit for one in values if (period := read_period(one)) is not None}
    return asked is not None and bool(units) and asked.unit not in units


def _tools(steps: Sequence[Tool]) -> str:
    names = dict.fromkeys(step.name.partition(" ")[0] for step in steps)
    return " and ".join(names)


def _values(steps: Sequence[Tool], name: str) -> list[str]:
    return [*dict.fromkeys(step.item.values[name] for step in steps)]
