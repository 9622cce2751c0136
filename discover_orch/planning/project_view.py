"""Finds a project and reads its tools, as all commands do first, and answers about it: what is selected, a plan,
checks, the listing. Reads source text only, runs nothing of the user's, and writes only orch's own index.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, MutableMapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import (
    build_project,
    find_root,
    load_env_file,
    read_config_bytes,
)
from discover_orch.config.project import Project
from discover_orch.discovery.items import with_items
from discover_orch.discovery.registry import Registry, build_registry, with_lock
from discover_orch.discovery.scanner import find_near_misses, scan, scanned_folders
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model import documents
from discover_orch.model.conventions import ALL_STAGES, CONF_FILE, CONF_MODULE
from discover_orch.model.database_url import masked_url
from discover_orch.model.documents import Listing, Observer, PassedOver, Stage, copied
from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    Problem,
    ProjectError,
    UsageError,
    no_source,
)
from discover_orch.model.items import tool_of
from discover_orch.model.parameter import Param
from discover_orch.model.tool import Tool
from discover_orch.planning.item_selection import pick_items
from discover_orch.planning.param_values import NO_VALUES, GivenParams
from discover_orch.planning.plan import Plan, build_plan
from discover_orch.planning.project_warnings import (
    check_imports,
    check_registry,
    check_sharing,
    check_stage_order,
    check_tokens,
    find_group_circles,
    find_group_clashes,
    find_unreadable,
    find_unused_params,
)
from discover_orch.planning.selection import Selection, TypedAt, find_known, select
from discover_orch.state.flow_lock import NO_LOCK, FlowLock, read_lock
from discover_orch.state.sealed_files import read_flows

#: Bytes of a file that are searched for an orchestrator.
_MOST_READ = 1_000_000


class ProjectView(Struct, frozen=True, kw_only=True):
    """Configuration, tools, and where the user stands: `place`, and `folder`, which is absolute.

    `config_warnings` are about the configuration, and so are `config_errors`, which refuse only a run. `sources` are
    the files, as they were scanned. `lock` is `orch.lock` where nothing is remembered of some tool.
    """

    project: Project
    registry: Registry
    place: TypedAt
    folder: str
    sources: SourceFiles
    config_warnings: tuple[Problem, ...] = ()
    config_errors: tuple[Problem, ...] = ()
    lock: FlowLock = NO_LOCK

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
        return None if self.registry.by_tool.tools else self.registry.no_tools


# Finding and reading.


def read_project(
    start: str,
    explicit: str | None,
    environ: MutableMapping[str, str],
    *,
    reads_code: bool = False,
) -> ProjectView:
    """Finds the project around the folder `start`, or at `explicit`, and its tools. `reads_code` is as of
    `SourceFiles`. `environ` gets the variables of `env_file`. Raises
    ProjectError."""
    found = find_root(start, explicit)
    root, config, _ = found
    data = read_config_bytes(root, config)
    load_env_file(found, data, environ)
    project, warnings = build_project(found, data, environ)
    sources = SourceFiles(project, reads_code=reads_code)
    result = scan(project, sources)
    flows = read_flows(root)
    registry = build_registry(result, project, flows)
    lock = NO_LOCK if registry.observed >= registry.tools.keys() else read_lock(root)
    registry = with_lock(registry, flows, lock.flows)
    if registry.observed - registry.tools.keys():
        from discover_orch.staleness.moved_tools import with_moved  # few projects need it

        registry = with_moved(registry, project, flows, sources)
        if registry.moved:
            from discover_orch.staleness.memory import rename_flows

            flows = rename_flows(flows, registry.moved)
    registry = with_items(registry, root, flows)
    if project.packages and not scanned_folders(project):
        registry = replace(registry, no_tools=no_source(root, project.config or "orch.toml"))
    if not registry.by_tool.tools and (path := _find_orchestrator(project)):
        hint = f"orch adopt {path} shows how its steps become tools"
        registry = replace(registry, no_tools=replace(registry.no_tools, hint=hint))
    unused = tuple(find_unused_params(registry, project))
    view = ProjectView(
        project=project,
        registry=registry,
        place=TypedAt(root=root, folder=_relative(start, root)),
        folder=os.path.abspath(start),
        config_warnings=warnings if project.strict else (*warnings, *unused, *lock.problems),
        config_errors=(*unused, *lock.errors) if project.strict else (),
        lock=lock,
        sources=sources,
    )
    if wrong := (*find_group_circles(project), *find_group_clashes(registry, project)):
        raise ProjectError(*wrong)
    if config is not None or registry.by_tool.tools:
        sources.write()
    return view


def read_again(view: ProjectView) -> ProjectView:
    """The project as it is now that more is remembered of its tools."""
    root = view.project.root
    found = read_project(view.folder, root, {**os.environ})
    if view.project.database_origin != "--database":
        return found
    project = view.project
    return replace(
        found,
        project=replace(
            found.project,
            database=project.database,
            database_origin=project.database_origin,
            origins=project.origins,
        ),
    )


def with_database(view: ProjectView, url: str, origin: str = "--database") -> ProjectView:
    """The same view with another database, which also wins over `get_connection()`. Raises UsageError."""
    if "://" not in url:
        message = f"{origin} {masked_url(url)} is not a database URL"
        hint = "for a file, use sqlite:///data.db or duckdb:///data.duckdb"
        raise UsageError.of("database", message, hint)
    origins = {**view.project.origins, "database": "--database"}
    project = replace(view.project, database=url, database_origin="--database", origins=origins)
    return replace(view, project=project)


#: A dict or list under one of the names that hand-written orchestrators have for their steps.
_STEPS = rb"^(?:TOOL_MAP|TOOLS|STEPS|TASKS|PIPELINE|SCRIPTS)\b[^=\n]*=\s*[\[{(]"


def _find_orchestrator(project: Project) -> str:
    """A module at the root or in a package that looks like a hand-written orchestrator, as a path; "" for none."""
    import glob  # few projects have no tool
    import re

    for folder in (".", *project.packages):
        for path in sorted(glob.glob(os.path.join(project.root, folder, "*.py"))):
            try:
                with open(path, "rb") as file:
                    text = file.read(_MOST_READ)
            except OSError:
                continue
            if re.search(_STEPS, text, re.MULTILINE):
                return os.path.relpath(path, project.root).replace(os.sep, "/")
    return ""


def _relative(start: str, root: str) -> str:
    folder = os.path.relpath(os.path.abspath(start), root)
    return "" if folder == "." else folder.replace(os.sep, "/")


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
    given = values or GivenParams(folder=view.folder)
    selection = select_targets(view, words, exclude, given)
    return build_plan(selection, view.registry, view.project, given, is_partial=is_partial)


def select_targets(
    view: ProjectView,
    words: Sequence[str],
    exclude: Sequence[str] = (),
    values: GivenParams = NO_VALUES,
) -> Selection:
    """Raises UsageError, DiscoveryError and EmptyError."""
    selection = select(
        words,
        view.registry,
        exclude=exclude,
        place=view.place,
        files=view.sources.marks.keys(),
    )
    return pick_items(selection, view.registry, values)


def select_readable(
    view: ProjectView,
    words: Sequence[str],
    exclude: Sequence[str] = (),
    values: GivenParams = NO_VALUES,
) -> frozenset[str]:
    """What to show: all tools, or those that `words` select. A file that cannot be read hides none of them: it is
    reported beside them. Raises UsageError and EmptyError."""
    if not (words or exclude or values.options or values.pairs):
        return frozenset(view.registry.tools)
    try:
        return frozenset(select_targets(view, words, exclude, values).tools)
    except DiscoveryError:  # each word means something, if only a file that cannot be read
        found = select_each(view, words, exclude)
        return frozenset(pick_items(found, view.registry, values).tools)


def select_each(view: ProjectView, words: Sequence[str], exclude: Sequence[str] = ()) -> Selection:
    """What the words mean, without those that mean nothing and files that cannot be read."""
    registry, files = replace(view.registry, broken=()), view.sources.marks.keys()

    def known(some: Sequence[str]) -> list[str]:
        return find_known(some, registry, place=view.place, files=files)

    found = known(words or (ALL_STAGES,))
    with contextlib.suppress(EmptyError):
        if found:
            return select_targets(replace(view, registry=registry), found, known(exclude))
    return Selection(targets=tuple(words))


def refuse_wrong(view: ProjectView, chosen: Collection[str], values: GivenParams) -> None:
    """Raises UsageError for values that do not fit the chosen tools, as a run would. Missing ones are accepted."""
    tools = tuple(module for module in view.registry.order if module in chosen)
    selection = Selection(tools=tools, chosen_by=dict.fromkeys(tools, ALL_STAGES))
    build_plan(selection, view.registry, view.project, values, is_partial=True)


# Checks.


def check_project(view: ProjectView) -> tuple[Problem, ...]:
    """What `orch check` says beside the errors of the listing: its warnings, those about several tools together, and
    imported modules that cannot be read, which are errors."""
    view = replace(view, registry=view.registry.by_tool)
    tools, project = [*view.registry.tools.values()], view.project
    known = {problem.path for problem in view.errors if problem.path}
    refused = (
        *check_tokens(tools, project),
        *check_sharing(tools, view.registry, project, project.jobs),
    )
    return (
        *view.warnings,
        *(() if view.lock.problems else read_lock(project.root).problems),
        *check_stage_order(view.registry, project, view.registry.by_name),
        *find_unreadable(view.registry, project, view.sources, known),
        *check_registry(view.registry, project),
        *check_imports(view.registry, project, view.sources),
        *(replace(one, severity="warning") for one in refused),
    )


def _sort_key(problem: Problem) -> tuple[str, int]:
    return problem.path or "", problem.line or 0


# The listing.


def build_listing(
    view: ProjectView,
    words: Sequence[str] = (),
    *,
    exclude: Sequence[str] = (),
    among: Collection[str] | None = None,
    with_sources: bool = False,
    with_passed_over: bool = False,
) -> Listing:
    """All tools, or those that `words` select, and of these only the modules that are `among` the given ones. Raises
    UsageError and EmptyError."""
    registry = view.registry.by_tool
    chosen = select_readable(replace(view, registry=registry), words, exclude)
    if among is not None:
        chosen = chosen & {*map(tool_of, among)}
    tools = [registry.tools[module] for module in registry.order if module in chosen]
    is_whole = not words and among is None
    if is_whole:
        tools += registry.disabled
    rows = [_build_tool(tool, view.registry) for tool in tools]
    if with_sources:
        # Both load the parser, which few listings need.
        from discover_orch.staleness.current_inputs import takes_orchconf
        from discover_orch.staleness.import_graph import project_sources

        starts = {
            tool.module: (
                tool.module,
                *([CONF_MODULE] if takes_orchconf(tool, registry, view.project) else ()),
            )
            for tool in tools
        }
        sources = project_sources(view.project, starts, view.sources)
        rows = [replace(row, sources=tuple(sources[row.module])) for row in rows]
    by_name = check_stage_order(registry, view.project, registry.by_name)
    return Listing(
        root=view.project.root,
        stages=tuple(
            Stage(
                name=stage.name,
                tools=tuple(registry.display(module) for module in stage.tools if module in chosen),
                configured=stage.is_configured,
            )
            for stage in registry.stages
            if is_whole or (stage.tools if among is None else chosen.intersection(stage.tools))
        ),
        tools=tuple(rows),
        errors=view.errors,
        warnings=(*view.warnings, *by_name),
        passed_over=_list_passed_over(view) if with_passed_over else None,
        observers=_list_observers(registry) if with_passed_over else None,
    )


def _list_passed_over(view: ProjectView) -> tuple[PassedOver, ...]:
    found = (*view.registry.passed_over, *find_near_misses(view.project, view.sources))
    return tuple(copied(PassedOver, one) for one in sorted(found, key=lambda one: one.path))


def _list_observers(registry: Registry) -> tuple[Observer, ...]:
    found = registry.conf.observers if registry.conf else ()
    return tuple(copied(Observer, one, path=CONF_FILE) for one in found if not one.problem)


def _build_tool(tool: Tool, registry: Registry) -> documents.Tool:
    keys, more = registry.steps.get(tool.module), {}
    if keys is not None and tool.each is not None:
        params = registry.item_params(tool.module)
        more = {"items": len(keys), "each": tool.each.literal, "item_params": params}
    return copied(
        documents.ToolWithItems if more else documents.Tool,
        tool,
        **more,
        after=tuple(registry.display(module) for module in tool.after),
        params=tuple(map(_build_param, tool.params)),
        resources=tool.resources if tool.is_readable else (),
        checks=tuple(one.name for one in tool.checks),
        readable=tool.is_readable,
    )


def _build_param(param: Param) -> documents.Param:
    hides = param.has_secret_default
    return copied(
        documents.Param,
        param,
        type=str(param.type),
        default=None if hides else param.default,
        default_source=param.masked_source if hides else param.default_source,
    )
