"""What a tool was seen to do while it ran: files, folders, tables, modules.

The worker makes an `Observation`; the parent keeps it and compares it with the disk later. Both need the same rules
for which files count and how the names in a folder are compared, so these stand here. Reads no files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from msgspec import Struct

from discover_orch.model.digest import short_hash

#: Files and folders of Python, orch and other programs; they never count, wherever they stand in a path.
NOISE = frozenset(
    {".orch", "__pycache__", "site-packages", "dist-packages"}
    | {".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"}
)
NOISY_ENDS = (".egg-info", ".dist-info")
#: What SQLite and DuckDB put beside a database file while it is open.
SIDE_FILES = ("-journal", "-wal", "-shm", ".wal")

#: Size in bytes, time of change in ns, inode: while these stay the same, so does the content.
FileStat = tuple[int, int, int]
#: The path, and its `FileStat`.
FileState = tuple[str, int, int, int]


class Observation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool was seen to do while it ran. Paths are relative to the root, with `/`; the root itself is ".".

    - `read`: regular files that it opened for reading and did not write itself, as they were at the end of the step;
      size -1 where a file could not be asked. A database that it opened and that changed is both read and written.
    - `listed`: (folder, `listing_hash`).
    - `missed`: files that it tried to read, and that are not there at the end either.
    - `written`: files that it opened for writing, renamed to, linked or truncated, and that are there at the end.
    - `removed`: files that were there before the step and that it removed.
    - `is_unclear`: it had a connection whose statements cannot be seen, or opened the project's database by itself.
    - `has_committed`: what it wrote to the database may have stayed though it failed.
    - `database`: the SQLite file of `conn`, relative where it is under the root.
    - `third_party`: top-level names of installed modules that were loaded since the last report of this worker.
    - `began`: when the step began, in ns, by the coarse clock that files are stamped with and by the exact one; zeros
      where that is not known.
    """

    read: tuple[FileState, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()
    missed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()
    is_unclear: bool = False
    has_committed: bool = False
    database: str = ""
    third_party: tuple[str, ...] = ()
    began: tuple[int, int] = (0, 0)


def file_stat(found: os.stat_result) -> FileStat:
    """What stands for the content of a file."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def is_noise(name: str) -> bool:
    """Whether a file or folder of this name, and all below it, never counts as an input."""
    return name in NOISE or name.endswith(NOISY_ENDS)


def names_hash(names: Iterable[str]) -> str:
    """The hash of these names, in any order. A name that is not UTF-8 has lone surrogates."""
    text = "\0".join(sorted(names))
    return short_hash(text.encode("utf-8", "surrogatepass"))


def listing_hash(folder: str, names: Iterable[str], own: Collection[str]) -> str:
    """The hash of the names in a folder, less noise, side files of databases, and the paths `own`.

    `own` are what the tool wrote itself, and the project's database.
    """
    present = {*names}
    start = "" if folder == "." else folder + "/"
    kept = (
        name
        for name in present
        if start + name not in own
        and not is_noise(name)
        and not _is_side_file(name, start, present, own)
    )
    return names_hash(kept)


def _is_side_file(name: str, start: str, present: Collection[str], own: Collection[str]) -> bool:
    for end in SIDE_FILES:
        if name.endswith(end):
            base = name[: -len(end)]
            return base in present or start + base in own
    return False
