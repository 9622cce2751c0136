"""The only module of orch that imports the user's code: from the source bytes at that moment, and with a record.

Each loaded module of the project is recorded with the hash of its source, so that the record is of the code that ran.
Bytecode in `__pycache__` is used only if it carries the hash of these bytes (PEP 552); a time stamp would miss a
second save within a second. Installed packages and the standard library are imported as usual.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.encoding import content_hash
from discover_orch.model.search_path import EDITABLE, is_of_python
from discover_orch.worker.process_state import PACKAGES, ProcessState
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.protocol import Preload
from discover_orch.worker.random_generators import note_generator

Loaded = tuple[str, str, str]
#: How bytecode begins that carries the hash of its source, by which it is always checked (PEP 552).
HASH_CHECKED = importlib.util.MAGIC_NUMBER + (0b11).to_bytes(4, "little")
EMPTY_FILE_WAIT = 0.05  # seconds; many editors empty a file before they write it
COARSEST_TIME_STAMP = 2.1  # seconds: time stamps of FAT
Record = Callable[[str, str, bytes, CodeType], None]  # called with a module, its path, source, code
Loading = Callable[[str], AbstractContextManager[None]]  # is entered while this file is executed
_LoaderBasics: Any = SourceFileLoader.__mro__[-2]  # of all loaders of Python code
exec_plainly = _LoaderBasics.exec_module
_unwritten: dict[str, bytes] = {}  # bytecode files


class ImportProblem(Exception):
    """A tool cannot be loaded, for a reason that no traceback shows."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def preload(order: Preload, restore_output: Callable[[], None]) -> bool:
    """Import installed modules ahead, in a warm worker, with the root as working directory. Whether it can be used:
    not if the project has a module of the same name as one of them, which a tool would have got.

    What the imports print is dropped. One that fails says nothing: the tool that needs it will raise.
    """
    try:
        os.chdir(order.root)
    except OSError:  # the root is gone: the first tool will fail with that
        return True
    before = sys.modules.copy()
    project = ProjectCode(order.root, order.pythonpath)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    try:
        for name, names in order.modules:
            if _is_in(project, name):
                continue
            with contextlib.suppress(
                BaseException
            ):  # SystemExit too: some scripts look like modules
                __import__(
                    name, {}, {}, list(names)
                )  # a name in a `from` import can be a module too
    finally:
        restore_output()
    return not _has_shadowed(project, before)


def _is_in(project: ProjectCode, name: str) -> bool:
    """Whether it is a module of a package that is installed in editable form: its code can change."""
    if project.search_path == project.pythonpath:
        return False
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return False
    places = () if spec is None else (spec.origin, *(spec.submodule_search_locations or ()))
    return any(one is not None and project.includes(one) for one in places)


def _has_shadowed(project: ProjectCode, before: Mapping[str, ModuleType]) -> bool:
    """Whether the project also has an imported module: with its folders on `sys.path`, its own is used."""
    own: set[str] = set()
    for entry in project.pythonpath:
        try:
            own.update(name.removesuffix(".py") for name in os.listdir(entry))
        except OSError:
            continue
    new = sys.modules.keys() - before.keys()
    tops = {name.partition(".")[0] for name in new} - {name.partition(".")[0] for name in before}
    return not tops.isdisjoint(own) or any(
        project.includes(_find_place(sys.modules[name]) or "") for name in new
    )


