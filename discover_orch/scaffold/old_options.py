"""The options of a hand-written command line beside the parameters of `run()`, which are the options of `orch run`:
`orch adopt` refuses what an option would lose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from discover_orch.model.errors import Location, Problem
from discover_orch.model.parameter import Param, ParamType, Scalar
from discover_orch.model.tool import Tool
from discover_orch.scaffold.old_orchestrator import Orchestrator
from discover_orch.source.command_line import ParsedOption, build_signature
from discover_orch.source.facts import ArgumentFacts, ModuleFacts
from discover_orch.source.read_module import read_module

#: What the types of options may be, for the signature that is compared.
_IMPORTS = """from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import UUID
"""


def compare_options(
    old: Orchestrator, tools: Iterable[Tool]
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """(problems, notes). `tools` are those that the steps became."""
    said = _read_options(old.options)
    tools = tuple(tools)
    problems: list[Problem] = []
    notes: list[str] = []
    unused: list[str] = []
    for option in old.options:
        name = old.passed.get(option.name) or option.name
        wanted = re.sub(r"^\w+", name, option.param)
        place = Location(path=old.path, line=option.line)
        taken = [
            (tool.path, param) for tool in tools for param in tool.params if param.name == name
        ]
        for path, param in taken:
            for lost in _find_losses(said[option.name], param):
                message = f"for {option.flag}, {lost} here, and not in run() of {path}"
                problems.append(_refuse(message, f"write there: {wanted}", place))
        if not taken and old.passed.get(option.name):
            message = f"{option.flag} is passed as {name}, which is no parameter of a run()"
            hint = f"write it in each run() that takes it: {wanted}"
            problems.append(_refuse(message, hint, place))
        elif not taken and option.name in old.passed:
            notes.append(f"{option.flag} has the name of the parameter now that takes it")
        elif not taken:
            unused.append(option.flag)
        elif (flag := taken[0][1].flag) != option.flag:
            notes.append(f"{option.flag} is {flag} now, after its parameter")
    if unused:
        flags = ", ".join(unused)
        notes.append(
            f"no tool takes {flags}: orch run --help shows how to choose tools, and what to show"
        )
    return tuple(problems), tuple(notes)


def _refuse(message: str, hint: str, place: Location) -> Problem:
    return Problem(code="adopt", message=message, hint=hint).at(place)


def _read_options(options: Iterable[ParsedOption]) -> dict[str, ArgumentFacts]:
    """The parameters that the options would be, by name."""
    source = f"{_IMPORTS}STAGE = 'options'\ndef {build_signature(options)}: ...\n"
    facts = read_module(source.encode(), module="options", path="options.py")
    if not isinstance(facts, ModuleFacts) or facts.run is None:
        return {}
    return {one.name: one for one in facts.run.arguments}


def _find_losses(said: ArgumentFacts, param: Param) -> Iterator[str]:
    """What an option of the old command line has that the parameter has not."""
    has_default = said.default_source is not None
    if (said.default_source, said.default) != (param.default_source, param.default):
        is_same = said.default == param.default is not None
        if has_default and not is_same:
            yield f"the default is {said.default_source}"
    if not isinstance(said.type, ParamType):
        if param.type.base == Scalar(kind="str"):
            yield "there is a type"
    elif (said.type.base, said.type.many) != (param.type.base, param.type.many):
        yield f"the type is {said.type}"
