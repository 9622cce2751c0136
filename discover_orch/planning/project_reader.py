"""Finds a project and reads its tools, as all commands do first. Reads source text only; runs nothing of the user's.

The only thing that is written is orch's own index.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from msgspec.structs import replace

from discover_orch.config.env_file import load_env_file
from discover_orch.config.file import (
    build_project,
    config_key,
    find_root,
    read_config_bytes,
)
from discover_orch.config.project import Project
from discover_orch.discovery.listing_cache import read_index, write_listing
from discover_orch.discovery.registry import build_registry
from discover_orch.discovery.scanner import scan
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import (
    Location,
    Problem,
    ProjectError,
    UsageError,
    no_source,
)
from discover_orch.planning.checks import find_group_circles, find_unused_params
from discover_orch.planning.project_view import ProjectView, listing_document
from discover_orch.planning.selection import TypedAt
from discover_orch.state.store import FOLDER, flows_stamp, read_flows

#: Bytes of a file that are searched for an orchestrator.
_MOST_READ = 1_000_000


def read_project(
    start: str,
    explicit: str | None,
    environ: MutableMapping[str, str],
    *,
    is_wide: bool = False,
    reads_code: bool = False,
) -> ProjectView:
    """Finds the project around the folder `start`, or at `explicit`, and its tools. With `is_wide`, also the reasons
    why modules are not tools; `reads_code` is as of `SourceFiles`. `environ` gets the variables of `env_file`. Raises
    ProjectError."""
    found = find_root(start, explicit)
    root, config, _ = found
    data = read_config_bytes(root, config)
    load_env_file(found, data, environ)
    project, warnings = build_project(found, data, environ)
    key = config_key(found, data, environ) + flows_stamp(root)
    sources = SourceFiles(project, reads_code=reads_code)
    result, snapshot = scan(project, sources, key=key, is_wide=is_wide)
    flows = read_flows(root)
    registry = build_registry(result, project, flows)
    if registry.observed - registry.tools.keys():
        from discover_orch.staleness.moved_tools import with_moved  # few projects need it

        registry = with_moved(registry, project, flows, sources)
    if project.packages and not snapshot.folders:
        outer = "" if config or explicit else _find_used_folder(root)
        problem = no_source(root, project.config or "orch.toml", outer)
        registry = replace(registry, no_tools=problem)
    if not registry.tools and (path := _find_orchestrator(project)):
        hint = f"orch adopt {path} shows how the modules in its TOOL_MAP become tools"
        registry = replace(registry, no_tools=replace(registry.no_tools, hint=hint))
    unused = tuple(find_unused_params(registry, project))
    view = ProjectView(
        project=project,
        registry=registry,
        place=TypedAt(root=root, folder=_relative(start, root)),
        folder=os.path.abspath(start),
        config_warnings=warnings if project.strict else (*warnings, *unused),
        config_errors=(
            *find_group_circles(registry.groups, project),
            *(unused if project.strict else ()),
        ),
        key=key,
        sources=sources,
    )
    _check_group_names(view)
    # Without any folder to scan, such as src before it is made, the index would stay valid when one appears.
    if snapshot.folders and (config is not None or registry.tools):
        sources.write()
        kept = read_index(root)
        if not is_wide and (kept is None or kept.snapshot != snapshot):
            write_listing(root, snapshot, listing_document(view))
    return view


def with_database(view: ProjectView, url: str, origin: str = "--database") -> ProjectView:
    """The same view with another database, which also wins over `get_connection()`. Raises UsageError."""
    if "://" not in url:
        raise UsageError.of(
            "database", f"{origin} {masked_url(url)} is not a database URL", _url_hint(url)
        )
    origins = {**view.project.origins, "database": "--database"}
    project = replace(view.project, database=url, database_origin="--database", origins=origins)
    return replace(view, project=project)


def _url_hint(url: str) -> str:
    """The URL of a DuckDB file, if the text looks like one; else the form of a SQLite URL."""
    path = url.removeprefix("duckdb:").lstrip("/") if url.startswith("duckdb:") else url
    is_duckdb = url.startswith("duckdb:") or url.endswith((".duckdb", ".ddb"))
    if is_duckdb and path and masked_url(path) == path:
        return f"for the DuckDB file {path}, use duckdb:///{path}"
    return "for a file data.db, use sqlite:///data.db"


def _check_group_names(view: ProjectView) -> None:
    tools = [*view.registry.tools.values(), *view.registry.disabled]
    stages = {stage.name for stage in view.registry.stages}
    owners = {name: tool for tool in reversed(tools) for name in tool.stages}
    clashes = [name for name in view.registry.groups if name in stages]
    if clashes:
        raise ProjectError(
            *(
                Problem(
                    code="group-name",
                    message=f'group "{name}" has the same name as a stage',
                    hint=f"rename the group in {view.project.config or 'the environment'}",
                    location=Location(path=owners[name].path, line=owners[name].line)
                    if name in owners
                    else None,
                )
                for name in clashes
            )
        )


def _find_used_folder(below: str) -> str:
    """The nearest folder above without configuration in which orch has been used, or ""."""
    folder = os.path.dirname(below)
    while folder != os.path.dirname(folder):
        if os.path.isdir(os.path.join(folder, FOLDER)):
            return folder
        folder = os.path.dirname(folder)
    return ""


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
            if re.search(rb"^\s*TOOL_MAP\b.*=\s*\{", text, re.MULTILINE):
                return os.path.relpath(path, project.root).replace(os.sep, "/")
    return ""


def _relative(start: str, root: str) -> str:
    folder = os.path.relpath(os.path.abspath(start), root)
    return "" if folder == "." else folder.replace(os.sep, "/")
