"""The project files whose change makes a tool stale: its module and all that it imports.

In: a project; then, path by path, that a file may have changed. Out: what a file says (`SourceFile`), and for each
module how far it reaches. Remembers all that it read: a file is parsed again only when its bytes differ, and
what was found of the others is kept. Names are looked up as Python's own import system does it. Reads and
parses, never imports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.project import Project
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
from discover_orch.staleness.affected import ImportReach

#: Modules that do something when they are imported, or that no spare can use.
NEVER_PRELOADED = frozenset(
    {
        *("__future__", "__main__", "antigravity", "discover_orch", "idlelib", "this"),
        *("tkinter", "turtle"),
    }
)
#: What moves the places where Python looks for modules, or goes past them: then any module may be meant.
_MOVES_PLACES = (
    *(b"sys.path", b"__path__", b"from sys import", b"spec_from_file_location"),
    *(b"SourceFileLoader", b"runpy", b"pkgutil"),
)
_DEPENDS_ON_ITS_NAME = re.compile(
    rb"\bfrom\s*(?:\\\s*)?\.|\bimport_module\b|\b__import__\b|__all__"
)
_TAG = b"ORCH"
_WORDS = tuple(word.encode() for word in DYNAMIC)


class SourceFile(Struct, frozen=True, kw_only=True):
    """A file as it was last read. `hash` is that of the bytes ("" where they cannot be had); a file with a
    `problem` has no `meaning`, and the imports of its last good text. `effect` is the meaning less what only
    says how a tool is run."""

    path: str
    module: str
    hash: str
    meaning: str
    effect: str = ""
    imports: tuple[ImportFact, ...] = ()
    problem: Problem | None = None


class _File(Struct, frozen=True, kw_only=True):
    """What is remembered of a file. `edges` is all of it that counts for how far its modules reach."""

    source: SourceFile
    data: bytes | None
    has_unread: bool
    edges: tuple[object, ...]


class _Location(Struct, frozen=True, kw_only=True):
    """Where a name was found: in `path`, or as folders without `__init__`, or nowhere.

    Its modules are looked up in `places`, prefixes of paths. `missing` as of `ImportReach`.
    """

    path: str | None
    places: tuple[str, ...]
    missing: tuple[str, ...]


class _ModuleImports(Struct, frozen=True, kw_only=True):
    """What one module imports by itself. `names` are all that were looked up for it."""

    names: tuple[str, ...]
    modules: tuple[str, ...]
    missing: frozenset[str]
    has_unread: bool


class _Reached(Struct, frozen=True, kw_only=True):
    """How far one module reaches, and the `names` on which that rests."""

    reach: ImportReach
    names: frozenset[str]


_NOWHERE = _Location(path=None, places=(), missing=())


class ImportGraph:
    """All files of a project that anybody asked about, as they were when last read."""

    def __init__(self, project: Project) -> None:
        self._root = project.root
        self._space = PythonPath(project)
        entries = [os.path.normpath(entry) for entry in project.pythonpath]
        self._entries = tuple(dict.fromkeys("" if one == "." else one + "/" for one in entries))
        self._files: dict[str, _File | None] = {}
        self._good: dict[str, _File] = {}
        self._signatures: dict[str, str] = {}
        self._spots: dict[str, _Location] = {}
        #: Names by what their spot rests on: the file taken, folders taken, what is missing.
        self._rests: dict[str, set[str]] = {}
        #: Imports under another name than the file's own, by path and name.
        self._others: dict[str, dict[str, tuple[ImportFact, ...]]] = {}
        self._steps: dict[str, _ModuleImports] = {}
        self._found: dict[str, _Reached] = {}

    def read(self, path: str) -> SourceFile | None:
        """What the file says, from memory where it was read before; None where it is no regular file."""
        file = self._file(path)
        return None if file is None else file.source

    def refresh(self, path: str) -> SourceFile | None:
        """The same as the file is now. What depended on it is forgotten only where its imports, or whether
        it is there, have changed. A path that is no Python file counts too: it may make or end a folder."""
        old = self._files.get(path)
        new = self._load(path, old) if path.endswith(".py") else None
        self._files[path] = new
        exists = new is not None or (not path.endswith(".py") and os.path.lexists(self._full(path)))
        changed = self._misplaced(path, exists)
        if new is None or new is not old:
            other_names = self._others.pop(path, None)
            if other_names or _edges(old) != _edges(new):
                changed |= {name for name in self._rests.get(path, ()) if self._is_at(name, path)}
        if changed:
            self._forget(changed)
        return None if new is None else new.source

    def data(self, path: str) -> bytes | None:
        """The bytes as they were last read."""
        file = self._file(path)
        return None if file is None else file.data

    def last_good(self, path: str) -> SourceFile | None:
        """The last text of the file that had no problem, if there was one since orch looks."""
        self._file(path)
        good = self._good.get(path)
        return None if good is None else good.source

    def path_of(self, module: str) -> str | None:
        """The file that Python would take for the module; None where the project has none."""
        for name in with_packages(module):
            spot = self._spot(name)
        return spot.path

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
        """What these modules and all they import ask of others than the project as soon as they are
        imported: (module, names taken from it), in the order of first appearance."""
        wanted: dict[str, dict[str, None]] = {}
        pending = [name for module in reversed(modules) for name in with_packages(module)]
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            path = self._spot(name).path
            if name in seen or path is None:
                continue
            seen.add(name)
            for fact in self._imports(path, name):
                top = fact.module.partition(".")[0]
                if fact.is_lazy or not top or top in NEVER_PRELOADED:
                    continue
                spot = self._spot(top)
                if spot.path is None and not spot.places:
                    names = wanted.setdefault(fact.module, {})
                    names.update((one, None) for one in fact.names if one != "*")
            pending.extend(reversed(self._step(name, path).modules))
        return tuple((module, tuple(names)) for module, names in wanted.items())

    def signature(self, path: str) -> str:
        """The file's signature from just before it was last read: what has changed since has another."""
        self._file(path)
        return self._signatures.get(path, ABSENT)

    def edges(self, path: str) -> str:
        """A hash of what the file, by its own name, asks the import system for. While it is the same, all that
        import the file reach as far as before. As `ImportReach.has_unread` counts, so does it here."""
        file = self._file(path)
        if file is None:
            return ""
        facts = file.source.imports
        marks = (
            file.has_unread or not all(one.module for one in facts),
            file.data is not None and _DEPENDS_ON_ITS_NAME.search(file.data) is not None,
        )
        return content_hash(repr((marks, sorted(set(_names_of(facts))))).encode("utf-8", "replace"))

    def has_other_names(self, path: str) -> bool:
        """Whether any module asked about so far imports the file under another name than its own, and its
        imports depend on that: then `edges` says too little."""
        return path in self._others

    def lookup_dependencies(self, module: str) -> tuple[frozenset[str], frozenset[str]]:
        """What the reach of a module rests on beside `ImportReach.missing`: folders without `__init__` that are looked
        into; and the top-level names that no file of the project has, so that an installed package may."""
        spots = {name: self._spot(name) for name in self._reach(module).names}
        own = {name.partition(".")[0] for name, spot in spots.items() if spot.path is not None}
        folders = {one for spot in spots.values() if spot.path is None for one in spot.places}
        tops = {name for name in spots if name and "." not in name}
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
        """A file without a meaning, with the edges of its last good text."""
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
        """Relative imports depend on the name by which a file is imported, and it can have two: `src.a`
        and `a`, where both the root and `src` are in `pythonpath`."""
        file = self._file(path)
        if file is None:
            return ()
        good = file if file.source.problem is None else self._good.get(path)
        if good is None or good.data is None:
            return file.source.imports
        if module == good.source.module or not _DEPENDS_ON_ITS_NAME.search(good.data):
            return good.source.imports
        others = self._others.setdefault(path, {})
        if module not in others:
            with ignore_warnings():
                others[module] = read_imports(
                    parse(good.data), module=module, is_package=_is_package(path)
                )
        return others[module]

    def _spot(self, name: str) -> _Location:
        """Where the import system would find the name, its packages first."""
        known = self._spots.get(name)
        if known is None:
            package, _, last = name.rpartition(".")
            if package:
                places = self._spot(package).places
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
            known = self._look(last, places) if is_sane and places else _NOWHERE
            self._spots[name] = known
            for rest in (known.path, *known.places, *known.missing):
                if rest is not None:
                    self._rests.setdefault(rest, set()).add(name)
        return known

    def _look(self, last: str, places: Iterable[str]) -> _Location:
        """The rules of `FileFinder`: the first place that has a package or a module wins, in each the
        package before the module; folders without `__init__` count only where none has either."""
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
            missing.append(start)
            if os.path.isfile(self._full(path)):
                taken = path
                break
            missing.append(path)
            (folders if is_folder else absent).append(base + "/")
        else:
            return _Location(path=None, places=tuple(folders), missing=(*missing, *absent))
        return _Location(path=taken, places=inside, missing=tuple(missing))

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path)

    def _step(self, module: str, path: str) -> _ModuleImports:
        known = self._steps.get(module)
        if known is None:
            file = self._file(path)
            facts = self._imports(path, module)
            names = dict.fromkeys(_names_of(facts))
            spots = [(name, self._spot(name)) for name in names]
            known = self._steps[module] = _ModuleImports(
                names=tuple(names),
                modules=tuple(name for name, spot in spots if spot.path is not None),
                missing=frozenset(one for _, spot in spots for one in spot.missing),
                has_unread=not all(one.module for one in facts)
                or (file is not None and file.has_unread),
            )
        return known

    def _reach(self, start: str) -> _Reached:
        known = self._found.get(start)
        if known is not None:
            return known
        names = set(with_packages(start))
        missing = {one for name in names for one in self._spot(name).missing}
        paths: set[str] = set()
        has_unread = False
        seen: set[str] = set()
        pending = [*names]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            path = self._spot(name).path
            if path is None:
                continue
            paths.add(path)
            step = self._step(name, path)
            names.update(step.names)
            missing |= step.missing
            has_unread |= step.has_unread
            pending.extend(step.modules)
        known = self._found[start] = _Reached(
            reach=ImportReach(
                paths=frozenset(paths), missing=frozenset(missing), has_unread=has_unread
            ),
            names=frozenset(names),
        )
        return known

    def _is_at(self, name: str, path: str) -> bool:
        spot = self._spots.get(name)
        return spot is not None and spot.path == path

    def _misplaced(self, path: str, exists: bool) -> set[str]:
        """The names that are to be looked up again, now that the file is there, or is not; and theirs."""
        found = set()
        for name in self._rests.get(path, ()):
            spot = self._spots[name]
            if (path in spot.missing) if exists else (spot.path == path):
                found.add(name)
        position = path.find("/")
        while position >= 0:
            folder = path[: position + 1]
            for name in self._rests.get(folder, ()):
                if (folder in self._spots[name].missing) == os.path.isdir(self._full(folder)):
                    found.add(name)
            position = path.find("/", position + 1)
        if found:
            found |= {
                name
                for name in self._spots
                if any(package in found for package in with_packages(name))
            }
            for name in found:
                spot = self._spots.pop(name)
                for rest in (spot.path, *spot.places, *spot.missing):
                    if rest is not None:
                        self._rests[rest].discard(name)
        return found

    def _forget(self, names: set[str]) -> None:
        """What rests on these names, or on what the modules of these names import."""
        self._steps = {
            module: step
            for module, step in self._steps.items()
            if module not in names and names.isdisjoint(step.names)
        }
        self._found = {
            module: found for module, found in self._found.items() if names.isdisjoint(found.names)
        }


def project_sources(project: Project, modules: Sequence[str]) -> dict[str, list[str]]:
    """Sorted paths for each module; a file that cannot be parsed ends its branch, and is named."""
    sources = ImportGraph(project)
    return {module: sorted(sources.reach([module]).paths) for module in modules}


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
