"""What a tool asks about paths: whether they are there, their size and their time, and where links lead to. Python has
no audit event for that.

`os.stat` and `os.lstat` are wrapped, which `exists()`, `is_file()`, `getsize()`, `glob` and their like call, and
`os.access`, and `os.readlink`, which `resolve()` and `realpath()` call. Only questions of the project's own code
count, also where it asks through the standard library. What an installed package asks is for itself, and what it then
reads is observed anyway.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys

from discover_orch.model.search_path import OWN_FOLDER, is_of_python
from discover_orch.worker.shared_uses import CALLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.shared_uses import ModuleUses, Uses

#: Functions of the standard library that tell their caller the size or the time of a file.
MEASURING = frozenset(
    ["getsize", "getmtime", "getctime", "getatime", "stat", "lstat", "cmp", "cmpfiles"]
)
#: Those whose result is the same whatever the answer is, or that only follow links, which are asked for their targets.
INDIFFERENT = frozenset(["makedirs", "mkdir", "realpath", "removedirs", "resolve", "rmtree"])

#: Of what is there: whether it is a folder, its size, and its time in ns. None where nothing is.
Answer = tuple[bool, int, int] | None

#: Whether paths are there, their sizes and times, and where links lead to.
Found = tuple[dict[str, Answer], dict[str, Answer], dict[str, str]]

#: The functions themselves, for orch's own questions.
real_stat, real_lstat, real_readlink = os.stat, os.lstat, os.readlink
#: Of functions that do not ask for the size or time: what the keys of their stacks begin with.
_STARTS = {"access": 1, "readlink": 2}
_getframe = sys._getframe


class _Asker:
    """The code on one stack, and the first answers that it got; None where its questions do not count. Those of links
    are their targets."""

    __slots__ = ("answers", "is_measuring", "is_of_links", "uses")

    def __init__(
        self, uses: Uses | None = None, name: str = "", *, is_of_links: bool = False
    ) -> None:
        self.uses, self.is_measuring, self.is_of_links = uses, name in MEASURING, is_of_links
        self.answers: dict[str, Any] | None = None if uses is None else {}


class PathQuestions:
    """The questions of one step. All paths are absolute."""

    def __init__(
        self,
        project: ProjectCode,
        uses: ModuleUses,
        import_code: Collection[str],
        absolute: Callable[[Any], str],
    ) -> None:
        """`import_code` are the file names of code that looks for modules; `absolute` makes a path absolute."""
        self._project, self._uses, self._import_code = project, uses, import_code
        self._absolute = absolute
        self._askers: dict[int, _Asker] = {}  # by the modules and lines of the stack
        self._is_forked = False  # this is a child of the worker, whose notes are lost
        os.register_at_fork(after_in_child=self._note_fork)
        #: Name of a module -> whether its questions count; None where it asks for the code that called it.
        self._modules: dict[str, bool | None] = {}
        for name, add_answer in (
            ("stat", self._add_answer),
            ("lstat", self._add_answer),
            ("access", self._add_access),
            ("readlink", self._add_target),
        ):
            self._wrap(name, getattr(os, name), add_answer)

    def clear(self) -> None:
        self._askers.clear()

    def _note_fork(self) -> None:
        self._is_forked = True

    def is_empty(self) -> bool:
        return not any(one.answers for one in self._askers.copy().values())

    def find(self) -> Found:
        """The first answer to each question of whether a path is there, of its size or time, and of where a link leads
        to, by absolute path."""
        asked: dict[str, Answer] = {}
        measured: dict[str, Answer] = {}
        targets: dict[str, str] = {}
        for asker in self._askers.copy().values():
            answers = (asker.answers or {}).copy()
            for path, answer in answers.items():
                if asker.is_of_links:
                    targets.setdefault(path, answer)
                    continue
                asked.setdefault(path, answer)
                if asker.is_measuring:
                    measured.setdefault(path, answer)
            if asker.uses is not None and asker.uses.owners:
                asker.uses.used.update(dict.fromkeys(("path", path) for path in answers))
        return asked, measured, targets

    def _wrap(
        self,
        name: str,
        real: Callable[..., Any],
        add_answer: Callable[[dict[str, Any], Any, Any], None],
    ) -> None:
        askers, modules, add = self._askers, self._modules, self._add
        first_key = _STARTS.get(name, 0)

        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._is_forked:  # the kernel reports only links (`kernel_filter`)
                with contextlib.suppress(OSError, TypeError, ValueError):
                    real_readlink(path, dir_fd=options.get("dir_fd"))
                return real(path, *arguments, **options)
            found = start = None
            try:
                found = real(path, *arguments, **options)
                start = _getframe(1)
                return found
            except OSError:
                start = _getframe(1)
                raise
            finally:
                if start is not None:  # else it is not a path
                    counts, key, frame = None, first_key, start
                    # `frame.f_code` and `id()` are audit events, each of which runs the hook.
                    while frame is not None and (names := frame.f_globals) is not CALLS:
                        module = names.get("__name__", "")
                        if counts is None and (counts := modules.get(module, True)) is False:
                            break
                        key = hash((key, module, frame.f_lineno))
                        frame = frame.f_back  # type: ignore[assignment]
                    known = None if counts is False else askers.get(key) or add(start, key, name)
                    answers = None if known is None else known.answers
                    is_path = path.__class__ is not int and options.get("dir_fd") is None
                    if is_path and answers is not None:
                        with contextlib.suppress(OSError):  # the working directory is gone
                            path = self._absolute(path)
                            if path not in answers:
                                add_answer(answers, path, found)

        wrapper = functools.wraps(real)(ask)
        wrapper.__module__ = "os"  # so that it can be pickled
        known = getattr(os, name)
        for functions in (
            os.supports_dir_fd,
            os.supports_effective_ids,
            os.supports_fd,
            os.supports_follow_symlinks,
        ):
            if known in functions:
                functions.add(wrapper)
        setattr(os, name, wrapper)
        glob = sys.modules.get("glob")
        for one in vars(glob).values() if glob else ():
            if isinstance(one, type) and getattr(vars(one).get(name), "__func__", None) is known:
                setattr(one, name, staticmethod(wrapper))

    def _add(self, frame: FrameType | None, key: int, name: str) -> _Asker:
        """Who asks with `os.NAME`: the first code on the stack that is not of the standard library."""
        is_of_links, counts = name == "readlink", None
        start = frame
        while frame is not None and frame.f_globals is not CALLS:
            counts = self._counts(frame.f_code.co_filename)
            module = frame.f_globals.get("__name__", "")
            if getattr(sys.modules.get(module), "__dict__", None) is frame.f_globals:
                self._modules[module] = counts
            if counts is not None:
                start = frame
                break
            name, frame = frame.f_code.co_name, frame.f_back
        if counts is False or (name in INDIFFERENT and not is_of_links):
            asker = _Asker()
        else:  # a thread may run nothing else than a function of the standard library
            asker = _Asker(self._uses.find(start), name, is_of_links=is_of_links)
        return self._askers.setdefault(key, asker)

    def _add_answer(
        self, answers: dict[str, Answer], path: Any, found: os.stat_result | None
    ) -> None:
        if found is not None and stat.S_ISLNK(found.st_mode):
            return  # what it leads to is another question
        answers[path] = found and (stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)

    def _add_access(self, answers: dict[str, Answer], path: Any, _: Any) -> None:
        """Whether it is there, not what the tool may do with it."""
        found = None
        with contextlib.suppress(OSError):
            found = real_stat(path)
        self._add_answer(answers, path, found)

    def _add_target(self, answers: dict[str, str], path: Any, target: Any) -> None:
        """Where a link leads to; "" where it is none."""
        answers[path] = "" if target is None else os.fsdecode(target)

    def _counts(self, file: str) -> bool | None:
        """Whether questions of this code count; None where it asks for the code that called it."""
        if file in self._import_code or file.startswith(OWN_FOLDER):
            return False
        try:
            return (
                None
                if is_of_python(file) or file[:1] == "<"
                else bool(self._project.find_path(file))
            )
        except OSError:  # the working directory is gone
            return True
