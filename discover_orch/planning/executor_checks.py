"""What can be seen, without running anything, to be wrong with the executor, with tokens, and with several workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.machinery import PathFinder

from msgspec.structs import replace

from discover_orch.config.executor import dask_address
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
    words = (*project.command.prefix, *project.command.python)
    if dask_address(project.executor):
        if PathFinder.find_spec("distributed") is None:
            message = f'executor = "{project.executor}" needs the package distributed, which is not installed'
            yield _warning(project, message, "pip install 'discover-orch[dask]'")
    elif project.executor == "command" and words:
        place = os.path.join(project.root, words[0])
        if shutil.which(place if os.path.dirname(words[0]) else words[0]) is None:
            message = f"the command {words[0]} does not exist or cannot be executed"
            yield _warning(project, message, f"correct {name_table(project, 'command')}")


def _warning(project: Project, message: str, hint: str) -> Problem:
    place = None
    if project.origins.get("executor") == project.config and project.config:
        place = Location(path=project.config, line=find_line(project, ("executor",)))
    return Problem(code="executor", message=message, hint=hint, location=place, severity="warning")
