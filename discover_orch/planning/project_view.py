"""Everything that looks: list, dry run, graph, check, completion. Reads source, runs nothing of the user's.

In: where the user stands and what was typed. Out: values and documents for `render`. The only thing that is
written is orch's own index. No loader, worker or resource can be reached from here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.file import build_project, config_key, find_root, read_config_bytes
from discover_orch.config.project import ALL_STAGES, Project, masked_url
from discover_orch.discovery.facts_index import ScanIndex
from discover_orch.discovery.listing_cache import LISTING, SUMMARY, build_summary
from discover_orch.discovery.registry import Registry, build_registry
from discover_orch.discovery.scanner import scan
from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    Location,
    Problem,
    ProjectError,
    UsageError,
)
from discover_orch.model.tool import Param, Tool
from discover_orch.planning.checks import review
from discover_orch.planning.params import GivenParams
from discover_orch.planning.plan import MASK, Plan, build_plan
from discover_orch.planning.selection import Selection, TypedAt, select
from discover_orch.state.flows import read_flows
from discover_orch.state.store import flows_stamp, open_index, write_index


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project as it was found: its configuration, its tools, and where the user stands in it. `key` stands
    for the configuration, `signatures` are those of the scanned files."""

    project: Project
    registry: Registry
    place: TypedAt
    folder: str
    warnings: tuple[Problem, ...] = ()
    key: str = ""
    signatures: Mapping[str, str] = field(default_factory=dict)


def look(
    start: str,
    explicit: str | None,
    environ: Mapping[str, str],
    *,
    is_wide: bool = False,
) -> ProjectView:
    """Finds the project around `start` (or at `explicit`), and its tools. Raises ProjectError."""
    found = find_root(start, explicit)
    root, config, _ = found
    data = read_config_bytes(root, config)
    project, warnings = build_project(found, data, environ)
    index = open_index(root, __version__)
    key = config_key(found, data, environ) + flows_stamp(root)
    result, snapshot = scan(project, index, key=key, is_wide=is_wide)
    registry = build_registry(result, project, read_flows(root))
    view = ProjectView(
        project=project,
        registry=registry,
        place=TypedAt(root=root, folder=_relative(start, root)),
        folder=os.path.abspath(start),
        warnings=warnings,
        key=key,
        signatures=snapshot.signatures,
    )
    _check_groups(view)
    is_known = index is not None and (
        index.header.get("key") == key
        and index.part("tree") == snapshot.tree
        and index.part(LISTING) is not None
        and index.part(SUMMARY) is not None
    )
    # Without any folder to scan, such as src before it is made, the index would stay valid when one appears.
    is_worth_it = snapshot.header["folders"] and (config is not None or registry.tools)
    if not is_known and not is_wide and is_worth_it:
        _remember(view, snapshot)
    return view


def listing(
    view: ProjectView,
    words: Sequence[str] = (),
    *,
    exclude: Sequence[str] = (),
    with_sources: bool = False,
    with_passed_over: bool = False,
) -> dict[str, object]:
    """The document of `orch list --json`, of all tools or of those that `words` choose. Raises UsageError
    and EmptyError."""
    registry = view.registry
    wanted = chosen(view, words, exclude)
    tools = [registry.tools[module] for module in registry.order if module in wanted]
    if not words:
        tools += registry.disabled
    rows = [_tool_row(tool, registry) for tool in tools]
    if with_sources:
        from discover_orch.staleness.import_graph import (
            project_sources,  # the parser, which few listings need
        )

        sources = project_sources(view.project, [tool.module for tool in tools])
        rows = [
            {**row, "sources": sources[tool.module]} for row, tool in zip(rows, tools, strict=True)
        ]
    document: dict[str, object] = {
        "version": 1,
        "root": view.project.root,
        "stages": [
            {
                "name": stage.name,
                "tools": [registry.display(module) for module in stage.tools if module in wanted],
                "configured": stage.is_configured,
            }
            for stage in registry.stages
            if stage.tools or not words
        ],
        "tools": rows,
        "errors": [_problem_row(problem) for problem in errors(view)],
        "warnings": [_problem_row(problem) for problem in warnings(view)],
    }
    if with_passed_over:
        document["passed_over"] = [
            {"path": one.path, "line": one.line, "reason": one.reason}
            for one in registry.passed_over
        ]
    return document


def empty_listing(view: ProjectView) -> dict[str, object]:
    """The document where nothing is left to list."""
    return {**listing(view), "stages": [], "tools": []}


def plan(
    view: ProjectView,
    words: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    values: GivenParams | None = None,
    is_partial: bool = False,
) -> Plan:
    """What `orch run` would do; `is_partial` as of `build_plan`. Raises UsageError, DiscoveryError, EmptyError."""
    selection = select(words, view.registry, exclude=exclude, place=view.place)
    given = values or GivenParams(folder=view.folder)
    return build_plan(selection, view.registry, view.project, given, is_partial=is_partial)


