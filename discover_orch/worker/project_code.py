"""Which files are the project's own code.

The project's own code is what is below the root or in `pythonpath`, packages installed in editable form, wherever they
are, and what `sys.path` leads to otherwise. Installed packages, virtual environments, the standard library, folders of
the system, and orch are not.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FrameType, FunctionType, ModuleType

from discover_orch.model.search_path import (
    INSTALLED,
    OWN_FOLDER,
    STANDARD_LIBRARY,
    find_editable_packages,
    find_project_folders,
    is_of_python,
    with_slash,
)
from discover_orch.worker.function_caches import FunctionCaches
from discover_orch.worker.observed_paths import ObservedPaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ProjectCode:
    """The project's own code in this process."""

    def __init__(self, root: str, pythonpath: Sequence[str]) -> None:
        self.root = root
        self.pythonpath = tuple(pythonpath)
        folders = tuple(dict.fromkeys((*pythonpath, *find_project_folders(root, sys.path))))
        packages = find_editable_packages(sys.modules, os.path.isdir)
        #: The folders in which Python finds the modules of the project, in this order.
        self.search_path = tuple(dict.fromkeys((*folders, *map(os.path.dirname, packages))))
        self._folders = tuple(dict.fromkeys(map(with_slash, (root, *folders, *packages))))
        self._paths = ObservedPaths(root)
        self._is_venv: dict[str, bool] = {}
        #: File name of code -> its path as reported; "" where it is not the project's.
        self._shown: dict[str, str] = {}
        #: The modules that were loaded, with their paths as reported.
        self.modules: dict[str, str] = {}
        self._codes: dict[str, CodeType] = {}  # of these modules
        self._new_modules: set[str] = set()  # those of this step
        self.caches = FunctionCaches(lambda code: bool(self.find_code_file(code)))
        #: The code of this step, as it is reported. `note_included` is called with what comes to it.
        self._included: set[str] = set()
        self.note_included: Callable[[Iterable[str]], None] = lambda paths: None
        #: Called with a frame and a module that is got by name there.
        self.note_use: Callable[[FrameType, str], None] = lambda frame, name: None

    def includes(self, path: str) -> bool:
        """Whether this absolute path belongs to the project, and not to an installed package."""
        inside = with_slash(path)
        if inside.startswith(OWN_FOLDER):
            return False
        for home in self._folders:
            if inside.startswith(home):
                below = inside[len(home) :].split(os.sep)[:-1]
                return not (
                    "site-packages" in below
                    or "dist-packages" in below
                    or inside.startswith(STANDARD_LIBRARY)
                    or any(
                        self._has_venv(os.path.join(home, *below[: depth + 1]))
                        for depth in range(len(below))
                    )
                )
        if OWN_FOLDER.startswith(inside) or is_of_python(path) or not os.path.isabs(path):
            return False
        is_installed = any(one in inside for one in INSTALLED)
        return not is_installed and not self._paths.is_noise_folder(os.path.dirname(path))

    def find_code_file(self, code: CodeType) -> str:
        """The file of this code as it is reported; "" if it is not the project's."""
        return self.find_path(code.co_filename)

    def find_path(self, name: str) -> str:
        """The same by the file name of the code."""
        shown = self._shown.get(name)
        if shown is None:
            self._shown[name] = ""  # looking at folders asks this again
            path = os.path.abspath(name)
            is_project = name[:1] != "<" and self.includes(path)
            shown = self._shown[name] = self.show(path) if is_project else ""
        return shown

    def show(self, path: str) -> str:
        """A path as it is reported: relative to the root, also where it is outside, with `/`."""
        start = with_slash(self.root)
        shown = path[len(start) :] if path.startswith(start) else os.path.relpath(path, self.root)
        return shown if os.sep == "/" else shown.replace(os.sep, "/")

    @property
    def included(self) -> frozenset[str]:
        """The files that the code of this step includes, as they are reported."""
        return frozenset(self._included)

    def begin_step(self, code: Iterable[str]) -> None:
        """A step begins. `code` are the files that it includes, as far as they are known."""
        self._included = {*code}
        self._new_modules.clear()

    def note_import(self, module: str, path: str, code: CodeType) -> None:
        """A module of the project is about to run for the first time. What it imports may be loaded already."""
        self.modules[module] = self.show(path)
        self._codes[module] = code
        self._new_modules.add(module)
        self.include(code.co_names)

    def include(self, modules: Iterable[str]) -> None:
        """The code of the step includes these modules, and those that they have imported."""
        found: list[str] = []
        waiting = [*modules]
        while waiting:
            name = waiting.pop()
            path = self.modules.get(name, "")
            if not path or path in self._included:
                continue
            self._included.add(path)
            found.append(path)
            for value in [*vars(sys.modules.get(name, ModuleType(""))).values()]:
                home = ""
                if isinstance(value, ModuleType):
                    home = value.__name__
                elif isinstance(value, (FunctionType, type)):
                    home = value.__module__
                waiting.append(home)
        if found:
            self.note_included(found)

    def find_old_modules(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of these that are modules of the project, and that an earlier step has loaded."""
        return tuple(one for one in names if one in self.modules and one not in self._new_modules)

    def find_load_order(self, module: str) -> list[str]:
        """The files of the modules that importing this one loads where none is loaded yet, in this order."""
        found: dict[str, None] = {}
        seen: set[str] = set()

        def load(name: str) -> None:
            names = name.split(".")
            for one in (".".join(names[: count + 1]) for count in range(len(names))):
                if one not in seen and (code := self._codes.get(one)) is not None:
                    seen.add(one)
                    for imported in _find_imports(one, code):
                        load(imported)
                    found[self.modules[one]] = None

        load(module)
        return [*found]

    def follow_import_module(self) -> None:
        """From now on, note the modules that are imported by name."""
        original = importlib.import_module

        @functools.wraps(original)
        def import_module(name: str, package: str | None = None) -> ModuleType:
            module = original(name, package)
            if name.startswith("."):
                name = importlib.util.resolve_name(name, package)
            self.note_names(name, sys._getframe(1))
            return module

        importlib.import_module = import_module
        metadata: Any = sys.modules.get("importlib.metadata")  # loads entry points
        if getattr(metadata, "import_module", None) is original:
            metadata.import_module = import_module

    def import_by_name(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` as code of the project sees it. Import statements do not come here."""
        module = __import__(name, globals, locals, fromlist, level)
        if isinstance(name, str) and level == 0:
            for one in (name, *(f"{name}.{one}" for one in fromlist or ())):
                self.note_names(one, sys._getframe(1))
        return module

    def note_names(self, name: str, frame: FrameType) -> None:
        """A module was got by this absolute name. The packages that it is in count too."""
        while name:
            self.note_use(frame, name)
            self.include((name,))
            name = name.rpartition(".")[0]

    def _has_venv(self, folder: str) -> bool:
        if folder not in self._is_venv:
            self._is_venv[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._is_venv[folder]


def _find_imports(module: str, code: CodeType) -> Iterator[str]:
    """The modules that the code of this module may import while it is executed."""
    from modulefinder import ModuleFinder  # few projects have two modules that seed

    has_path = hasattr(sys.modules.get(module), "__path__")
    package = module if has_path else module.rpartition(".")[0]
    for kind, found in ModuleFinder.scan_opcodes(None, code):  # type: ignore[arg-type]
        if kind.endswith("import"):
            *level, names, name = found
            with contextlib.suppress(ImportError):  # it goes beyond its packages
                home = importlib.util.resolve_name("." * sum(level) + name, package)
                yield home
                yield from (f"{home}.{one}" for one in names or ())
