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

    from discover_orch.worker.call_stacks import CallStacks
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


class _Askers(dict[str, bool | None]):
    """File name of code -> whether its questions count; None where it asks for the code that called it."""

    def __init__(self, find_file: Callable[[str], str], import_code: Collection[str]) -> None:
        self._find_file, self._import_code = find_file, import_code

    def __missing__(self, name: str) -> bool | None:
        is_standard = name.startswith(STANDARD_LIBRARY) and not any(
            one in name for one in INSTALLED
        )
        counts: bool | None
        if name in self._import_code or name.startswith(OWN_FOLDER):
            counts = False
        else:
            counts = None if is_standard or name[:1] == "<" else bool(self._find_file(name))
        self[name] = counts
        return counts


class PathQuestions:
    """The questions of one step. Which code called the one that asks is looked at only at the first question about a
    path by the same two functions."""

    def __init__(
        self, project: ProjectCode, stacks: CallStacks, import_code: Collection[str]
    ) -> None:
        """`import_code` are the file names of code that looks for modules."""
        self._stacks = stacks
        self._askers = _Askers(project.find_path, import_code)
        #: What one piece of code was answered for another one, with what keeps the identity of both.
        self._noted: dict[int, tuple[dict[str | bytes, Answer], bool, object]] = {}
        self._found: tuple[dict[str, Answer], dict[str, Answer]] = {}, {}
        for name, real in (("stat", real_stat), ("lstat", real_lstat)):
            self._wrap(name, real)

    def clear(self) -> None:
        self._noted.clear()
        self._found = {}, {}

    def is_empty(self) -> bool:
        return not (self._noted or self._found[0])

    def find(self) -> tuple[dict[str, Answer], dict[str, Answer]]:
        """The first answer to each question of whether a path is there, and of its size or time, by absolute path."""
        self.resolve_paths()
        return self._found

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        noted = [*self._noted.values()]
        self._noted.clear()
        for answers, is_measuring, _ in noted:
            for path, answer in answers.items():
                for full in resolve_paths([os.fsdecode(path)]):
                    self._found[0].setdefault(full, answer)
                    if is_measuring:
                        self._found[1].setdefault(full, answer)

    def _wrap(self, name: str, real: Callable[..., os.stat_result]) -> None:
        askers, noted, note = self._askers, self._noted, self._note

        def ask(path: Any, **options: Any) -> os.stat_result:
            found = counts = None
            try:
                found = real(path, **options)
                return found
            except (TypeError, ValueError):  # not a path
                counts = False
                raise
            finally:
                frame: Any = _getframe(1)
                function = ""
                while counts is None:
                    code = frame.f_code
                    counts = askers[code.co_filename]
                    above = frame.f_back
                    if counts is None and above is None:
                        counts = True  # a thread that runs nothing else
                    elif counts is None:
                        function, frame = code.co_name, above
                if counts:
                    if path.__class__ is not str and hasattr(path, "__fspath__"):
                        path = path.__fspath__()
                    key = id(code) * 5 + id(function) * 3 + (above is not None and id(above.f_code))
                    known = noted.get(key)
                    if known is None or path not in known[0]:
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

    def _note(
        self,
        frame: FrameType,
        function: str,
        key: int,
        path: Any,
        options: dict[str, Any],
        found: os.stat_result | None,
    ) -> None:
        if path.__class__ is int or options.get("dir_fd") is not None or function in INDIFFERENT:
            return
        if found is not None and stat.S_ISLNK(found.st_mode):
            return  # what it leads to is another question
        self._stacks.note(frame, "path", os.fsdecode(path))
        kept = frame.f_code, frame.f_back and frame.f_back.f_code, function
        is_measuring = not function or function in MEASURING
        answer = found and (stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)
        self._noted.setdefault(key, ({}, is_measuring, kept))[0].setdefault(path, answer)
