"""The paths of files that a tool uses, noted from Python's audit events.

The tool waits for the hook, so it only notes paths; `observer` reads the files after the tool has ended. The
hook changes nothing of what the tool does, and stays until the process ends. There are no events for native
code, child processes and `exists()`.
"""

from __future__ import annotations

import contextlib
import os
import sys

from discover_orch.model.observation import file_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Signature = tuple[tuple[int, int, int] | None, ...]

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Files that Python itself opens most of the time: for these, the hook checks which code opens them.
CODE_SUFFIXES = (".py", ".pyc", ".pyi", ".zip", ".egg", ".whl")
OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.__file__)
IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"
#: Code that opens files to import modules or to show source lines.
IMPORT_CODE = frozenset(
    [
        IMPORT_SYSTEM,
        "<frozen importlib._bootstrap>",
        "<frozen zipimport>",
        *(
            os.path.join(_LIBRARY, *words)
            for words in (
                ["zipimport.py"], ["tokenize.py"], ["linecache.py"], ["inspect.py"],
                ["importlib", "metadata", "__init__.py"], ["importlib", "_bootstrap_external.py"],
            )
        ),
    ]
)  # fmt: skip
#: Code that opens files relative to an open folder; the event does not say which folder.
FOLDER_WALKERS = frozenset(
    ["<frozen os>", *(os.path.join(_LIBRARY, one) for one in ("os.py", "shutil.py", "glob.py"))]
)
_getframe = sys._getframe


class AuditHook:
    """Notes paths from the moment it is made. All are absolute after `resolve_paths`."""

    def __init__(self) -> None:
        self.opened: dict[str, None] = {}  # for reading
        self.listed: dict[str, None] = {}
        self.changed: dict[str, bool] = {}  # path -> existed before
        self.link_targets: dict[str, str] = {}  # possible new link -> target of a hard link
        self.folder_changes: dict[str, bool] = {}  # True: made; False: moved or removed
        self.imported: dict[str, None] = {}  # files that the import system opened
        self.connected: dict[str, Signature] = {}  # real path of a database -> signature before
        # As the tool wrote them, relative to the current working directory.
        self._opened: dict[str, None] = {}
        self._listed: dict[str, None] = {}
        self._cwd = ""  # the working directory with a slash; "" if it may have changed
        self._notes: tuple[dict[str, Any], ...] = (
            self.opened, self.listed, self.changed, self.link_targets, self.folder_changes, self.connected,
            self._opened, self._listed,
        )  # fmt: skip
        sys.addaudithook(self._make_hook())

    def is_empty(self) -> bool:
        """Whether nothing was noted except imports."""
        return not any(self._notes)

    def clear(self) -> None:
        self._cwd = ""
        self.imported.clear()
        for noted in self._notes:
            if noted:
                noted.clear()

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        for noted, settled in (
            (self._opened, self.opened),
            (self._listed, self.listed),
        ):
            if noted:
                paths = noted.copy()
                noted.clear()
                settled.update(_resolve_all(paths))

    def _make_hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """The hook. Called for every event of the interpreter, in any thread: it must be fast and not raise."""
        opened = self._opened
        others: dict[str, Callable[..., None]] = {
            "os.listdir": self._on_list,
            "os.scandir": self._on_list,
            "os.rename": self._on_rename,
            "os.remove": self._on_remove,
            "os.truncate": self._on_truncate,
            "os.link": self._on_link,
            "os.symlink": self._on_symlink,
            "os.mkdir": self._on_mkdir,
            "os.chdir": self._on_chdir,
            "shutil.rmtree": self._on_rmtree,
            "sqlite3.connect": self._on_sqlite_connect,
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
                    ):
                        opened[path] = None
                    else:
                        self._on_open(path, mode, _getframe(1).f_code.co_filename)
                elif event in others:
                    others[event](*arguments)
            except Exception:  # a user's own event, not a path, or the working directory is gone
                return

        return on_event

    def _on_open(self, given: Any, mode: Any, opener: str) -> None:
        path = os.fsdecode(given)
        if mode is None and opener in FOLDER_WALKERS and not os.path.isabs(path):
            return
        if path.endswith(CODE_SUFFIXES) and _is_import_code(opener):
            if opener == IMPORT_SYSTEM:
                self.imported[path] = None
            return
        self._opened[path] = None

    def _on_open_for_writing(self, given: Any, flags: int) -> None:
        path = self._absolute(given)
        if self.link_targets:
            self.link_targets.pop(path, None)  # if it is a link, its target is written
        if path not in self.changed:
            was_there = self._is_there(path)
            if not (was_there and flags & os.O_EXCL):  # else it fails
                self.changed[path] = was_there

    def _on_list(self, given: Any) -> None:
        if given.__class__ is not int and not _is_import_code(_getframe(2).f_code.co_filename):
            self._listed["." if given is None else os.fsdecode(given)] = None

    def _on_truncate(self, given: Any, *_: object) -> None:
        if given.__class__ is not int:
            path = self._absolute(given)
            self.link_targets.pop(path, None)
            self._note(path)

    def _on_remove(self, given: Any, folder: int = -1) -> None:
        if folder == -1:
            self._note(self._absolute(given))

    def _on_rename(
        self, source: Any, target: Any, source_folder: int = -1, target_folder: int = -1
    ) -> None:
        old = self._absolute(source) if source_folder == -1 else ""
        new = self._absolute(target) if target_folder == -1 else ""
        if old and os.path.isdir(old) and not os.path.islink(old):
            self.folder_changes.setdefault(old, False)
            for path in _find_files(old):
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
        self._note_link(
            target, target_folder, self._absolute(source) if source_folder == -1 else ""
        )

    def _on_symlink(self, source: Any, target: Any, folder: int = -1) -> None:
        self._note_link(target, folder, "")

    def _note_link(self, target: Any, folder: int, source: str) -> None:
        if folder == -1:
            path = self._absolute(target)
            if not os.access(path, os.F_OK, follow_symlinks=False):  # else it fails
                self._note(path)
                self.link_targets[path] = source

    def _on_mkdir(self, given: Any, mode: int = 0, folder: int = -1) -> None:
        if folder == -1:
            path = self._absolute(given)
            if path not in self.folder_changes and not os.access(path, os.F_OK):
                self.folder_changes[path] = True

    def _on_rmtree(self, given: Any, folder: Any = None) -> None:
        if folder is None:
            path = self._absolute(given)
            self.folder_changes.setdefault(path, False)
            for one in _find_files(path):
                self._note(one)

    def _on_chdir(self, _: object) -> None:
        self.resolve_paths()
        self._cwd = ""

    def _on_sqlite_connect(self, given: Any) -> None:
        opener = _getframe(2).f_code.co_filename
        path = _read_database_name(os.fsdecode(given))
        if path and not opener.startswith(OWN_FOLDER):
            path = os.path.realpath(path)
            if path not in self.connected:
                self.connected[path] = database_signature(path)

    def _absolute(self, given: Any) -> str:
        """The absolute path, normalized."""
        path: str = given if given.__class__ is str else os.fsdecode(given)
        if path[:1] != os.sep:
            if not self._cwd:
                self._cwd = os.getcwd().rstrip(os.sep) + os.sep
            path = self._cwd + path
        return _normalize(path)

    def _note(self, path: str) -> None:
        if path not in self.changed:
            self.changed[path] = self._is_there(path)

    def _is_there(self, path: str) -> bool:
        """Whether the path existed before the tool: not if it is in a folder that the tool made."""
        return os.access(path, os.F_OK, follow_symlinks=False) and not (
            self.folder_changes and any(map(self.folder_changes.get, parent_folders(path)))
        )


