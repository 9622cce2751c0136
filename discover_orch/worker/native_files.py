"""Completes what Python's audit events show with the kernel's file events, which also show native code and children,
and with the command lines of children.

Following all folders of a project takes time, so it begins when a tool first loads an extension module that is not of
the standard library, or starts a process. It then lasts as long as the worker.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from functools import cached_property
from importlib.machinery import EXTENSION_SUFFIXES

from discover_orch.model.observation import SIDE_FILES, file_state, list_paths
from discover_orch.model.search_path import is_of_python
from discover_orch.worker.child_processes import NO_CHILDREN, describe_children
from discover_orch.worker.inotify import (
    CHANGED,
    CREATED,
    GONE,
    MOVED,
    READ,
    READ_BEFORE,
    WRITTEN,
    FileEvents,
)
from discover_orch.worker.observed_paths import parent_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from types import CodeType
    from typing import Any

    from discover_orch.model.observation import Via
    from discover_orch.worker.child_commands import ChildCommands
    from discover_orch.worker.observed_paths import ObservedPaths, StepFiles

STARTED_CHILD = "started a child process"
NO_EVENTS = "loaded an extension module without file events"
#: Extension modules that orch itself loads.
OWN_EXTENSIONS = frozenset(["msgspec", "sqlglotc"])
#: Modules of the standard library that open files without an audit event, or start processes without one.
NATIVE_MODULES = frozenset(
    ["_dbm", "_gdbm", "multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver"]
)
SPAWNER = "_posixsubprocess"  # the module that starts processes
SKIPPED_FOLDERS = frozenset(["node_modules"])
SOURCE_SUFFIXES = (".py", ".pyc", ".pyi")
#: Files that editors make beside the one that is saved.
EDITOR_FILE = r"~$|\.sw[a-z]$|^\.#|^#.*#$|^4913$|^\.goutputstream-|___jb_(?:tmp|old)___$"
OPENED_BETWEEN_DRAINS = 4096  # the kernel queues 16,384 events


class NativeFiles:
    """`begin_step` before each step; `complete` after it."""

    def __init__(self, paths: ObservedPaths) -> None:
        self.paths = paths
        self._events: FileEvents | None = None
        self._is_unavailable = False
        self._is_loaded = False  # native code that can open files is in this process
        self._has_standard = not NATIVE_MODULES.isdisjoint(sys.modules)  # some is Python's own
        self._is_loaded_now = False  # some was loaded in this step
        self.has_child = False  # the step has started a process; known after `complete`
        self._children = NO_CHILDREN
        if SPAWNER in sys.modules:  # a warm worker may have had some
            self._children = _describe_children()
        self.is_followed: list[bool] = []  # empty until the kernel's events are followed
        self._folders: dict[str, None] = {}  # those of databases, and those outside of the root
        self._named: set[str] = set()  # what is outside of the root and a tool names
        self._opened = 0  # files that Python has opened since the last drain
        self._opened_before: set[str] = set()  # in this step, before the events were followed
        self._reported: set[str] = set()  # by `find_new_reads`
        self.find_opened: Callable[[], Iterable[str]] = tuple  # set by who knows
        self.before_events: Callable[[], None] = lambda: None  # called before they are followed
        if any(map(_is_foreign_extension, [*sys.modules.values()])):
            self.note_library()

    def begin_step(self) -> None:
        """Forget what happened before."""
        self.has_child = self._is_loaded_now = False
        self._opened_before.clear()
        self._reported.clear()
        self.__dict__.pop("commands", None)
        if self._events is not None:
            self._events.clear()
            self._check()

    @cached_property
    def commands(self) -> ChildCommands:
        """The command lines of this step."""
        from discover_orch.worker.child_commands import ChildCommands  # few tools start a process

        return ChildCommands(self.paths)

    def note_import(self, name: str, file: object = None, *_: object) -> None:
        """A module is about to be imported; `file` is that of an extension module."""
        if name in NATIVE_MODULES:
            self._has_standard = True
            self.note_library()
        elif isinstance(file, str) and is_foreign_library(name, file):
            self.note_library()

    def note_library(self) -> None:
        """Native code that can open files is about to be loaded, and stays."""
        self._is_loaded = self._is_loaded_now = True
        self._follow()

    def note_child(self, words: Any = (), folder: Any = None, environment: Any = None) -> None:
        """A process is about to be started, with these words where they are known."""
        self.has_child = True
        self._follow()
        if words:
            self.commands.note(words, folder, environment)

    def find_new_reads(self) -> list[str]:
        """The files that the kernel saw being read since the last call. Absolute paths."""
        if self._events is None:
            return []
        self._drain()
        files = {} if self._events is None else self._events.files
        found = [path for path, happened in files.items() if happened & READ]
        new = [path for path in found if path not in self._reported]
        self._reported.update(new)
        return new

    def note_open(self) -> None:
        """Python opens a file. The kernel queues an event for each, until there is no more room."""
        self._opened += 1
        if self._opened >= OPENED_BETWEEN_DRAINS:
            self._opened = 0
            self._drain()

    def may_have_children(self) -> bool:
        """Whether processes of this worker's tools may be running."""
        return self.has_child or SPAWNER in sys.modules or self._is_loaded

    @property
    def folders_made(self) -> Collection[str]:
        """The folders that the kernel saw being made in this step, by whomever. Absolute paths."""
        return () if self._events is None else self._events.made

    def follow_folder(self, folder: str) -> None:
        """Follow the files in a folder that may be outside of the root too."""
        self._folders[folder] = None
        if self._events is not None:
            self._events.follow_folder(folder)

    def follow_path(self, path: str) -> None:
        """Outside of the root: follow this file, or the files in this folder, by its absolute path."""
        if path in self._named or self.paths.relative(path) or self.paths.is_root(path):
            return
        if self.paths.start_of(path) is not None:
            self._named.add(path)
            self.follow_folder(path)
            self.follow_folder(os.path.dirname(path))  # where it comes, or is replaced

    def follow_code(self, code: CodeType, source: bytes) -> None:
        """Follow the paths outside of the root that this code spells."""
        waiting = [code] if any(one in source for one in (b"../", b"'/", b'"/')) else []
        while waiting:
            for one in waiting.pop().co_consts:
                if isinstance(one, type(code)):
                    waiting.append(one)
                elif isinstance(one, str) and one.startswith(("../", "/")) and len(one) > 1:
                    path = os.path.normpath(os.path.join(self.paths.root, one))
                    with contextlib.suppress(ValueError):  # not a path
                        if os.path.exists(os.path.dirname(path)):
                            self.follow_path(path)

    def find_use_of_database(self, began: int, *, ignores_this_process: bool) -> tuple[bool, bool]:
        """Whether the kernel saw the project's database being opened, and being written since `began`, by a child
        process or by native code. Call it after `complete`."""
        is_followed = self.has_child or (self._is_loaded and not ignores_this_process)
        if self._events is None or not is_followed:
            return False, False
        is_read = is_written = False
        for path in self.paths.database_files:
            happened = 0 if path.endswith(SIDE_FILES) else self._events.files.get(path, 0)
            # A file that was made and not closed since is the one that `conn` has open.
            if happened & (READ | WRITTEN | MOVED):
                is_read = True
                with contextlib.suppress(OSError):
                    is_written |= happened & CHANGED != 0 and os.stat(path).st_ctime_ns >= began
        return is_read, is_written

    def may_be_unnamed(self, modules: Iterable[str]) -> bool:
        """Whether what only the kernel saw may be the work of something else than packages that import statements
        name. `modules` are those that the step got by their names."""
        has_named = any(one.partition(".")[0] not in sys.stdlib_module_names for one in modules)
        return self.has_child or self._is_loaded_now or self._has_standard or has_named

    def find_gaps(self) -> list[str]:
        """What cannot be known of this step. Call it after `complete`."""
        gaps = []
        if self.has_child:
            gaps.append(STARTED_CHILD)
        if self._is_loaded and self._events is None:
            gaps.append(NO_EVENTS)
        if self._events is not None and (self._is_loaded or self.has_child):
            gaps += self._events.gaps
        return gaps

    def complete(self, seen: StepFiles, *, known: Collection[str], began: int) -> None:
        """Adds what only the kernel saw, and what command lines name. `known`: the databases that the step opened
        itself, and the tool in SQL that orch read; `began`: when it began, by the clock of files.
        """
        self._drain()  # before orch imports something and lists the folders of `sys.path` for it
        self._find_unnoted_children()
        if self.has_child:
            self._read_commands(seen)
        if self._events is None or not (self._is_loaded or self.has_child):
            return
        named = self.commands.named if self.has_child else ()
        inodes = seen.inodes.union(int(one.split()[2]) for one in seen.read.values() if one)
        for shown, found, is_read, is_written, is_read_before in self._find_files(began):
            if shown in known or shown in seen.written:
                continue
            if found.st_ino not in inodes:
                if is_read:
                    seen.native_read[shown] = file_state(found)
            elif not (shown in seen.read and is_written):
                continue
            elif not is_read_before:  # Python read what native code or a child had made
                seen.native_read[shown] = seen.read.pop(shown)
            if is_written:
                via: Via = "command" if shown in named else "kernel"
                seen.native_written[shown] = ("updated" if is_read_before else "written", via)
        made = {self.paths.show(path) for path, one in self._events.files.items() if one & CREATED}
        for shown in made.intersection(seen.removed):  # made and gone within the step is nothing
            del seen.removed[shown]
            seen.read.pop(shown, None)
        self._find_links(seen)
        self._find_listed(seen)

    def _find_links(self, seen: StepFiles) -> None:
        """Adds the links through which native code or a child process may have got what it read: the kernel shows the
        file under its own name."""
        assert self._events is not None
        files = self._events.files.items()
        self._events.links |= {path for path, one in files if one & (CREATED | MOVED)}
        read = [os.path.join(self.paths.root, shown) for shown in seen.native_read]
        for link in [*self._events.links] if read else ():
            try:
                target = os.readlink(link)
            except OSError:  # it is no link, or is gone
                self._events.links.discard(link)
                continue
            found = os.path.realpath(link)
            if any(path == found or path.startswith(found + os.sep) for path in read):
                seen.native_links[self.paths.relative(link)] = target

    def _read_commands(self, seen: StepFiles) -> None:
        """Adds what the command lines of children name."""
        commands, files = self.commands, {} if self._events is None else self._events.files
        commands.read()
        opened = (self.paths.relative(path) for path in files if path.endswith(".py"))
        commands.find_named_scripts(one for one in opened if not self.paths.is_noise(one))
        for path in (one for one in commands.absent if not os.path.lexists(one)):
            if files.get(path, 0) & GONE:
                seen.removed[self.paths.relative(path)] = None
            elif path not in files:
                seen.native_missed.append(self.paths.relative(path))

    def _find_listed(self, seen: StepFiles) -> None:
        """Adds the folders that native code or a child process listed. Of a listing the kernel does not say who made
        it, so it counts only where a file in or below the folder was read natively, or where a command line names the
        folder. Imports list folders with code: of these count the files that are like those read, and what
        the globs of a command line match.
        """
        assert self._events is not None
        # Folders that a read file is in or below -> suffixes of the files in it.
        folders: dict[str, set[str]] = {}
        for shown in seen.native_read:
            path = os.path.join(self.paths.root, shown)
            for above in parent_folders(path):
                folders.setdefault(above, set())
            folders[os.path.dirname(path)].add(os.path.splitext(path)[1])
        # Loading the code for command lines takes a millisecond.
        named, named_globs = (
            (self.commands.folders, self.commands.globs) if self.has_child else ((), ())
        )
        with_globs = {*map(os.path.dirname, named_globs)}
        for path in self._events.listed:
            shown = self.paths.show(path) or "."
            is_named = path in named
            if (
                shown in seen.listed
                or path in self._events.made
                or not (is_named or path in folders or path in with_globs)
                or (shown != "." and self.paths.is_noise_folder(shown))
            ):
                continue
            try:
                names = os.listdir(path)
            except OSError:
                continue
            if is_named or not self._has_code(shown, names):
                seen.native_listed[shown] = list_paths(shown, names, self.paths.own)
                continue
            start = "" if shown == "." else f"{glob_escape(shown)}/"
            kept = seen.native_globs
            kept.update({f"{start}*{one}": None for one in folders.get(path, ()) if one})
            kept.update(
                {
                    self.paths.relative(one): None
                    for one in named_globs
                    if os.path.dirname(one) == path
                }
            )

    def _has_code(self, shown: str, names: Iterable[str]) -> bool:
        """Whether imports list the folder."""
        path = os.path.join(self.paths.root, shown)
        return (
            shown == "."
            or path in sys.path
            or any(name.endswith(SOURCE_SUFFIXES) for name in names)
        )

    def _find_files(self, began: int) -> Iterator[tuple[str, os.stat_result, bool, bool, bool]]:
        """Files that were opened since `began`: (path relative to the root, state, was read, was written, was read
        before it was written).
        """
        files = {} if self._events is None else self._events.files.copy()
        for path, happened in files.items():
            shown = self.paths.show(path)
            if not happened & (READ | CHANGED) or self._is_left_out(shown):
                continue
            if os.path.isabs(shown) and self._named.isdisjoint((path, os.path.dirname(path))):
                continue  # beside it
            try:
                found = os.stat(path)
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(found.st_mode):
                # A file that was only opened for reading and writing, by SQLite for example, keeps its time.
                is_written = happened & (CREATED | MOVED) != 0 or (
                    happened & WRITTEN != 0 and found.st_ctime_ns >= began
                )
                is_before = happened & READ_BEFORE != 0 or shown in self._opened_before
                is_read = happened & READ != 0 or is_before or not is_written
                yield shown, found, is_read, is_written, is_written and is_before

    def _find_unnoted_children(self) -> None:
        """`multiprocessing` and native code start processes without an audit event."""
        if self._is_loaded or self.has_child or SPAWNER in sys.modules:
            children = _describe_children()
            if children != self._children:
                self._children = children
                self.has_child = True

    def _is_left_out(self, shown: str) -> bool:
        name = shown.rpartition("/")[2]
        return (
            name.endswith((*SOURCE_SUFFIXES, *SIDE_FILES))
            or re.search(EDITOR_FILE, name) is not None
            or (os.path.isabs(shown) and name.startswith("."))
            or self.paths.is_noise(shown)
        )

    def _is_skipped(self, path: str) -> bool:
        shown = self.paths.relative(path)
        if not shown:
            return path not in self._named
        return os.path.basename(path) in SKIPPED_FOLDERS or self.paths.is_noise_folder(shown)

    def _follow(self) -> None:
        if self._events is None and not self._is_unavailable:
            try:
                self.before_events()
                self._opened_before.update(map(self.paths.relative, self.find_opened()))
                self._events = FileEvents(self.paths.root, self._is_skipped)
                for folder in self._folders:
                    self._events.follow_folder(folder)
            except Exception:
                self._is_unavailable = True
            else:
                self.is_followed.append(True)

    def _drain(self) -> None:
        if self._events is not None:
            self._events.drain()
            self._check()

    def _check(self) -> None:
        if self._events is not None and self._events.is_closed:
            self._events = None
            self._is_unavailable = True
            self.is_followed.clear()


def glob_escape(path: str) -> str:
    """As `glob.escape`, whose module few tools import."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _describe_children() -> tuple[object, ...]:
    return describe_children(has_running="multiprocessing" in sys.modules)


def is_foreign_library(name: str, file: str) -> bool:
    """Whether this is an extension module that belongs neither to Python nor to orch."""
    # Compiled Python, such as the parser of SQL, opens files as Python does.
    is_python = name.endswith("__mypyc")
    return not (is_of_python(file) or is_python or name.partition(".")[0] in OWN_EXTENSIONS)


def _is_foreign_extension(module: object) -> bool:
    try:
        file, name = module.__file__, module.__name__  # type: ignore[attr-defined]
        return file.endswith(tuple(EXTENSION_SUFFIXES)) and is_foreign_library(name, file)
    except Exception:  # `sys.modules` can hold any object
        return False
