"""What native code and child processes do, as far as the kernel tells it; Python shows the rest (`audit_hook`).

The kernel is asked from the moment at which a tool first loads an extension module that is not of the standard
library, or starts a process, until the worker ends. Where it cannot be asked, the tool is not observed completely.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES

from discover_orch.model.observation import LOADED, STARTED_CHILD
from discover_orch.model.search_path import STANDARD_LIBRARY, is_of_python, with_slash
from discover_orch.worker.observed_paths import SYSTEM_FOLDERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from discover_orch.worker.kernel_filter import TraceChannel, Traced

#: Extension modules that orch itself loads.
OWN_EXTENSIONS = frozenset(["msgspec"])
#: Modules of the standard library that open files without an audit event, or start processes without one.
NATIVE_MODULES = frozenset(
    ["_dbm", "_gdbm", "multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver"]
).union(["multiprocessing.resource_tracker"])
SPAWNER = "_posixsubprocess"  # the module that starts processes


class TracedFiles:
    """`begin_step` before each step; `collect` after it."""

    def __init__(self, root: str, trace_fd: int = -1) -> None:
        """`trace_fd` is the socket to the parent; -1 where nothing is traced."""
        self._root, self._trace_fd = root, trace_fd
        self._reason = "" if trace_fd >= 0 else 'ORCH has "trace": False'
        self._channel: TraceChannel | None = None  # to a parent that answers
        #: Programs gain no rights any more, as `sudo` does.
        self.has_lost_rights = False
        self._is_loaded = False  # native code that can open files is in this process
        self.has_child = False  # the step has started a process; known after `collect`
        self._known: list[Traced] = []  # of this step
        #: Called before the kernel is asked for the first time, in a step that has done something already.
        self.note_begin: Callable[[], None] = lambda: None
        if any(map(_is_foreign_extension, [*sys.modules.values()])):
            self.note_library()

    @property
    def is_traced(self) -> bool:
        return self._channel is not None

    def begin_step(self) -> None:
        """Forget what happened before."""
        self.has_child = False
        self._known.clear()
        if self._channel is not None:
            self._channel.begin_step()

    def note_import(self, name: str, file: object = None, *_: object) -> None:
        """A module is about to be imported; `file` is that of an extension module."""
        if name in NATIVE_MODULES or (isinstance(file, str) and is_foreign_library(name, file)):
            self.note_library()

    def note_library(self) -> None:
        """Native code that can open files is about to be loaded, and stays."""
        self._is_loaded = True
        self._begin()

    def note_child(self) -> None:
        """A process is about to be started."""
        self.has_child = True
        self._begin()

    def may_have_children(self) -> bool:
        """Whether processes of this worker's tools may be running."""
        return self.has_child or SPAWNER in sys.modules or self._is_loaded

    def find_gaps(self) -> list[str]:
        """What cannot be known of this step."""
        if self._channel is not None:
            return []
        happened = [*[STARTED_CHILD] * self.has_child, *[LOADED] * self._is_loaded]
        return [f"{one} untraced ({self._reason})" for one in happened]

    def collect(self) -> list[Traced]:
        """What the kernel reported of this step until now. What happens again is reported again."""
        if self._channel is not None:
            self._known += self._channel.drain()
            self.has_child |= any(not one.is_own for one in self._known)
        return self._known

    def _begin(self) -> None:
        if self._channel is not None or self._reason:
            return
        from discover_orch.worker.kernel_filter import CannotTrace, TraceChannel

        channel = TraceChannel(self._trace_fd)
        self.note_begin()
        try:
            self.has_lost_rights = channel.begin(self._root, find_passing(self._root))
        except CannotTrace as error:
            self._reason = str(error)
        else:
            self._channel = channel


def find_passing(root: str) -> Iterable[str]:
    """The folders of the system and of Python that do not hold the project: what is used below them never counts."""
    installed = (one for one in sys.path if one.endswith(("site-packages", "dist-packages")))
    of_python = (sys.prefix, sys.base_prefix, STANDARD_LIBRARY.rstrip(os.sep), *installed)
    found = {*SYSTEM_FOLDERS, *of_python, *map(os.path.realpath, of_python)}
    return sorted(one for one in found if not with_slash(root).startswith(with_slash(one)))


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
