"""Doubts that need more than one tool, or a tool and the configuration. They stop nothing.

In: a `Registry` and the `Project`. Out: warnings, each with its place and how to settle it. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from discover_orch.config.project import ALL_STAGES, Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Problem, nearest
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import doubt, review_flow
from discover_orch.planning.params import same

#: Options that are orch's own: a parameter of such a name is given with -p.
OWN_OPTIONS = frozenset(
    {"dry_run", "changed", "resume", "pdb", "output", "wait", "quiet", "verbose", "json"}
    | {"database", "exclude", "param", "color", "project", "help"}
)


def review(registry: Registry, project: Project) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for part in (
        _clashing_options(registry),
        _withheld(registry),
        _different_types(registry),
        _shadowing(registry),
        review_flow(registry),
        _unknown_configuration(registry, project),
        _group_members(registry),
        _unused_stages(registry, project),
    ):
        found.extend(part)
    return tuple(found)


def _clashing_options(registry: Registry) -> Iterator[Problem]:
    for tool in registry.tools.values():
        for param in tool.params:
            if param.name in OWN_OPTIONS:
                yield doubt(
                    "own-option",
                    f"parameter {param.name} of {tool.name} has the name of an option of orch run",
                    f"give it as -p {param.name}=VALUE, or rename it",
                    tool,
                )


def _withheld(registry: Registry) -> Iterator[Problem]:
    """Arguments of a type that orch does not know: it must be said, since no listing shows them."""
    for tool in registry.tools.values():
        for name in tool.never_passed:
            yield doubt(
                "withheld",
                f"parameter {name} of {tool.name} cannot be given: orch does not know its type",
                "its default always holds; annotate it with a type that can be typed to make it an option",
                tool,
            )


def _different_types(registry: Registry) -> Iterator[Problem]:
    """A flag here and a value there: the command line cannot know which is meant."""
    first: dict[str, Tool] = {}
    for tool in registry.tools.values():
        for param in tool.params:
            other = first.setdefault(param.name, tool)
            known = other.param(param.name)
            if known is not None and known.type.is_flag != param.type.is_flag:
                yield doubt(
                    "flag-or-value",
                    f"{param.flag} is {_what(param.type.is_flag)} for {tool.name} and "
                    f"{_what(known.type.is_flag)} for {other.name}",
                    f"run them apart, or give -p {tool.name}.{param.name}=VALUE",
                    tool,
                )


def _what(is_flag: bool) -> str:
    return "a flag" if is_flag else "an option with a value"


def _shadowing(registry: Registry) -> Iterator[Problem]:
    for tool in registry.tools.values():
        top = tool.module.split(".")[0]
        if top in sys.stdlib_module_names:
            yield doubt(
                "shadows-stdlib",
                f'"{tool.module}" hides the module {top} of the standard library',
                "rename it, or scan its parent folder as a package",
                tool,
            )


def _unknown_configuration(registry: Registry, project: Project) -> Iterator[Problem]:
    """`**kwargs` takes what `-p` gives alone, so it excuses nothing here."""
    names = {param.name for tool in registry.tools.values() for param in tool.params}
    for name in project.params:
        if not any(same(name, other) for other in names):
            yield doubt(
                "unused-param",
                f'no tool takes the parameter "{name}" of the configuration',
                _near(name, names),
            )
    for name, setting in project.env_params.items():
        if not any(name == other.lower() for other in names):
            yield doubt(
                "unused-param", f"no tool takes what {setting.origin} sets", _near(name, names)
            )
    for word, table in project.tool_params.items():
        found = registry.names.find(word)
        if not found:
            yield doubt(
                "unused-param",
                f"[tool.orch.params.{word}] names no tool",
                _near(word, registry.names.words),
            )
        elif len(found) > 1:
            yield doubt(
                "ambiguous",
                f"[tool.orch.params.{word}] could mean several tools",
                "write one of " + ", ".join(registry.display(module) for module in found),
            )
        if len(found) != 1 or found[0] not in registry.tools:
            continue
        tool = registry.tools[found[0]]
        own = [param.name for param in tool.params]
        for name in table:
            if not any(same(name, other) for other in own):
                yield doubt(
                    "unused-param",
                    f'{tool.name} takes no parameter "{name}", though the configuration sets it',
                    _near(name, own),
                    tool,
                )


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
            if core in known or registry.names.find(core) or any(mark in core for mark in "*?[/"):
                continue
            if core.endswith(".py"):
                continue
            yield doubt(
                "group-member",
                f'group "{group}" names "{item}", which is neither a stage nor a tool',
                _near(core, [*known, *registry.names.words], "orch list shows all"),
            )


def _unused_stages(registry: Registry, project: Project) -> Iterator[Problem]:
    for stage in registry.stages:
        if not stage.tools and stage.name in project.stages:
            others = [one.name for one in registry.stages if one.tools and not one.is_configured]
            yield doubt(
                "empty-stage",
                f'stage "{stage.name}" is configured and has no tool',
                _near_stage(stage.name, others),
            )


def _near_stage(name: str, others: list[str]) -> str:
    close = nearest(name, others)
    return f'the tools say "{close}"' if close else "fine while you are building; else take it out"