class Loader:
    """Loads tools and `orchconf.py`, and records which project modules were loaded with them."""

    def __init__(self, project: ProjectCode, loading: Loading) -> None:
        """`loading` is entered while a module of the project is executed."""
        self._project, self._loading = project, loading
        self._loaded: list[Loaded] = []

    def install(self) -> None:
        """Put the project first on `sys.path`, and load its modules with this loader."""
        sys.path[:0] = self._project.pythonpath
        sys.path_hooks.insert(0, make_path_hook(self._project, self._record, self._loading))
        EditableFinder(self._project, self._record, self._loading).install()
        for path in [path for path in sys.path_importer_cache if self._project.includes(path)]:
            del sys.path_importer_cache[path]

    def load_tool(self, module: str, path: str) -> ModuleType:
        """Import a tool by its dotted name. It must come from `path`, relative to the root."""
        expected = os.path.join(self._project.root, path)
        try:
            __import__(module)  # `import_module` would add a frame to tracebacks
            loaded = sys.modules[module]
        except KeyError as error:
            if error.args != (module,) or module in sys.modules:
                raise
            raise ImportProblem(
                f"{path} removes itself from sys.modules while it is loaded",
                "remove only other modules, or do that in run()",
            ) from error
        found = getattr(loaded, "__file__", None)
        if found != expected and not _is_same(found, expected):
            raise ImportProblem(
                f"Python finds the module {module} in {found or 'no file'}, not in {path}",
                f"rename {path}, or move it into a package",
            )
        self._project.include((module,))
        return loaded

    def note_sql(self, path: str, source: bytes) -> None:
        """A file of SQL was loaded as a tool. No name in Python means it."""
        self._loaded.append((f"/{path}", path, content_hash(source)))

    def load_conf(self, path: str) -> ModuleType:
        """Load `orchconf.py` once. A tool that imports it gets the same module."""
        known = sys.modules.get(CONF_MODULE)
        if known is not None and _is_same(getattr(known, "__file__", None), path):
            return known
        loader = ProjectLoader(CONF_MODULE, path, self._record, self._loading)
        spec = importlib.util.spec_from_file_location(CONF_MODULE, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[CONF_MODULE] = module
        try:
            loader.exec_module(module)
        except BaseException:
            sys.modules.pop(CONF_MODULE, None)
            raise
        return module

    def drain_loaded(self) -> tuple[Loaded, ...]:
        """(module, path relative to the root, content hash) of modules loaded since the last call."""
        loaded = tuple(self._loaded)
        self._loaded.clear()
        return loaded

    def find_import_hint(self, error: BaseException) -> str:
        """How to fix a ModuleNotFoundError, or ""."""
        missing = getattr(error, "name", None) if type(error) is ModuleNotFoundError else None
        if not isinstance(missing, str) or not missing:
            return ""
        top = missing.partition(".")[0]
        for folder in self._find_folders_with(top):
            if os.path.join(self._project.root, folder) not in self._project.pythonpath:
                add = f'add "{folder}" to pythonpath in the configuration'
                if self._project.root in self._project.pythonpath:
                    add = f"write {folder.replace(os.sep, '.')}.{top}, or {add}"
                return f"{top} is in {folder}/: {add}"
        if missing == top:
            return f"if {top} is a library, install it for {sys.executable}"
        return ""

    def _find_folders_with(self, top: str) -> list[str]:
        """Folders at most two levels below the root that hold a module or package of this name."""
        found = []
        waiting = [("", 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            try:
                entries = sorted(os.scandir(os.path.join(self._project.root, folder)), key=_name)
            except OSError:
                continue
            names = {entry.name for entry in entries}
            if folder and (f"{top}.py" in names or top in names):
                found.append(folder)
            waiting += [
                (os.path.join(folder, entry.name), depth + 1)
                for entry in entries
                if depth < 2 and entry.name.isidentifier() and entry.name != top and entry.is_dir()
            ]
        return found

    def _record(self, module: str, path: str, source: bytes, code: CodeType) -> None:
        shown = self._project.show(os.path.abspath(path))
        self._loaded.append((module, shown, content_hash(source)))
        self._project.note_import(module, path, code)
        if b"__import__" in source and module in sys.modules:
            sys.modules[module].__dict__["__import__"] = self._project.import_by_name


def _find_place(module: object) -> str | None:
    """The path of a module or package; None for one that is built in or generated."""
    try:
        file = getattr(module, "__file__", None)
        path = next(iter(getattr(module, "__path__", ())), None) if file is None else file
    except Exception:  # `sys.modules` can hold any object
        return None
    return path if isinstance(path, str) else None


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_same(one: str | None, other: str) -> bool:
    try:
        return one is not None and os.path.samefile(one, other)
    except OSError:
        return False


def make_path_hook(
    project: ProjectCode, record: Record, loading: Loading
) -> Callable[[str], ProjectFinder]:
    """The path hook: a finder for a folder of the project; ImportError for any other path."""

    def make_loader(name: str, path: str) -> ProjectLoader:
        return ProjectLoader(name, path, record, loading)

    def make_finder(path: str) -> ProjectFinder:
        if not project.includes(os.path.abspath(path)) or not os.path.isdir(path):
            raise ImportError("not a folder of the project", path=path)
        return ProjectFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (make_loader, SOURCE_SUFFIXES),  # type: ignore[arg-type]
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    return make_finder


class ProjectFinder(FileFinder):
    """Searches again in a folder that has just changed: its time stamp may be too coarse to show that."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        if spec is None:
            with contextlib.suppress(OSError):
                if time.time() - os.stat(self.path).st_mtime < COARSEST_TIME_STAMP:
                    self.invalidate_caches()
                    spec = super().find_spec(fullname, target)
        return spec


class EditableFinder:
    """Finds what setuptools' finders of editable packages find, and has it loaded as a module of the project."""

    def __init__(self, project: ProjectCode, record: Record, loading: Loading) -> None:
        self._finders: list[Any] = [
            one for one in sys.meta_path if getattr(one, "__module__", "").startswith(EDITABLE)
        ]
        self._project = project
        self._record, self._loading = record, loading

    def install(self) -> None:
        if self._finders:
            sys.meta_path.insert(sys.meta_path.index(self._finders[0]), self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for finder in self._finders:
            spec: ModuleSpec | None = finder.find_spec(fullname, path, target)
            if spec is not None:
                file = spec.origin or ""
                if type(spec.loader) is SourceFileLoader and self._project.includes(file):
                    spec.loader = ProjectLoader(fullname, file, self._record, self._loading)
                return spec
        return None


class ProjectLoader(SourceFileLoader):
    """Loads a module from its current source bytes.

    Python compares bytecode that carries a hash with them. For this loader there is no other bytecode. What it
    compiles is written when the step has ended, so that no tool waits for that.
    """

    def __init__(self, fullname: str, path: str, record: Record, loading: Loading) -> None:
        super().__init__(fullname, path)
        self._record, self._loading = record, loading
        self._source = b""

    def exec_module(self, module: ModuleType) -> None:
        with self._loading(self.path):
            exec_plainly(self, module)

    def get_code(self, fullname: str) -> CodeType | None:
        try:
            code = super().get_code(fullname)
        except (EOFError, TypeError, ValueError):  # the bytecode is damaged
            code = self.source_to_code(self._source, self.path)
        if code is not None:
            self._record(fullname, self.path, self._source, code)
        return code

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        if path == self.path:
            self._source = data = data or _read_again(path)
        elif path.endswith(tuple(BYTECODE_SUFFIXES)) and data[: len(HASH_CHECKED)] != HASH_CHECKED:
            raise OSError("this bytecode does not say of which source it is")
        return data

    def _cache_bytecode(self, source_path: str, bytecode_path: str, data: bytes) -> None:
        header = HASH_CHECKED + importlib.util.source_hash(self._source)
        _unwritten[bytecode_path] = header + data[len(header) :]


def write_bytecode() -> None:
    """Keep what was compiled since the last call. Where that fails, the next load compiles again."""
    while _unwritten:
        SourceFileLoader("", "").set_data(*_unwritten.popitem())


def follow_packages(project: ProjectCode, state: ProcessState) -> None:
    """From now on, what installed packages change in the process while they are loaded holds for all tools."""

    def exec_module(loader: Any, module: ModuleType) -> None:
        path = getattr(loader, "path", None) or loader.archive  # of a module in a zip file
        if (
            state.is_loading_package
            or isinstance(loader, ProjectLoader)
            or is_of_python(path)
            or project.includes(path)
        ):
            exec_plainly(loader, module)
        else:
            with state.changed_by(PACKAGES):
                exec_plainly(loader, module)
        note_generator(module.__name__)

    _hide_from_tracebacks(exec_module)
    _LoaderBasics.exec_module = exec_module


def _hide_from_tracebacks(function: Any) -> None:
    """Python leaves frames of the import system out of tracebacks, by the names of their files."""
    function.__code__ = function.__code__.replace(
        co_filename="<frozen importlib._bootstrap_external>"
    )


_hide_from_tracebacks(ProjectLoader.exec_module)


def _read_again(path: str) -> bytes:
    """Wait a moment for the content of an empty file that was just saved: many editors empty it first."""
    until = time.monotonic() + EMPTY_FILE_WAIT
    source = b""
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) > COARSEST_TIME_STAMP:
            return source
        while not source and time.monotonic() < until:
            time.sleep(EMPTY_FILE_WAIT / 10)
            with open(path, "rb", buffering=0) as file:
                source = file.read()
    return source
