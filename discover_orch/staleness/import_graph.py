"""The project files whose change makes a tool stale: its module and all that it imports, directly or not.

`ImportGraph` reads a file again when it is told that the file may have changed, and parses it only where its bytes
differ. Names are looked up as Python's import system does it. Reads and parses; never imports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.project import Project, module_folders
from discover_orch.discovery.parse_files import read_source
from discover_orch.discovery.scanner import PythonPath
from discover_orch.discovery.tree import ABSENT, signature_of
from discover_orch.model.conventions import CONF_FILE, CONF_MODULE
from discover_orch.model.digest import content_hash
from discover_orch.model.errors import Problem
from discover_orch.source.ast_hash import hash_behaviour, hash_module
from discover_orch.source.facts import ImportFact
from discover_orch.source.imports import DYNAMIC, read_imports, with_packages
from discover_orch.source.parse import PARSE_ERRORS, build_problem, ignore_warnings, parse

#: Modules that do something when they are imported, or that a warm worker cannot use.
NEVER_PRELOADED = frozenset(
    {
        *("__future__", "__main__", "antigravity", "discover_orch", "idlelib", "this"),
        *("tkinter", "turtle"),
    }
)
#: Words of code that changes where Python looks for modules, or goes past it: then any module may be imported.
_MOVES_PLACES = (
    *(b"sys.path", b"__path__", b"from sys import", b"spec_from_file_location"),
    *(b"SourceFileLoader", b"runpy", b"pkgutil"),
)
_DEPENDS_ON_ITS_NAME = re.compile(
    rb"\bfrom\s*(?:\\\s*)?\.|\bimport_module\b|\b__import__\b|__all__"
)
_TAG = b"ORCH"
_WORDS = tuple(word.encode() for word in DYNAMIC)


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


class SourceFile(Struct, frozen=True, kw_only=True):
    """A file as it was last read. `hash` is that of the bytes, "" where they cannot be read; `meaning` that of the
    syntax tree; `effect` the same without what only says how a tool is run. A file with a `problem` has no meaning,
    and the imports of the last text that could be parsed."""

    path: str
    module: str
    hash: str
    meaning: str
    effect: str = ""
    imports: tuple[ImportFact, ...] = ()
    problem: Problem | None = None


class _File(Struct, frozen=True, kw_only=True):
    """What is kept of a file. While `edges` is the same, its modules reach the same files."""

    source: SourceFile
    data: bytes | None
    has_unread: bool
    edges: tuple[object, ...]


class _Location(Struct, frozen=True, kw_only=True):
    """Where a module is: in the file `path`, in folders without `__init__`, or nowhere (None).

    Its submodules are looked up in `places`, prefixes of paths. `missing` as of `ImportReach`.
    """

    path: str | None
    places: tuple[str, ...]
    missing: tuple[str, ...]


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


_NOWHERE = _Location(path=None, places=(), missing=())


class ImportGraph:
    """The files of a project that were asked for, as they were last read."""

    def __init__(self, project: Project) -> None:
        self._root = project.root
        self._space = PythonPath(project)
        entries = module_folders(project)
        self._entries = tuple("" if one == "." else one + "/" for one in entries)
        self._files: dict[str, _File | None] = {}
        self._good: dict[str, _File] = {}
        self._signatures: dict[str, str] = {}
        self._locations: dict[str, _Location] = {}
        #: For each path the names whose location depends on it: the file or folders taken, and what is missing.
        self._dependents: dict[str, set[str]] = {}
        #: Imports under another name than the file's own, by path and name.
        self._imports_by_name: dict[str, dict[str, tuple[ImportFact, ...]]] = {}
        self._module_imports: dict[str, _ModuleImports] = {}
        self._reached: dict[str, _Reached] = {}

    def read(self, path: str) -> SourceFile | None:
        """The file as it was last read; None where it is no regular file."""
        file = self._file(path)
        return None if file is None else file.source

    def refresh(self, path: str) -> SourceFile | None:
        """The file as it is now. What depends on it is forgotten only where its imports have changed, or where it
        was added or removed. A path that is no Python file counts too, since it may make or remove a folder."""
        old = self._files.get(path)
        new = self._load(path, old) if path.endswith(".py") else None
        self._files[path] = new
        exists = new is not None or (not path.endswith(".py") and os.path.lexists(self._full(path)))
        changed = self._find_moved(path, exists)
        if new is None or new is not old:
            other_names = self._imports_by_name.pop(path, None)
            if other_names or _edges(old) != _edges(new):
                changed |= {
                    name for name in self._dependents.get(path, ()) if self._is_at(name, path)
                }
        if changed:
            self._forget(changed)
        return None if new is None else new.source

    def data(self, path: str) -> bytes | None:
        """The bytes as they were last read."""
        file = self._file(path)
        return None if file is None else file.data

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
            path = self._locate(name).path
            if name in seen or path is None:
                continue
            seen.add(name)
            for fact in self._imports(path, name):
                top = fact.module.partition(".")[0]
                if fact.is_lazy or not top or top in NEVER_PRELOADED:
                    continue
                location = self._locate(top)
                if location.path is None and not location.places:
                    names = wanted.setdefault(fact.module, {})
                    names.update((one, None) for one in fact.names if one != "*")
            pending.extend(reversed(self._imports_of(name, path).modules))
        return tuple((module, tuple(names)) for module, names in wanted.items())

    def signature(self, path: str) -> str:
        """The signature of the file just before it was last read."""
        self._file(path)
        return self._signatures.get(path, ABSENT)

    def edges(self, path: str) -> str:
        """A hash of the names that the file, under its own name, imports. While it is the same, all modules that
        import the file reach the same files."""
        file = self._file(path)
        if file is None:
            return ""
        facts = file.source.imports
        traits = (
            file.has_unread or not all(one.module for one in facts),
            file.data is not None and _DEPENDS_ON_ITS_NAME.search(file.data) is not None,
        )
        return content_hash(
            repr((traits, sorted(set(_names_of(facts))))).encode("utf-8", "replace")
        )

    def has_other_names(self, path: str) -> bool:
        """Whether some module imports the file under another name, and its imports depend on the name. Then `edges`
        does not say enough."""
        return path in self._imports_by_name

    def lookup_dependencies(self, module: str) -> tuple[frozenset[str], frozenset[str]]:
        """What the reach of a module depends on beside `ImportReach.missing`: the folders without `__init__` that were
        looked into, and the top-level names that the project does not have, so that an installed package may."""
        locations = {name: self._locate(name) for name in self._reach(module).names}
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

    def _file(self, path: str) -> _File | None:
        if path not in self._files:
            self._files[path] = self._load(path, None)
        return self._files[path]

    def _load(self, path: str, old: _File | None) -> _File | None:
        """The file as it is now; `old` itself where the bytes are the same."""
        full = self._full(path)
        self._signatures[path] = signature_of(full)
        data = read_source(self._root, path) if path.endswith(".py") else None
        if data is None:
            return None
        if old is not None and data == (old.source.problem if old.data is None else old.data):
            return old
        if isinstance(data, Problem):
            return self._broken(path, None, data)
        with ignore_warnings():
            try:
                tree = parse(data)
                meaning = hash_module(tree)
                effect = hash_behaviour(tree) if _TAG in data else meaning
                source = SourceFile(
                    path=path,
                    module=self._name(path),
                    hash=content_hash(data),
                    meaning=meaning,
                    effect=effect,
                    imports=read_imports(
                        tree,
                        module=self._name(path),
                        is_package=_is_package(path),
                        with_calls=any(word in data for word in _WORDS),
                    ),
                )
            except PARSE_ERRORS as error:
                return self._broken(path, data, build_problem(error, data, path))
        has_unread = any(word in data for word in _MOVES_PLACES)
        edges = tuple((one.kind, one.module, one.names, one.is_lazy) for one in source.imports)
        file = _File(source=source, data=data, has_unread=has_unread, edges=(has_unread, *edges))
        self._good[path] = file
        return file

    def _broken(self, path: str, data: bytes | None, problem: Problem) -> _File:
        """A file that cannot be parsed, with the edges of the last text that could."""
        good = self._good.get(path)
        if data is not None and b"STAGE" not in data:
            problem = replace(problem, hint="fix the syntax error")  # it is not a tool
        return _File(
            source=SourceFile(
                path=path,
                module=self._name(path),
                hash="" if data is None else content_hash(data),
                meaning="",
                imports=good.source.imports if good else (),
                problem=problem,
            ),
            data=data,
            has_unread=good.has_unread if good else False,
            edges=good.edges if good else (),
        )

    def _name(self, path: str) -> str:
        return self._space.name(path) or (CONF_MODULE if path == CONF_FILE else "")

    def _imports(self, path: str, module: str) -> tuple[ImportFact, ...]:
        """The imports of a file when it is imported as `module`. Relative imports depend on that name, and a file can
        have two: `src.a` and `a`, where both the root and `src` are in `pythonpath`."""
        file = self._file(path)
        if file is None:
            return ()
        good = file if file.source.problem is None else self._good.get(path)
        if good is None or good.data is None:
            return file.source.imports
        if module == good.source.module or not _DEPENDS_ON_ITS_NAME.search(good.data):
            return good.source.imports
        others = self._imports_by_name.setdefault(path, {})
        if module not in others:
            with ignore_warnings():
                others[module] = read_imports(
                    parse(good.data), module=module, is_package=_is_package(path)
                )
        return others[module]

    def _locate(self, name: str) -> _Location:
        """Where the import system finds the name; its packages first."""
        known = self._locations.get(name)
        if known is None:
            package, _, last = name.rpartition(".")
            if package:
                places = self._locate(package).places
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
            self._locations[name] = known
            for rest in (known.path, *known.places, *known.missing):
                if rest is not None:
                    self._dependents.setdefault(rest, set()).add(name)
        return known

    def _search(self, last: str, places: Iterable[str]) -> _Location:
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
            return _Location(path=None, places=tuple(folders), missing=(*missing, *absent))
        return _Location(path=taken, places=inside, missing=tuple(missing))

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path)

    def _imports_of(self, module: str, path: str) -> _ModuleImports:
        known = self._module_imports.get(module)
        if known is None:
            file = self._file(path)
            facts = self._imports(path, module)
            names = dict.fromkeys(_names_of(facts))
            locations = [(name, self._locate(name)) for name in names]
            known = self._module_imports[module] = _ModuleImports(
                names=tuple(names),
                modules=tuple(name for name, location in locations if location.path is not None),
                missing=frozenset(one for _, location in locations for one in location.missing),
                has_unread=not all(one.module for one in facts)
                or (file is not None and file.has_unread),
            )
        return known

    def _reach(self, start: str) -> _Reached:
        known = self._reached.get(start)
        if known is not None:
            return known
        names = set(with_packages(start))
        missing = {one for name in names for one in self._locate(name).missing}
        paths: set[str] = set()
        has_unread = False
        seen: set[str] = set()
        pending = [*names]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            path = self._locate(name).path
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

    def _is_at(self, name: str, path: str) -> bool:
        location = self._locations.get(name)
        return location is not None and location.path == path

    def _find_moved(self, path: str, exists: bool) -> set[str]:
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


def folders_above(path: str) -> Iterator[str]:
    """`a/` and `a/b/` for `a/b/c`."""
    position = path.find("/")
    while position >= 0:
        yield path[: position + 1]
        position = path.find("/", position + 1)


def _names_of(facts: Iterable[ImportFact]) -> Iterator[str]:
    """All names that these imports look up, packages before what is in them."""
    for fact in facts:
        if fact.module:
            yield from with_packages(fact.module)
            for name in fact.names:
                if name != "*":
                    yield f"{fact.module}.{name}"


def _edges(file: _File | None) -> tuple[object, ...]:
    return () if file is None else file.edges


def _is_package(path: str) -> bool:
    return path.endswith("__init__.py")