def selected(view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()) -> Selection:
    return select(words, view.registry, exclude=exclude, place=view.place)


def with_database(view: ProjectView, url: str) -> ProjectView:
    """The same view with another database, which then also wins over `get_connection()`."""
    if "://" not in url:
        raise UsageError(
            Problem(
                code="database",
                message=f"--database {masked_url(url)} is no database URL",
                hint="write sqlite:///data.db for a file data.db",
            )
        )
    origins = {**view.project.origins, "database": "--database"}
    project = replace(view.project, database=url, database_origin="--database", origins=origins)
    return replace(view, project=project)


def errors(view: ProjectView) -> tuple[Problem, ...]:
    """Every discovery error once: a cycle is one of every tool on it."""
    return view.registry.errors


def warnings(view: ProjectView) -> tuple[Problem, ...]:
    return (*view.warnings, *sorted(view.registry.warnings, key=_place))


def find_warnings(view: ProjectView) -> tuple[Problem, ...]:
    """What `orch check` tells beyond the errors: slips, modules that a tool imports and that cannot be read, and
    doubts that need more than one tool."""
    return (*warnings(view), *_broken_helpers(view), *review(view.registry, view.project))


def _broken_helpers(view: ProjectView) -> list[Problem]:
    """Each with the first tool, in the order of everything, that imports it."""
    from discover_orch.staleness.import_graph import (
        ImportGraph,  # the parser, which few commands need
    )

    sources = ImportGraph(view.project)
    known = {problem.location.path for problem in view.registry.errors if problem.location}
    found: dict[str, Problem] = {}
    for module in view.registry.order:
        for path in sorted(sources.reach((module,)).paths - found.keys() - known):
            read = sources.read(path)
            if read is not None and read.problem is not None:
                message = f"{read.problem.message} (imported by {view.registry.display(module)})"
                found[path] = replace(read.problem, message=message, severity="warning")
    return list(found.values())


def chosen(view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()) -> frozenset[str]:
    """What to show: all tools, or those that `words` choose. A file that cannot be read hides nothing
    here, since it is told beside the rest. Raises UsageError and EmptyError."""
    if not words and not exclude:
        return frozenset(view.registry.tools)
    try:
        selection = select(words, view.registry, exclude=exclude, place=view.place)
    except DiscoveryError:  # each word means something, if only a file that cannot be read
        healthy = replace(view.registry, broken=())
        found = _healthy_tools(words or (ALL_STAGES,), healthy, view.place)
        return found - _healthy_tools(exclude, healthy, view.place)
    return frozenset(selection.tools)


def _healthy_tools(words: Sequence[str], healthy: Registry, place: TypedAt) -> frozenset[str]:
    """What the words mean among the healthy tools, of those that mean anything there."""
    found: set[str] = set()
    for word in words:
        try:
            found.update(select([word], healthy, place=place).tools)
        except (UsageError, EmptyError):
            continue
    return frozenset(found)


def _place(problem: Problem) -> tuple[str, int]:
    where = problem.location
    return (where.path, where.line or 0) if where else ("", 0)


def _check_groups(view: ProjectView) -> None:
    tools = [*view.registry.tools.values(), *view.registry.disabled]
    stages = {stage.name for stage in view.registry.stages}
    owners = {name: tool for tool in reversed(tools) for name in tool.stages}
    clashes = [name for name in view.registry.groups if name in stages]
    if clashes:
        raise ProjectError(
            *(
                Problem(
                    code="group-name",
                    message=f'group "{name}" bears the name of a stage',
                    hint=f"give the group in {view.project.config or 'the environment'} another name",
                    location=Location(path=owners[name].path, line=owners[name].line)
                    if name in owners
                    else None,
                )
                for name in clashes
            )
        )


def _remember(view: ProjectView, snapshot: ScanIndex) -> None:
    document = listing(view)
    brief = json.dumps(build_summary(document), ensure_ascii=False, separators=(",", ":"))
    del document["version"], document["root"]  # said anew when it is shown
    parts = {
        "tree": snapshot.tree,
        "facts": snapshot.facts,
        LISTING: json.dumps(document),
        SUMMARY: brief,
    }
    write_index(view.project.root, __version__, snapshot.header, parts)


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
        "resources": list(tool.resources),
        "readable": tool.is_readable,
    }


def _param_row(param: Param) -> dict[str, object]:
    hides = param.is_secret and param.default_source not in (None, "None")
    return {
        "name": param.name,
        "type": str(param.type),
        "default": None if hides else param.default,
        "default_source": MASK if hides else param.default_source,
        "required": param.required,
        "help": param.help,
    }


def _problem_row(problem: Problem) -> dict[str, object]:
    place = problem.location
    return {
        "path": place.path if place else None,
        "line": place.line if place else None,
        "message": problem.message,
        "hint": problem.hint,
        "code": problem.code,
    }


def _relative(start: str, root: str) -> str:
    folder = os.path.relpath(os.path.abspath(start), root)
    return "" if folder == "." else folder.replace(os.sep, "/")
