"""What is there now of what tools depend on beside their code: data files, names in folders, environment variables.

Paths are relative to the root. A file is read at most once, and not at all where its mark is the one that it had when
it was hashed: its mark. Reads files; writes none but `.orch/hashes`, what is known of large files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from discover_orch.discovery.tree import RACY_NS, is_racy, read_file_mark, stat_file
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.database_url import masked_url
from discover_orch.model.encoding import short_hash
from discover_orch.model.keys import Key, file_key
from discover_orch.model.observation import (
    SIDE_FILES,
    file_mark,
    is_noise,
    list_paths,
)
from discover_orch.model.secret_masking import hide_url_passwords
from discover_orch.staleness.tool_result import ABSENT, EXISTS, join_paths
from discover_orch.state.sealed_files import FOLDER, open_nonblocking, read_sealed, write_sealed

#: The hash of a file, and the mark that stands for it; "" where the file may change again with the same one.
Hashed = tuple[str, str]

#: Bytes; reading a larger file takes long, so its size, time and inode stand for its content.
LARGEST = 1 << 30
CHUNK = 1 << 18
#: Bytes; the hash of a larger file is kept for the next command.
LARGE = 1 << 20
#: Bytes; a larger file takes longer to read twice than to wait until its mark stands for its content.
_LONG = 1 << 27
_HASHES = "hashes 1"
#: The hashes of large files, by full path, and those that are kept for a project, by its root.
_hashes: dict[str, Hashed] = {}
_kept: dict[str, dict[str, Hashed]] = {}


class Versions:
    """The files at one time: what was read once is not read again."""

    def __init__(
        self, root: str, database: str = "", environ: Mapping[str, str] = os.environ
    ) -> None:
        """`database` is the path of the database file, which is no input; `environ` is the environment of tools."""
        self._root, self._environ, self._salt = root, environ, ""
        self._database_files = frozenset(database + end for end in ("", *SIDE_FILES))
        self._hashed: dict[str, Hashed] = {}
        self._folders: dict[str, str] = {}
        self._matches: dict[str, tuple[str, ...]] = {}

    def version(self, key: Key, known: str = ABSENT, known_mark: str = ABSENT) -> str:
        """The present version of a file, a folder, a glob, an environment variable, or of what was asked about a path.
        `known` is an earlier version; with `known_mark` a file had it."""
        kind, _, path = key.partition(":")
        match kind:
            case "file":
                return self.file(path, known, known_mark)[0]
            case "folder":
                return self.folder(path)
            case "glob":
                return join_paths(self.matches(path))
            case "there":
                is_there = os.path.exists(os.path.join(self._root, path))
                return join_paths((path,) if is_there else ())
            case "stat":
                return self._measure(path)
            case "link":
                return _read_target(os.path.join(self._root, path))
            case "env":
                return self.variable(path, known)
            case _:
                raise ValueError(key)

    def mark(self, key: Key) -> str:
        """The present state of a file, or of what matches a glob; ABSENT where there is none. A folder, and a link
        that leads nowhere, have the mark EXISTS."""
        kind, _, path = key.partition(":")
        if kind == "glob":
            return EXISTS if self.matches(path) else ABSENT
        return read_mark(os.path.join(self._root, path))

    def file(self, path: str, known: str = ABSENT, known_mark: str = ABSENT) -> Hashed:
        """The hash of a file; ABSENT where there is none, EXISTS for a folder."""
        found = self._hashed.get(path)
        if found is not None:
            return found
        full = os.path.join(self._root, path)
        now = stat_file(full)
        if now is not None and path.endswith("-wal") and not now.st_size:
            # A reader of a SQLite database that does not close it leaves an empty log.
            found = ABSENT, ""
        elif now is None:
            found = (EXISTS if os.path.exists(full) else ABSENT), ""
        elif known_mark and file_mark(now) == known_mark:
            found = known, known_mark
        else:
            if now.st_size > LARGE:
                read_hashes(self._root)
            found = hash_file(full, now)
        self._hashed[path] = found
        return found

    def folder(self, path: str) -> str:
        """The paths in a folder; ABSENT where it cannot be listed."""
        found = self._folders.get(path)
        if found is None:
            try:
                names = os.listdir(os.path.join(self._root, path))
            except OSError:
                return ABSENT
            found = self._folders[path] = list_paths(path, names, self._database_files)
        return found

    def _measure(self, path: str) -> str:
        try:
            found = os.stat(os.path.join(self._root, path))
        except OSError:
            return ABSENT
        return f"{found.st_size} {found.st_mtime_ns}"

    def variable(self, name: str, known: str = ABSENT) -> str:
        """A random salt, and a hash of it and the value: what is kept gives away no value that can be guessed. `known`
        is a version to compare with, so its salt is used."""
        value, version = self._environ.get(name), ABSENT
        if value is not None:
            salt = known.partition(" ")[0]
            if not salt:
                salt = self._salt = self._salt or os.urandom(8).hex()
            text = f"{salt} {hide_url_passwords(masked_url(value)) if '://' in value else value}"
            version = f"{salt} {short_hash(text.encode('utf-8', 'surrogateescape'))}"
        return version

    def matches(self, pattern: str) -> tuple[str, ...]:
        """The files that match a declared input or output now, sorted."""
        found = self._matches.get(pattern)
        if found is None:
            paths = sorted(set(find_data(self._root, pattern)) - self._database_files)
            found = self._matches[pattern] = tuple(
                path for path in paths if os.path.isfile(os.path.join(self._root, path))
            )
        return found

    def forget(self, paths: Iterable[str]) -> None:
        """These may have changed."""
        for path in paths:
            self._hashed.pop(path, None)
            self._folders.pop(path.rstrip("/"), None)
            self._folders.pop(path.rpartition("/")[0] or ".", None)
        self._matches.clear()

    def declared(self, patterns: Iterable[str]) -> Iterator[Key]:
        """The keys of declared inputs or outputs: files, and globs and folders with the files that they match."""
        for pattern in patterns:
            if _is_glob(self._root, pattern) or os.path.isdir(os.path.join(self._root, pattern)):
                yield f"glob:{pattern}"
                yield from (file_key(path) for path in self.matches(pattern))
            else:
                yield file_key(_spelled(pattern))


def _read_target(full: str) -> str:
    try:
        return os.readlink(full)
    except OSError:
        return ABSENT


def read_mark(full: str) -> str:
    """The mark of a file; EXISTS for anything else of that name, ABSENT where there is nothing."""
    return read_file_mark(full) or (EXISTS if os.path.lexists(full) else ABSENT)


def is_database(full: str) -> bool:
    """Whether the file is one of SQLite or DuckDB, by its first bytes
    (https://www.sqlite.org/fileformat.html, https://duckdb.org/docs/stable/internals/storage)."""
    try:
        with open(full, "rb", opener=open_nonblocking) as file:
            start = file.read(16)
    except OSError:
        return False
    return start == b"SQLite format 3\0" or start[8:12] == b"DUCK"


def find_data(root: str, pattern: str) -> Iterator[str]:
    """The files that an input matches: the file itself, all files below a folder, or those of a glob.

    Links to folders are followed. Noise counts only where it is named.
    """
    found: Iterable[str] = (pattern,)
    if _is_glob(root, pattern):
        matching = _expand_glob(root, pattern)
        found = (path for path in matching if not any(map(is_noise, path.split(os.sep))))
    for path in found:
        if not os.path.isdir(os.path.join(root, path)):
            yield _spelled(path)
            continue
        for folder, names in _walk(root, path):
            yield from (_spelled(os.path.join(folder, name)) for name in names)


def _is_glob(root: str, given: str) -> bool:
    """A path that exists is no glob."""
    return not GLOB_CHARACTERS.isdisjoint(given) and not os.path.lexists(os.path.join(root, given))


def _expand_glob(root: str, pattern: str) -> Iterator[str]:
    """The files and folders that match. `**` stands for any number of folders; `glob` would run in circles where a
    link leads to a folder that contains it."""
    import glob  # few projects have a glob

    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.glob(pattern, root_dir=root)
        return
    place = parts.index("**")
    head = "/".join(parts[:place]) or ("/" if pattern.startswith("/") else ".")
    while parts[place + 1 : place + 2] == ["**"]:
        place += 1
    rest = "/".join(parts[place + 1 :])
    for top in glob.glob(head, root_dir=root):
        if not rest:
            yield top
            continue
        for folder, _ in _walk(root, top):
            yield from _expand_glob(root, f"{glob.escape(folder)}/{rest}")


def _walk(
    root: str, path: str, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """Each folder from this one down, with the names of its files; neither hidden folders nor noise.

    `above` are the folders that contain it, by device and inode: a link to one of them is not followed.
    """
    full = os.path.join(root, path)
    try:
        found = os.stat(full)
        entries = [one for one in os.scandir(full) if not is_noise(one.name)]
    except OSError:
        return
    here = found.st_dev, found.st_ino
    if here in above:
        return
    folders = {one.name for one in entries if _is_folder(one)}
    yield path, [one.name for one in entries if one.name not in folders]
    for name in sorted(folders):
        if not name.startswith("."):
            yield from _walk(root, os.path.join(path, name), above | {here})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """`is_dir` alone raises for a link that leads to itself."""
    if entry.is_symlink():
        return os.path.isdir(entry.path)
    return entry.is_dir(follow_symlinks=False)


def meets_input(path: str, inputs: Iterable[str]) -> bool:
    """Whether one of these paths, globs or folders matches the file, or would if it were there."""
    names = path.split("/")
    return any(_meets(names, _split(one)) for one in inputs)


def _meets(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """`**` stands for any number of folders, and a folder matches all below it."""
    if not pattern:
        return True
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return any(_meets(names[place:], rest) for place in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], first) and _meets(names[1:], rest)


@lru_cache(maxsize=4096)
def _split(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in _spelled(pattern).split("/") if part != ".")


def _spelled(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")


def hash_file(full: str, found: os.stat_result) -> Hashed:
    """The hash of a file with this stat. A file that changed within the last tick of the clock, or while it was read,
    may change again and look the same."""
    mark = file_mark(found)
    if found.st_size > LARGEST:
        return f"large {found.st_size} {found.st_mtime_ns} {found.st_ino}", mark
    if found.st_size > LARGE and (known := _hashes.get(full)) and known[1] == mark:
        return known
    import xxhash  # few commands read a file

    hasher = xxhash.xxh3_128()
    if found.st_size > _LONG and is_racy(mark, time.time_ns()):
        time.sleep(RACY_NS / 1e9)  # so that the hash can be kept, and is not made again
    started = time.time_ns()
    try:
        fd = os.open(
            full, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        )  # there may be many: no file object
        try:
            while part := os.read(fd, CHUNK):
                hasher.update(part)
            after = file_mark(os.fstat(fd))
        finally:
            os.close(fd)
    except FileNotFoundError:
        return ABSENT, ""
    except OSError as error:
        return f"unreadable {error.errno}", ""
    is_old = not is_racy(mark, started) and found.st_mtime_ns < started
    hashed = hasher.hexdigest(), mark if is_old and after == mark else ""
    if hashed[1] and found.st_size > LARGE:
        _hashes[full] = hashed
    return hashed


def read_hashes(root: str) -> dict[str, Hashed]:
    """The hashes of large files that are kept, by path: such a file is read again only if it has another mark."""
    if root not in _kept:
        file = os.path.join(root, FOLDER, "hashes")
        _kept[root] = read_sealed(file, _HASHES, dict[str, Hashed]) or {}
        for path, hashed in _kept[root].items():
            _hashes.setdefault(os.path.join(root, path), hashed)
    return _kept[root]


def write_hashes(root: str) -> None:
    """Keeps the hashes of large files for the next command."""
    if not _hashes:
        return
    kept, known = read_hashes(root), {}
    for full, hashed in _hashes.items():
        if read_mark(full) == hashed[1]:
            known[full.removeprefix(f"{root}/")] = hashed
    if known != kept and write_sealed(os.path.join(root, FOLDER, "hashes"), _HASHES, known):
        _kept[root] = known
