"""Walks the project's tree: the Python and SQL files under the scanned folders, and a mark of each.

It reads folders and stats, never a file. The marks of two walks are equal exactly where nothing that discovery
depends on has changed. Every command walks the tree first, so these are plain loops over `os.scandir`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from discover_orch.model.conventions import SKIPPED_FOLDERS, TOOL_SUFFIXES, is_skipped_file
from discover_orch.model.observation import changed_at, file_mark

#: In place of a mark: there is no regular file.
ABSENT = ""
#: The file that makes a folder a virtual environment.
VENV_MARKER = "pyvenv.cfg"
#: A file that changed this short before the walk may change again within one tick of the file system's clock and have
#: the same mark, so it counts as unknown. Linux ticks are 1 to 10 ms.
RACY_NS = 20_000_000
#: The same for a file system whose times have whole seconds.
RACY_COARSE_NS = 2_000_000_000


class Tree:
    """The result of one walk. `marks` by path relative to the root, with a `?` before those that match none;
    `folders` are those that were entered.

    `excluded` are the paths that match a pattern of the configuration (folders end in `/`), `unreadable` the folders
    that could not be listed, with the system's reason, `passed_over` what else was skipped, with the reason.
    """

    def __init__(self, root: str, is_excluded: Callable[[str], bool] | None = None) -> None:
        self.marks: dict[str, str] = {}
        self.folders: list[str] = []
        self.excluded: set[str] = set()
        self.unreadable: list[tuple[str, str]] = []
        self.passed_over: list[tuple[str, str]] = []
        self._root, self._is_excluded = root, is_excluded
        self._entered: set[str] = set()
        self._links: list[str] = []
        self._stack: list[str] = []
        #: Real folders that are not to be entered a second time: None until links are followed.
        self._known: set[tuple[int, int]] | None = None

    def follow_links(self) -> None:
        """Enters folders that only a link leads to. A folder that is reachable twice is scanned once, at its real
        path."""
        if self._links:
            self._known = {_identity(self._root, folder) for folder in self.folders}
        while self._links:
            first = min(self._links)
            self._links.remove(first)
            self.enter(first)

    def enter(self, start: str) -> None:
        """Everything below `start`."""
        self._stack.append(start)
        while self._stack:
            folder = self._stack.pop()
            if folder in self._entered:
                continue
            self._entered.add(folder)
            if self._known is not None:
                identity = _identity(self._root, folder)
                if identity in self._known:
                    self.passed_over.append((folder, "a link to a folder that is scanned"))
                    continue
                self._known.add(identity)
            prefix = folder + "/" if folder else ""
            try:
                with os.scandir(os.path.join(self._root, folder)) as found:
                    entries = list(found)
            except OSError as error:
                self.unreadable.append((folder, error.strerror or "unreadable"))
                continue
            if folder and any(entry.name == VENV_MARKER for entry in entries):
                self.passed_over.append((folder, "a virtual environment"))
                continue
            self.folders.append(folder)
            self._note_entries(entries, prefix)

    def _note_entries(self, entries: Iterable[os.DirEntry[str]], prefix: str) -> None:
        """The Python and SQL files of one folder, and the folders in it that are to be entered."""
        marks, passed_over = self.marks, self.passed_over
        for entry in entries:
            name = entry.name
            if name.endswith(TOOL_SUFFIXES):
                if name[0] == ".":
                    continue
                path = prefix + name
                if is_skipped_file(name):
                    passed_over.append((path, "files of this name are not scanned"))
                    continue
                if self._is_left_out(path):
                    continue
                try:
                    st = entry.stat()
                except OSError:  # a dangling link, or deleted since
                    continue
                if stat.S_ISREG(st.st_mode):
                    marks[path] = file_mark(st)
                    continue
                if not stat.S_ISDIR(st.st_mode):
                    passed_over.append((path, "not a regular file"))
                    continue
            if name[0] == "." or name == "__pycache__":
                continue
            if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
                self._note_folder(entry, prefix + name)

    def _note_folder(self, entry: os.DirEntry[str], path: str) -> None:
        """Adds a folder to those to enter, or a link to one to the links."""
        try:
            if not entry.is_dir():
                return
        except OSError:
            return
        if entry.name in SKIPPED_FOLDERS:
            reason = f"folders named {entry.name} are not scanned"
            self.passed_over.append((path, reason))
        elif not self._is_left_out(path + "/"):
            (self._links if entry.is_symlink() else self._stack).append(path)

    def _is_left_out(self, path: str) -> bool:
        if path in self.excluded:
            return True
        if self._is_excluded is None or not self._is_excluded(path):
            return False
        self.excluded.add(path)
        return True


def read_tree(
    root: str,
    folders: Iterable[str],
    *,
    excluded: Iterable[str] = (),
    is_excluded: Callable[[str], bool] | None = None,
    extras: Iterable[str] = (),
) -> Tree:
    """`folders` and `extras` are relative to the root; `""` is the root itself.

    `excluded` are paths known to be excluded; `is_excluded` decides about all others (a folder's path ends in `/`).
    `extras` are files outside the scanned folders that count too, whether they exist or not.
    """
    tree = Tree(root, is_excluded)
    tree.excluded.update(excluded)
    for folder in folders:
        tree.enter(folder)
    tree.follow_links()
    for path in extras:
        if path not in tree.marks:
            tree.marks[path] = read_file_mark(os.path.join(root, path))
    return tree


def read_file_mark(path: str) -> str:
    """The mark of one file, `ABSENT` where there is no regular file."""
    st = stat_file(path)
    return ABSENT if st is None else file_mark(st)


def stat_file(path: str) -> os.stat_result | None:
    """What the system says of a regular file; None where there is none."""
    try:
        st = os.stat(path)
    except (OSError, ValueError):
        return None
    return st if stat.S_ISREG(st.st_mode) else None


def is_racy(mark: str, now_ns: int) -> bool:
    """Whether a file with this mark could have changed again without a new mark."""
    changed = changed_at(mark) if mark != ABSENT else 0
    if changed <= now_ns - RACY_COARSE_NS:  # most files
        return False
    window = RACY_COARSE_NS if changed and changed % 1_000_000_000 == 0 else RACY_NS
    return changed > now_ns - window


def _identity(root: str, folder: str) -> tuple[int, int]:
    """Device and inode, or (0, 0) for a folder that no longer exists."""
    try:
        st = os.stat(os.path.join(root, folder))
    except OSError:
        return (0, 0)
    return (st.st_dev, st.st_ino)
