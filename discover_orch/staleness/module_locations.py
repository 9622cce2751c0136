"""Where Python's import system finds the modules of a project, and which names to look up again when a file comes or
goes. Looks at the disk; never imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from msgspec import Struct

from discover_orch.config.project import Project, module_folders
from discover_orch.model.conventions import CONF_MODULE
from discover_orch.source.imports import with_packages


class Location(Struct, frozen=True, kw_only=True):
    """Where a module is: in the file `path`, in folders without `__init__`, or nowhere (None).

    Its submodules are looked up in `places`, prefixes of paths. `missing` as of `ImportReach`.
    """

    path: str | None
    places: tuple[str, ...]
    missing: tuple[str, ...]


_NOWHERE = Location(path=None, places=(), missing=())


class ModuleLocations:
    """The names that were looked up."""

    def __init__(self, project: Project) -> None:
        self._root = project.root
        entries = module_folders(project)
        self._entries = tuple("" if one == "." else one + "/" for one in entries)
        self._locations: dict[str, Location] = {}
        #: For each path the names whose location depends on it: the file or folders taken, and what is missing.
        self._dependents: dict[str, set[str]] = {}

    def locate(self, name: str) -> Location:
        """Where the import system finds the name; its packages first."""
        known = self._locations.get(name)
        if known is None and name[:1] == "/":  # as of `path_module`
            path = f"{name[1:]}.py"
            is_file = os.path.isfile(self._full(path))
            known = self._note(
                name,
                Location(
                    path=path if is_file else None, places=(), missing=() if is_file else (path,)
                ),
            )
        if known is None:
            package, _, last = name.rpartition(".")
            if package:
                places = self.locate(package).places
            elif name in sys.builtin_module_names:
                places = ()  # no file comes before these
            elif name == CONF_MODULE:
                places = (
                    "",
                    *self._entries,
                )  # it is loaded from the root, whatever `pythonpath` says
            else:
                places = self._entries
            is_sane = last and "/" not in last and "\0" not in last
            known = self._search(last, places) if is_sane and places else _NOWHERE
            self._note(name, known)
        return known

    def _note(self, name: str, location: Location) -> Location:
        self._locations[name] = location
        for rest in (location.path, *location.places, *location.missing):
            if rest is not None:
                self._dependents.setdefault(rest, set()).add(name)
        return location

    def _search(self, last: str, places: Iterable[str]) -> Location:
        """Follows `importlib.machinery.FileFinder`: the first place with a package or a module counts, and in one
        place the package; folders without `__init__` count only where no place has either."""
        missing: list[str] = []
        folders: list[str] = []
        absent: list[str] = []
        inside: tuple[str, ...] = ()
        for place in places:
            base = place + last
            start, path = base + "/__init__.py", base + ".py"
            is_folder = os.path.isdir(self._full(base))
            if is_folder and os.path.isfile(self._full(start)):
                taken, inside = start, (base + "/",)
                break
            # Outside the root is only what is installed in editable form: who adds to that installs it.
            is_outside = place.startswith("../")
            if not is_outside:
                missing.append(start)
            if os.path.isfile(self._full(path)):
                taken = path
                break
            if not is_outside:
                missing.append(path)
            if is_folder:
                folders.append(base + "/")
            elif not is_outside:
                absent.append(base + "/")
        else:
            return Location(path=None, places=tuple(folders), missing=(*missing, *absent))
        return Location(path=taken, places=inside, missing=tuple(missing))

    def names_at(self, path: str) -> set[str]:
        """The names under which the file is found."""
        names = self._dependents.get(path, ())
        return {
            name
            for name in names
            if (location := self._locations.get(name)) is not None and location.path == path
        }

    def find_moved(self, path: str, exists: bool) -> set[str]:
        """The names to look up again, since the file was added or removed, and those of their submodules."""
        found = set()
        for name in self._dependents.get(path, ()):
            location = self._locations[name]
            if (path in location.missing) if exists else (location.path == path):
                found.add(name)
        for folder in folders_above(path):
            for name in self._dependents.get(folder, ()):
                if (folder in self._locations[name].missing) == os.path.isdir(self._full(folder)):
                    found.add(name)
        if found:
            found |= {
                name
                for name in self._locations
                if any(package in found for package in with_packages(name))
            }
            for name in found:
                location = self._locations.pop(name)
                for rest in (location.path, *location.places, *location.missing):
                    if rest is not None:
                        self._dependents[rest].discard(name)
        return found

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path)


def folders_above(path: str) -> Iterator[str]:
    """`a/` and `a/b/` for `a/b/c`."""
    position = path.find("/")
    while position >= 0:
        yield path[: position + 1]
        position = path.find("/", position + 1)
