"""The code of each tool: its module and all project files that it imports, directly or not, and what each one means.

Names are looked up on the disk as Python's import system does it. A watch says which files may have changed; any other
command looks at each file once. Reads and parses; never imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from discover_orch.config.project import Project, module_folders
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.discovery.tree import ABSENT
from discover_orch.model.conventions import CONF_MODULE, SQL_SUFFIX
from discover_orch.model.graph import components
from discover_orch.model.pieces import Pieces
from discover_orch.source.source_file import SourceFile, with_packages

#: Modules that do something when they are imported, or that a warm worker cannot use.
NEVER_PRELOADED = frozenset(
    {
        *("__future__", "__main__", "antigravity", "discover_orch", "idlelib", "this"),
        *("tkinter", "turtle"),
    }
)
_GONE = SourceFile("")  # it was removed just now


class CodeState(Struct, frozen=True, kw_only=True):
    """What the code that a module reaches is at one time. Paths are relative to the root.

    `meanings` has the hash of the syntax tree of each file, or of its bytes where it cannot be parsed; `hashes` has
    that of the bytes. Both are "" where it cannot be read. `third_party` are the top-level names that are imported, in
    functions too, and that neither the project nor the standard library has. `pieces` are those of the files that are
    divided into pieces.
    """

    meanings: Mapping[str, str]
    hashes: Mapping[str, str]
    third_party: frozenset[str] = frozenset()
    pieces: Mapping[str, Pieces] = {}


class ImportGraph:
    """The modules of a project that were asked for, and those that they import. `files` are their files."""

    def __init__(self, project: Project, files: SourceFiles | None = None) -> None:
        """`files` are those of a scan that was just made."""
        self._root = project.root
        self.files = files or SourceFiles(project)
        there = {path for path, one in self.files.marks.items() if one != ABSENT}
        self._locations = ModuleLocations(project, there)
        #: Of each module: those of the project that it imports by itself, and the files that it reaches with them.
        self._imports: dict[str, tuple[str, ...]] = {}
        self._reached: dict[str, frozenset[str]] = {}
        #: The top-level names that each file imports, without those of the standard library.
        self._outside: dict[str, set[str]] = {}
        self._adders: set[str] = set()  # files that add folders to `sys.path`
        #: What `read_code` has read, tolerantly or not.
        self._states: dict[bool, dict[str, CodeState]] = {False: {}, True: {}}
        self._asked_for: set[str] = set()

    @property
    def missing(self) -> frozenset[str]:
        """The paths that would change what is imported if they appeared, as in `ModuleLocations`."""
        return frozenset(self._locations.missing)

    def is_missing(self, path: str) -> bool:
        return path in self._locations.missing

    def read_code(
        self, modules: Iterable[str], *, is_tolerant: bool = False
    ) -> dict[str, CodeState]:
        """The code of each module, in this order. `is_tolerant`: a file that cannot be parsed now means what it did
        when it last could be."""
        modules = [*modules]
        if self._asked_for and not self._asked_for.issuperset(modules):
            self._forget_locations()  # a tool may have made a module that did not exist
        self._asked_for.update(modules)
        known = self._states[is_tolerant]
        if unread := [module for module in modules if module not in known]:
            known.update(self._read_states(unread, is_tolerant=is_tolerant))
        return {module: known[module] for module in modules}

    def _read_states(
        self, modules: Collection[str], *, is_tolerant: bool
    ) -> Iterator[tuple[str, CodeState]]:
        self._find_reach(modules)
        reached = {module: self._gather(module) for module in modules}
        paths = frozenset[str]().union(*reached.values())
        files = {path: self.files.read(path) or _GONE for path in paths}
        hashes = {path: file.hash for path, file in files.items()}
        meanings = {
            path: file.meaning if is_tolerant and file.meaning else file.version
            for path, file in files.items()
        }
        pieces = {
            path: file.pieces
            for path, file in files.items()
            if file.pieces is not None and (is_tolerant or file.problem is None)
        }
        strangers = {path for path in paths if self._outside[path]}
        for module, paths in reached.items():
            outside = (self._outside[path] for path in paths & strangers)
            yield (
                module,
                CodeState(
                    meanings={path: meanings[path] for path in paths},
                    hashes={path: hashes[path] for path in paths},
                    third_party=frozenset[str]().union(*outside),
                    pieces={path: pieces[path] for path in paths if path in pieces},
                ),
            )

    def reach(self, module: str) -> frozenset[str]:
        """The paths of the module and of all project files that it imports, directly or not."""
        self._find_reach((module,))
        return self._gather(module)

    def _gather(self, module: str) -> frozenset[str]:
        """The same, once it was found."""
        starts = self._find_own((module,))
        found = frozenset[str]().union(*(self._reached[name] for name in starts))
        return found if self._adders.isdisjoint(found) else self._with_folders(found)

    def _with_folders(self, paths: frozenset[str]) -> frozenset[str]:
        """With the modules in the folders that this code adds to `sys.path`, and what these import. One with the name
        of another module counts beside it."""
        files = [file for path in paths if (file := self.files.read(path)) is not None]
        folders = {folder for file in files for folder in file.folders}
        names = {name for path in paths for name in self.files.names(path)}
        names -= sys.stdlib_module_names
        modules = [
            f"{folder and '/'}{folder}/{name.replace('.', '/')}{ending}"
            for folder in sorted(folders)
            for name in sorted(names)
            for ending in ("", "/__init__")
        ]
        there = [one for one in modules if self._locations[one].path is not None]
        self._find_reach(there)
        found = paths.union(*(self._reached[one] for one in there))
        return found if found == paths else self._with_folders(found)

    def refresh(self, paths: Iterable[str]) -> None:
        """These files may have changed, come or gone; a path that ends in `/` is a folder."""
        for path in paths:
            old, new = self.files.known(path), self.files.refresh(path)
            has_moved = (old is None) != (new is None) or path in self._locations.missing
            imports_other = new is not None and (
                old is None or (old.imports, old.folders) != (new.imports, new.folders)
            )
            if has_moved or imports_other or path.endswith("/"):
                self._forget_locations()
            for states in self._states.values():
                for module in [one for one, state in states.items() if path in state.meanings]:
                    del states[module]

    def third_party(self, modules: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What these modules, and all that they import, take from modules outside the project when they are imported:
        (module, names), in the order of first appearance."""
        wanted: dict[str, dict[str, None]] = {}
        pending = self._find_own(modules)[::-1]
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            file = self.files.read(self._path(name))
            for fact in file.imports if file else ():
                top = fact.module.partition(".")[0]
                if fact.is_lazy or not top or top in NEVER_PRELOADED:
                    continue  # a relative one is of the project
                location = self._locations[top]
                if location.path is None and not location.places:
                    names = wanted.setdefault(fact.module, {})
                    names.update((one, None) for one in fact.names if one != "*")
            pending.extend(reversed(self._imports_of(name)))
        return tuple((module, tuple(names)) for module, names in wanted.items())

    def _find_reach(self, modules: Iterable[str]) -> None:
        """Modules that import each other reach the same files; any other one reaches its own file and all that its
        imports reach."""
        edges: dict[str, list[str]] = {}
        pending = [name for name in self._find_own(modules) if name not in self._reached]
        while pending:
            level = [*dict.fromkeys(pending)]
            for name in level:
                edges[name] = [one for one in self._imports_of(name) if one not in self._reached]
            pending = [one for name in level for one in edges[name] if one not in edges]
        for group in components(edges, edges):
            inside = frozenset(group)
            others = {one for name in group for one in self._imports[name]} - inside
            paths = frozenset(map(self._path, group))
            paths = paths.union(*(self._reached[one] for one in others))
            self._reached.update(dict.fromkeys(group, paths))

    def _find_own(self, modules: Iterable[str]) -> list[str]:
        """These modules and their packages, without those that have no file; of a tool in SQL its file."""
        locations = self._locations
        names = dict.fromkeys(name for module in modules for name in locations.find_start(module))
        return [name for name in names if locations[name].path is not None]

    def _imports_of(self, module: str) -> tuple[str, ...]:
        known = self._imports.get(module)
        if known is None:
            path, locations = self._path(module), self._locations
            names = self.files.names(path, module)
            known = tuple([name for name in names if locations[name].path is not None])
            self._imports[module] = known
            file = self.files.read(path) or _GONE
            if file.folders:
                self._adders.add(path)
            tops = {fact.module.partition(".")[0] for fact in file.imports}
            # What orch itself requires concerns no tool.
            own = {
                "",
                "discover_orch",
                *(name.partition(".")[0] for name in known),
            }  # "" of relative imports
            self._outside[path] = tops - own - sys.stdlib_module_names
        return known

    def _path(self, module: str) -> str:
        """The file of a module that has one."""
        path = self._locations[module].path
        assert path is not None, module
        return path

    def _forget_locations(self) -> None:
        self._locations.forget()
        self._imports.clear()
        self._adders.clear()
        self._reached.clear()
        for states in self._states.values():
            states.clear()


def project_sources(
    project: Project, starts: Mapping[str, Sequence[str]], files: SourceFiles
) -> dict[str, list[str]]:
    """For each tool the sorted paths of all that its code imports, from the modules that it starts from. A file that
    cannot be parsed ends its branch, and is named."""
    graph = ImportGraph(project, files)
    return {
        tool: sorted({path for module in modules for path in graph.reach(module)})
        for tool, modules in starts.items()
    }


# Where Python finds a module.


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

    def find_start(self, module: str) -> Iterable[str]:
        """The module and its packages; where no Python file has its name, the SQL file that has it, as `path_module`
        names it."""
        if module[:1] != "/" and self[module].path is None:
            inside = module.replace(".", "/") + SQL_SUFFIX
            for name in (f"/{entry}{inside}" for entry in self._entries):
                if self[name].path is not None:
                    return (name,)
        return with_packages(module)

    def __missing__(self, name: str) -> Location:
        found = self[name] = self._find(name)
        return found

    def _find(self, name: str) -> Location:
        if name[:1] == "/":  # as of `path_module`
            path = name[1:] if name.endswith(SQL_SUFFIX) else f"{name[1:]}.py"
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
