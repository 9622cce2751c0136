"""What a tool was seen to do while it ran: files, folders, tables, modules.

The worker makes an `Observation`; the parent keeps it and compares it with the disk later. Both need the same rules
for which files count and how the names in a folder are compared, so these stand here. Reads no files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from msgspec import Struct

#: Files and folders of Python, orch and other programs; they never count, wherever they stand in a path.
NOISE = frozenset(
    {".orch", "__pycache__", "site-packages", "dist-packages"}
    | {".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"}
)
NOISY_ENDS = (".egg-info", ".dist-info")
#: What SQLite and DuckDB put beside a database file while it is open.
SIDE_FILES = ("-journal", "-wal", "-shm", ".wal")

#: Before the name of a resource, where it stands in place of the file of a module.
RESOURCE = "resource:"
#: Size in bytes, mtime in ns, inode, ctime in ns: while these stay the same, so does the content. The mtime can be put
#: back, the ctime cannot.
FileStat = tuple[int, int, int, int]
#: The path, and its `FileStat`.
FileState = tuple[str, int, int, int, int]


class ChildCode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module of the project that a child process may have run, by its command line.

    It and all that it imports are looked up in `folders` first, which are relative to the root. `path` is the file
    that was named, "" where a module was.
    """

    name: str
    folders: tuple[str, ...]
    path: str = ""


