"""The only module of orch that imports the user's code.

Project modules are compiled from the source bytes at the moment of loading. Bytecode in `__pycache__` is used
only if it carries the hash of these bytes (PEP 552); a time stamp would miss a second save within a second.
Each loaded module is recorded with its content hash, so that the record is of the code that ran. Installed
packages, the standard library and extension modules are imported as usual.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import sys
import time
from collections.abc import Callable, Sequence
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

from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.digest import content_hash
from discover_orch.worker.protocol import Preload, Preloaded

HASH_CHECKED = 0b11  # flags of PEP 552: hash-based and always checked
HEADER = importlib.util.MAGIC_NUMBER + HASH_CHECKED.to_bytes(4, "little")
EMPTY_FILE_WAIT = 0.05  # seconds; many editors empty a file before they write it
#: Loaded in every worker, or by orch itself to parse SQL: not a trace of what a tool uses. A tool that names one
#: of them in an import still depends on it.
IGNORED_MODULES = (
    *("discover_orch", "sitecustomize", "usercustomize", "_virtualenv", "_distutils_hack"),
    *("sqlglot", "sqlglotc", "msgspec", "typing_extensions"),
)
STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
COARSEST_TIME_STAMP = 2.1  # seconds: time stamps of FAT
Loaded = tuple[str, str, str]


class ImportProblem(Exception):
    """A tool cannot be loaded, for a reason that no traceback shows."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def preload(order: Preload, restore_output: Callable[[], None]) -> Preloaded:
    """Import installed modules ahead, in a warm worker, with the root as working directory.

    What the imports print is dropped. One that fails is only reported: the tool that needs it will raise.
    """
    try:
        os.chdir(order.root)
    except OSError:  # the root is gone: the first tool will fail with that
        return Preloaded(modules=())
    before = {name.partition(".")[0] for name in sys.modules}
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    rows = []
    try:
        for name, names in order.modules:
            started = time.perf_counter()
            problem = _import_ahead(name, names)
            rows.append((name, round(time.perf_counter() - started, 6), problem))
    finally:
        restore_output()
    return Preloaded(modules=tuple(rows), shadowed=_find_shadowed(order.pythonpath, before))


def _import_ahead(name: str, names: tuple[str, ...]) -> str:
    """The error of the import, or "". A name in a `from` import can be a module too."""
    try:
        __import__(name, {}, {}, list(names))
    except BaseException as error:  # SystemExit too: some scripts look like modules
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _find_shadowed(pythonpath: tuple[str, ...], before: set[str]) -> tuple[str, ...]:
    """Imported modules that the project also has: with its folders on `sys.path`, those would have been used."""
    own: set[str] = set()
    for entry in pythonpath:
        try:
            own.update(name.removesuffix(".py") for name in os.listdir(entry))
        except OSError:
            continue
    new = {name.partition(".")[0] for name in sys.modules} - before
    return tuple(sorted(new & own))


