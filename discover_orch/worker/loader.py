"""The only module of orch that imports the user's code.

Each loaded module of the project is recorded with the hash of its source, so that the record is of the code that ran;
`project_imports` says how that works. Installed packages and the standard library are imported as usual.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType

from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.encoding import content_hash
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.project_imports import (
    EditableFinder,
    Loading,
    ProjectLoader,
    make_path_hook,
)
from discover_orch.worker.protocol import Preload

Loaded = tuple[str, str, str]


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
        self._project.note_import(module, path, code, source)
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
