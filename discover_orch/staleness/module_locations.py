"""Where Python's import system finds the modules of a project. Looks at the disk; never imports."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable

from msgspec import Struct

from discover_orch.config.project import Project, module_folders
from discover_orch.model.conventions import CONF_MODULE


class Location(Struct, frozen=True, kw_only=True):
    """Where a module is: in the file `path`, in folders without `__init__`, or nowhere (None).

    Its submodules are looked up in `places`, prefixes of paths.
    """

    path: str | None = None
    places: tuple[str, ...] = ()


_NOWHERE = Location()


class ModuleLocations(dict[str, Location]):
    """Where the import system finds each name that was looked up, and the packages before it; `[name]` looks it up.

    `missing` are the paths that would change where one of them is if they appeared: those of modules that the project
    does not have, and those that would be found first. One that ends in `/` is a folder that does not exist: any file
    in it makes it a package.
    """

    def __init__(self, project: Project, files: Container[str] = ()) -> None:
        """`files` are known to exist, so that the system is not asked for them."""
        super().__init__()
        self._files = files
        self._start = project.root.rstrip("/") + "/"
        entries = module_folders(project)
        self._entries = tuple("" if one == "." else one + "/" for one in entries)
        self.missing: set[str] = set()

    def forget(self) -> None:
        """Files have come or gone."""
        self._files = ()
        self.clear()
        self.missing.clear()

    def __missing__(self, name: str) -> Location:
        found = self[name] = self._find(name)
        return found

    def _find(self, name: str) -> Location:
        if name[:1] == "/":  # as of `path_module`
            path = f"{name[1:]}.py"
            if os.path.isfile(self._full(path)):
                return Location(path=path)
            self.missing.add(path)
            return _NOWHERE
        package, _, last = name.rpartition(".")
        if package:
            places = self[package].places
        elif name in sys.builtin_module_names:
            places = ()  # no file comes before these
        elif name == CONF_MODULE:
            # It is loaded from the root, whatever `pythonpath` says.
            places = ("", *self._entries)
        else:
            places = self._entries
        is_sane = last and "/" not in last and "\0" not in last
        return self._search(last, places) if is_sane and places else _NOWHERE

    def _search(self, last: str, places: Iterable[str]) -> Location:
        """Follows `importlib.machinery.FileFinder`: the first place with a package or a module counts, and in one
        place the package; folders without `__init__` count only where no place has either."""
        folders: list[str] = []
        absent: list[str] = []
        for place in places:
            base = place + last
            start, path = base + "/__init__.py", base + ".py"
            if path in self._files and not self._exists(start):
                self.missing.add(start)
                return Location(path=path)
            is_folder = self._exists(base) and os.path.isdir(self._full(base))
            if is_folder and os.path.isfile(self._full(start)):
                return Location(path=start, places=(base + "/",))
            # Outside the root is only what is installed in editable form: who adds to that installs it.
            is_outside = place.startswith("../")
            if not is_outside:
                self.missing.add(start)
            if self._exists(path) and os.path.isfile(self._full(path)):
                return Location(path=path)
            if not is_outside:
                self.missing.add(path)
            if is_folder:
                folders.append(base + "/")
            elif not is_outside:
                absent.append(base + "/")
        self.missing.update(absent)
        return Location(places=tuple(folders))

    def _exists(self, path: str) -> bool:
        """Most paths do not, and a stat that raises takes longer."""
        try:
            return os.access(self._full(path), os.F_OK)
        except ValueError:  # a name that no file can have
            return False

    def _full(self, path: str) -> str:
        return self._start + path  # `os.path.join` takes a third of the time of a lookup
