"""What the code of each tool means now: a hash of the syntax tree of every project file that its module reaches.

`ImportGraph` parses files to find this out; here it is kept from one command to the next. A file is read again only
where its signature has changed, and parsed only where its bytes have. Imports nothing of the user's, and loads no
parser where nothing has changed.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from discover_orch import __version__
from discover_orch.config.project import Project, module_folders
from discover_orch.discovery.tree import ABSENT, is_racy, signature_of
from discover_orch.model.digest import content_hash
from discover_orch.state.store import FOLDER, open_nonblocking, read_sealed, write_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.staleness.import_graph import ImportGraph

_KIND = "code 3"
#: Before a signature, so that it matches none: the file may change again with the same one, or could not be read.
_UNSURE = "?"
#: When so many paths in one folder are asked for, listing the folder is faster than asking for each.
_MANY = 50
_NOTHING: Mapping[str, str] = {}


class CodeState(Struct, frozen=True, kw_only=True):
    """What the code of one tool is now. Paths are relative to the root.

    `meanings` has the hash of the syntax tree of each file that the tool reaches, "" where it cannot be read or
    parsed; `hashes` those of the bytes, "" where they cannot be read. `missing` and `has_unread` are as of
    `ImportReach`. `third_party` are the top-level names that are imported, in functions too, and that neither the
    project nor the standard library has.
    """

    meanings: Mapping[str, str]
    hashes: Mapping[str, str]
    missing: tuple[str, ...]
    third_party: tuple[str, ...]
    has_unread: bool


#: Of a file: its signature, the hash of its bytes, the hash of its syntax tree, and what it imports
#: (`ImportGraph.edges`, or "" where that does not say enough).
_File = tuple[str, str, str, str]
#: Of a module: the paths that it reaches, `missing`, the folders that were looked into, `third_party`, `has_unread`.
_Tool = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...], bool]


class _Document(Struct, frozen=True, kw_only=True):
    """The kept form. `files` are those of the first `names`; tools refer to names by their place, since most names
    stand in many tools."""

    key: list[object]
    names: list[str]
    files: list[_File]
    tools: dict[str, tuple[list[int], list[int], list[int], list[int], bool]]


class CodeIndex:
    """What is known of the files of a project and of the imports of its modules, brought up to date by `read`."""

    def __init__(
        self,
        project: Project,
        signatures: Mapping[str, str] = _NOTHING,
        sources: ImportGraph | None = None,
    ) -> None:
        """`signatures` are those of a scan that was just made; `sources` is an `ImportGraph` that is kept anyway."""
        self._sources = sources
        self._project, self._root, self._signatures = project, project.root, signatures
        self.has_changed = False
        #: By path and by module.
        self._files, self._tools = _load(project)

    def read(self, modules: Sequence[str]) -> dict[str, CodeState]:
        """The code of each module, in this order. `orchconf` is a module too."""
        started = time.time_ns()
        outdated, changed = self._compare(modules, started)
        if outdated or changed:
            kept = () if self._sources is None else self._tools
            self._read_again((*modules, *kept), outdated, changed, started)
        return self.states(modules)

    def states(self, modules: Iterable[str]) -> dict[str, CodeState]:
        """The code of modules that were read before, as it was when it was last brought up to date."""
        files = self._files
        codes = {}
        for module in modules:
            paths, missing, _, third_party, has_unread = self._tools[module]
            codes[module] = CodeState(
                meanings={path: files[path][2] for path in paths},
                hashes={path: files[path][1] for path in paths},
                missing=missing,
                third_party=third_party,
                has_unread=has_unread,
            )
        return codes

    def refresh(self, paths: Iterable[str]) -> set[str]:
        """Bring these files alone up to date, there or not. Returns the modules that have another code now, or may
        have."""
        from discover_orch.staleness.module_locations import folders_above

        assert self._sources is not None
        started = time.time_ns()
        files, places = self._files, {*paths}
        for path in paths:
            self._sources.refresh(path)
            places.update(folders_above(path))
        there = self._find_there(places)
        before = {path: files[path][2] for path in places & files.keys()}
        gone = {*before} - there
        changed = {path for path in before.keys() & there if self._has_changed(path)}
        outdated = self._users(gone) | self._users(there - before.keys(), 1)
        outdated |= self._users(places - there, 2)
        if outdated or changed:
            self._read_again((*self._tools,), outdated, changed, started)
        for path in gone:
            files.pop(path, None)  # so that it is looked up again if it comes back
        others = [path for path in changed if files[path][2] != before[path]]
        return outdated | self._users(others)

    def is_new(self, module: str) -> bool:
        """Whether it was not read yet."""
        return module not in self._tools

    def meaning(self, path: str) -> str | None:
        """The hash of its syntax tree; None for a file that no module has reached."""
        return self._files[path][2] if path in self._files else None

    def _has_changed(self, path: str) -> bool:
        source = self._sources.read(path) if self._sources else None
        return source is None or source.hash != self._files[path][1]

    def write(self) -> bool:
        """Keeps what is new for the next command; False where it cannot be written.

        Modules that reach a file which no longer exists are left out, since most of them no longer exist either.
        """
        if not self.has_changed:
            return True
        lost = self._users(self._files.keys() - self._find_there(self._files))
        tools = {module: tool for module, tool in self._tools.items() if module not in lost}
        names = dict.fromkeys(path for tool in tools.values() for path in tool[0])
        files = [self._files[path] for path in names]
        numbers = {name: number for number, name in enumerate(names)}

        def numbered(part: Iterable[str]) -> list[int]:
            return [numbers.setdefault(name, len(numbers)) for name in part]

        rows = {
            module: (
                numbered(paths),
                numbered(missing),
                numbered(folders),
                numbered(third_party),
                has_unread,
            )
            for module, (paths, missing, folders, third_party, has_unread) in tools.items()
        }
        document = _Document(key=_key(self._project), names=[*numbers], files=files, tools=rows)
        self.has_changed = not write_sealed(_path(self._root), _KIND, document)
        return not self.has_changed

    def _compare(self, modules: Sequence[str], started: int) -> tuple[set[str], set[str]]:
        """The modules that may reach other files now, and the files whose bytes have changed."""
        known = [self._tools[module] for module in modules if module in self._tools]
        outdated = {module for module in modules if module not in self._tools}
        gone, changed = [], set()
        for path in set().union(*[tool[0] for tool in known]):
            signature = self._signatures.get(path, _UNSURE)
            if signature[0] == _UNSURE:
                signature = signature_of(os.path.join(self._root, path))
            file = self._files[path]
            if signature == file[0]:
                continue
            if signature == ABSENT:
                gone.append(path)
            elif _read_hash(os.path.join(self._root, path)) == file[1]:
                self._keep(path, (_kept(signature, file[1], started), *file[1:]))
            else:
                changed.add(path)
        missing = set().union(*[tool[1] for tool in known])
        folders = set().union(*[tool[2] for tool in known])
        moved = self._find_there(missing) | (folders - self._find_there(folders))
        if gone or moved:
            outdated |= self._users(gone) | self._users(moved, 1) | self._users(moved, 2)
        return outdated, changed

    def _read_again(
        self, modules: Sequence[str], outdated: set[str], changed: set[str], started: int
    ) -> None:
        """Where a file imports something else than before, all modules that reach it are computed again, or forgotten
        where they are not asked for now."""
        from discover_orch.staleness.import_graph import (
            ImportGraph,  # loads the parser
        )

        sources = self._sources or ImportGraph(self._project)
        asked, done = {*modules}, set[str]()
        read, fresh = set[str](), {*changed}
        while outdated or fresh:
            for module in sorted(outdated):
                tool = self._tools.pop(module, None)
                if module in asked:
                    self._tools[module] = now = _read_tool(sources, module)
                    fresh.update(path for path in now[0] if path not in read)
                    self.has_changed |= now != tool
                else:
                    self.has_changed = True
            done |= outdated
            read |= fresh
            moved = [path for path in fresh if self._has_other_imports(path, sources)]
            fresh = set()
            outdated = self._users(moved) - done
        for path in read:
            self._keep(path, self._read_file(path, sources, started))

    def _has_other_imports(self, path: str, sources: ImportGraph) -> bool:
        """Whether the file may import something else than when it was last read."""
        file, source = self._files.get(path), sources.read(path)
        if file is None or (source is not None and source.hash == file[1]):
            return False
        return source is None or file[3] != sources.files.edges(path)

    def _read_file(self, path: str, sources: ImportGraph, started: int) -> _File:
        source, file = sources.read(path), self._files.get(path)
        if source is None:  # it was removed just now
            return (_UNSURE, "", "", "")
        edges = "" if sources.files.has_other_names(path) else sources.files.edges(path)
        if file is not None and file[1] == source.hash and not file[3]:
            edges = ""  # a module that is not asked for now knows it by another name
        signature = _kept(sources.files.signature(path), source.hash, started)
        return (signature, source.hash, source.effect, edges)

    def _keep(self, path: str, file: _File) -> None:
        if self._files.get(path) != file:
            self._files[path] = file
            self.has_changed = True

    def _users(self, names: Iterable[str], part: int = 0) -> set[str]:
        """The modules that have one of these names in a part of their `_Tool`: the paths, by default."""
        wanted = frozenset(names)
        if not wanted:
            return set()
        return {name for name, tool in self._tools.items() if not wanted.isdisjoint(tool[part])}  # type: ignore[arg-type]

    def _find_there(self, paths: Iterable[str]) -> set[str]:
        """Those of these paths that exist: regular files, and folders where the path ends in `/`."""
        wanted: dict[str, list[tuple[str, str]]] = {}
        for path in paths:
            place = path.removesuffix("/__init__.py").removesuffix("/")
            folder, _, name = place.rpartition("/")
            wanted.setdefault(folder, []).append((name, path))
        found = set()
        for folder, places in wanted.items():
            names = _names_in(os.path.join(self._root, folder), len(places))
            found |= {
                path
                for name, path in places
                if (names is None or name in names) and _is_there(os.path.join(self._root, path))
            }
        return found


def _names_in(folder: str, asked: int) -> frozenset[str] | None:
    """The names in the folder; None where it is faster to ask for each path."""
    if asked < _MANY:
        return None
    try:
        with os.scandir(folder) as entries:
            names = frozenset(entry.name for entry in islice(entries, asked * 10))
            return names if next(entries, None) is None else None
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, ValueError):  # it cannot be listed, but its files may be readable
        return None


def _is_there(full: str) -> bool:
    try:
        if not os.access(full, os.F_OK):  # faster than a stat that raises
            return False
    except ValueError:  # a name that no file can have
        return False
    return os.path.isdir(full) if full.endswith("/") else signature_of(full) != ABSENT


def _read_tool(sources: ImportGraph, module: str) -> _Tool:
    reach = sources.reach((module,))
    folders, outside = sources.lookup_dependencies(module)
    return (
        tuple(sorted(reach.paths)),
        tuple(sorted(reach.missing)),
        tuple(sorted(folders)),
        tuple(sorted(outside - sys.stdlib_module_names)),
        reach.has_unread,
    )


def _path(root: str) -> str:
    return os.path.join(root, FOLDER, "code")


def _key(project: Project) -> list[object]:
    """What the kept hashes and imports depend on beside the files."""
    builtins = zlib.crc32(" ".join(sys.builtin_module_names).encode())
    return [__version__, *sys.version_info[:2], builtins, [*module_folders(project)]]


def _load(project: Project) -> tuple[dict[str, _File], dict[str, _Tool]]:
    """What was kept; nothing where it is missing, damaged or of another version."""
    document = read_sealed(_path(project.root), _KIND, _Document)
    if document is None or document.key != _key(project):
        return {}, {}
    name_of = document.names.__getitem__
    files = dict(zip(document.names, document.files, strict=False))
    tools: dict[str, _Tool] = {}
    for module, (paths, missing, folders, third_party, has_unread) in document.tools.items():
        tools[module] = (
            tuple(map(name_of, paths)),
            tuple(map(name_of, missing)),
            tuple(map(name_of, folders)),
            tuple(map(name_of, third_party)),
            has_unread,
        )
    return files, tools


def _kept(signature: str, content: str, started: int) -> str:
    """The signature to remember. A file that cannot be read now may be readable for the next user."""
    return _UNSURE + signature if not content or is_racy(signature, started) else signature


def _read_hash(full: str) -> str:
    """The `content_hash` of a file; "" where it cannot be read."""
    try:
        with open(full, "rb", buffering=0, opener=open_nonblocking) as file:
            return content_hash(file.readall())
    except (OSError, ValueError):
        return ""
