"""What can be seen, without running anything, to be wrong with the executor, with tokens, and with several workers."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder

from msgspec.structs import replace

from discover_orch.config.file import find_line, name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Location, Problem
from discover_orch.planning.parallel import check_sharing, check_tokens


def check_executor(registry: Registry, project: Project) -> list[Problem]:
    """Warnings: the executor cannot be used on this machine, or a run of all tools would be refused because of tokens,
    the number of workers or the transaction."""
    tools = [*registry.tools.values()]
    refused = [
        *check_tokens(tools, project),
        *check_sharing(tools, registry, project, project.jobs),
    ]
    return [*_executor(project), *(replace(one, severity="warning") for one in refused)]


def _executor(project: Project) -> Iterator[Problem]:
    match project.executor:
        case "local":
            return
        case "dask":
            if PathFinder.find_spec("distributed") is None:
                message = 'executor = "dask" needs the package distributed, which is not installed'
                yield _warning(project, message, "pip install 'discover-orch[dask]'")
        case "command":
            words = (*project.command.prefix, *project.command.python)
            if words:
                place = os.path.join(project.root, words[0])
                if shutil.which(place if os.path.dirname(words[0]) else words[0]) is None:
                    message = f"the command {words[0]} does not exist or cannot be executed"
                    yield _warning(project, message, f"correct {name_table(project, 'command')}")
        case name:
            module, _, factory = name.partition(":")
            path = _find_module(module, project)
            if path is None:
                message = f'executor = "{name}": the module {module} does not exist'
                hint = "correct the name, or add the folder of the module to pythonpath"
                yield _warning(project, message, hint)
            elif not _defines(path, factory):
                message = f'executor = "{name}": {module} defines no {factory}'
                yield _warning(project, message, f"define {factory}() there")


def _warning(project: Project, message: str, hint: str) -> Problem:
    place = None
    if project.origins.get("executor") == project.config and project.config:
        place = Location(path=project.config, line=find_line(project, ("executor",)))
    return Problem(code="executor", message=message, hint=hint, location=place, severity="warning")


def _find_module(name: str, project: Project) -> str | None:
    """The file of the module, "" for one that has none. Imports no package on the way to it."""
    folders = [os.path.join(project.root, one) for one in project.pythonpath] + sys.path
    *parents, _ = parts = name.split(".")
    for part in parts:
        spec = PathFinder.find_spec(part, folders)
        if spec is None:
            return "" if not parents and name in sys.builtin_module_names else None
        folders = [*(spec.submodule_search_locations or ())]
        if part == parts[-1]:
            return spec.origin or ""
    return None


def _defines(path: str, name: str) -> bool:
    """Whether the module binds the name at its top level, as far as its source shows."""
    if not path.endswith(".py"):
        return True
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return True  # what is wrong with it is another problem
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=found) | ast.ClassDef(name=found) if found == name:
                return True
            case ast.Name(id=found, ctx=ast.Store()) if found == name:
                return True
            case ast.alias(name=imported, asname=renamed) if name in (imported, renamed):
                return True
            case ast.alias(name="*"):
                return True
    return False
