"""What a hand-written orchestrator says: the tools of its `TOOL_MAP`, the lists of its `STAGES`, and how it calls the
tools. Its source is read, never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.scaffold.imported_values import ImportedValues, read_sources
from discover_orch.scaffold.old_flags import TOOL_NAMES, OldCalls, read_calls
from discover_orch.scaffold.static_values import read_values
from discover_orch.scaffold.value_kinds import Ref, Text, Unknown, line_of, path_of

_LIST_NAMES = ("STAGES", "stages")


class OldTool(Struct, frozen=True, kw_only=True):
    """An entry of `TOOL_MAP`, and where it is written. `function` is what is called in the module where that is
    written out, else ""."""

    name: str
    module: str
    place: Location
    function: str = ""


class OldList(Struct, frozen=True, kw_only=True):
    """An entry of `STAGES`: the names of its tools in order, and where it is written."""

    name: str
    tools: tuple[str, ...]
    place: Location


class Orchestrator(Struct, frozen=True, kw_only=True):
    """`problems` have their places."""

    path: str
    text: str
    tools: tuple[OldTool, ...] = ()
    lists: tuple[OldList, ...] = ()
    calls: OldCalls = OldCalls()
    problems: tuple[Problem, ...] = ()


def read_orchestrator(path: str, text: str, root: str | None = None) -> Orchestrator:
    """The modules of the project at `root` that the file imports are read too. Raises ProjectError if the text is not
    Python or has no `TOOL_MAP`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        message = f"not valid Python: {getattr(error, 'msg', error)}"
        raise _error(
            path, getattr(error, "lineno", None), message, "fix the syntax error"
        ) from None
    package = ".".join(path.split("/")[:-1])
    imports = None if root is None else ImportedValues(read_sources(root, path))
    values = read_values(tree, package, imports)
    problems: list[Problem] = []
    table = _find_table(values, path)
    tools = tuple(_read_tools(table, path, problems))
    known = {tool.name for tool in tools}
    lists = tuple(_read_lists(_find_lists(values, path, known, problems), known, path, problems))
    calls = read_calls(tree)
    if not calls.is_found:
        message = "no call of a tool was found here, so it is not known what run() gets"
        hint = "compare the parameters of run() with what the tools got: orch run --help shows them"
        _add(problems, Location(path=path), message, hint)
    return Orchestrator(
        path=path, text=text, tools=tools, lists=lists, calls=calls, problems=tuple(problems)
    )


