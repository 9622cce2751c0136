"""Which files count as what a tool read or wrote, and how their paths are shown: relative to the root, and those
outside of it by their absolute paths. What a step did to them, by these paths.
"""

from __future__ import annotations

import contextlib
import os
import sys

from discover_orch.model.keys import file_key
from discover_orch.model.observation import SIDE_FILES, Use, is_noise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from discover_orch.model.observation import Kind


#: Below these nothing counts. Where the first four are no links, they hold what is in /usr elsewhere.
SYSTEM_FOLDERS = frozenset(
    ["/bin", "/lib", "/lib64", "/sbin", "/usr", "/etc", "/proc", "/sys", "/dev", "/run"]
)


class ObservedPaths:
    """Left out are the project's database, folders of the system, and noise: caches, virtual environments, what is in
    hidden folders of the home.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._starts = tuple(
            dict.fromkeys(one.rstrip(os.sep) + os.sep for one in (root, os.path.realpath(root)))
        )
        self.database = ""  # its real path
        self.database_files: frozenset[str] = frozenset()  # absolute, with the side files
        self.own: frozenset[str] = frozenset()  # the project's database and its side files
        self._is_noise: dict[str, bool] = {"": False}  # folder as it is shown

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

    def full(self, shown: str) -> str:
        """The absolute path of one that is shown so."""
        return os.path.join(self.root, shown)

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
        """Whether the folder or one above it is noise, a virtual environment, one of the system, or hidden in the
        home."""
        known = self._is_noise.get(folder)
        if known is None:
            above, _, name = folder.rpartition("/")
            path = os.path.join(self.root, folder)
            of_python = map(os.path.realpath, (sys.prefix, sys.base_prefix))
            known = self._is_noise[folder] = (
                self.is_noise_folder(above)
                or is_noise(name)
                or path in SYSTEM_FOLDERS
                or os.path.realpath(path) in of_python
                or (name[:1] == "." and above == os.path.expanduser("~"))
                or os.path.exists(os.path.join(path, "pyvenv.cfg"))
            )
        return known

    def is_scratch(self, shown: str) -> bool:
        """Whether a file that is written there counts only once another tool has read it: in the folder for temporary
        files, unless that contains the root, and in hidden folders of the home."""
        folder = find_temporary() + os.sep
        is_temporary = self.full(shown).startswith(folder) and not self.root.startswith(folder)
        return is_temporary or self.is_hidden(shown)

    def is_hidden(self, shown: str) -> bool:
        """Whether the file is in a hidden folder of the home, where libraries keep files for themselves."""
        start = os.path.join(os.path.expanduser("~"), ".")
        return shown.startswith(start) and os.sep in shown[len(start) :] and not is_noise(shown)


class StepFiles:
    """What a step did to files, by their paths as they are shown. The values of `read`, `hidden`, `listed`, `globs`,
    `measured` and `links` are states; those of `written` say whether a file was only appended to. `inodes` are of
    files written.
    """

    def __init__(self) -> None:
        self.read: dict[str, str] = {}
        self.missed: dict[str, None] = {}
        self.listed: dict[str, str] = {}
        self.globs: dict[str, str] = {}
        self.written: dict[str, bool] = {}
        self.updated: set[str] = set()  # of those written: they were there, and were opened too
        self.reread: set[str] = set()  # of these, those that were read
        self.created: dict[str, None] = {}
        self.removed: dict[str, None] = {}
        self.folders_made: dict[str, None] = {}
        self.asked: dict[str, None] = {}
        self.measured: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.code: dict[str, None] = {}
        self.hidden: dict[str, str] = {}
        self.inodes: set[int] = set()

    def uses(self, databases: Collection[str]) -> Iterator[Use]:
        """The same as uses, but for what was written. `databases` were opened by SQLite."""
        for path, state in self.read.items():
            yield Use(file_key(path), "opened" if path in databases else "read", state)
        kinds: tuple[tuple[dict[str, str], str, Kind], ...] = (
            (self.hidden, "file:", "hidden"),
            (self.listed, "folder:", "listed"),
            (self.globs, "glob:", "listed"),
            (self.measured, "stat:", "asked"),
            (self.links, "link:", "asked"),
        )
        for states, start, kind in kinds:
            for path, state in states.items():
                yield Use(start + path, kind, state)
        names: tuple[tuple[Iterable[str], str, Kind], ...] = (
            (self.code, "code:", "read"),
            (self.missed, "file:", "missed"),
            (self.asked, "there:", "asked"),
            (self.created, "file:", "created"),
            (self.removed, "file:", "removed"),
            (self.folders_made, "file:", "made"),
        )
        for found, start, kind in names:
            for path in found:
                yield Use(start + path, kind)


def find_temporary() -> str:
    """The folder of temporary files. Does not import `tempfile`, which takes 10 ms."""
    tempfile = sys.modules.get("tempfile")
    folder = getattr(tempfile, "tempdir", None) or os.environ.get("TMPDIR") or "/tmp"
    return os.path.realpath(folder)


def parent_folders(path: str) -> Iterator[str]:
    """The folders above an absolute path, the nearest first."""
    while (end := path.rfind(os.sep)) > 0:
        path = path[:end]
        yield path


def read_names(folder: str) -> str | None:
    """The names in a folder, with `/` between; None where it is not there."""
    try:
        return "/".join(os.listdir(folder))
    except OSError:
        return None


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


def find_links(folder: str, root: str) -> Iterator[str]:
    """The links by which a way to this folder goes, below the root: what comes by it gets another name."""
    while folder.startswith(root + os.sep) and folder != os.path.realpath(folder):
        if os.path.islink(folder):
            yield folder
        folder = os.path.dirname(folder)


def find_source(path: str) -> str:
    """The source file of a bytecode file in a `__pycache__`; "" for such bytecode elsewhere. Any other path as it is,
    that of a module without source too."""
    if not path.endswith(".pyc"):
        return path
    folder, _, name = path.rpartition(os.sep)
    folder, _, cache = folder.rpartition(os.sep)
    if cache == "__pycache__":
        return f"{folder}{os.sep}{name.partition('.')[0]}.py"
    return path if name.count(".") == 1 else ""


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
