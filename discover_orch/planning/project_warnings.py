"""Warnings that need more than one tool, or a tool and the configuration. They stop nothing. Only the line of a
setting is read from a file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec.structs import replace

from discover_orch.config.file import find_line, name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.discovery.scanner import scanned_folders
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model import graph
from discover_orch.model.conventions import ALL_STAGES, GLOB_CHARACTERS, OWN_OPTIONS, TOOL_SUFFIXES
from discover_orch.model.database_url import is_in_memory
from discover_orch.model.errors import Location, Problem, Severity, did_you_mean
from discover_orch.model.items import tool_name
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import build_warning, check_dataflow, listed
from discover_orch.planning.param_values import (
    GivenParams,
    KeyValue,
    has_param,
    is_extra,
    is_for,
    is_same_name,
)
from discover_orch.staleness.current_inputs import takes_connection
from discover_orch.staleness.import_graph import ImportGraph

#: The code of the warning that only their names order some stages.
STAGES_BY_NAME = "stages-by-name"
_LIST_PARAMS = "orch list shows the parameters of all tools"


def check_registry(registry: Registry, project: Project) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for part in (
        _own_options(registry),
        _unknown_types(registry),
        check_dataflow(registry),
        _group_members(registry),
        check_retries(registry.tools.values(), project),
    ):
        found.extend(part)
    return tuple(found)


def check_stage_order(
    registry: Registry, project: Project, pairs: Iterable[tuple[str, str]]
) -> tuple[Problem, ...]:
    """One warning that nothing but their names orders these stages, which are some of `Registry.by_name`."""
    stages = [*dict.fromkeys(stage for pair in pairs for stage in pair)]
    if not stages:
        return ()
    names = [*project.stages, *(one.name for one in registry.stages if not one.is_configured)]
    line = ", ".join(f'"{name}"' for name in names)
    return (
        build_warning(
            STAGES_BY_NAME,
            f"stages {listed(stages)} run in alphabetical order, since nothing says which comes first",
            f"set stages = [{line}] in {project.config or 'orch.toml'}, in the right order",
        ),
    )


def check_retries(tools: Iterable[Tool], project: Project) -> tuple[Problem, ...]:
    """One warning for the tools whose `retries` do not count, because the run is one transaction."""
    names = [*dict.fromkeys(tool_name(one.name, one.module) for one in tools if one.retries)]
    if project.transaction != "run" or not names:
        return ()
    return (
        build_warning(
            "retries",
            f'the "retries" of {listed(names)} do not count: with transaction = "run" the first failure ends the run',
            'remove "retries", or set transaction = "tool"',
        ),
    )


def _own_options(registry: Registry) -> Iterator[Problem]:
    for tool in registry.tools.values():
        for param in tool.params:
            if param.name in OWN_OPTIONS:
                yield build_warning(
                    "own-option",
                    f"parameter {param.name} of {tool.name} has the same name as an option of orch run",
                    f"set it with -p {param.name}=VALUE, or rename it",
                    tool,
                )


def _unknown_types(registry: Registry) -> Iterator[Problem]:
    """Parameters whose type is not supported. No listing shows them."""
    for tool in registry.tools.values():
        for name in tool.never_passed:
            yield build_warning(
                "withheld",
                f"parameter {name} of {tool.name} cannot be set: its type is not supported",
                "run() always gets the default; annotate it with a supported type to make it an option",
                tool,
            )


def check_imports(registry: Registry, project: Project, sources: SourceFiles) -> Iterator[Problem]:
    """Imports of modules in a scanned folder that is not in `pythonpath`: Python finds these by another name."""
    from importlib.util import find_spec  # only `orch check` asks

    entries = {*map(os.path.normpath, project.pythonpath)}
    folders = [one for one in scanned_folders(project) if one not in entries]
    warned: set[str] = set()
    code = ImportGraph(project, sources).read_code(registry.tools if folders else ())
    for module, state in code.items():
        for top in sorted(state.third_party - warned):
            bases = {one: os.path.join(project.root, one, top) for one in folders}
            there = [
                one
                for one in folders
                if os.path.isdir(bases[one]) or os.path.isfile(f"{bases[one]}.py")
            ]
            if there and find_spec(top) is None:
                warned.add(top)
                name = f"{there[0].replace('/', '.')}.{top}"
                yield build_warning(
                    "import",
                    f"the code of {registry.display(module)} imports {top}, which Python does not find",
                    f'{top} is in {there[0]}/: write {name}, or add "{there[0]}" to pythonpath',
                    registry.tools[module],
                )


def find_unused_params(registry: Registry, project: Project) -> Iterator[Problem]:
    """Parameters that the configuration sets and no tool has: warnings, or errors with `strict`. `**kwargs` takes only
    values of `-p`. A tool that cannot be read may have any of them."""
    severity: Severity = "error" if project.strict else "warning"

    def build(code: str, message: str, hint: str, *keys: str) -> Problem:
        found = Problem(code=code, message=message, hint=hint, severity=severity)
        return _at_setting(found, project, "params", *keys)

    registry = registry.by_tool
    names = _param_names(registry)
    for name, setting in project.params.items() if not registry.broken else ():
        if not any(is_same_name(name, other) for other in names):
            message = f'no tool has a parameter "{name}"'
            message += "" if setting.origin == project.config else f", which {setting.origin} sets"
            yield build("unused-param", message, did_you_mean(name, names, _LIST_PARAMS), name)
    for word, table in project.tool_params.items():
        found, place = registry.names.find(word), name_table(project, f"params.{word}")
        if not found:
            hint = did_you_mean(word, registry.names.words, _LIST_PARAMS)
            yield build("unused-param", f"{place} does not name a tool", hint, word)
        elif len(found) > 1:
            hint = "use one of " + ", ".join(registry.display(module) for module in found)
            yield build("ambiguous", f"{place} matches several tools", hint, word)
        elif found[0] in registry.tools:
            tool = registry.tools[found[0]]
            own = [param.name for param in tool.params]
            for name in table:
                if not any(is_same_name(name, other) for other in own):
                    message = f'{tool.name} has no parameter "{name}"'
                    yield build(
                        "unused-param", message, did_you_mean(name, own, _LIST_PARAMS), word, name
                    )


def _at_setting(problem: Problem, project: Project, *keys: str) -> Problem:
    """With the line of the setting, if a file has it."""
    line = find_line(project, keys)
    place = None if line is None else Location(path=project.config or "", line=line)
    return problem.at(place)


def _param_names(registry: Registry) -> set[str]:
    tools = (*registry.tools.values(), *registry.disabled)
    return {param.name for tool in tools for param in tool.params}


def _group_members(registry: Registry) -> Iterator[Problem]:
    known = {ALL_STAGES, *registry.groups, *(stage.name for stage in registry.stages)}
    for group, items in registry.groups.items():
        for item in items:
            core = item.strip("+").removeprefix("stage:").removeprefix("tool:")
            is_path = core.endswith(TOOL_SUFFIXES) or not GLOB_CHARACTERS.union("/").isdisjoint(
                core
            )
            if not (core in known or registry.names.find(core) or is_path):
                words = [*known, *registry.names.words]
                yield build_warning(
                    "group-member",
                    f'group "{group}" contains "{item}", which is neither a stage nor a tool',
                    did_you_mean(core, words, "orch list shows all stages and tools"),
                )


def find_group_circles(project: Project) -> list[Problem]:
    """An error for a circle of groups that contain each other."""
    members = {
        group: [item.removeprefix("+").removesuffix("+") for item in items]
        for group, items in project.groups.items()
    }
    try:
        graph.order(members, members)
    except graph.CycleError as error:
        circle = error.cycle[::-1]
        message = f'group "{circle[0]}" contains itself: {" -> ".join(circle)}'
        hint = "remove one of these groups from the members of another"
        problem = Problem(code="group-circle", message=message, hint=hint)
        return [_at_setting(problem, project, "groups", circle[0])]
    return []


def find_group_clashes(registry: Registry, project: Project) -> list[Problem]:
    """An error for each group that has the name of a stage, or of all stages."""
    tools = [*registry.by_tool.tools.values(), *registry.disabled]
    stages = {ALL_STAGES, *(stage.name for stage in registry.stages)}
    owners = {name: tool for tool in reversed(tools) for name in tool.stages}
    return [
        Problem(
            code="group-name",
            message=f'group "{name}" has the same name as {"all stages" if name == ALL_STAGES else "a stage"}',
            hint=f"rename the group in {project.config or 'the environment'}",
            path=owners[name].path if name in owners else None,
            line=owners[name].line if name in owners else None,
        )
        for name in registry.groups
        if name in stages
    ]


def find_unreadable(
    registry: Registry, project: Project, sources: SourceFiles, known: Collection[str]
) -> list[Problem]:
    """An error for each imported module that cannot be read, with the first tool that imports it; those at the paths
    that are `known` have been reported."""
    from discover_orch.staleness.import_graph import ImportGraph  # loads the parser

    code = ImportGraph(project, sources)
    found: dict[str, Problem] = {}
    for module in registry.order:
        for path in sorted(code.reach(module).difference(found, known)):
            read = code.files.read(path)
            if read is not None and read.problem is not None:
                message = f"{read.problem.message} (imported by {registry.display(module)})"
                found[path] = replace(read.problem, message=message)
    return [*found.values()]


# Values that no tool takes.


def find_unused(values: GivenParams, tools: list[Tool], registry: Registry) -> list[Problem]:
    """A problem for each option and each `-p` that reaches none of the selected `tools`."""
    found = [
        _check_used(one, tools, registry, "" if values.is_python else "-p ") for one in values.pairs
    ]
    for name in () if values.is_python else values.options:  # a fixture checks its own
        if not any(has_param(tool, name) for tool in tools):
            all_tools = (registry.by_tool.tools[module] for module in registry.by_tool.order)
            takers = [tool.name for tool in all_tools if has_param(tool, name)]
            problem = Problem(
                code="usage",
                message=f"no selected tool has the parameter --{name.replace('_', '-')}",
                hint=f"{_suggest_tools(takers)}, or remove the option",
            )
            found.append(problem)
    return [problem for problem in found if problem is not None]


def _check_used(
    one: KeyValue, tools: list[Tool], registry: Registry, option: str
) -> Problem | None:
    if one.tool is not None:
        problem = _check_tool_of(one, tools, registry, option)
        if problem is not None:
            return problem
    takers = [tool for tool in tools if is_for(one, tool, registry)]
    if any(is_extra(tool, one.name) or has_param(tool, one.name) for tool in takers):
        return None
    for tool in takers:
        if any(is_same_name(one.name, other) for other in tool.never_passed):
            return Problem(
                code="withheld",
                message=f"{option}{one.name}: the type of {one.name} in {tool.name} is not supported",
                hint="run() always gets the default; annotate it with a supported type to set it",
                path=tool.path,
                line=tool.line,
            )
    message = f'no selected tool has a parameter "{one.name}"{" (from -p)" if option else ""}'
    if one.tool is not None:
        message = f'{option}{one.tool}.{one.name}: {one.tool} has no parameter "{one.name}"'
    return Problem(
        code="unknown-parameter",
        message=message,
        hint=_unknown_parameter_hint(one, takers, registry),
    )


def _check_tool_of(
    one: KeyValue, tools: list[Tool], registry: Registry, option: str
) -> Problem | None:
    """Whether the `parse` of `-p parse.since=...` is one of the selected tools."""
    word = one.tool or ""
    found = registry.names.find(word)
    code = "unknown-parameter"
    if len(found) > 1:
        code, what = "ambiguous", "matches several tools"
        hint = "use one of " + ", ".join(registry.display(module) for module in found)
    elif not found:
        what = "is not a tool"
        hint = did_you_mean(word, registry.names.words, "orch list shows all tools")
    elif not any(tool.module in found for tool in tools):
        what, hint = "is not a selected tool", "add it to the targets"
    else:
        return None
    return Problem(code=code, message=f'{option}{word}.{one.name}: "{word}" {what}', hint=hint)


def _unknown_parameter_hint(one: KeyValue, takers: Iterable[Tool], registry: Registry) -> str:
    all_tools = (registry.by_tool.tools[module] for module in registry.by_tool.order)
    others = [
        tool.name for tool in all_tools if is_for(one, tool, registry) and has_param(tool, one.name)
    ]
    if others:
        return _suggest_tools(others)
    names = [param.name for tool in takers for param in tool.params]
    otherwise = "orch run TARGETS --help lists all parameters"
    if one.tool is not None:
        otherwise = f"{one.tool} has {', '.join(names) or 'no parameters'}"
    return did_you_mean(one.name, {*names}, otherwise)


def _suggest_tools(names: Sequence[str]) -> str:
    """A hint to select one of the tools that have a parameter."""
    if len(names) == 1:
        return f"{names[0]} has it: add {names[0]} to the targets"
    return f"{', '.join(names)} have it: add one of them to the targets"


# What a run needs.


def check_tokens(tools: Sequence[Tool], project: Project) -> list[Problem]:
    """The tools that hold more tokens than there are."""
    problems = []
    table = name_table(project, "tokens")
    for tool in tools:
        for name, needed in tool.tokens.items():
            there = project.tokens.get(name)
            if there is not None and there >= needed:
                continue
            message = f'{tool.name} needs the token "{name}", which is not defined'
            hint = f"add {name} = {needed} to {table}"
            if there is not None:
                message = f'{tool.name} needs {needed} of the token "{name}", and there are {there}'
                hint = f"set {name} = {needed} in {table}, or lower it in ORCH"
            problems.append(
                Problem(
                    code="tokens",
                    message=message,
                    hint=hint,
                    path=tool.path,
                    line=tool.line,
                )
            )
    return problems


def check_sharing(
    tools: Sequence[Tool], registry: Registry, project: Project, jobs: int
) -> list[Problem]:
    """Why these tools cannot run with so many workers, or in one transaction if that is configured."""
    if project.transaction == "run":
        if jobs > 1:
            message = 'several workers cannot share one transaction, and transaction = "run" is set'
            hint = 'run with --jobs 1, or set transaction = "tool"'
            return [Problem(code="transaction", message=message, hint=hint)]
        if own := next((tool.name for tool in tools if tool.has_own_worker), ""):
            message = f'{own} has a worker of its own, and transaction = "run" is set, which is for one worker'
            hint = 'remove worker = "own", also from ORCH, or set transaction = "tool"'
            return [Problem(code="transaction", message=message, hint=hint)]
        return [
            Problem(
                code="transaction",
                message=f'{tool.name} has the transaction "none", and transaction = "run" is set: what it '
                "commits could not be rolled back with the run",
                hint=f'leave it out with --exclude {tool.name}, or set transaction = "tool"',
            )
            for tool in tools
            if tool.commits_by_itself
        ]
    has_own = any(tool.has_own_worker for tool in tools)
    is_one = jobs == 1 and not (has_own and len(tools) > 1)
    if is_one or not opens_database(tools, registry, project):
        return []
    if is_in_memory(project.database):
        message = "several workers cannot share a database in memory"
        hint = "run with --jobs 1" if jobs > 1 else 'remove worker = "own", also from ORCH'
        hint += ", or give the database a file: sqlite:///data.db"
        return [Problem(code="database", message=message, hint=hint)]
    return []


def opens_database(tools: Iterable[Tool], registry: Registry, project: Project) -> bool:
    """Whether one of them takes a connection that orch opens."""
    takes_conn = any(takes_connection(tool, registry) for tool in tools)
    return takes_conn and not uses_get_connection(registry, project)
