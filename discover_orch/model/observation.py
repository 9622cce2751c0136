"""What a tool was seen to do while it ran: files, folders, tables, modules.

The worker makes an `Observation`; the parent keeps it and compares it with the disk later. Both need the same rules
for which files count and how the names in a folder are compared, so these stand here. Reads no files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Literal

from msgspec import Struct

from discover_orch.model.keys import WHOLE

#: Files and folders of Python, orch and other programs; they never count, wherever they stand in a path.
NOISE = frozenset(
    {".orch", "__pycache__", "site-packages", "dist-packages"}
    | {".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"}
)
NOISY_ENDS = (".egg-info", ".dist-info")
#: What SQLite and DuckDB put beside a database file while it is open.
SIDE_FILES = ("-journal", "-wal", "-shm", ".wal")

_EDITOR_FILE = re.compile(
    r"~$|\.sw[a-z]$|^\.#|^#.*#$|^4913$|^\.goutputstream-|___jb_(?:tmp|old)___$"
)

#: Why there may be more than was seen.
STARTED_CHILD = "started a child process"
LOADED = "loaded native code"
CONNECTED = "opened a network connection"
#: Before the name of a resource, where it stands in place of the file of a module.
RESOURCE = "resource:"

#: What was done to the thing that a key names.
#: - `file:`: it was `read`; SQLite `opened` it to read it; it was looked for and `missed`; it was `written`, only
#:   `appended` to, or `updated`: read before it was written, and then `reread`, or only
#:   opened to be changed in place, as databases are. `scratch`: written where it counts only once another tool
#:   has read it; `hidden`: read where it counts only if another tool wrote it. `created`: written, and not there
#:   before. `removed`: it was there before. `made`: a folder. What the step made itself it does not read.
#: - `folder:`, `glob:` were `listed`. `there:`, `stat:` and `link:` were `asked`; a folder has a slash at its end.
#: - `code:` was `read`: a Python file, by a child process that runs Python.
#: - `table:` was `read`, `missed` or `found` by its name; `written`, or rows were only `inserted`; `made`: created,
#:   and nothing else. `kept`: it would have been made, dropped or indexed, and no row of it was changed. `created` and
#:   `dropped` of those written: it was not there before and is now, or the other way round. `table:` alone is the list
#:   of tables, which is `listed`; `table:*` is `unclear` where there were statements that could not be observed.
#: - `rows:` with the name of rows of a table, as `model/keys.py` says: an item has `written` those of its value alone.
#: - `env:` was `read` by code of the project, or `asked` for by a library. `environ:`: all variables were `read`.
#: - `module:` was `read`: got by its name, though it was not the first time. `gap:`: why there may be more, as an end
#:   of the sentence "orch cannot see everything: it ...".
Kind = Literal[
    "read", "opened", "missed", "written", "appended", "updated", "reread", "scratch", "hidden",
    "created", "removed", "made", "listed", "asked", "found", "inserted", "kept", "dropped", "unclear",
]  # fmt: skip
WRITTEN: tuple[Kind, ...] = ("written", "appended", "updated", "scratch")
FILLED: tuple[Kind, ...] = ("written", "inserted")
MADE: tuple[Kind, ...] = (*FILLED, "made")


class Use(Struct, frozen=True, array_like=True, gc=False):
    """One thing that a tool used. Its key is as in `model/keys.py`, without the number of a database; paths
    are relative to the root, with `/`, and the root itself is ".".

    `state` is what is known of the thing: of a file its mark, as it was read or left, "" where that is not
    known; of a folder its `list_paths`, of a glob what it matched, of `stat:` the size and time, of
    `link:` the target, of a table that was written the version of its content. `owners` are files of code, and
    resources: the use counts for every tool whose code includes one, or that takes one, since the next one finds it
    done and reads nothing.
    """

    key: str
    kind: Kind
    state: str = ""
    owners: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The key without its kind."""
        return self.key[self.key.index(":") + 1 :]


#: The tool used the database in a way that cannot be seen.
UNCLEAR = Use(f"table:{WHOLE}", "unclear")


class Observation(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What a tool was seen to use while it ran.

    - `has_committed`: what it wrote to the database may have stayed though it failed.
    - `database`: the SQLite or DuckDB file of `conn`, relative where it is under the root. `dialect`: what its
      statements are written in.
    - `began`: when the step began, in ns, by the coarse clock that files are stamped with and by the exact one; zeros
      where that is not known.
    - `tables_read_at`: when the versions of the tables that it wrote were found, in seconds. Of two steps that write
      one table, the one that is committed last finds them last.
    - `ran`: the functions of the project that ran, qualified names by the path of their module; `ran_loading`: those
      that ran while a module was loaded or a resource opened, by its owner. `code_gap`: why others may have run; ""
      where none can. `kept`: the modules that it left in another state.
    """

    uses: tuple[Use, ...] = ()
    has_committed: bool = False
    database: str = ""
    dialect: str = "sqlite"
    began: tuple[int, int] = (0, 0)
    tables_read_at: float = 0.0
    ran: Mapping[str, tuple[str, ...]] = {}
    ran_loading: Mapping[str, Mapping[str, tuple[str, ...]]] = {}
    code_gap: str = ""
    kept: tuple[str, ...] = ()

    @cached_property
    def _by_kind(self) -> dict[tuple[str, Kind], list[Use]]:
        found: dict[tuple[str, Kind], list[Use]] = {}
        for use in self.uses:
            found.setdefault((use.key[: use.key.index(":")], use.kind), []).append(use)
        return found

    def find(self, thing: str, *kinds: Kind) -> list[Use]:
        """The uses of these kinds: `find("file", "read")`."""
        known = self._by_kind
        return [use for kind in kinds for use in known.get((thing, kind), ())] if known else []

    def names(self, thing: str, *kinds: Kind) -> tuple[str, ...]:
        """The same as names, each once: `data/in.csv`."""
        found = self.find(thing, *kinds)
        return tuple(dict.fromkeys(use.name for use in found)) if found else ()

    def find_shared(self) -> dict[str, list[Use]]:
        """By owner, the uses that count for all its users."""
        found: dict[str, list[Use]] = {}
        for use in self.uses:
            for owner in use.owners:
                found.setdefault(owner, []).append(use)
        return found

    @property
    def is_unclear(self) -> bool:
        """Whether statements could not be observed, or it opened the project's database by itself."""
        return bool(self.find("table", "unclear"))


def file_mark(found: os.stat_result) -> str:
    """What stands for the content of a file or folder: size in bytes, mtime in ns, inode, ctime in ns. While these
    stay the same, so does the content: the mtime can be put back, the ctime cannot."""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_ctime_ns}"


def changed_at(mark: str) -> int:
    """The ctime in ns."""
    return int(mark[mark.rfind(" ") + 1 :])


def is_of_editor(name: str) -> bool:
    """Whether editors make files of this name beside the one that is open or saved. They count in no list."""
    return _EDITOR_FILE.search(name) is not None


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
        and not is_of_editor(name)
        and not _is_side_file(name, present)
    )
    return "\0".join(sorted(kept)) or "\0"


def _is_side_file(name: str, present: Collection[str]) -> bool:
    return any(name.endswith(end) and name[: -len(end)] in present for end in SIDE_FILES)
