"""Warnings about what tools import: modules that cannot be read, and modules where Python does not look.

Reads source text, and asks Python only whether a package is installed. Imports nothing.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from msgspec.structs import replace

from discover_orch.config.project import Project, module_folders
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.scanner import scanned_folders
from discover_orch.model.errors import Location, Problem
from discover_orch.staleness.import_graph import ImportGraph


def check_imports(
    registry: Registry, project: Project, errors: tuple[Problem, ...]
) -> tuple[Problem, ...]:
    """`errors` are shown elsewhere, and are left out here."""
    graph = ImportGraph(project)
    return (*_find_unreadable(registry, graph, errors), *_find_misplaced(registry, project, graph))


def _find_unreadable(
    registry: Registry, graph: ImportGraph, errors: tuple[Problem, ...]
) -> list[Problem]:
    """A warning for each imported module that cannot be read, with the first tool that imports it."""
    known = {problem.location.path for problem in errors if problem.location}
    found: dict[str, Problem] = {}
    for module in registry.order:
        for path in sorted(graph.reach(module) - found.keys() - known):
            read = graph.files.read(path)
            if read is not None and read.problem is not None:
                message = f"{read.problem.message} (imported by {registry.display(module)})"
                found[path] = replace(read.problem, message=message, severity="warning")
    return list(found.values())


def _find_misplaced(registry: Registry, project: Project, graph: ImportGraph) -> Iterator[Problem]:
    """A warning for each tool that imports a module of a scanned folder that is not in `pythonpath`: a src layout.

    There is no warning in a project that can be installed: where it is installed, Python finds the module, and a
    pre-commit hook cannot see that.
    """
    searched = module_folders(project)
    others = [one for one in scanned_folders(project) if one and one not in searched]
    if not others or _is_installable(project.root):
        return
    places: dict[str, str] = {}
    for module in registry.order:
        path = registry.tools[module].path
        read = graph.files.read(path)
        tops = {name.partition(".")[0] for name in read.names} if read is not None else set()
        for top in tops:
            if top not in places:
                places[top] = _find_place(project.root, top, searched, others)
        bad = {top for top in tops if places[top]}
        for fact in graph.files.imports(path, module) if bad else ():
            top = fact.module.partition(".")[0]
            if top in bad:
                bad.remove(top)
                yield Problem(
                    code="not-on-pythonpath",
                    message=f"imports {top}, which is in {places[top]}/, where Python does not look",
                    hint=_place_hint(top, places[top], searched),
                    location=Location(path=path, line=fact.line),
                    severity="warning",
                )


def _place_hint(top: str, folder: str, searched: tuple[str, ...]) -> str:
    hint = f'add "{folder}" to pythonpath in the configuration'
    name = folder.replace(os.sep, ".")
    if "." in searched and all(map(str.isidentifier, name.split("."))):
        return f"write {name}.{top}, or {hint}"
    return hint


def _is_installable(root: str) -> bool:
    if os.path.isfile(os.path.join(root, "setup.py")):
        return True
    try:
        with open(os.path.join(root, "pyproject.toml"), "rb") as file:
            return b"[build-system]" in file.read()
    except OSError:
        return False


def _find_place(root: str, top: str, searched: tuple[str, ...], others: list[str]) -> str:
    """The first of the folders `others` that has this module, if Python would not find the module; else ""."""

    def has(folder: str) -> bool:
        full = os.path.join(root, folder, top)
        return os.path.isdir(full) or os.path.isfile(f"{full}.py")

    place = next((one for one in others if has(one)), "")
    if not place or any(map(has, searched)):
        return ""
    try:
        return "" if importlib.util.find_spec(top) is not None else place
    except (ImportError, ValueError):
        return place
