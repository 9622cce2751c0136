"""What stands on the disk now, of what tools depend on beside their code: data files, names in folders, the database.

In: paths relative to the root. Out: hashes, marks and names. Each file is read at most once, and not at all where
its mark is the one that it had when it was hashed. Reads and stats, writes nothing, opens no database.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct

from discover_orch.discovery.tree import RACY_COARSE_NS, RACY_NS
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.digest import blake2b
from discover_orch.model.observation import SIDE_FILES, is_noise, listing_hash, names_hash
from discover_orch.staleness.fingerprint import GONE
from discover_orch.staleness.last_result import FileStat

TYPE_CHECKING = False
if TYPE_CHECKING:
    Hashed = tuple[str, FileStat | None]

#: A file larger than this counts as changed when its mark has: to read it takes seconds.
LARGEST = 1 << 28
CHUNK = 1 << 20
_HEADER = b"SQLite format 3\0"


class DatabaseStat(Struct, frozen=True, kw_only=True):
    """A database file: its inode and size, SQLite's counter of its changes, and a hash of its header.

    The header of DuckDB's names the very database, and stays as it is.
    """

    inode: int
    size: int
    counter: int
    header: str

    def is_same(self, earlier: DatabaseStat) -> bool:
        """Whether this is the file that `earlier` was made of: the same one, which has only grown older, or an exact
        copy. An inode can be given again; the counter of a new file is lower."""
        if self.inode == earlier.inode and (self.counter or earlier.counter):
            return self.counter >= earlier.counter
        if self.inode == earlier.inode:
            return self.header == earlier.header
        return (self.size, self.header) == (earlier.size, earlier.header)


class FileHashes:
    """One look at the disk; what was read is remembered."""

    def __init__(self, root: str, database: str = "") -> None:
        """`database` is the path of the database file, which is nobody's input."""
        self._root = root
        self._database = database
        self._nobodys = frozenset(database + end for end in ("", *SIDE_FILES))
        self._hashed: dict[str, Hashed] = {}
        self._names: dict[str, list[str]] = {}
        self._matches: dict[str, tuple[str, ...]] = {}

    def file(self, path: str, known: str = GONE, mark: FileStat | None = None) -> Hashed:
        """The hash of a file and the mark that stands for it; GONE and no mark where there is no regular file.
        `known` is what it was when it had `mark`. A mark is None too where the file may change again unseen."""
        found = self._hashed.get(path)
        if found is not None:
            return found
        full = os.path.join(self._root, path)
        now = mark_of(full)
        if now is None:
            found = GONE, None
        elif now == mark:
            found = known, mark
        else:
            found = hash_file(full, now)
        self._hashed[path] = found
        return found

    def folder(self, path: str, own: Collection[str]) -> str:
        """A hash of the names in a folder, as `listing_hash` has it; GONE where it cannot be listed."""
        names = self._names.get(path)
        if names is None:
            try:
                names = os.listdir(os.path.join(self._root, path))
            except OSError:
                return GONE
            self._names[path] = names
        return listing_hash(path, names, frozenset((*own, self._database)))

    def matches(self, pattern: str) -> tuple[str, ...]:
        """The files that a declared input or output means now, sorted."""
        found = self._matches.get(pattern)
        if found is None:
            paths = sorted(set(find_data(self._root, pattern)) - self._nobodys)
            found = self._matches[pattern] = tuple(
                path for path in paths if os.path.isfile(os.path.join(self._root, path))
            )
        return found

    def own(self, written: Iterable[str], outputs: Iterable[str]) -> frozenset[str]:
        """What a tool wrote itself, seen or declared: no input of it."""
        return frozenset((*written, *(path for one in outputs for path in self.matches(one))))

    def declared(
        self, inputs: Iterable[str], own: Collection[str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """The files that these inputs mean, and for each glob and folder among them the hash of their names."""
        paths: dict[str, None] = {}
        patterns = {}
        for pattern in inputs:
            if GLOB_CHARACTERS & set(pattern) or os.path.isdir(os.path.join(self._root, pattern)):
                found = [path for path in self.matches(pattern) if path not in own]
                patterns[pattern] = names_hash(found)
                paths.update(dict.fromkeys(found))
            elif (path := _spelled(pattern)) not in own:
                paths[path] = None
        return tuple(paths), patterns

    def exists(self, path: str) -> bool:
        """Whether it can be opened, as far as its name goes: a link that leads nowhere cannot."""
        return os.path.exists(os.path.join(self._root, path))

    def is_there(self, path: str) -> bool:
        """Whether there is anything of that name."""
        return os.path.lexists(os.path.join(self._root, path))


def find_file(path: str) -> os.stat_result | None:
    """What the disk says of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def mark_in(found: os.stat_result) -> FileStat:
    return found.st_size, found.st_mtime_ns, found.st_ino


def mark_of(path: str) -> FileStat | None:
    """Of a regular file; None where there is none."""
    found = find_file(path)
    return None if found is None else mark_in(found)


def read_database(root: str, path: str) -> DatabaseStat | None:
    """The mark of a database file; None where there is none. Offsets as in SQLite's description of its file format."""
    try:
        # Not blocking: a pipe of that name would wait for a writer.
        fd = os.open(os.path.join(root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb", buffering=0) as file:
            header = file.read(100) or b""
            st = os.fstat(fd)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(st.st_mode):
        return None
    counter = int.from_bytes(header[24:28], "big") if header.startswith(_HEADER) else 0
    digest = blake2b(header, digest_size=8).hexdigest()
    return DatabaseStat(inode=st.st_ino, size=st.st_size, counter=counter, header=digest)


def find_data(root: str, pattern: str) -> Iterator[str]:
    """The files that an input means: itself, all below a folder, or what a glob matches. Noise has to be named."""
    found = [pattern]
    if GLOB_CHARACTERS & set(pattern):
        import glob  # few projects have a glob

        found = [
            path
            for path in glob.glob(pattern, root_dir=root, recursive=True)
            if not any(map(is_noise, path.split(os.sep)))
        ]
    for path in found:
        full = os.path.join(root, path)
        if not os.path.isdir(full):
            yield _spelled(path)
            continue
        for folder, folders, names in os.walk(full):
            folders[:] = [name for name in folders if name[0] != "." and not is_noise(name)]
            for name in names:
                if not is_noise(name):
                    yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def _spelled(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")


def hash_file(full: str, mark: FileStat) -> Hashed:
    """The hash of a file that has this mark, and the mark: None where it changes while it is read, or may change again
    within a tick of the clock."""
    size, changed, inode = mark
    if size > LARGEST:
        return f"large {size} {changed} {inode}", mark
    digest = blake2b(digest_size=16)
    started = time.time_ns()
    try:
        with open(full, "rb", buffering=0) as file:
            while part := file.read(CHUNK):
                digest.update(part)
    except FileNotFoundError:
        return GONE, None
    except OSError as error:
        return f"unreadable {error.errno}", None
    window = RACY_COARSE_NS if changed % 1_000_000_000 == 0 else RACY_NS
    is_sure = changed <= started - window and mark_of(full) == mark
    return digest.hexdigest(), mark if is_sure else None
