"""A project as `project_reader` found it, and the answers about it: what is selected, a plan, checks, the listing.

The document of the listing is built here and not in `render`, since the index keeps it: `orch list` in an unchanged
project prints that text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import ALL_STAGES, CONF_MODULE
from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    Problem,
    ProjectError,
    UsageError,
    problem_json,
)
from discover_orch.model.parameter import Param
from discover_orch.model.tool import Tool
from discover_orch.planning.checks import check_registry, check_stage_order
from discover_orch.planning.parallel import check_sharing, check_tokens
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan, build_plan
from discover_orch.planning.selection import Selection, TypedAt, select


class ProjectView(Struct, frozen=True, kw_only=True):
    """Configuration, tools, and where the user stands: `place`, and `folder`, which is absolute.

    `config_warnings` are about the configuration, and so are `config_errors`, which refuse only a run. `key` changes
    whenever the configuration does; `sources` are the files, as they were scanned.
    """

    project: Project
    registry: Registry
    place: TypedAt
    folder: str
    sources: SourceFiles
    config_warnings: tuple[Problem, ...] = ()
    config_errors: tuple[Problem, ...] = ()
    key: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Those of the configuration, and every discovery error once: a cycle is a problem of every tool in it."""
        return (*self.config_errors, *self.registry.errors)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Those of the configuration, then those of the modules by path and line."""
        return (*self.config_warnings, *sorted(self.registry.warnings, key=_sort_key))

    @property
    def no_tools(self) -> Problem | None:
        """That there is no tool; None if there is one."""
        return None if self.registry.tools else self.registry.no_tools


# Selecting and planning.


def plan_targets(
    view: ProjectView,
    words: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    values: GivenParams | None = None,
    is_partial: bool = False,
) -> Plan:
    """What `orch run` would do; `is_partial` as in `build_plan`. Raises OrchErrors: ProjectError for `config_errors`,
    UsageError, DiscoveryError, EmptyError."""
    if view.config_errors:
        raise ProjectError(*view.config_errors)
    selection = select_targets(view, words, exclude)
    given = values or GivenParams(folder=view.folder)
    return build_plan(selection, view.registry, view.project, given, is_partial=is_partial)


def select_targets(
    view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()
) -> Selection:
    """Raises UsageError, DiscoveryError and EmptyError."""
    return select(
        words,
        view.registry,
        exclude=exclude,
        place=view.place,
        files=view.sources.signatures.keys(),
    )


def select_readable(
    view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()
) -> frozenset[str]:
    """What to show: all tools, or those that `words` select. A file that cannot be read hides none of them: it is
    reported beside them. Raises UsageError and EmptyError."""
    if not words and not exclude:
        return frozenset(view.registry.tools)
    try:
        return frozenset(select_targets(view, words, exclude).tools)
    except DiscoveryError:  # each word means something, if only a file that cannot be read
        return frozenset(select_each(view, words, exclude).tools)


def select_each(view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()) -> Selection:
    """What the words mean, without those that mean nothing and files that cannot be read."""
    healthy = replace(view, registry=replace(view.registry, broken=()))

    def find(some: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in some:
            with contextlib.suppress(UsageError, EmptyError):
                for module in select_targets(healthy, [word]).tools:
                    found.setdefault(module, word)
        return found

    left_out = find(exclude)
    chosen = {
        one: word for one, word in find(words or (ALL_STAGES,)).items() if one not in left_out
    }
    return Selection(tools=tuple(chosen), chosen_by=chosen, targets=tuple(words))


def refuse_wrong(view: ProjectView, chosen: Collection[str], values: GivenParams) -> None:
    """Raises UsageError for values that do not fit the chosen tools, as a run would. Missing ones are accepted."""
    tools = tuple(module for module in view.registry.order if module in chosen)
    selection = Selection(tools=tools, chosen_by=dict.fromkeys(tools, ALL_STAGES))
    build_plan(selection, view.registry, view.project, values, is_partial=True)


# Checks.


def check_project(view: ProjectView) -> tuple[Problem, ...]:
    """All warnings of `orch check`: those of the listing, about imported modules, and about several tools
    together."""
    tools, project = [*view.registry.tools.values()], view.project
    refused = (
        *check_tokens(tools, project),
        *check_sharing(tools, view.registry, project, project.jobs),
    )
    return (
        *view.warnings,
        *check_stage_order(view.registry, project, view.registry.by_name),
        *_find_unreadable(view),
        *check_registry(view.registry, project),
        *(replace(one, severity="warning") for one in refused),
    )


def _find_unreadable(view: ProjectView) -> tuple[Problem, ...]:
    """A warning for each imported module that cannot be read, with the first tool that imports it."""
    from discover_orch.staleness.import_graph import ImportGraph  # loads the parser

    registry, graph = view.registry, ImportGraph(view.project, view.sources)
    known = {problem.location.path for problem in view.errors if problem.location}
    found: dict[str, Problem] = {}
    for module in registry.order:
        for path in sorted(graph.reach(module) - found.keys() - known):
            read = graph.files.read(path)
            if read is not None and read.problem is not None:
                message = f"{read.problem.message} (imported by {registry.display(module)})"
                found[path] = replace(read.problem, message=message, severity="warning")
    return tuple(found.values())


def _sort_key(problem: Problem) -> tuple[str, int]:
    where = problem.location
    return (where.path, where.line or 0) if where else ("", 0)


# The listing.


def listing_document(
    view: ProjectView,
    words: Sequence[str] = (),
    *,
    exclude: Sequence[str] = (),
    with_sources: bool = False,
    with_passed_over: bool = False,
) -> dict[str, object]:
    """The document of `orch list --json`, of all tools or of those that `words` select. Raises UsageError and
    EmptyError."""
    registry = view.registry
    chosen = select_readable(view, words, exclude)
    tools = [registry.tools[module] for module in registry.order if module in chosen]
    if not words:
        tools += registry.disabled
    rows = [_tool_row(tool, registry) for tool in tools]
    if with_sources:
        # Both load the parser, which few listings need.
        from discover_orch.staleness.current import takes_orchconf
        from discover_orch.staleness.import_graph import project_sources

        starts = {
            tool.module: (
                tool.module,
                *([CONF_MODULE] if takes_orchconf(tool, registry, view.project) else ()),
            )
            for tool in tools
        }
        sources = project_sources(view.project, starts, view.sources)
        rows = [
            {**row, "sources": sources[tool.module]} for row, tool in zip(rows, tools, strict=True)
        ]
    by_name = check_stage_order(registry, view.project, registry.by_name)
    document: dict[str, object] = {
        "version": 1,
        "root": view.project.root,
        "stages": [
            {
                "name": stage.name,
                "tools": [registry.display(module) for module in stage.tools if module in chosen],
                "configured": stage.is_configured,
            }
            for stage in registry.stages
            if stage.tools or not words
        ],
        "tools": rows,
        "errors": [problem_json(problem) for problem in view.errors],
        "warnings": [problem_json(problem) for problem in (*view.warnings, *by_name)],
    }
    if with_passed_over:
        document["passed_over"] = [
            {"path": one.path, "line": one.line, "reason": one.reason}
            for one in registry.passed_over
        ]
    return document


def empty_listing_document(view: ProjectView) -> dict[str, object]:
    """The document if no tool was selected."""
    return {**listing_document(view), "stages": [], "tools": []}


def _tool_row(tool: Tool, registry: Registry) -> dict[str, object]:
    return {
        "name": tool.name,
        "module": tool.module,
        "path": tool.path,
        "line": tool.line,
        "stages": list(tool.stages),
        "doc": tool.doc,
        "after": [registry.display(module) for module in tool.after],
        "disabled": tool.disabled,
        "params": [_param_row(param) for param in tool.params],
        "resources": list(tool.resources) if tool.is_readable else [],
        "readable": tool.is_readable,
    }


def _param_row(param: Param) -> dict[str, object]:
    hides = param.has_secret_default
    return {
        "name": param.name,
        "type": str(param.type),
        "default": None if hides else param.default,
        "default_source": param.masked_source if hides else param.default_source,
        "required": param.required,
        "help": param.help,
    }
