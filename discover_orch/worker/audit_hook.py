"""The paths of files that a tool uses, noted from Python's audit events.

The tool waits for the hook, so it only notes paths; `used_files` reads the files after the tool has ended. The
hook changes nothing of what the tool does, and stays until the process ends. There are no events for native
code and child processes, nor for `exists()`, which `path_questions` notes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref

from discover_orch.databases.sqlite_user_connections import CONNECT_CODE, OwnConnections
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.database_url import read_sqlite_name
from discover_orch.model.observation import CONNECTED
from discover_orch.model.search_path import INSTALLED, OWN_FOLDER, is_of_python
from discover_orch.worker.observed_paths import (
    find_all_below,
    find_links,
    find_source,
    normalize_path,
    parent_folders,
    read_names,
)
from discover_orch.worker.opened_databases import KeptDatabase, database_mark
from discover_orch.worker.path_questions import PathQuestions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from discover_orch.worker.opened_databases import DatabaseMark
    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.shared_uses import ModuleUses
    from discover_orch.worker.traced_files import TracedFiles

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
APPEND_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
#: Files that Python itself opens most of the time: for these, the hook checks which code opens them.
CODE_SUFFIXES = (".py", ".pyc", ".pyi", ".zip", ".egg", ".whl")
_LIBRARY = os.path.dirname(os.__file__)
_GLOB = os.path.join(_LIBRARY, "glob.py")
_TOKENIZE = os.path.join(_LIBRARY, "tokenize.py")
_SHUTIL = os.path.join(_LIBRARY, "shutil.py")
_PKGUTIL = os.path.join(_LIBRARY, "pkgutil.py")
#: What these open for writing is a log, also where it is emptied first.
_LOGGING = frozenset(
    os.path.join(_LIBRARY, "logging", one) for one in ("__init__.py", "handlers.py")
)
IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"
_ZIPIMPORT = "<frozen zipimport>"
#: Code that opens files to import modules or to show source lines.
IMPORT_CODE = frozenset(
    [
        IMPORT_SYSTEM,
        "<frozen importlib._bootstrap>",
        _ZIPIMPORT,
        _TOKENIZE,
        *(
            os.path.join(_LIBRARY, *words)
            for words in (
                ["zipimport.py"], ["linecache.py"], ["inspect.py"],
                ["importlib", "metadata", "__init__.py"], ["importlib", "_bootstrap_external.py"],
            )
        ),
    ]
)  # fmt: skip
#: Code that opens files relative to an open folder; the event does not say which folder.
FOLDER_WALKERS = frozenset(["<frozen os>", os.path.join(_LIBRARY, "os.py"), _SHUTIL, _GLOB])
#: No files of a project. The worker reads them itself, to find processes that are left.
PROCESSES = "/proc/"
ATTACHED = "attached a database whose name is a value of the statement"
CHILD_EVENTS = (
    *("os.spawn", "os.fork", "os.forkpty", "os.exec", "subprocess.Popen", "os.posix_spawn"),
    *("pty.spawn", "os.system"),
)
#: Somebody has Python call functions in which it reports nothing.
HOOK_EVENTS = (
    "sys.settrace", "sys.setprofile", "sys.addaudithook", "sys.monitoring.register_callback",
)  # fmt: skip
#: Code is executed, or given to a function.
CODE_EVENTS = ("exec", "function.__new__", "object.__setattr__")
_getframe = sys._getframe


class AuditHook:
    """Notes paths from the moment it is made. All are absolute."""

    def __init__(self, project: ProjectCode, traced: TracedFiles, uses: ModuleUses) -> None:
        self._project = project
        self._uses = uses
        self._traced = traced
        self.questions = PathQuestions(project, uses, IMPORT_CODE | _LOGGING, self.absolute)
        #: Folder -> the names in it when it was first listed, with `/` between; None where it was not there. Of those
        #: in which modules are looked for (`searched`) only the modules count.
        self.listed: dict[str, str | None] = {}
        self.searched: dict[str, str | None] = {}
        self.changed: dict[str, bool] = {}  # path of a file or folder -> existed before
        #: Those of `changed` that were only opened to append to them, or by `logging`.
        self.appended: dict[str, None] = {}
        self.link_targets: dict[str, str] = {}  # possible new link -> target of a hard link
        self.folder_changes: dict[str, bool] = {}  # True: made; False: moved or removed
        self.followed: dict[
            str, str
        ] = {}  # links to folders by which paths go that have no such name -> targets
        self.imported: dict[str, None] = {}  # files that the import system opened
        #: What the import system and orch have opened and listed: that does not count.
        self.passed_over: set[str] = set()
        self.connected: dict[str, DatabaseMark] = {}  # real path of a database -> as it was before
        self.kept: list[KeptDatabase] = []  # of this worker's life
        self._connecting = KeptDatabase("", ())  # what the connection opens that is being made
        #: Called with an environment variable before it is set, and its value.
        self.note_variable: Callable[[str, str], None] = lambda name, text: None
        self.note_hook: Callable[[], None] = lambda: None  # called at one of HOOK_EVENTS
        self.note_code: Callable[..., None] = lambda *_: None  # called at one of CODE_EVENTS
        self.note_new_code: Callable[..., None] = lambda *_: None
        self._cwd = ""  # the working directory with a slash; "" if it may have changed
        self._notes: tuple[dict[Any, Any], ...] = (
            self.listed, self.searched, self.changed, self.appended, self.link_targets, self.folder_changes,
            self.followed, self.connected,
        )  # fmt: skip
        sys.addaudithook(self._make_hook())
        self.own = OwnConnections(self.note_attach)

    def is_empty(self) -> bool:
        """Whether nothing was noted except imports."""
        return not any(self._notes) and self._uses.is_empty() and self.questions.is_empty()

    def clear(self) -> None:
        self._cwd = ""
        self.imported.clear()
        self.passed_over.clear()
        self._uses.clear()
        self.questions.clear()
        for noted in self._notes:
            if noted:
                noted.clear()

    def _make_hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """The hook. Called for every event of the interpreter, in any thread: it must be fast and not raise."""
        find_uses, on_child = self._uses.find, self._on_child
        others: dict[str, Callable[..., None]] = {
            "os.listdir": self._on_list,
            "os.scandir": self._on_list,
            "pathlib.Path.glob": self._on_glob,
            "pathlib.Path.rglob": self._on_glob,
            "os.rename": self._on_rename,
            "os.remove": self._on_remove,
            "os.rmdir": self._on_remove,
            "os.truncate": self._on_truncate,
            "os.link": self._on_link,
            "os.symlink": lambda _, target, folder=-1: self._note_link(target, folder, ""),
            "os.mkdir": self._on_mkdir,
            "os.chdir": self._on_chdir,
            "shutil.rmtree": self._on_rmtree,
            "sqlite3.connect": self._on_sqlite_connect,
            "sqlite3.connect/handle": self._on_sqlite_handle,
            "socket.connect": self._on_socket_connect,
            "import": self._traced.note_import,
            "ctypes.dlopen": self._on_dlopen,
            **dict.fromkeys(CHILD_EVENTS, on_child),
            **dict.fromkeys(HOOK_EVENTS, lambda *_: self.note_hook()),
            **dict.fromkeys(CODE_EVENTS, lambda *given: self.note_code(*given)),
            "code.__new__": lambda *given: self.note_new_code(*given),
            "pickle.find_class": lambda module, _: self._project.note_names(module, _getframe(2)),
            "os.putenv": lambda name, value: self.note_variable(
                os.fsdecode(name), os.fsdecode(value)
            ),
        }

        def on_event(event: str, arguments: tuple[Any, ...]) -> None:
            try:
                if event == "open":
                    path, mode, flags = arguments
                    if flags & WRITE_FLAGS:
                        self._on_open_for_writing(path, flags)
                    elif (
                        path.__class__ is str
                        and mode is not None
                        and not path.endswith(CODE_SUFFIXES)
                        and not path.startswith(PROCESSES)
                    ):
                        if path[:1] != "/" or "/." in path or "//" in path:
                            path = self.absolute(path)
                        find_uses(_getframe(1)).opened[path] = None
                    else:
                        self._on_open(path, mode, _getframe(1).f_code.co_filename)
                elif event in others:
                    others[event](*arguments)
            except Exception:  # a user's own event, not a path, or the working directory is gone
                return

        return on_event

    def _on_child(self, *_: object) -> None:
        self._uses.note(_getframe(2), "copied", "")
        self._traced.note_child()

    def _on_open(self, given: Any, mode: Any, opener: str) -> None:
        path = os.fsdecode(given)
        if path.startswith(PROCESSES):
            return
        if mode is None and opener in FOLDER_WALKERS and not os.path.isabs(path):
            return
        path = self.absolute(path)
        if mode is None and opener.startswith(OWN_FOLDER):
            self.passed_over.add(path)
            return
        if path.endswith(CODE_SUFFIXES) and _is_import_code(opener):
            caller = _getframe(3)  # of the function that opens it
            if opener in (IMPORT_SYSTEM, _ZIPIMPORT) and not path.startswith(OWN_FOLDER):
                self._note_imported(path, caller)
            if opener != _TOKENIZE or not self._project.find_code_file(caller.f_code):
                self.passed_over.add(path)
                return
        self._uses.find(_getframe(2)).opened[path] = None

    def _note_imported(self, path: str, loader: FrameType) -> None:
        self.imported[path] = None
        # A module of the project that orch's loader does not load is a file that is read.
        if not loader.f_code.co_filename.startswith(OWN_FOLDER) and self._project.includes(path):
            self._uses.note(loader, "path", find_source(path))

    def _on_open_for_writing(self, given: Any, flags: int) -> None:
        path = self.absolute(given)
        if self.link_targets:
            self.link_targets.pop(path, None)  # if it is a link, its target is written
        if path not in self.changed:
            was_there = self._is_there(path)
            if was_there and flags & os.O_EXCL:
                return  # it fails
            self.changed[path] = was_there
            self._uses.note_change(path)
            if self._only_adds(flags):
                self.appended[path] = None
        elif self.appended and not self._only_adds(flags):
            self.appended.pop(path, None)

    def _only_adds(self, flags: int) -> bool:
        is_append = flags & APPEND_FLAGS == os.O_APPEND | os.O_WRONLY
        return is_append or _getframe(3).f_code.co_filename in _LOGGING

    def _on_list(self, given: Any) -> None:
        frame: FrameType | None = _getframe(2)
        opener = _getframe(2).f_code.co_filename
        is_deleted = given.__class__ is int and opener == _SHUTIL  # by `shutil.rmtree`
        if given.__class__ is int:  # an open folder; Linux says which
            given = os.readlink(f"{PROCESSES}self/fd/{given}")
        path = self.absolute("." if given is None else given)
        while frame is not None and frame.f_code.co_filename == _GLOB:
            frame = frame.f_back
        is_own = frame is None or frame.f_code.co_filename.startswith(OWN_FOLDER)
        if is_own or is_deleted or _is_import_code(opener):
            self.passed_over.add(path)
        else:
            is_search = opener == _PKGUTIL or self._looks_for_modules(path, frame)
            self._note_listed(path, self.searched if is_search else self.listed)
            self._uses.note(frame, "path", path)

    def _looks_for_modules(self, path: str, frame: FrameType | None) -> bool:
        """Whether a package lists a folder in which Python finds modules, as for entry points."""
        if path not in sys.path and path not in self._project.search_path:
            return False
        while frame is not None and is_of_python(frame.f_code.co_filename):
            frame = frame.f_back
        return frame is not None and any(one in frame.f_code.co_filename for one in INSTALLED)

    def _note_listed(self, path: str, noted: dict[str, str | None]) -> None:
        if path not in noted:
            noted[path] = None  # reading it is an event too
            noted[path] = read_names(path)

    def _on_glob(self, folder: Any, pattern: Any) -> None:
        """`pathlib` does not try to list a folder that is not there."""
        path = os.fsdecode(folder)
        parts = os.fsdecode(pattern).split("/")
        while os.path.exists(path):
            if not parts or not GLOB_CHARACTERS.isdisjoint(parts[0]):
                return
            path = os.path.join(path, parts.pop(0))
        path = self.absolute(path)
        self._note_listed(path, self.listed)
        self._uses.note(_getframe(2), "path", path)

    def _on_truncate(self, given: Any, *_: object) -> None:
        if given.__class__ is not int:
            path = self.absolute(given)
            self.link_targets.pop(path, None)
            self._note(path)

    def _on_remove(self, given: Any, folder: int = -1) -> None:
        if folder == -1:
            path = self.absolute(given)
            if _getframe(2).f_code.co_filename in _LOGGING:
                self.passed_over.add(path)
            else:
                self._note(path)

    def _on_rename(
        self, source: Any, target: Any, source_folder: int = -1, target_folder: int = -1
    ) -> None:
        old = self.absolute(source) if source_folder == -1 else ""
        new = self.absolute(target) if target_folder == -1 else ""
        if _getframe(2).f_code.co_filename in _LOGGING:
            self.passed_over.update((old, new))  # a full log is put aside
            return
        if old and os.path.isdir(old) and not os.path.islink(old):
            self.folder_changes.setdefault(old, False)
            for path in (old, *find_all_below(old)):
                self._note(path)
                if new:
                    self._note(new + path[len(old) :])
            return
        for path in (old, new):
            if path:
                self._note(path)
        if new:
            self.link_targets[new] = self.link_targets.pop(old, "")

    def _on_link(
        self, source: Any, target: Any, source_folder: int = -1, target_folder: int = -1
    ) -> None:
        self._note_link(target, target_folder, self.absolute(source) if source_folder == -1 else "")

    def _note_link(self, target: Any, folder: int, source: str) -> None:
        if folder == -1:
            path = self.absolute(target)
            if not os.access(path, os.F_OK, follow_symlinks=False):  # else it fails
                self._note(path)
                self.link_targets[path] = source

    def _on_mkdir(self, given: Any, mode: int = 0, folder: int = -1) -> None:
        if folder == -1:
            path = self.absolute(given)
            if not os.access(path, os.F_OK):
                self._note(path)
                self.folder_changes.setdefault(path, True)

    def _on_rmtree(self, given: Any, folder: Any = None) -> None:
        if folder is None:
            path = self.absolute(given)
            self.folder_changes.setdefault(path, False)
            for one in (path, *find_all_below(path)):
                self._note(one)

    def _on_chdir(self, given: Any) -> None:
        if given.__class__ is not int:
            self._note_links(self.absolute(given))
        self._cwd = ""

    def _note_links(self, folder: str) -> None:
        for link in find_links(folder, self._project.root):
            self.followed.setdefault(link, os.readlink(link))

    def _on_sqlite_connect(self, given: Any) -> None:
        frame: FrameType | None = _getframe(2)
        if frame is not None and frame.f_code is CONNECT_CODE:
            if self.own.includes(given):
                self._connecting = KeptDatabase("", ())
                return
            frame = frame.f_back
        if frame is not None and not frame.f_code.co_filename.startswith(OWN_FOLDER):
            self._connecting = self._note_connection(os.fsdecode(given), frame)

    def _on_sqlite_handle(self, connection: Any) -> None:
        made, self._connecting = self._connecting, KeptDatabase("", ())
        if made.path:
            with contextlib.suppress(TypeError):  # a class of C
                made.connection = weakref.ref(connection)
            self.kept = [one for one in self.kept if one.is_open()]
            self.kept.append(made)

    def _note_connection(self, name: str, frame: FrameType | None) -> KeptDatabase:
        path = read_sqlite_name(name)
        if not path or frame is None:
            return KeptDatabase("", ())
        path = os.path.realpath(path)
        if path not in self.connected:
            self.connected[path] = database_mark(path)
        self._uses.note(frame, "path", path)
        return KeptDatabase(path, self._uses.find(frame).owners)

    def note_attach(self, name: str | None, *, is_conn: bool = False) -> None:
        """A connection, which may be `conn`, attaches this database file; None where its name is not known."""
        with contextlib.suppress(Exception):  # not a path, or the working directory is gone
            if name is None:
                self._uses.note(_getframe(3), "gap", ATTACHED)
                return
            attached = self._note_connection(name, _getframe(3))
            if attached.owners and not is_conn:
                self.kept.append(attached)

    def _on_dlopen(self, _: object) -> None:
        frame = _getframe(2)  # of ctypes, which also opens libraries for itself
        opener = (
            frame.f_code.co_filename if frame.f_back is None else frame.f_back.f_code.co_filename
        )
        if opener != frame.f_code.co_filename and not opener.startswith(OWN_FOLDER):
            self._traced.note_library()

    def _on_socket_connect(self, connecting: Any, _: object) -> None:
        import _socket  # is loaded, since there is a socket

        if self._traced.is_traced:
            return  # the kernel tells it
        families = _socket.AF_INET, _socket.AF_INET6
        if connecting.family in families and not _is_opening_database(_getframe(2)):
            self._uses.note(_getframe(2), "gap", CONNECTED)

    def absolute(self, given: Any) -> str:
        """The absolute path, normalized."""
        path: str = given if given.__class__ is str else os.fsdecode(given)
        if path[:1] != os.sep:
            if not self._cwd:
                self._cwd = os.getcwd().rstrip(os.sep) + os.sep
            path = self._cwd + path
        if "/../" in path:
            self._note_links(path.partition("/../")[0])
        return normalize_path(path)

    def _note(self, path: str) -> None:
        if self.appended:
            self.appended.pop(path, None)
        if path not in self.changed:
            self.changed[path] = self._is_there(path)
            self._uses.note_change(path)

    def _is_there(self, path: str) -> bool:
        """Whether the path existed before the tool: not if it is in a folder that the tool made."""
        return os.access(path, os.F_OK, follow_symlinks=False) and not (
            self.folder_changes and any(map(self.folder_changes.get, parent_folders(path)))
        )


def _is_opening_database(frame: FrameType | None) -> bool:
    """Whether orch is opening `conn`, for which a driver may need the network."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_open_connection" and code.co_filename.startswith(OWN_FOLDER):
            return True
        frame = frame.f_back
    return False


def _is_import_code(opener: str) -> bool:
    return opener in IMPORT_CODE or opener.startswith(OWN_FOLDER)
