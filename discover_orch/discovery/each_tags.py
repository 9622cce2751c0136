"""Checks what `"each"` of the tools says against their parameters and against each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from discover_orch.model.errors import Problem, did_you_mean
from discover_orch.model.items import FilePattern, Grid, Range, SameItems, as_glob
from discover_orch.model.parameter import ConvertError, Scalar
from discover_orch.model.tool import Tool, ToolNames


class SameItemsOf(Struct, frozen=True):
    """The tool upstream with the same items, and by the name of each parameter what it is called there."""

    module: str
    names: Mapping[str, str]


_NAMES = re.compile(r"\{(\w+)\}")
_KINDS_OF_PERIODS = ("date", "datetime", "str")


def find_same_items(
    tools: Mapping[str, Tool], names: ToolNames
) -> tuple[dict[str, SameItemsOf], list[tuple[str, Problem]]]:
    """For each tool with the items of another one which that is; and the problems, by module."""
    found: dict[str, SameItemsOf] = {}
    problems: list[tuple[str, Problem]] = []
    with_each = {module: tool for module, tool in tools.items() if tool.each is not None}
    for module, tool in with_each.items():
        if isinstance(tool.each, SameItems):
            word = tool.each.word
            others = [one for one in names.find(word.removeprefix("tool:")) if one != module]
            if len(others) == 1 and others[0] in with_each:
                found[module] = SameItemsOf(others[0], {})
            else:
                problems.append((module, _no_tool(tool, word, others, tools, names)))
    found, cycles = _without_cycles(found, with_each)
    params_of = {module: _params_of(module, found, with_each) for module in with_each}
    for module, tool in with_each.items():
        if isinstance(tool.each, FilePattern) and not tool.each.whole:
            of = _find_maker(tool.each, with_each, params_of, module)
            found |= {module: of} if of is not None else {}
    found, more = _without_cycles(found, with_each)
    problems += [*cycles, *more]
    for module, tool in with_each.items():
        params = _params_of(module, found, with_each)
        problems += [(module, one) for one in _check_params(tool, params)]
        if isinstance(tool.each, SameItems) and module in found:
            found[module] = SameItemsOf(found[module].module, {name: name for name in params})
    return found, problems


def _find_maker(
    pattern: FilePattern,
    tools: Mapping[str, Tool],
    params_of: Mapping[str, tuple[str, ...]],
    own: str,
) -> SameItemsOf | None:
    """The tool with one item for each of these files, by its declared outputs."""
    for module, tool in tools.items():
        params = params_of[module]
        for output in tool.outputs if module != own else ():
            there = _NAMES.findall(output)
            here = _NAMES.findall(pattern.pattern)
            is_same = as_glob(output) == as_glob(pattern.pattern) and len(there) == len(here)
            pairs = dict(zip(here, there, strict=False))
            if is_same and params and {*pairs.values()} == {*params} and len(pairs) == len(params):
                return SameItemsOf(module, pairs)
    return None


def _own_params(tool: Tool) -> tuple[str, ...]:
    return tool.each.params if isinstance(tool.each, FilePattern | Grid) else ()


def _params_of(
    module: str, same: Mapping[str, SameItemsOf], tools: Mapping[str, Tool]
) -> tuple[str, ...]:
    """The parameters that the items of a tool give."""
    while isinstance(tools[module].each, SameItems) and module in same:
        module = same[module].module
    return _own_params(tools[module])


def _without_cycles(
    same: Mapping[str, SameItemsOf], tools: Mapping[str, Tool]
) -> tuple[dict[str, SameItemsOf], list[tuple[str, Problem]]]:
    kept: dict[str, SameItemsOf] = {}
    problems: list[tuple[str, Problem]] = []
    for module, of in same.items():
        line, here = [module], of.module
        while here in same and here not in line:
            line.append(here)
            here = same[here].module
        if here != module:
            kept[module] = of
        elif isinstance(tools[module].each, SameItems):
            shown = " -> ".join(tools[one].name for one in (*line, module))
            hint = 'give one of them a pattern: "each": "raw/{day}.csv"'
            problems.append(
                (module, _problem(tools[module], f'"each" forms a cycle: {shown}', hint))
            )
    return kept, problems


def _no_tool(
    tool: Tool, word: str, others: list[str], tools: Mapping[str, Tool], names: ToolNames
) -> Problem:
    if len(others) > 1:
        hint = "use one of " + ", ".join(names.display[one] for one in others)
        return _problem(tool, f'"each" in ORCH names "{word}", which is ambiguous', hint)
    if others:
        hint = f'add "each" to {tools[others[0]].path}' if others[0] in tools else ""
        return _problem(tool, f'"each" in ORCH names {word}, which has no items', hint)
    with_items = [names.display[one] for one, of in tools.items() if of.each is not None]
    hint = did_you_mean(word, with_items, 'write a pattern, for example "raw/{day}.csv"')
    return _problem(tool, f'"each" in ORCH names "{word}", which is not a tool', hint)


def _check_params(tool: Tool, names: tuple[str, ...]) -> Iterator[Problem]:
    params = {param.name: param for param in tool.params}
    for name in names:
        param = params.get(name)
        if param is None:
            signature = ", ".join((*tool.resources, "*", name) if tool.resources else ("*", name))
            hint = f"write def run({signature}): it gets the value of each item"
            if tool.path.endswith(".sql"):
                hint = f"use :{name} in a statement"
            yield _problem(tool, f'"each" in ORCH has {name}, which is no parameter of run()', hint)
        elif param.type.many or param.is_secret:
            what = "takes a list" if param.type.many else "is a secret by its name"
            hint = "a parameter of items takes one plain value"
            yield _problem(tool, f'"each" in ORCH has {name}, which {what}', hint)
    if tool.column and len(names) > 1 and tool.column not in names:
        hint = f"name the column like one of the parameters: {', '.join(names)}"
        message = f'"column" in ORCH is "{tool.column}", which is no parameter of the items'
        yield _problem(tool, message, hint)
    parts = tool.each.parts if isinstance(tool.each, Grid) else {}
    for name, part in parts.items():
        if name not in params:
            continue
        base = params[name].type.base
        if isinstance(part, Range):
            if not (isinstance(base, Scalar) and base.kind in _KINDS_OF_PERIODS):
                hint = f"write {name}: date in run()"
                yield _problem(
                    tool, f'"each" in ORCH has a range for {name}, which is no date', hint
                )
            continue
        for text in part:
            try:
                params[name].convert([text])
            except ConvertError as error:
                hint = f"its type is {params[name].type}"
                yield _problem(tool, f'"each" in ORCH has a wrong value for {name}: {error}', hint)


def _problem(tool: Tool, message: str, hint: str) -> Problem:
    return Problem(code="each", message=message, hint=hint, path=tool.path, line=tool.line)
