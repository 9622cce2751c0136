"""Warnings that need more than one tool, or a tool and the configuration. They stop nothing. Only the line of a
setting is read from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from discover_orch.config.file import name_setting, name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model import graph
from discover_orch.model.conventions import ALL_STAGES, GLOB_CHARACTERS, OWN_OPTIONS
from discover_orch.model.errors import Problem, nearest
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import build_warning, check_dataflow, listed
from discover_orch.planning.param_values import find_mixed, is_same_name

#: The code of the warning that only their names order some stages.
STAGES_BY_NAME = "stages-by-name"


def check_registry(registry: Registry, project: Project) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for part in (
        _own_options(registry),
        _unknown_types(registry),
        _flag_or_value(registry),
        _hidden_stdlib(registry),
        check_dataflow(registry),
        _unused_variables(registry, project),
        _group_members(registry),
        _unused_stages(registry, project),
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
    known = project.stages
    line = ", ".join(f'"{one.name}"' for one in registry.stages if one.name not in known)
    place = project.config or "orch.toml"
    added = (
        f"{line} to {name_setting(project, 'stages')}" if known else f"stages = [{line}] to {place}"
    )
    return (
        build_warning(
            STAGES_BY_NAME,
            f"stages {listed(stages)} run in alphabetical order, since nothing says which comes first",
            f"add {added}, in the right order",
        ),
    )


def check_retries(tools: Iterable[Tool], project: Project) -> tuple[Problem, ...]:
    """One warning for the tools whose `retries` do not count, because the run is one transaction."""
    names = [tool.name for tool in tools if tool.retries]
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
        hint = (
            "run() always gets the default; annotate it with a supported type to make it an option"
        )
        if tool.class_folder:
            hint += f'; if it is an Enum, add "{tool.class_folder}" to pythonpath'
        for name in tool.never_passed:
            yield build_warning(
                "withheld",
                f"parameter {name} of {tool.name} cannot be set: its type is not supported",
                hint,
                tool,
            )


def _flag_or_value(registry: Registry) -> Iterator[Problem]:
    for name, (flag, value) in find_mixed(registry.tools.values()).items():
        yield build_warning(
            "flag-or-value",
            f"parameter {name} is a flag in {flag.name} and takes a value in {value.name}",
            f"set it with -p {flag.name}.{name}=true and -p {value.name}.{name}=VALUE",
            value,
        )


def _hidden_stdlib(registry: Registry) -> Iterator[Problem]:
    for tool in registry.tools.values():
        top = tool.module.split(".")[0]
        if top in sys.stdlib_module_names:
            yield build_warning(
                "shadows-stdlib",
                f'"{tool.module}" hides the standard library module {top}',
                "rename it, or scan its parent folder as a package",
                tool,
            )


def _unused_variables(registry: Registry, project: Project) -> Iterator[Problem]:
    """Parameters that no tool has and the environment sets, which may be meant for another project."""
    names = _param_names(registry)
    for name, setting in project.env_params.items():
        if not any(name == other.lower() for other in names):
            yield build_warning(
                "unused-param",
                f"no tool has the parameter that {setting.origin} sets",
                _near(name, names),
            )


def find_unused_params(
    registry: Registry, project: Project
) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """Parameters that the configuration sets and no tool has, each with its key. `**kwargs` takes only values of `-p`.

    A tool that cannot be read may have any of them.
    """
    names = _param_names(registry)
    for name, setting in project.params.items() if not registry.broken else ():
        if not any(is_same_name(name, other) for other in names):
            is_in_file = setting.origin == project.config
            message = f'no tool has a parameter "{name}"'
            message += "" if is_in_file else f", which {setting.origin} sets"
            yield (name,), build_warning("unused-param", message, _near(name, names))
    for word, table in project.tool_params.items():
        found = registry.names.find(word)
        if not found:
            message = f"{name_table(project, f'params.{word}')} does not name a tool"
            yield (word,), build_warning("unused-param", message, _near(word, registry.names.words))
        elif len(found) > 1:
            message = f"{name_table(project, f'params.{word}')} matches several tools"
            hint = "use one of " + ", ".join(registry.display(module) for module in found)
            yield (word,), build_warning("ambiguous", message, hint)
        elif found[0] in registry.tools:
            tool = registry.tools[found[0]]
            own = [param.name for param in tool.params]
            for name in table:
                if not any(is_same_name(name, other) for other in own):
                    message = f'{tool.name} has no parameter "{name}"'
                    yield (word, name), build_warning("unused-param", message, _near(name, own))


def _param_names(registry: Registry) -> set[str]:
    tools = (*registry.tools.values(), *registry.disabled)
    return {param.name for tool in tools for param in tool.params}


def _near(
    word: str, names: Iterable[str], else_hint: str = "orch list shows the parameters of all tools"
) -> str:
    close = nearest(word, names)
    return f'did you mean "{close}"?' if close else else_hint


def _group_members(registry: Registry) -> Iterator[Problem]:
    known = {ALL_STAGES, *registry.groups, *(stage.name for stage in registry.stages)}
    for group, items in registry.groups.items():
        for item in items:
            core = item.strip("+").removeprefix("stage:").removeprefix("tool:")
            if (
                core in known
                or registry.names.find(core)
                or "/" in core
                or not GLOB_CHARACTERS.isdisjoint(core)
            ):
                continue
            if core.endswith(".py"):
                continue
            yield build_warning(
                "group-member",
                f'group "{group}" contains "{item}", which is neither a stage nor a tool',
                _near(
                    core, [*known, *registry.names.words], "orch list shows all stages and tools"
                ),
            )


def find_group_circles(groups: Mapping[str, Sequence[str]]) -> list[tuple[str, Problem]]:
    """An error for each circle of groups that contain each other, with the name of one of them."""
    members = {
        group: [item.removeprefix("+").removesuffix("+") for item in items]
        for group, items in groups.items()
    }
    left = [*members]
    found: list[tuple[str, Problem]] = []
    while True:
        try:
            graph.order(left, members)
        except graph.CycleError as error:
            circle = error.cycle[::-1]
            way = f": {' -> '.join(circle)}" if len(circle) > 2 else ""
            problem = Problem(
                code="group-circle",
                message=f'group "{circle[0]}" contains itself{way}',
                hint="remove one of these groups from the members of another"
                if way
                else "remove it from its own members",
            )
            found.append((circle[0], problem))
            left = [group for group in left if group not in circle]
        else:
            return found


def _unused_stages(registry: Registry, project: Project) -> Iterator[Problem]:
    for stage in registry.stages:
        may_have_tools = any(one.could_be_in(stage.name) for one in registry.broken)
        if not stage.tools and stage.name in project.stages and not may_have_tools:
            others = [one.name for one in registry.stages if one.tools and not one.is_configured]
            yield build_warning(
                "empty-stage",
                f'stage "{stage.name}" is configured but has no tools',
                _near(stage.name, others, "remove it if you do not plan to add tools"),
            )
