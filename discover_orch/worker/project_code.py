"""Which files are the project's own code, and which of it is running.

The project's own code is what is below the root or in `pythonpath`, and packages installed in editable form, wherever
they are. Installed packages, virtual environments, the standard library and orch are not.

What a cached function or the import of a module does happens once for all tools of a worker. Which functions are
cached is noted here; `call_stacks` finds what they did.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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

#: What the import system sets on a spec while its module is imported.
IS_INITIALIZING = "_initializing"


def find_looked_up(source: bytes) -> tuple[str, ...] | None:
    """The modules that this code may take from `sys.modules`; None if it may be any. Its own, which it gets by
    `__name__` or as the `__module__` of an object, does not count."""
    import re  # little code does that

    rest = re.sub(rb"\bsys\.modules\[[\w.]*__(?:name|module)__\]", b"", source)
    name = rb"""["']([\w.]+)["']"""
    forms = (
        rb"\bsys\.modules\[" + name + rb"\]",
        rb"\bsys\.modules\.(?:get|pop)\(" + name,
        name + rb"\s+(?:not\s+)?in\s+sys\.modules\b",
    )
    found: dict[str, None] = {}
    for form in forms:
        found.update((one.decode(), None) for one in re.findall(form, rest))
        rest = re.sub(form, b"", rest)
    return None if re.search(rb"\bsys\.modules\b", rest) else tuple(found)


def _is_spelled(words: str, source: bytes) -> bool:
    """`words` are `dates` or `.dates`, for example."""
    text = words.encode()
    if text not in source:  # most are not, and to compile a pattern takes longer
        return False
    import re

    start = rb"" if words[0] == "." else rb"(?<!\w)"
    return bool(re.search(start + re.escape(text) + rb"(?!\w)", source))


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
        #: File name of code -> its path as reported; "" where it is not the project's.
        self._shown: dict[str, str] = {}
        self.cached: dict[int, CodeType] = {}  # by its id: code has no cheap hash
        self.modules: set[str] = set()  # names of modules that were loaded
        self.module_of: dict[str, str] = {}  # file name of code -> the module
        self.tools: set[str] = set()  # modules that were loaded because they are tools
        self.tool = ""  # the present one of these
        self.helpers: dict[str, None] = {}  # all other modules
        self._inside: dict[str, list[str]] = {}  # package → those of them that are in it
        self._new_modules: set[str] = set()  # those of this step
        self._named: set[str] = set()  # got by name in any step
        #: Files with code that looks into `sys.modules`, each with its text and the modules that it names; None is
        #: any.
        self._lookups: dict[str, tuple[bytes, tuple[str, ...] | None]] = {}
        #: Path and text of the modules of this step.
        self._sources: dict[str, tuple[str, bytes]] = {}
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
        return False

    def find_file(self, code: CodeType) -> str:
        """The file of this code as it is reported; "" if it is not the project's."""
        return self.find_path(code.co_filename)

    def find_path(self, name: str) -> str:
        """The same by the file name of the code."""
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
        self._sources.clear()

    def note_import(self, module: str, path: str, source: bytes) -> None:
        """A module of the project is about to run for the first time."""
        self._sources[module] = path, source
        if b"sys.modules" in source and (names := find_looked_up(source)) != ():
            self._lookups[self.show(path)] = source, names
        self.modules.add(module)
        self._new_modules.add(module)
        self.module_of[path] = module
        if module not in self.tools:
            self.helpers[module] = None
            package = module
            while package := package.rpartition(".")[0]:
                self._inside.setdefault(package, []).append(module)

    def install(self) -> None:
        """From now on, follow what Python keeps for later: cached functions, and modules imported by name."""
        self._follow_caches()
        self._follow_import_module()

    def find_old_modules(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of these that are modules of the project, and that an earlier step has loaded."""
        return tuple(one for one in names if one in self.modules and one not in self._new_modules)

    def find_found_loaded(self) -> dict[str, set[str]]:
        """By file: the modules of the project that its code may use without importing them, since other code has
        loaded them: from `sys.modules`, or as attributes of their package."""
        found: dict[str, set[str]] = {}
        for file, (source, names) in self._lookups.items():
            if names is not None:
                found[file] = self.modules.intersection(names)
                continue
            found[file] = self._find_spelled(source) | (self._named & self.helpers.keys())
            if self.tool in self._sources:  # it may give the name to the code that looks
                path, text = self._sources[self.tool]
                found.setdefault(self.show(path), set()).update(self._find_spelled(text))
        for module, (path, source) in self._sources.items():
            if used := self._find_attributes(module, source):
                found.setdefault(self.show(path), set()).update(used)
        return {file: used for file, used in found.items() if used}

    def _find_spelled(self, source: bytes) -> set[str]:
        """The helpers whose last name is in this text."""
        return {one for one in self.helpers if _is_spelled(one.rpartition(".")[2], source)}

    def _find_attributes(self, module: str, source: bytes) -> set[str]:
        """Modules that are spelled as attributes of a package that is a global variable of this module."""
        values = [*vars(sys.modules[module]).values()] if module in sys.modules else []
        packages = {
            name
            for one in values
            if type(one) is ModuleType and isinstance(name := vars(one).get("__name__"), str)
        }
        return {
            name
            for package in packages & self._inside.keys()
            for name in self._inside[package]
            if _is_spelled(name[len(package) :], source)
            and not _is_spelled(f"import {name}", source)
        }

    def note_names(self, name: str, frame: FrameType) -> None:
        """A module was got by this absolute name. The packages that it is in count too."""
        while name:
            self._named.add(name)
            self.note_use(frame, name)
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

    def _has_venv(self, folder: str) -> bool:
        if folder not in self._is_venv:
            self._is_venv[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._is_venv[folder]
