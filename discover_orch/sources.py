"""The project files whose change makes a tool stale: its module and all that it imports.

In: a project and identities of tools. Out: for each the paths, relative to the root. Reads every file of the
closure, since imports are not part of what a listing needs; parses, never imports.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from discover_orch.facts import Broken, ImportFact
from discover_orch.imports import closure, read_imports
from discover_orch.project import Project
from discover_orch.scanner import ModuleSpace


def project_sources(project: Project, modules: Sequence[str]) -> dict[str, list[str]]:
    """Sorted paths for each module; a file that cannot be parsed ends its branch, and is named."""
    space = ModuleSpace(project)
    paths: dict[str, str | None] = {}
    facts: dict[str, tuple[ImportFact, ...] | None] = {}

    def path_of(module: str) -> str | None:
        if module not in paths:
            paths[module] = next(
                (
                    path
                    for path in space.candidates(module)
                    if os.path.isfile(os.path.join(project.root, path))
                ),
                None,
            )
        return paths[module]

    def imports_of(module: str) -> tuple[ImportFact, ...] | None:
        if module not in facts:
            path = path_of(module)
            facts[module] = _read(project.root, path, module) if path else None
        return facts[module]

    found = {}
    for module in modules:
        reached = closure([module], imports_of).modules
        found[module] = sorted(path for path in map(path_of, reached) if path)
    return found


def _read(root: str, path: str, module: str) -> tuple[ImportFact, ...]:
    try:
        with open(os.path.join(root, path), "rb") as file:
            data = file.read()
    except OSError:
        return ()
    read = read_imports(data, module=module, path=path, is_package=path.endswith("__init__.py"))
    return () if isinstance(read, Broken) else read
