"""What identifies the file of a SQLite or DuckDB database, whether it was written, and which tables are in it.

Paths are relative to the root. Knows no runs and no memory. Writes nothing, and creates no file beside a database.
Offsets in a SQLite file: https://sqlite.org/fileformat2.html, 1.3.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from io import FileIO

from msgspec import Struct

from discover_orch.model.encoding import blake2b, short_hash
from discover_orch.model.keys import OWN_TABLE, acting_name
from discover_orch.state.sealed_files import open_nonblocking

_SQLITE = b"SQLite format 3\0"
_DUCKDB = b"DUCK"  # https://duckdb.org/docs/stable/internals/storage
_SIZE = 100  # bytes of the header
_WAL_MODE = 2
#: The first bytes of the journal of a transaction that may still be undone.
_JOURNAL = bytes.fromhex("d9d505f920a163d7")
#: The content is compared by this many blocks of this many bytes, spread over the file: 128 kB of it, or all of it. At
#: these offsets DuckDB has two headers, and each checkpoint writes one of them with the next number.
_BLOCKS, _BLOCK = 32, 4096
_DUCKDB_HEADERS = (4096, 8192)
#: linux/fs.h, linux/stat.h: the number that distinguishes files of one inode, and the mask for the time of creation.
_FS_IOC_GETVERSION, _STATX_BTIME, _AT_EMPTY_PATH = 0x80087601, 0x800, 0x1000


class DatabaseStat(Struct, frozen=True, kw_only=True):
    """What is known of a database file without opening it as a database.

    - `birth` is another text for another file of the same inode, or "" where the file system has none: a
      system gives the inode of a removed file to a new one.
    - `counter` is SQLite's counter of changes, without a transaction that may still be undone. DuckDB has none; its
      header has an id of the database.
    - `header` and `content` are hashes; `content` is a sample of a large file.
    - `wal_size`, `wal_mtime_ns`: of the write-ahead log beside it; zeros where there is none or it is empty.
    """

    inode: int
    birth: str
    size: int
    mtime_ns: int
    ctime_ns: int
    counter: int
    header: str
    content: str
    wal_size: int = 0
    wal_mtime_ns: int = 0

    def is_same(self, earlier: DatabaseStat) -> bool:
        """Whether this is the database of `earlier`, at the same time or later, or an exact copy of it.

        An older copy that was written into the same file has a lower counter.
        """
        if not self._is_same_file(earlier):
            return self._is_copy(earlier)
        if self.counter or earlier.counter:
            return self.counter >= earlier.counter
        return self.header == earlier.header

    def was_written_since(self, earlier: DatabaseStat) -> bool:
        """Whether anybody has written to the database of `earlier` since then; True for another database.

        A log that is gone while the file is as it was had been written into it before.
        """
        if not self._is_same_file(earlier):
            return not self._is_copy(earlier) or bool(
                self.wal_size and self.wal_size != earlier.wal_size
            )
        has_log = self.wal_size > 0 and self._log() != earlier._log()
        return has_log or self._file() != earlier._file()

    def _is_same_file(self, earlier: DatabaseStat) -> bool:
        is_reborn = self.birth != earlier.birth and bool(self.birth and earlier.birth)
        return self.inode == earlier.inode and not is_reborn

    def _is_copy(self, earlier: DatabaseStat) -> bool:
        """The times of a copy say nothing."""
        return (self.size, self.header, self.content) == (
            earlier.size,
            earlier.header,
            earlier.content,
        )

    def _file(self) -> tuple[int | str, ...]:
        return self.size, self.mtime_ns, self.ctime_ns, self.counter, self.header

    def _log(self) -> tuple[int, int]:
        return self.wal_size, self.wal_mtime_ns


def read_database(root: str, path: str) -> DatabaseStat | None:
    """The `DatabaseStat` of a file; None where there is none."""
    full = os.path.join(root, path)
    try:
        with open(full, "rb", buffering=0, opener=open_nonblocking) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None
            header = file.read(_SIZE) or b""
            content = _hash_sample(file, found.st_size)
            birth = _find_birth(file.fileno(), found)
    except (OSError, ValueError):
        return None
    is_sqlite = header.startswith(_SQLITE)
    log = _stat_log(full + ("-wal" if is_sqlite else ".wal"))
    return DatabaseStat(
        inode=found.st_ino,
        birth=birth,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        counter=_count_changes(full, header) if is_sqlite else 0,
        header=short_hash(header),
        content=content,
        wal_size=log[0],
        wal_mtime_ns=log[1],
    )


def count_changes(root: str, path: str) -> int | None:
    """SQLite's counter of changes, without a transaction that may still be undone; None where it says nothing: no
    SQLite file, or one with a write-ahead log."""
    full = os.path.join(root, path)
    try:
        with open(full, "rb", buffering=0, opener=open_nonblocking) as file:
            header = file.read(_SIZE) or b""
    except OSError:
        return None
    if not header.startswith(_SQLITE) or _WAL_MODE in header[18:20]:
        return None
    return _count_changes(full, header)


def _count_changes(full: str, header: bytes) -> int:
    """A commit that is cut off has counted already, and is undone by who opens the file next."""
    counter = int.from_bytes(header[24:28], "big")
    try:
        with open(f"{full}-journal", "rb", buffering=0, opener=open_nonblocking) as file:
            return counter - 1 if counter and file.read(len(_JOURNAL)) == _JOURNAL else counter
    except OSError:
        return counter


def read_tables(root: str, path: str) -> frozenset[str] | None:
    """The tables and what else a SQLite file contains, by the names of `keys.py`; None where it cannot be read: it
    is locked, damaged or no SQLite file, or reading it would take a recovery that only a writer may do."""
    full = os.path.join(root, path)
    before = read_database(root, path)
    if before is None:
        return None
    if before.size == 0:
        return frozenset()
    kind, _, options = choose_options(full).partition(":")
    found = _query_tables(full, options) if kind == "sqlite" else None
    if found is not None and "immutable" in options:
        # Read without locks: it counts only if the file was not written meanwhile.
        after = read_database(root, path)
        if after is None or after.was_written_since(before):
            return None
    return found


def choose_options(full: str) -> str:
    """How to open the file without creating one beside it, after the kind of the database: `sqlite:mode=ro`; "" where
    there is no way."""
    try:
        with open(full, "rb", buffering=0) as file:
            header = file.read(_SIZE) or b""
    except OSError:
        return ""
    if header[8:12] == _DUCKDB:
        return "duckdb:access_mode=read_only"
    if not header.startswith(_SQLITE):
        return ""
    if _WAL_MODE not in header[18:20]:
        return "sqlite:mode=ro"
    if not _stat_log(full + "-wal")[0]:
        # Else SQLite would create a log and its index, and leave them there.
        return "sqlite:mode=ro&immutable=1"
    return "sqlite:mode=ro" if os.path.exists(full + "-shm") else ""


def _query_tables(full: str, options: str) -> frozenset[str] | None:
    import sqlite3  # only for a database that was written by another program
    from urllib.parse import quote

    try:
        conn = sqlite3.connect(
            f"file:{quote(os.path.abspath(full))}?{options}", uri=True, timeout=0
        )
    except sqlite3.Error:
        return None
    try:
        rows = conn.execute("SELECT type, name, tbl_name FROM sqlite_master WHERE sql IS NOT NULL")
        names = set()
        for kind, name, table in rows:
            is_table = kind in ("table", "view")
            names |= (
                {name.lower()}
                if is_table
                else {f"{kind} {name.lower()}", acting_name(table.lower())}
            )
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        conn.close()
    return frozenset(name for name in names if not name.startswith("sqlite_") and name != OWN_TABLE)


def _hash_sample(file: FileIO, size: int) -> str:
    hasher = blake2b(digest_size=16)
    last = max(size - _BLOCK, 0)
    # A small file is read in one piece: asking the system for each block takes longer than hashing it.
    whole = os.pread(file.fileno(), size, 0) if size <= _BLOCKS * _BLOCK else b""
    spread = (last * number // (_BLOCKS - 1) for number in range(_BLOCKS))
    for offset in dict.fromkeys((*_DUCKDB_HEADERS, *spread)):
        block = whole[offset : offset + _BLOCK] or os.pread(file.fileno(), _BLOCK, offset)
        hasher.update(block)
    return hasher.hexdigest()


def _stat_log(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return (found.st_size, found.st_mtime_ns) if found.st_size else (0, 0)


def _find_birth(file: int, found: os.stat_result) -> str:
    created = getattr(found, "st_birthtime", None)
    if created is not None:
        return str(created)
    if not sys.platform.startswith("linux"):
        return ""
    import fcntl

    try:
        answer = fcntl.ioctl(file, _FS_IOC_GETVERSION, bytes(8))
        return str(struct.unpack_from("=I", answer)[0])
    except OSError:  # overlayfs, tmpfs and network file systems do not have it
        return _ask_statx(file)


def _ask_statx(file: int) -> str:
    """The time of creation. Only the C library can be asked for it, and importing ctypes takes a millisecond."""
    import ctypes

    statx = getattr(ctypes.CDLL(None), "statx", None)
    answer = ctypes.create_string_buffer(256)
    if statx is None or statx(file, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer) != 0:
        return ""
    mask, seconds, nanoseconds = struct.unpack_from("=I76xqI", answer.raw)
    return f"{seconds}.{nanoseconds:09}" if mask & _STATX_BTIME else ""