class Loader:
    """Loads tools and `orchconf.py`, and records which project modules were loaded with them."""

    def __init__(self, root: str, pythonpath: Sequence[str]) -> None:
        self.root = root
        self.pythonpath = tuple(pythonpath)
        self._loaded: list[Loaded] = []
        self._folders = tuple(dict.fromkeys(map(_folder, (root, *pythonpath))))
        self._is_venv: dict[str, bool] = {}
        self._known_names = {"__main__", *IGNORED_MODULES}
        self._newest_module = ""  # the last of `sys.modules` at the latest report

    def install(self) -> None:
        """Put the project first on `sys.path`, and load its modules with this loader."""
        sys.path[:0] = self.pythonpath
        sys.path_hooks.insert(0, self._make_finder)
        for path in [path for path in sys.path_importer_cache if self._is_project(path)]:
            del sys.path_importer_cache[path]

    def load_tool(self, module: str, path: str) -> ModuleType:
        """Import a tool by its dotted name. It must come from `path`, relative to the root."""
        expected = os.path.join(self.root, path)
        __import__(module)  # `import_module` would add a frame to tracebacks
        loaded = sys.modules[module]
        found = getattr(loaded, "__file__", None)
        if found != expected and not _is_same(found, expected):
            raise ImportProblem(
                f"Python finds the module {module} in {found or 'no file'}, not in {path}",
                f"rename {path}, or move it into a package",
            )
        return loaded

    def load_conf(self, path: str) -> ModuleType:
        """Load `orchconf.py` once. A tool that imports it gets the same module."""
        known = sys.modules.get(CONF_MODULE)
        if known is not None and _is_same(getattr(known, "__file__", None), path):
            return known
        loader = ProjectLoader(CONF_MODULE, path, self._record)
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

    def drain_third_party(self) -> tuple[str, ...]:
        """Top-level names of installed packages imported since the last call; not the standard library."""
        names = []
        try:
            for name in reversed(sys.modules):
                if name == self._newest_module:
                    break
                names.append(name)
        except RuntimeError:  # another thread is importing
            names = [*sys.modules]
        if not names:
            return ()
        self._newest_module = names[0]
        tops = {name.partition(".")[0] for name in names} - self._known_names
        self._known_names |= tops
        return tuple(sorted(filter(self._is_installed, tops)))

    def _is_installed(self, top: str) -> bool:
        if top in sys.stdlib_module_names or top.startswith("__editable__"):
            return False
        path = _find_place(sys.modules.get(top))
        if path is None:
            return False
        if any(part in path for part in INSTALLED):
            return True
        return not path.startswith(STANDARD_LIBRARY) and not self._is_project(path)

    def find_import_hint(self, error: BaseException) -> str:
        """How to fix a ModuleNotFoundError, or ""."""
        missing = getattr(error, "name", None) if type(error) is ModuleNotFoundError else None
        if not isinstance(missing, str) or not missing:
            return ""
        top = missing.partition(".")[0]
        for folder in self._find_folders_with(top):
            if os.path.join(self.root, folder) not in self.pythonpath:
                return f'{top} is in {folder}/: add "{folder}" to pythonpath in the configuration'
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
                entries = sorted(os.scandir(os.path.join(self.root, folder)), key=_name)
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

    def _make_finder(self, path: str) -> ProjectFinder:
        """The path hook: a finder for a folder of the project; ImportError for any other path."""
        if not self._is_project(path) or not os.path.isdir(path):
            raise ImportError("not a folder of the project", path=path)

        def make(name: str, path: str) -> ProjectLoader:
            return ProjectLoader(name, path, self._record)

        return ProjectFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (make, SOURCE_SUFFIXES),  # type: ignore[arg-type]
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    def _is_project(self, path: str) -> bool:
        """Whether the path is in the root or in `pythonpath`, and not an installed package."""
        inside = _folder(path)
        for home in self._folders:
            if inside.startswith(home):
                below = inside[len(home) :].split(os.sep)[:-1]
                return not (
                    "site-packages" in below
                    or "dist-packages" in below
                    or any(
                        self._has_venv(os.path.join(home, *below[: depth + 1]))
                        for depth in range(len(below))
                    )
                )
        return False

    def _has_venv(self, folder: str) -> bool:
        if folder not in self._is_venv:
            self._is_venv[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._is_venv[folder]

    def _record(self, module: str, path: str, source: bytes) -> None:
        shown = path[len(self.root) + 1 :] if path.startswith(self.root + os.sep) else None
        if shown is None:
            shown = os.path.relpath(path, self.root)
        self._known_names.add(module.partition(".")[0])
        self._loaded.append((module, shown.replace(os.sep, "/"), content_hash(source)))


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


class ProjectLoader(SourceFileLoader):
    """Loads a module from its current source bytes."""

    def __init__(
        self, fullname: str, path: str, remember: Callable[[str, str, bytes], None]
    ) -> None:
        super().__init__(fullname, path)
        self._record = remember

    def get_code(self, fullname: str) -> CodeType:
        path = self.path
        source = self.get_data(path)
        if not source:
            source = _read_again(path) or source
        key = importlib.util.source_hash(source)
        try:
            cached = importlib.util.cache_from_source(path)
        except NotImplementedError:  # the interpreter keeps no bytecode
            cached = None
        code = None if cached is None else _read_bytecode(cached, path, HEADER + key)
        if code is None:
            code = self.source_to_code(source, path)
            if cached is not None and not sys.dont_write_bytecode:
                _write_bytecode(cached, HEADER + key + marshal.dumps(code))
        self._record(fullname, path, source)
        return code


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


def _read_bytecode(cached: str, path: str, header: bytes) -> CodeType | None:
    """The code of a bytecode file with this header; None for any other file."""
    try:
        with open(cached, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    if data[:16] != header:
        return None
    try:
        code = marshal.loads(memoryview(data)[16:])
    except (ValueError, EOFError, TypeError):
        return None
    # After the project was moved, the code has the old path: compile again.
    return code if isinstance(code, CodeType) and code.co_filename == path else None


def _write_bytecode(cached: str, data: bytes) -> None:
    """Replace the bytecode file atomically. If that fails, the next load compiles again."""
    made = f"{cached}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        with open(made, "wb") as file:
            file.write(data)
        os.replace(made, cached)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(made)


def _find_place(module: object) -> str | None:
    """The path of a module or package; None for one that is built in or generated."""
    try:
        file = getattr(module, "__file__", None)
        path = next(iter(getattr(module, "__path__", ())), None) if file is None else file
    except Exception:  # `sys.modules` can hold any object
        return None
    return path if isinstance(path, str) else None


def _folder(path: str) -> str:
    return path.rstrip(os.sep) + os.sep


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_same(one: str | None, other: str) -> bool:
    try:
        return one is not None and os.path.samefile(one, other)
    except OSError:
        return False
