"""What a tool was seen to do while it ran: files, folders, tables, modules. A value, and the rules that go with it.

The worker makes it, the parent keeps it and compares it with the disk later: so both ask here what counts
as noise, and how the names in a folder are compared. Pure: it looks at no disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from discover_orch.model.digest import blake2b

#: Names of Python's, orch's and other programs' own, wherever they stand in a path.
NOISE = frozenset(
    {".orch", "__pycache__", "site-packages", "dist-packages"}
    | {".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"}
)
NOISY_ENDS = (".egg-info", ".dist-info")
#: What SQLite and DuckDB put beside a database file while it is open.
SIDE_FILES = ("-journal", "-wal", "-shm", ".wal")

FileState = tuple[str, int, int, int]


class Observation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool was seen to do while it ran. Paths are relative to the root, with `/`; the root itself is ".".

    `read`: (path, size, mtime_ns, inode) at the end of the step, of regular files that it opened for reading
    and did not write itself; size -1 where the file could not be asked. Databases that it opened are both
    read and written where they changed. `listed`: (folder, `listing_hash`). `missed`: opening for
    reading failed, and there is nothing at the end either. `written`: opened for writing, renamed to, linked,
    truncated, and there at the end. `removed`: was there before the step, and it took it away.
    `is_unclear`: it had a connection whose statements nobody could see, or opened the project's database by
    itself. `has_committed`: what it wrote to the database may have stayed though it failed. `database`: the
    SQLite file of `conn`, relative where it is under the root. `third_party`: top-level names of installed
    modules that came since the last report of this worker. `began`: when the step did, in ns, by the coarse
    clock that files are stamped with, and by the exact one; zeros where nobody knows.
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


def is_noise(name: str) -> bool:
    """Whether a file or folder of this name, and all below it, is nobody's input."""
    return name in NOISE or name.endswith(NOISY_ENDS)


def names_hash(names: Iterable[str]) -> str:
    """The hash of these names in any order; names that are no text have lone surrogates."""
    text = "\0".join(sorted(names))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def listing_hash(folder: str, names: Iterable[str], own: Collection[str]) -> str:
    """The hash of what stands in a folder, less noise, side files of databases, and the paths `own`.

    `own` are what the tool wrote itself, and the project's database.
    """
    present = {*names}
    start = "" if folder == "." else folder + "/"
    kept = (
        name
        for name in present
        if start + name not in own
        and not is_noise(name)
        and not _is_beside(name, start, present, own)
    )
    return names_hash(kept)


def _is_beside(name: str, start: str, present: Collection[str], own: Collection[str]) -> bool:
    for end in SIDE_FILES:
        if name.endswith(end):
            base = name[: -len(end)]
            return base in present or start + base in own
    return False
