"""What a tool was seen to do while it ran: files, folders, tables, modules.

The worker makes an `Observation`; the parent keeps it and compares it with the disk later. Both need the same rules
for which files count and how the names in a folder are compared, so these stand here. Reads no files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Literal

from msgspec import Struct

from discover_orch.model.table_keys import WHOLE

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

#: What was done to the thing that a key names.
#: - `file:`: it was `read`; SQLite `opened` it to read it; it was looked for and `missed`; it `came` into a folder
#:   that was listed, during the step and not by Python; it was `written`, only `appended` to, or `updated`: read
#:   before it was written. `created`: written, and not there before. `removed`: it was there before. `made`: a folder.
#: - `folder:`, `glob:` were `listed`. `there:`, `stat:` and `link:` were `asked`; a folder has a slash at its end.
#: - `table:` was `read`, `missed` or `found` by its name; `written`, or rows were only `inserted`; `made`: created,
#:   and nothing else. `kept`: it would have been made, dropped or indexed, and no row of it was changed. `created` and
#:   `dropped` of those written: it was not there before and is now, or the other way round. `table:` alone is the list
#:   of tables, which is `listed`; `table:*` is `unclear` where there were statements that could not be observed.
#: - `env:` was `read` by code of the project, or `asked` for by a library. `environ:`: all variables were `read`.
#: - `module:` was `read`: got by its name, though it was not the first time. `gap:`: why there may be more, as an end
#:   of the sentence "orch cannot see everything: it ...".
Kind = Literal[
    "read", "opened", "missed", "came", "written", "appended", "updated", "created", "removed",
    "made", "listed", "asked", "found", "inserted", "kept", "dropped", "unclear",
]  # fmt: skip
#: How it is known: Python or a database showed it; only the kernel did, whoever it was; a command line of a child
#: names it. `aside`: Python showed it, and it counts once one tool has written it and another one has read it.
Via = Literal["seen", "kernel", "command", "aside"]
WRITTEN: tuple[Kind, ...] = ("written", "appended", "updated")
FILLED: tuple[Kind, ...] = ("written", "inserted")
MADE: tuple[Kind, ...] = (*FILLED, "made")


class Use(Struct, frozen=True, array_like=True, gc=False):
    """One thing that a tool used. Its key is as in `staleness/tool_result.py`, without the number of a database; paths
    are relative to the root, with `/`, and the root itself is ".".

    `state` is what is known of the thing at the end of the step: of a file the four numbers of its `FileStat`, ""
    where they are not known, of a folder its `list_paths`, of `stat:` the size and time, of `link:` the target, of a
    table that was written the version of its content.
    """

    key: str
    kind: Kind
    via: Via = "seen"
    state: str = ""

    @property
    def name(self) -> str:
        """The key without its kind."""
        return self.key[self.key.index(":") + 1 :]


#: The tool used the database in a way that cannot be seen.
UNCLEAR = Use(f"table:{WHOLE}", "unclear")


class ChildCode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module of the project that a child process may have run, by its command line.

    It and all that it imports are looked up in `folders` first, which are relative to the root. `path` is the file
    that was named, "" where a module was.
    """

    name: str
    folders: tuple[str, ...]
    path: str = ""


class SharedUse(Struct, frozen=True, array_like=True):
    """What counts for every tool whose code includes the file `owner`, or that takes the resource of this name: the
    next one finds it done and reads nothing. It was read while the module was loaded or the resource opened, or by
    code that may keep it."""

    owner: str
    uses: tuple[Use, ...]


class Observation(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What a tool was seen to use while it ran.

    - `shared`: the parts of this that count for all users of a module or resource.
    - `has_committed`: what it wrote to the database may have stayed though it failed.
    - `database`: the SQLite or DuckDB file of `conn`, relative where it is under the root. `dialect`: what its
      statements are written in, by the name that sqlglot has for it.
    - `child_code`: modules of the project that child processes may have run.
    - `may_be_native`: what only the kernel saw may be its work, whatever its code imports: it started a process, or
      got native code by a name.
    - `began`: when the step began, in ns, by the coarse clock that files are stamped with and by the exact one; zeros
      where that is not known.
    """

    uses: tuple[Use, ...] = ()
    shared: tuple[SharedUse, ...] = ()
    has_committed: bool = False
    database: str = ""
    dialect: str = "sqlite"
    child_code: tuple[ChildCode, ...] = ()
    may_be_native: bool = False
    began: tuple[int, int] = (0, 0)

    @cached_property
    def _by_kind(self) -> dict[tuple[str, Kind], list[Use]]:
        found: dict[tuple[str, Kind], list[Use]] = {}
        for use in self.uses:
            if use.via != "aside":
                found.setdefault((use.key[: use.key.index(":")], use.kind), []).append(use)
        return found

    def find(self, thing: str, *kinds: Kind) -> list[Use]:
        """The uses of these kinds, less those aside: `find("file", "read")`."""
        known = self._by_kind
        return [use for kind in kinds for use in known.get((thing, kind), ())] if known else []

    def names(self, thing: str, *kinds: Kind) -> tuple[str, ...]:
        """The same as names, each once: `data/in.csv`."""
        return tuple(dict.fromkeys(use.name for use in self.find(thing, *kinds)))

    @property
    def is_unclear(self) -> bool:
        """Whether statements could not be observed, or it opened the project's database by itself."""
        return bool(self.find("table", "unclear"))


def file_stat(found: os.stat_result) -> FileStat:
    """What stands for the content of a file."""
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def file_state(found: os.stat_result) -> str:
    """The same as a text: the state of a `Use`, and the mark of a file."""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_ctime_ns}"


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
