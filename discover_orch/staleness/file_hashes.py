"""What is on the disk now of what tools depend on beside their code: data files, names in folders, the database.

Paths are relative to the root. A file is read at most once, and not at all where its `FileStat` is the one that it had
when it was hashed. Reads files; writes none and opens no database.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct

from discover_orch.discovery.tree import RACY_COARSE_NS, RACY_NS
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.digest import blake2b, short_hash
from discover_orch.model.observation import (
    SIDE_FILES,
    FileStat,
    file_stat,
    is_noise,
    listing_hash,
    names_hash,
)
from discover_orch.staleness.fingerprint import GONE
from discover_orch.state.store import open_nonblocking

#: The hash of a file, and the `FileStat` that stands for it; None where the file may change again with the same one.
Hashed = tuple[str, FileStat | None]

#: Bytes; reading a larger file takes seconds, so it counts as changed when its `FileStat` has changed.
LARGEST = 1 << 28
CHUNK = 1 << 20
_HEADER = b"SQLite format 3\0"


class DatabaseStat(Struct, frozen=True, kw_only=True):
    """What identifies a database file: inode, size, SQLite's counter of changes, and a hash of the header.

    DuckDB has no such counter; its header has an id of the database and does not change.
    """

    inode: int
    size: int
    counter: int
    header: str

    def is_same(self, earlier: DatabaseStat) -> bool:
        """Whether this is the database of `earlier`, at the same time or later, or an exact copy of it.

        The system can give an inode to a new file, but the counter of a new file is lower.
        """
        if self.inode == earlier.inode and (self.counter or earlier.counter):
            return self.counter >= earlier.counter
        if self.inode == earlier.inode:
            return self.header == earlier.header
        return (self.size, self.header) == (earlier.size, earlier.header)


class FileHashes:
    """The disk at one time: what was read once is not read again."""

    def __init__(self, root: str, database: str = "") -> None:
        """`database` is the path of the database file, which is no input."""
        self._root = root
        self._database = database
        self._no_inputs = frozenset(database + end for end in ("", *SIDE_FILES))
        self._hashed: dict[str, Hashed] = {}
        self._names: dict[str, list[str]] = {}
        self._matches: dict[str, tuple[str, ...]] = {}

    def file(self, path: str, known: str = GONE, known_stat: FileStat | None = None) -> Hashed:
        """The hash of a file; GONE where there is no regular file. With `known_stat` it had the hash `known`."""
        found = self._hashed.get(path)
        if found is not None:
            return found
        full = os.path.join(self._root, path)
        now = read_file_stat(full)
        if now is None:
            found = GONE, None
        elif now == known_stat:
            found = known, known_stat
        else:
            found = hash_file(full, now)
        self._hashed[path] = found
        return found

    def folder(self, path: str, own: Collection[str]) -> str:
        """The `listing_hash` of a folder; GONE where it cannot be listed."""
        names = self._names.get(path)
        if names is None:
            try:
                names = os.listdir(os.path.join(self._root, path))
            except OSError:
                return GONE
            self._names[path] = names
        return listing_hash(path, names, frozenset((*own, self._database)))

    def matches(self, pattern: str) -> tuple[str, ...]:
        """The files that match a declared input or output now, sorted."""
        found = self._matches.get(pattern)
        if found is None:
            paths = sorted(set(find_data(self._root, pattern)) - self._no_inputs)
            found = self._matches[pattern] = tuple(
                path for path in paths if os.path.isfile(os.path.join(self._root, path))
            )
        return found

    def own(self, written: Iterable[str], outputs: Iterable[str]) -> frozenset[str]:
        """What a tool was seen or declares to write: none of it is an input of the tool."""
        return frozenset((*written, *(path for one in outputs for path in self.matches(one))))

    def declared(
        self, inputs: Iterable[str], own: Collection[str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """The files that these inputs match, and a hash of the matching paths for each glob and folder."""
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
        """Whether there is a file or folder; not so for a link that leads nowhere."""
        return os.path.exists(os.path.join(self._root, path))

    def is_there(self, path: str) -> bool:
        """Whether there is anything of that name, a link that leads nowhere included."""
        return os.path.lexists(os.path.join(self._root, path))


def stat_file(path: str) -> os.stat_result | None:
    """What the system says of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def read_file_stat(path: str) -> FileStat | None:
    """The `FileStat` of a regular file; None where there is none."""
    found = stat_file(path)
    return None if found is None else file_stat(found)


def read_database(root: str, path: str) -> DatabaseStat | None:
    """The `DatabaseStat` of a file; None where there is none. Offsets: https://sqlite.org/fileformat2.html, 1.3."""
    try:
        full = os.path.join(root, path)
        with open(full, "rb", buffering=0, opener=open_nonblocking) as file:
            header = file.read(100) or b""
            st = os.fstat(file.fileno())
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(st.st_mode):
        return None
    counter = int.from_bytes(header[24:28], "big") if header.startswith(_HEADER) else 0
    return DatabaseStat(
        inode=st.st_ino, size=st.st_size, counter=counter, header=short_hash(header)
    )


def find_data(root: str, pattern: str) -> Iterator[str]:
    """The files that an input matches: the file itself, all files below a folder, or those of a glob.

    Noise counts only where it is named.
    """
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


def hash_file(full: str, found: FileStat) -> Hashed:
    """The hash of a file with this `FileStat`. A file that changed within the last tick of the clock, or while it was
    read, may change again and look the same."""
    size, changed, inode = found
    if size > LARGEST:
        return f"large {size} {changed} {inode}", found
    hasher = blake2b(digest_size=16)
    started = time.time_ns()
    try:
        with open(full, "rb", buffering=0) as file:
            while part := file.read(CHUNK):
                hasher.update(part)
    except FileNotFoundError:
        return GONE, None
    except OSError as error:
        return f"unreadable {error.errno}", None
    window = RACY_COARSE_NS if changed % 1_000_000_000 == 0 else RACY_NS
    is_sure = changed <= started - window and read_file_stat(full) == found
    return hasher.hexdigest(), found if is_sure else None