def parent_folders(path: str) -> Iterator[str]:
    """The folders above an absolute path, the nearest first."""
    while (end := path.rfind(os.sep)) > 0:
        path = path[:end]
        yield path


def _is_import_code(opener: str) -> bool:
    return opener in IMPORT_CODE or opener.startswith(OWN_FOLDER)


def _resolve_all(paths: Iterable[str]) -> Iterator[tuple[str, None]]:
    start = ""
    for path in paths:
        if path[:1] != os.sep:
            try:
                start = start or os.getcwd().rstrip(os.sep) + os.sep
            except OSError:  # the folder is gone, so nothing can be opened in it
                continue
            path = start + path
        yield _normalize(path), None


def _normalize(path: str) -> str:
    if "/." not in path and "//" not in path and path[-1:] != "/":
        return path
    above = len(path) if path.endswith("/..") else path.rfind("/../") + 3
    if above > 2:
        with contextlib.suppress(ValueError):  # not a path
            # `..` after a link to a folder: only the file system knows what that is.
            path = os.path.realpath(path[:above]) + path[above:]
    return os.sep + os.path.normpath(path).lstrip(os.sep)  # normpath keeps two leading slashes


def _find_files(folder: str) -> list[str]:
    """All files below a folder. Without `os.walk`, whose listings the hook would note."""
    found: list[str] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    (waiting if entry.is_dir(follow_symlinks=False) else found).append(entry.path)
        except OSError:
            continue
    return found


def _read_database_name(name: str) -> str:
    """The path in an argument of `sqlite3.connect`; "" for a database in memory."""
    if name.startswith("file:"):
        path, _, query = name[5:].partition("#")[0].partition("?")
        if "mode=memory" in query:
            return ""
        if path.startswith("//"):
            path = "/" + path[2:].partition("/")[2]
        if "%" in path:
            from urllib.parse import unquote

            path = unquote(path)
        name = path
    return "" if name == ":memory:" else name


def database_signature(path: str) -> Signature:
    """The stat of a database and of its write-ahead log; it differs once the database has changed."""
    signature: list[tuple[int, int, int] | None] = []
    for one in (path, path + "-wal"):
        try:
            found = os.stat(one)
        except OSError:
            signature.append(None)
        else:
            signature.append(file_stat(found))
    return tuple(signature)
