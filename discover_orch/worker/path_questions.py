"""What a tool asks about paths: whether they are there, their size and their time. Python has no audit event for that.

`os.stat` and `os.lstat` are wrapped, which `exists()`, `is_file()`, `getsize()`, `glob` and their like call. Only
questions of the project's own code count, also where it asks through the standard library. What an installed package
asks is for itself, and what it then reads is observed anyway.
"""

from __future__ import annotations

import functools
import os
import stat
import sys

from discover_orch.model.search_path import INSTALLED, OWN_FOLDER, STANDARD_LIBRARY
from discover_orch.worker.observed_paths import resolve_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType
    from typing import Any

    from discover_orch.worker.module_uses import ModuleUses
    from discover_orch.worker.project_code import ProjectCode

#: Functions of the standard library that tell their caller the size or the time of a file.
MEASURING = frozenset(
    ["getsize", "getmtime", "getctime", "getatime", "stat", "lstat", "cmp", "cmpfiles"]
)
#: Those whose result is the same whatever the answer is, or that only follow links.
INDIFFERENT = frozenset(["makedirs", "mkdir", "realpath", "removedirs", "resolve", "rmtree"])

#: Of what is there: whether it is a folder, its size, and its time in ns. None where nothing is.
Answer = tuple[bool, int, int] | None

#: The functions themselves, for orch's own questions.
real_stat, real_lstat = os.stat, os.lstat
_getframe = sys._getframe


class PathQuestions:
    """The questions of one step. Which code is on the stack is looked at only at the first question about a path from
    one place in one module, called from one other place.

    `frame.f_code` and `id()` are events for the audit hook, so modules are told apart by their names.
    """

    def __init__(
        self, project: ProjectCode, uses: ModuleUses, import_code: Collection[str]
    ) -> None:
        """`import_code` are the file names of code that looks for modules."""
        self._project, self._uses, self._import_code = project, uses, import_code
        #: The name of a module -> whether its questions count; None where it asks for its caller.
        self._askers: dict[str, bool | None] = {}
        #: By the module that asks, the module and line of the function that it calls for this, and the instructions
        #: at which it and its caller are.
        self._noted: dict[tuple[str, str, int, int, int], dict[str | bytes, Answer]] = {}
        self._measured: dict[str | bytes, Answer] = {}
        self._found: tuple[dict[str, Answer], dict[str, Answer]] = {}, {}
        for name, real in (("stat", real_stat), ("lstat", real_lstat)):
            self._wrap(name, real)

    def clear(self) -> None:
        self._askers.clear()
        self._noted.clear()
        self._measured.clear()
        self._found = {}, {}

    def is_empty(self) -> bool:
        return not (self._noted or self._found[0])

    def find(self) -> tuple[dict[str, Answer], dict[str, Answer]]:
        """The first answer to each question of whether a path is there, and of its size or time, by absolute path."""
        self.resolve_paths()
        return self._found

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        asked = {path: one for noted in self._noted.copy().values() for path, one in noted.items()}
        for found, noted in zip(self._found, (asked, self._measured.copy()), strict=True):
            for path, answer in noted.items():
                for full in resolve_paths([os.fsdecode(path)]):
                    found.setdefault(full, answer)
        self._noted.clear()
        self._measured.clear()

    def _wrap(self, name: str, real: Callable[..., os.stat_result]) -> None:
        askers, noted = self._askers, self._noted
        look_at, note = self._look_at, self._note

        def ask(path: Any, **options: Any) -> os.stat_result:
            found = None
            frame: Any = None
            try:
                found = real(path, **options)
                frame = _getframe(1)
                return found
            except OSError:
                frame = _getframe(1)
                raise
            finally:  # without a frame it is not a path
                function = counts = None
                module = of_function = ""
                while frame is not None:
                    module = frame.f_globals.get("__name__", "")
                    counts = askers[module] if module in askers else look_at(frame, module)
                    above = frame.f_back
                    if counts is None and above is None:
                        counts = True  # a thread that runs nothing else
                    if counts is not None:
                        break
                    function, of_function, frame = frame, module, above
                if counts:
                    line = 0 if function is None else function.f_lineno
                    caller = -1 if above is None else above.f_lasti
                    key = module, of_function, line, frame.f_lasti, caller
                    if path.__class__ is not str and hasattr(path, "__fspath__"):
                        path = path.__fspath__()
                    if key not in noted or path not in noted[key]:
                        note(frame, function, key, path, options, found)

        wrapper = functools.wraps(real)(ask)
        wrapper.__module__ = "os"  # so that it can be pickled
        known = getattr(os, name)
        for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if known in functions:
                functions.add(wrapper)
        setattr(os, name, wrapper)
        glob = sys.modules.get("glob")
        for one in vars(glob).values() if glob else ():
            if isinstance(one, type) and vars(one).get(name) == staticmethod(known):
                setattr(one, name, staticmethod(wrapper))

    def _look_at(self, frame: FrameType, module: str) -> bool | None:
        name = frame.f_code.co_filename
        is_standard = name.startswith(STANDARD_LIBRARY) and not any(
            one in name for one in INSTALLED
        )
        counts: bool | None
        if name in self._import_code or name.startswith(OWN_FOLDER):
            counts = False
        else:
            is_passed = is_standard or name[:1] == "<"
            counts = None if is_passed else bool(self._project.find_path(name))
        self._askers[module] = counts
        return counts

    def _note(
        self,
        frame: FrameType,
        function: FrameType | None,
        key: tuple[str, str, int, int, int],
        path: Any,
        options: dict[str, Any],
        found: os.stat_result | None,
    ) -> None:
        name = "stat" if function is None else function.f_code.co_name
        if path.__class__ is int or options.get("dir_fd") is not None or name in INDIFFERENT:
            return
        if found is not None and stat.S_ISLNK(found.st_mode):
            return  # what it leads to is another question
        self._uses.note(frame, "path", os.fsdecode(path))
        answer = found and (stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)
        self._noted.setdefault(key, {}).setdefault(path, answer)
        if name in MEASURING:
            self._measured.setdefault(path, answer)
