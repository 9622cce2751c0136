"""The project files whose change makes a tool stale: its module and all that it imports, directly or not.

`ImportGraph` reads a file again when the caller says that it may have changed, and parses it only where its bytes
differ. Names are looked up as Python's import system does it. Reads and parses; never imports.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from discover_orch.config.project import Project
from discover_orch.source.imports import with_packages
from discover_orch.staleness.module_locations import ModuleLocations
from discover_orch.staleness.source_files import SourceFile, SourceFiles, names_of

#: Modules that do something when they are imported, or that a warm worker cannot use.
NEVER_PRELOADED = frozenset(
    {
        *("__future__", "__main__", "antigravity", "discover_orch", "idlelib", "this"),
        *("tkinter", "turtle"),
    }
)


class ImportReach(Struct, frozen=True, kw_only=True):
    """The files that a module imports, directly or not. Paths are relative to the root.

    `paths` are project files that exist. `missing` are paths that would change what is imported if they appeared:
    those of modules that the project does not have, and those that would be found first. One that ends in `/` is a
    folder that does not exist: any file in it makes it a package. `has_unread`: some import could not be read, so that
    any module may be imported.
    """

    paths: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    has_unread: bool = False


class _ModuleImports(Struct, frozen=True, kw_only=True):
    """What one module imports by itself. `names` are all names that were looked up for it."""

    names: tuple[str, ...]
    modules: tuple[str, ...]
    missing: frozenset[str]
    has_unread: bool


class _Reached(Struct, frozen=True, kw_only=True):
    """How far one module reaches, and the `names` that were looked up for that."""

    reach: ImportReach
    names: frozenset[str]


class ImportGraph:
    """The files of a project that were asked for, as they were last read."""

    def __init__(self, project: Project) -> None:
        self._root = project.root
        self.files = SourceFiles(project)
        self._locations = ModuleLocations(project)
        self._module_imports: dict[str, _ModuleImports] = {}
        self._reached: dict[str, _Reached] = {}

    def read(self, path: str) -> SourceFile | None:
        """The file as it was last read; None where it is no regular file."""
        return self.files.read(path)

    def refresh(self, path: str) -> SourceFile | None:
        """The file as it is now. What depends on it is forgotten only where its imports have changed, or where it
        was added or removed. A path that is no Python file counts too, since it may make or remove a folder."""
        has_other_imports = self.files.refresh(path)
        new = self.files.read(path)
        exists = new is not None or (
            not path.endswith(".py") and os.path.lexists(os.path.join(self._root, path))
        )
        changed = self._locations.find_moved(path, exists)
        if has_other_imports:
            changed |= self._locations.names_at(path)
        if changed:
            self._forget(changed)
        return new

    def reach(self, modules: Sequence[str]) -> ImportReach:
        """How far these modules reach together, themselves included."""
        found = [self._reach(module).reach for module in modules]
        if len(found) == 1:
            return found[0]
        return ImportReach(
            paths=frozenset().union(*(one.paths for one in found)),
            missing=frozenset().union(*(one.missing for one in found)),
            has_unread=any(one.has_unread for one in found),
        )

    def third_party(self, modules: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What these modules, and all that they import, take from modules outside the project when they are imported:
        (module, names), in the order of first appearance."""
        wanted: dict[str, dict[str, None]] = {}
        pending = [name for module in reversed(modules) for name in with_packages(module)]
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            path = self._locations.locate(name).path
            if name in seen or path is None:
                continue
            seen.add(name)
            for fact in self.files.imports(path, name):
                top = fact.module.partition(".")[0]
                if fact.is_lazy or not top or top in NEVER_PRELOADED:
                    continue
                location = self._locations.locate(top)
                if location.path is None and not location.places:
                    names = wanted.setdefault(fact.module, {})
                    names.update((one, None) for one in fact.names if one != "*")
            pending.extend(reversed(self._imports_of(name, path).modules))
        return tuple((module, tuple(names)) for module, names in wanted.items())

    def lookup_dependencies(self, module: str) -> tuple[frozenset[str], frozenset[str]]:
        """What the reach of a module depends on beside `ImportReach.missing`: the folders without `__init__` that were
        looked into, and the top-level names that the project does not have, so that an installed package may."""
        locations = {name: self._locations.locate(name) for name in self._reach(module).names}
        own = {
            name.partition(".")[0]
            for name, location in locations.items()
            if location.path is not None
        }
        folders = {
            one
            for location in locations.values()
            if location.path is None
            for one in location.places
        }
        tops = {name for name in locations if name and "." not in name}
        return frozenset(folders), frozenset(tops - own)

    def _imports_of(self, module: str, path: str) -> _ModuleImports:
        known = self._module_imports.get(module)
        if known is None:
            facts = self.files.imports(path, module)
            names = dict.fromkeys(names_of(facts))
            locations = [(name, self._locations.locate(name)) for name in names]
            known = self._module_imports[module] = _ModuleImports(
                names=tuple(names),
                modules=tuple(name for name, location in locations if location.path is not None),
                missing=frozenset(one for _, location in locations for one in location.missing),
                has_unread=not all(one.module for one in facts) or self.files.has_unread(path),
            )
        return known

    def _reach(self, start: str) -> _Reached:
        known = self._reached.get(start)
        if known is not None:
            return known
        names = set(with_packages(start))
        missing = {one for name in names for one in self._locations.locate(name).missing}
        paths: set[str] = set()
        has_unread = False
        seen: set[str] = set()
        pending = [*names]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            path = self._locations.locate(name).path
            if path is None:
                continue
            paths.add(path)
            step = self._imports_of(name, path)
            names.update(step.names)
            missing |= step.missing
            has_unread |= step.has_unread
            pending.extend(step.modules)
        known = self._reached[start] = _Reached(
            reach=ImportReach(
                paths=frozenset(paths), missing=frozenset(missing), has_unread=has_unread
            ),
            names=frozenset(names),
        )
        return known

    def _forget(self, names: set[str]) -> None:
        """Forgets what depends on these names, or on what the modules of these names import."""
        self._module_imports = {
            module: step
            for module, step in self._module_imports.items()
            if module not in names and names.isdisjoint(step.names)
        }
        self._reached = {
            module: found
            for module, found in self._reached.items()
            if names.isdisjoint(found.names)
        }


def project_sources(project: Project, modules: Sequence[str]) -> dict[str, list[str]]:
    """Sorted paths for each module; a file that cannot be parsed ends its branch, and is named."""
    sources = ImportGraph(project)
    return {module: sorted(sources.reach([module]).paths) for module in modules}
