"""Which files count as what a tool read or wrote, and how their paths are shown: relative to the root, and those
outside of it by their absolute paths. What a step did to them, by these paths.
"""

from __future__ import annotations

import contextlib
import os
import sys

from discover_orch.model.observation import SIDE_FILES, Use, is_noise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Literal

    from discover_orch.model.observation import Kind, Via

    #: When files count; "exchanged": once one tool has written them and another one has read them.
    Counting = Literal["always", "exchanged", "never"]


#: Below these nothing counts.
SYSTEM_FOLDERS = frozenset(["/usr", "/etc", "/proc", "/sys", "/dev", "/run"])


class ObservedPaths:
    """Left out are the project's database, folders of the system, and noise: caches, virtual environments, temporary
    files, what is in hidden folders of the home.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._starts = tuple(
            dict.fromkeys(one.rstrip(os.sep) + os.sep for one in (root, os.path.realpath(root)))
        )
        self.database = ""  # its real path
        self.database_files: frozenset[str] = frozenset()  # absolute, with the side files
        self.own: frozenset[str] = frozenset()  # the project's database and its side files
        self._folders: dict[str, Counting] = {"": "always"}  # folder as it is shown -> its files

    def set_database(self, path: str) -> None:
        """`path` is the file of the project's database."""
        self.database = os.path.realpath(path)
        shown = {self.show(one) for one in (os.path.abspath(path), self.database)}
        self.own = frozenset(one + end for one in shown if one for end in ("", *SIDE_FILES))
        self.database_files = frozenset(
            one + end for one in (os.path.abspath(path), self.database) for end in ("", *SIDE_FILES)
        )

    def find_inode(self) -> int:
        """That of the project's database; -1 where there is none."""
        try:
            return os.stat(self.database).st_ino if self.database else -1
        except OSError:
            return -1

    def relative(self, path: str) -> str:
        """An absolute path relative to the root, with `/`; "" for the root itself and a path outside."""
        for start in self._starts:
            if path.startswith(start):
                shown = path[len(start) :]
                return shown if os.sep == "/" else shown.replace(os.sep, "/")
        return ""

    def show(self, path: str) -> str:
        """An absolute path as it is shown; "" for the root itself."""
        return "" if self.is_root(path) else self.relative(path) or path

    def is_root(self, path: str) -> bool:
        return path.rstrip(os.sep) + os.sep in self._starts

    def start_of(self, folder: str) -> str | None:
        """What the paths of the files in a folder begin with, relative to the root; None where they do not count."""
        if self.is_root(folder):
            return ""
        shown = self.relative(folder) or folder
        return None if self.is_noise_folder(shown) else f"{shown}/"

    def is_noise(self, shown: str) -> bool:
        """Whether a file whose path is shown so does not count."""
        folder, _, name = shown.rpartition("/")
        return not name or is_noise(name) or shown in self.own or self.is_noise_folder(folder)

    def is_noise_folder(self, folder: str) -> bool:
        """Whether the folder or one above it is noise, a virtual environment, one of the system, hidden in the home,
        or for temporary files."""
        return self._counting(folder) != "always"

    def is_aside(self, shown: str) -> bool:
        """Whether the file counts once one tool has written it and another one has read it."""
        folder, _, name = shown.rpartition("/")
        return self._counting(folder) == "exchanged" and not is_noise(name)

    def _counting(self, folder: str) -> Counting:
        """When the files in a folder count."""
        known = self._folders.get(folder)
        if known is None:
            above, _, name = folder.rpartition("/")
            path = os.path.join(self.root, folder)
            real = os.path.realpath(path)
            of_python = map(os.path.realpath, (sys.prefix, sys.base_prefix))
            known = self._counting(above)
            if (
                is_noise(name)
                or path in SYSTEM_FOLDERS
                or real in of_python
                or os.path.exists(os.path.join(path, "pyvenv.cfg"))
            ):
                known = "never"
            elif known == "always" and real == _find_temporary():
                known = "exchanged" if os.path.isabs(folder) else "never"
            elif known == "always" and name[:1] == "." and above == os.path.expanduser("~"):
                known = "exchanged"
            self._folders[folder] = known
        return known