def _find(values: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    """The last value that one of `names` has, at the top level or in a class, and the name; known ones go first."""
    for name in names:
        found = [(key, one) for key, one in values.items() if key.rpartition(".")[2] == name]
        known = [one for one in found if isinstance(one[1], dict | list)]
        if known or found:
            return (known or found)[-1]
    return "", None


def _find_table(values: Mapping[str, Any], path: str) -> Mapping[Any, Any]:
    """`TOOL_MAP`. Raises ProjectError where there is none, or none that the source says."""
    name, table = _find(values, TOOL_NAMES)
    if isinstance(table, list):  # names of modules
        table = {
            Text(str(one).rpartition(".")[2], line_of(one, 1) or 1, path_of(one, "")): one
            for one in table
            if isinstance(one, str)
        }
    if isinstance(table, dict) and table:
        return table
    example = 'TOOL_MAP = {"parse": "src.pipeline.parse"}'
    if isinstance(table, Unknown | Ref):
        message = f"{name} cannot be read from the source: {_written(table)}"
        hint = f"write it out for orch adopt: {example}"
        raise _error(path_of(table, path), table.line, message, hint)
    message = "no TOOL_MAP was found: a dict from the names of tools to their modules"
    for other, value in values.items():
        if isinstance(value, dict) and value and all(_is_module(one) for one in value.values()):
            hint = f"{other} looks like one: rename it to TOOL_MAP"
            raise _error(path, line_of(next(iter(value)), 1), message, hint)
    hint = f'orch adopt reads {example} and STAGES = {{"ingest": ["parse"]}}, at the top level or in a class'
    raise _error(path, None, message, hint)


def _is_module(value: object) -> bool:
    return isinstance(value, Text) and re.fullmatch(r"\w+(\.\w+)+", value) is not None


def _find_lists(
    values: Mapping[str, Any], path: str, tools: set[str], problems: list[Problem]
) -> Mapping[Any, Any]:
    """`STAGES`, also where it is a list of pairs."""
    name, lists = _find(values, _LIST_NAMES)
    if isinstance(lists, list) and all(isinstance(one, list) and len(one) == 2 for one in lists):
        lists = dict(lists) if all(isinstance(one[0], str) for one in lists) else lists
    if isinstance(lists, dict):
        return lists
    hint = 'orch adopt reads STAGES = {"ingest": ["parse"]}'
    if lists is not None:
        place = Location(path=path_of(lists, path), line=line_of(lists, _first_line(lists)))
        message = f"{name} cannot be read from the source: {_written(lists)}"
        _add(problems, place, message, hint)
        return {}
    for other, value in values.items():
        if isinstance(value, dict) and any(
            isinstance(one, list) and one and tools.issuperset(map(str, one))
            for one in value.values()
        ):
            hint = f"{other} looks like it: rename it to STAGES"
    _add(problems, Location(path=path), "no STAGES was found, so all tools are in one stage", hint)
    return {}


def _first_line(values: Any) -> int | None:
    return line_of(values[0], None) if isinstance(values, list) and values else None


def _read_tools(table: Mapping[Any, Any], path: str, problems: list[Problem]) -> Iterator[OldTool]:
    seen: dict[str, str] = {}
    for name, value in table.items():
        place = _place(path, name, value)
        if not isinstance(name, str):
            _add(
                problems,
                place,
                f"the entry {_written(name)} of TOOL_MAP cannot be read from the source",
            )
            continue
        match value:
            case Text():
                module, _, function = value.partition(":")
            case Ref(name=full):
                module, function = full, "?"
            case [Text() as module, Text() as function]:
                pass
            case _:
                _add(
                    problems,
                    place,
                    f"the module of {name} cannot be read from the source: {_written(value)}",
                )
                continue
        if module in seen:
            _add(
                problems,
                place,
                f"{name} is the same module as {seen[module]}: {module}",
                f'a module is one tool: use {seen[module]}, or a group {name} = ["{seen[module]}"]',
            )
            continue
        seen[module] = name
        yield OldTool(name=str(name), module=str(module), place=place, function=str(function))


def _read_lists(
    lists: Mapping[Any, Any], known: set[str], path: str, problems: list[Problem]
) -> Iterator[OldList]:
    for name, value in lists.items():
        place = _place(path, name, value)
        if not isinstance(name, str) or not isinstance(value, list | dict | str):
            _add(
                problems,
                place,
                f"the list {_written(name)} of STAGES cannot be read from the source: {_written(value)}",
            )
            continue
        tools: list[str] = []
        for item in [value] if isinstance(value, str) else list(value):
            where = _place(path, item, name)
            if not isinstance(item, str):
                _add(
                    problems,
                    where,
                    f"in the list {name}: {_written(item)} cannot be read from the source",
                )
            elif item not in known:
                _add(
                    problems,
                    where,
                    f"in the list {name}: {item} is not in TOOL_MAP, or could not be read there",
                )
            elif item in tools:
                _add(
                    problems,
                    where,
                    f"the list {name} runs {item} twice",
                    "orch runs a tool once in a run",
                )
            else:
                tools.append(str(item))
        if tools:
            yield OldList(name=str(name), tools=tuple(tools), place=place)
        else:
            _add(problems, place, f"the list {name} has no tools")


def _written(value: object) -> str:
    match value:
        case Unknown(text=text):
            return text
        case Ref(name=name):
            return name
    return str(value) if isinstance(value, str) else type(value).__name__


def _place(path: str, *values: object) -> Location:
    """Of the first of the values that knows its line."""
    known = next((one for one in values if line_of(one, None) is not None), None)
    return Location(path=path_of(known, path), line=line_of(known, 1))


def _add(problems: list[Problem], place: Location, message: str, hint: str = "") -> None:
    problems.append(
        Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")
    )


def _error(path: str, line: int | None, message: str, hint: str) -> ProjectError:
    place = Location(path=path, line=line)
    return ProjectError(Problem(code="adopt", message=message, hint=hint, location=place))
