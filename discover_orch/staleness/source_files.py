"""The Python files of a project that were asked for, as they were last read: what they mean, and what they import.

A file that may have changed is read again, and parsed only where its bytes differ. Reads and parses; never imports.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

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


class SourceFiles:
    """Paths are relative to the root."""

    def __init__(self, project: Project) -> None:
        self._root = project.root
        self._space = PythonPath(project)
        self._files: dict[str, _File | None] = {}
        self._good: dict[str, _File] = {}
        self._signatures: dict[str, str] = {}
        #: Imports under another name than the file's own, by path and name.
        self._imports_by_name: dict[str, dict[str, tuple[ImportFact, ...]]] = {}

    def read(self, path: str) -> SourceFile | None:
        """The file as it was last read; None where it is no regular file."""
        file = self._file(path)
        return None if file is None else file.source

    def refresh(self, path: str) -> bool:
        """Read the file as it is now. Whether it may import something else than before."""
        old = self._files.get(path)
        new = self._load(path, old) if path.endswith(".py") else None
        self._files[path] = new
        if new is not None and new is old:
            return False
        has_other_names = bool(self._imports_by_name.pop(path, None))
        return has_other_names or _edges(old) != _edges(new)

    def has_unread(self, path: str) -> bool:
        """Whether it may import any module, since it changes where Python looks for them."""
        file = self._file(path)
        return file is not None and file.has_unread

    def data(self, path: str) -> bytes | None:
        """The bytes as they were last read."""
        file = self._file(path)
        return None if file is None else file.data

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
        return content_hash(repr((traits, sorted(set(names_of(facts))))).encode("utf-8", "replace"))

    def has_other_names(self, path: str) -> bool:
        """Whether some module imports the file under another name, and its imports depend on the name. Then `edges`
        does not say enough."""
        return path in self._imports_by_name

    def imports(self, path: str, module: str) -> tuple[ImportFact, ...]:
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

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path)


def names_of(facts: Iterable[ImportFact]) -> Iterator[str]:
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