class StepFiles:
    """What a step did to files, by their paths as they are shown. Their values are the states at its end, and whether
    a file was only appended to. `native` is what only the kernel saw, or a command line names; `inodes` are of files
    written."""

    def __init__(self) -> None:
        self.read: dict[str, str] = {}
        self.missed: dict[str, None] = {}
        self.listed: dict[str, str] = {}
        self.written: dict[str, bool] = {}
        self.updated: set[str] = set()  # of those written: they were there, and were read too
        self.created: dict[str, None] = {}
        self.removed: dict[str, None] = {}
        self.folders_made: dict[str, None] = {}
        self.asked: list[str] = []
        self.measured: dict[str, str] = {}
        self.links: dict[str, str] = {}  # to their targets
        self.aside_read: dict[str, str] = {}
        self.aside_written: dict[str, str] = {}
        self.aside_appended: set[str] = set()
        self.native_read: dict[str, str] = {}
        self.native_written: dict[str, tuple[Kind, Via]] = {}
        self.native_listed: dict[str, str] = {}
        self.native_globs: dict[str, None] = {}
        self.native_missed: list[str] = []
        self.native_links: dict[str, str] = {}
        self.inodes: set[int] = set()

    def uses(self, databases: Collection[str]) -> Iterator[Use]:
        """The same as uses, but for what was written and what came. `databases` were opened by SQLite."""
        for path, state in self.native_read.items():
            yield Use(f"file:{path}", "read", "kernel", state)
        for path, state in self.read.items():
            yield Use(f"file:{path}", "opened" if path in databases else "read", "seen", state)
        for path, state in self.aside_read.items():
            yield Use(f"file:{path}", "read", "aside", state)
        for path, state in self.native_listed.items():
            yield Use(f"folder:{path}", "listed", "kernel", state)
        for path, state in self.listed.items():
            yield Use(f"folder:{path}", "listed", "seen", state)
        for path, state in self.measured.items():
            yield Use(f"stat:{path}", "asked", "seen", state)
        for path, target in self.links.items():
            yield Use(f"link:{path}", "asked", "seen", target)
        for path, target in self.native_links.items():
            yield Use(f"link:{path}", "asked", "kernel", target)
        for path, state in self.aside_written.items():
            kind: Kind = "appended" if path in self.aside_appended else "written"
            yield Use(f"file:{path}", kind, "aside", state)
        names: tuple[tuple[Iterable[str], str, Kind, Via], ...] = (
            (self.native_globs, "glob:", "listed", "kernel"),
            (self.native_missed, "file:", "missed", "command"),
            (self.missed, "file:", "missed", "seen"),
            (self.asked, "there:", "asked", "seen"),
            (self.created, "file:", "created", "seen"),
            (self.removed, "file:", "removed", "seen"),
            (self.folders_made, "file:", "made", "seen"),
        )
        for found, start, kind, via in names:
            for path in found:
                yield Use(start + path, kind, via)


def _find_temporary() -> str:
    """The folder of temporary files. Does not import `tempfile`, which takes 10 ms."""
    tempfile = sys.modules.get("tempfile")
    folder = getattr(tempfile, "tempdir", None) or os.environ.get("TMPDIR") or "/tmp"
    return os.path.realpath(folder)


def parent_folders(path: str) -> Iterator[str]:
    """The folders above an absolute path, the nearest first."""
    while (end := path.rfind(os.sep)) > 0:
        path = path[:end]
        yield path


def resolve_paths(paths: Iterable[str]) -> dict[str, None]:
    """These paths as keys, absolute and normalized. They may be many."""
    found: dict[str, None] = {}
    start = ""
    for path in paths:
        if path[:1] != os.sep:
            try:
                start = start or os.getcwd().rstrip(os.sep) + os.sep
            except OSError:  # the folder is gone, so nothing can be opened in it
                continue
            path = start + path
        is_plain = "/." not in path and "//" not in path and path[-1:] != "/"
        found[path if is_plain else normalize_path(path)] = None
    return found


def normalize_path(path: str) -> str:
    """An absolute path without `.` and `..`, which follows links only where it must."""
    if "/." not in path and "//" not in path and path[-1:] != "/":
        return path
    above = len(path) if path.endswith("/..") else path.rfind("/../") + 3
    if above > 2:
        with contextlib.suppress(ValueError):  # not a path
            # `..` after a link to a folder: only the file system knows what that is.
            path = os.path.realpath(path[:above]) + path[above:]
    return os.sep + os.path.normpath(path).lstrip(os.sep)  # normpath keeps two leading slashes


def find_source(path: str) -> str:
    """The source file of a bytecode file in a `__pycache__`; "" for bytecode elsewhere. Any other path as it is."""
    if not path.endswith(".pyc"):
        return path
    folder, _, name = path.rpartition(os.sep)
    folder, _, cache = folder.rpartition(os.sep)
    return f"{folder}{os.sep}{name.partition('.')[0]}.py" if cache == "__pycache__" else ""


def find_all_below(folder: str) -> list[str]:
    """All files and folders below a folder. Without `os.walk`, whose listings the hook would note."""
    found: list[str] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found.append(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return found
