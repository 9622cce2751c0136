"""Which files are the project's own code, and which of it is running.

The project's own code is what is below the root or in `pythonpath`, and packages installed in editable form, wherever
they are. Installed packages, virtual environments, the standard library and orch are not.

What a cached function or the import of a module does happens once for all tools of a worker. `find_sharers` finds the
files of such code on the stack. So that most tools pay nothing, it looks only while there is such code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, FrameType, ModuleType

from discover_orch.model.search_path import (
    OWN_FOLDER,
    STANDARD_LIBRARY,
    find_editable_packages,
    find_project_folders,
    with_slash,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IS_INITIALIZING = (
    "_initializing"  # what the import system sets on a spec while its module is imported
)
MODULE = "<module>"  # the name of the code that runs while a module is imported


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
        self._is_venv: dict[str, bool] = {}
        self._shown: dict[
            str, str
        ] = {}  # file name of code -> its path as reported; "": not the project's
        self.cached: dict[int, CodeType] = {}  # by its id: code has no cheap hash
        self.modules: set[str] = set()  # names of modules that were loaded
        self._new_modules: set[str] = set()  # those of this step
        self.used_modules: dict[str, None] = {}  # got by name in this step; not only the project's
        self.shared_modules: dict[tuple[str, str], None] = {}  # file of code that runs once -> name
        self.importing: list[ModuleSpec] = []  # some of these may have been imported meanwhile

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
        return False

    def find_file(self, code: CodeType) -> str:
        """The file of this code as it is reported; "" if it is not the project's."""
        name = code.co_filename
        shown = self._shown.get(name)
        if shown is None:
            path = os.path.abspath(name)
            is_project = name[:1] != "<" and self.includes(path)
            shown = self._shown[name] = self.show(path) if is_project else ""
        return shown

    def show(self, path: str) -> str:
        """A path as it is reported: relative to the root, also where it is outside, with `/`."""
        start = with_slash(self.root)
        shown = path[len(start) :] if path.startswith(start) else os.path.relpath(path, self.root)
        return shown if os.sep == "/" else shown.replace(os.sep, "/")

    def clear(self) -> None:
        """Forget what was used before this step."""
        self._new_modules.clear()
        self.used_modules.clear()
        self.shared_modules.clear()

    def note_import(self, module: str) -> None:
        """A module of the project is about to run for the first time."""
        self.modules.add(module)
        self._new_modules.add(module)
        spec = getattr(sys.modules.get(module), "__spec__", None)
        if spec is not None:
            self.importing.append(spec)

    def install(self) -> None:
        """From now on, follow what Python keeps for later: cached functions, and modules imported by name."""
        self._follow_caches()
        self._follow_import_module()

    def find_used_modules(self) -> tuple[str, ...]:
        """Modules of the project that this step got by name and was not the first to load."""
        used = self.used_modules.copy()
        return tuple(one for one in used if one in self.modules and one not in self._new_modules)

    def note_names(self, name: str, frame: FrameType | None) -> None:
        """A module was got by this absolute name. The packages that it is in count too."""
        sharers = [*self.find_sharers(frame)] if self.has_sharers() else ()
        while name:
            self.used_modules[name] = None
            for file in sharers:
                self.shared_modules[file, name] = None
            name = name.rpartition(".")[0]

    def _follow_import_module(self) -> None:
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

    def _follow_caches(self) -> None:
        original = functools.lru_cache

        @functools.wraps(original)
        def lru_cache(maxsize: Any = 128, typed: bool = False) -> Any:
            if callable(maxsize):
                self._note_cached(maxsize)
                return original(maxsize, typed)
            decorate = original(maxsize, typed)

            def decorating_function(user_function: Any) -> Any:
                self._note_cached(user_function)
                return decorate(user_function)

            return decorating_function

        functools.lru_cache = lru_cache  # `functools.cache` calls it too

    def _note_cached(self, function: object) -> None:
        """Note the code of a function, and of those that it was decorated with."""
        for _ in range(100):  # `__wrapped__` can be anything
            code = getattr(function, "__code__", None)
            if isinstance(code, CodeType) and self.find_file(code):
                self.cached[id(code)] = code
            function = getattr(function, "__wrapped__", None)
            if function is None:
                return

    def has_sharers(self) -> bool:
        """Whether `find_sharers` may find anything."""
        for spec in tuple(self.importing):
            if not getattr(spec, IS_INITIALIZING, False):
                with contextlib.suppress(ValueError):  # another thread was faster
                    self.importing.remove(spec)
        return bool(self.cached or self.importing)

    def find_sharers(self, frame: FrameType | None) -> Iterator[str]:
        """The files of cached functions and of modules being imported on the stack from this frame up."""
        while frame is not None:
            code = frame.f_code
            if id(code) in self.cached or code.co_name == MODULE:
                file = self.find_file(code)
                if file:
                    yield file
            frame = frame.f_back

    def _has_venv(self, folder: str) -> bool:
        if folder not in self._is_venv:
            self._is_venv[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._is_venv[folder]