class TableUse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done to the tables of a database. They are in small letters, named as `table_name` says; one name may
    stand for all tables of a database. A table that was made and dropped does not count.

    - `tables_read`, `tables_written`.
    - `tables_missed`: a statement looked for them in vain, with IF EXISTS too, and they are not there at the end
      either, less those that were made or dropped meanwhile.
    - `tables_found`: a statement looked for them by name, and they are there; less those that it wrote.
    - `tables_inserted`: those of `tables_written` into which new rows were inserted, and nothing else.
    - `tables_created`, `tables_dropped`: those of `tables_written` that did not exist before and do at the end, and
      the other way round. A table that was renamed is both, under its two names.
    - `tables_kept`: no row of them was changed: they would have been created if they had not been there, or were
      created and nothing else was done to them, or they only got or lost an index. Those that were created are in
      `tables_written` too, since readers of them need that. Of `tables_missed` those that would have been dropped.
    - `lists_tables`: the list of tables was read.
    - `is_unclear`: there were statements that could not be observed.
    """

    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()
    tables_missed: tuple[str, ...] = ()
    tables_found: tuple[str, ...] = ()
    tables_inserted: tuple[str, ...] = ()
    tables_created: tuple[str, ...] = ()
    tables_dropped: tuple[str, ...] = ()
    tables_kept: tuple[str, ...] = ()
    lists_tables: bool = False
    is_unclear: bool = False


class Observation(TableUse, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool was seen to do while it ran. Paths are relative to the root, with `/`; the root itself is ".".

    - `read`: regular files that it opened for reading and did not write itself, as they were at the end of the step;
      size -1 where a file could not be asked, or is among `removed`. A database that it opened and that changed is
      both read and written.
    - `listed`: (folder, `list_paths`), as it was at the end of the step.
    - `came`: the names in folders listed, natively too, that may have come during the step, and not by Python.
    - `missed`: files that it tried to read, and that are not there at the end either. Paths that were not there when
      it asked.
    - `asked`: paths that were there when it asked, and that it neither read nor listed; a folder has a slash at its
      end. `measured`: (file, its size and time) where it asked for these.
    - `aside_read`, `aside_written`: files in a folder for temporary files or a hidden folder of the home, which count
      once one tool has written them and another one has read them.
    - `written`: files that it opened for writing, renamed to, linked or truncated, and that are there at the end.
    - `created`: those of `written` that were not there before the step.
    - `left`: the states of what it wrote, natively too, at the end of the step. The next tool may change it at once.
    - `appended`: those of `written` that it only opened to append to them.
    - `removed`: files and folders that were there before the step and that it removed.
    - `folders_made`: folders that it made, and that are there at the end.
    - `is_unclear`: it had a connection whose statements cannot be seen, or opened the project's database by itself.
    - `table_versions`: of tables that it wrote, what they contain, where they are small.
    - `has_committed`: what it wrote to the database may have stayed though it failed.
    - `database`: the SQLite or DuckDB file of `conn`, relative where it is under the root. `dialect`: what its
      statements are written in, by the name that sqlglot has for it.
    - `environment`: variables that the project's own code asked for by name, set or not.
    - `environment_asked`: variables that a library has looked up for code of the project. `has_copied_environment`:
      code of the project went through all variables, itself or in a library.
    - `used_modules`: project modules that it got by name from `importlib.import_module` or `__import__`, with the
      packages that they are in, though it was not the first to load them.
    - `shared`: the parts of this that count for all users of a module or resource.
    - `native_read`, `native_written`: files that only the kernel saw being read and written, by whomever.
      `native_before`: those written that had been read by then, so that what was read may not be what is there.
      `native_named`: those written that a command line of a child process names. `native_listed`: folders
      that only the kernel saw being listed, as `listed`; `native_globs`: what counts of folders that hold code, which
      are listed for each import; `native_missed`: files that a command line names and that are not there.
    - `child_code`: modules of the project that child processes may have run.
    - `gaps`: why this is incomplete, as ends of the sentence "orch cannot see everything: it ...".
    - `began`: when the step began, in ns, by the coarse clock that files are stamped with and by the exact one; zeros
      where that is not known.
    """

    read: tuple[FileState, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()
    came: tuple[FileState, ...] = ()
    missed: tuple[str, ...] = ()
    aside_read: tuple[FileState, ...] = ()
    aside_written: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    measured: tuple[tuple[str, str], ...] = ()
    written: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    left: tuple[FileState, ...] = ()
    appended: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    folders_made: tuple[str, ...] = ()
    table_versions: tuple[tuple[str, str], ...] = ()
    has_committed: bool = False
    database: str = ""
    dialect: str = "sqlite"
    environment: tuple[str, ...] = ()
    environment_asked: tuple[str, ...] = ()
    has_copied_environment: bool = False
    used_modules: tuple[str, ...] = ()
    shared: tuple[SharedUse, ...] = ()
    native_read: tuple[FileState, ...] = ()
    native_written: tuple[str, ...] = ()
    native_before: tuple[str, ...] = ()
    native_named: tuple[str, ...] = ()
    native_listed: tuple[tuple[str, str], ...] = ()
    native_globs: tuple[str, ...] = ()
    native_missed: tuple[str, ...] = ()
    child_code: tuple[ChildCode, ...] = ()
    gaps: tuple[str, ...] = ()
    began: tuple[int, int] = (0, 0)


class SharedUse(Observation, frozen=True, kw_only=True, omit_defaults=True):
    """What counts for every tool whose code includes the file at `path`, or that takes the resource of this name: the
    next one finds it done and reads nothing. It was read while the module was loaded or the resource opened, or by
    code that may keep it.

    `databases` are those of `read` that SQLite opened: a tool that uses such a connection sees the database as it is,
    not as it was.
    """

    path: str
    databases: tuple[str, ...] = ()


def file_stat(found: os.stat_result) -> FileStat:
    """What stands for the content of a file."""
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def is_noise(name: str) -> bool:
    """Whether a file or folder of this name, and all below it, never counts as an input."""
    return name in NOISE or name.endswith(NOISY_ENDS)


def list_paths(folder: str, names: Iterable[str], database_files: Collection[str]) -> str:
    """The paths of the names in a folder, less noise and the files of databases, joined by null characters.

    `database_files` are the project's database and its side files.
    """
    present = {*names}
    start = "" if folder == "." else folder + "/"
    kept = (
        start + name
        for name in present
        if start + name not in database_files
        and not is_noise(name)
        and not _is_side_file(name, present)
    )
    return "\0".join(sorted(kept)) or "\0"


def _is_side_file(name: str, present: Collection[str]) -> bool:
    return any(name.endswith(end) and name[: -len(end)] in present for end in SIDE_FILES)
