"""The only importer of the user's code.

Project modules are compiled from source bytes read when they are loaded. A `__pycache__` is used where it
names the hash of just these bytes (PEP 552), never by time stamps: a second save within the second would
be missed. Each module loaded is remembered with a content hash, so that what ran is what is recorded.
All else (installed packages, the standard library, extension modules) is imported as usual.
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
from discover_orch.model.digest import blake2b
from discover_orch.worker.protocol import Preload, Preloaded

HASH_CHECKED = 0b11  # flags of PEP 552: judged by a hash, which is always checked
HEADER = importlib.util.MAGIC_NUMBER + HASH_CHECKED.to_bytes(4, "little")
TO_BE_WRITTEN = 0.05  # seconds that a module may be empty between two steps of an editor
#: Installed beside what the user chose, by what installs, and loaded in every process; and what reads statements in a
#: worker: of a tool that names it in an import it counts all the same.
NOBODYS = (
    *("discover_orch", "sitecustomize", "usercustomize", "_virtualenv", "_distutils_hack"),
    *("sqlglot", "sqlglotc", "msgspec", "typing_extensions"),
)
STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
COARSEST_CLOCK = 2.1  # seconds: time stamps of FAT
Loaded = tuple[str, str, str]


def content_hash(source: bytes) -> str:
    """The hash by which a project module is remembered: 16 bytes of BLAKE2b, as hex."""
    return blake2b(source, digest_size=16).hexdigest()


class ImportProblem(Exception):
    """A module cannot be had for a reason that no traceback shows."""

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
    """Loads tools and `orchconf.py`, and remembers which project modules came with them."""

    def __init__(self, root: str, pythonpath: Sequence[str]) -> None:
        self.root = root
        self.pythonpath = tuple(pythonpath)
        self._loaded: list[Loaded] = []
        self._homes = tuple(dict.fromkeys(map(_folder, (root, *pythonpath))))
        self._is_venv: dict[str, bool] = {}
        self._tops = {"__main__", *NOBODYS}  # names that were judged
        self._latest = ""  # the module that came last

    def install(self) -> None:
        """Put the project in front of `sys.path`, and this loader in charge of its modules."""
        sys.path[:0] = self.pythonpath
        sys.path_hooks.insert(0, self._find)
        for path in [path for path in sys.path_importer_cache if self._is_project(path)]:
            del sys.path_importer_cache[path]

    def load_tool(self, module: str, path: str) -> ModuleType:
        """Import a tool by its dotted name; `path` (relative to the root) must be where it came from."""
        expected = os.path.join(self.root, path)
        __import__(module)  # not import_module, whose frame would stand in tracebacks
        loaded = sys.modules[module]
        found = getattr(loaded, "__file__", None)
        if found != expected and not _is_same(found, expected):
            raise ImportProblem(
                f"the module {module} was found at {found or 'no file'}, not at {path}",
                f"another module named {module} comes first: rename {path}, "
                "or name it from a package",
            )
        return loaded

    def load_conf(self, path: str) -> ModuleType:
        """`orchconf.py`, once; the same module that a tool gets which imports it."""
        known = sys.modules.get(CONF_MODULE)
        if known is not None and _is_same(getattr(known, "__file__", None), path):
            return known
        loader = ProjectLoader(CONF_MODULE, path, self._remember)
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

    def take_loaded(self) -> tuple[Loaded, ...]:
        """(module, path relative to the root, content hash) of what was loaded since the last time."""
        taken = tuple(self._loaded)
        self._loaded.clear()
        return taken

    def take_arrived(self) -> tuple[str, ...]:
        """Top-level names of installed modules, not of the standard library, that came since the last time."""
        names = []
        try:
            for name in reversed(sys.modules):
                if name == self._latest:
                    break
                names.append(name)
        except RuntimeError:  # a thread of the tool's imports
            names = [*sys.modules]
        if not names:
            return ()
        self._latest = names[0]
        tops = {name.partition(".")[0] for name in names} - self._tops
        self._tops |= tops
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

    def hint_for(self, error: BaseException) -> str:
        """How to mend an import that found no such module, or "" where nothing can be said."""
        missing = getattr(error, "name", None) if type(error) is ModuleNotFoundError else None
        if not isinstance(missing, str) or not missing:
            return ""
        top = missing.partition(".")[0]
        for folder in self._find_homes_of(top):
            if os.path.join(self.root, folder) not in self.pythonpath:
                return f'add "{folder}" to pythonpath in the configuration: {top} is in there'
        if missing == top:
            return f"if {top} is a library, install what provides it for {sys.executable}"
        return ""

    def _find_homes_of(self, top: str) -> list[str]:
        """Folders, at most two below the root, that hold a module or package of this name."""
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

    def _find(self, path: str) -> ProjectFinder:
        """The path hook: a finder for folders of the project, ImportError for all others."""
        if not self._is_project(path) or not os.path.isdir(path):
            raise ImportError("no folder of the project", path=path)

        def make(name: str, path: str) -> ProjectLoader:
            return ProjectLoader(name, path, self._remember)

        return ProjectFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (make, SOURCE_SUFFIXES),  # type: ignore[arg-type]
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    def _is_project(self, path: str) -> bool:
        """Whether it is inside the root or a `pythonpath` entry, and not among installed packages."""
        inside = _folder(path)
        for home in self._homes:
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

    def _remember(self, module: str, path: str, source: bytes) -> None:
        shown = path[len(self.root) + 1 :] if path.startswith(self.root + os.sep) else None
        if shown is None:
            shown = os.path.relpath(path, self.root)
        self._tops.add(module.partition(".")[0])
        self._loaded.append((module, shown.replace(os.sep, "/"), content_hash(source)))


class ProjectFinder(FileFinder):
    """Looks again where a folder has just changed: its time stamp may be too coarse to tell."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        if spec is None:
            with contextlib.suppress(OSError):
                if time.time() - os.stat(self.path).st_mtime < COARSEST_CLOCK:
                    self.invalidate_caches()
                    spec = super().find_spec(fullname, target)
        return spec


class ProjectLoader(SourceFileLoader):
    """Loads one module from the bytes that are there now."""

    def __init__(
        self, fullname: str, path: str, remember: Callable[[str, str, bytes], None]
    ) -> None:
        super().__init__(fullname, path)
        self._remember = remember

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
        self._remember(fullname, path, source)
        return code


def _read_again(path: str) -> bytes:
    """A module that has just been emptied is about to be written: many editors do it in these two steps."""
    until = time.monotonic() + TO_BE_WRITTEN
    source = b""
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) > COARSEST_CLOCK:
            return source
        while not source and time.monotonic() < until:
            time.sleep(TO_BE_WRITTEN / 10)
            with open(path, "rb", buffering=0) as file:
                source = file.read()
    return source


def _read_bytecode(cached: str, path: str, header: bytes) -> CodeType | None:
    """The code in a bytecode file made from the bytes that `header` stands for; None for all others."""
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
    # A project that was moved has the old paths in its tracebacks: compile anew.
    return code if isinstance(code, CodeType) and code.co_filename == path else None


def _write_bytecode(cached: str, data: bytes) -> None:
    """Replace it as a whole; a place that cannot be written costs time at the next load, no more."""
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
    """Where a module or package is; None for what is built in, or made by hand."""
    try:
        file = getattr(module, "__file__", None)
        path = next(iter(getattr(module, "__path__", ())), None) if file is None else file
    except Exception:  # whatever stands in `sys.modules` can be of any kind
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
