"""What a tool did to files: the paths from `audit_hook`, and the state of these files after the tool has ended.

The result is an `Observation`. The tool does not wait: each file is read once, when the tool has ended. Left out
are files outside the root, the project's database, and noise: caches, virtual environments, temporary files.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from msgspec.structs import replace

from discover_orch.model.observation import (
    SIDE_FILES,
    Observation,
    file_stat,
    is_noise,
    listing_hash,
)
from discover_orch.worker.audit_hook import AuditHook, database_signature, parent_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from discover_orch.model.observation import FileState


#: The clock of the kernel's time stamps, with steps of some milliseconds: CLOCK_REALTIME_COARSE, which `time`
#: does not name.
_COARSE_CLOCK = 5 if sys.platform == "linux" else None


class Observer:
    """Observes from the moment it is made. `begin_step` before each step, `finish_step` after it."""

    def __init__(self, root: str, database: str = "") -> None:
        self._prefixes = tuple(
            dict.fromkeys(one.rstrip(os.sep) + os.sep for one in (root, os.path.realpath(root)))
        )
        self._database = ""
        self._own: frozenset[str] = frozenset()  # the project's database and its side files
        self._folders: dict[str, bool] = {}  # folder below the root -> is noise
        self._audit = AuditHook()
        self._began = (0, 0)
        self._setup: Observation | None = None
        self._setup_imports = 0  # files imported when `_setup` was made
        self._open_databases: dict[str, None] = {}  # stay open for later steps
        if database:
            self.note_database(database)

    def begin_step(self) -> None:
        """Forget what happened before the step."""
        self._audit.clear()
        self._setup = None
        self._setup_imports = 0
        for path in self._open_databases:
            self._audit.connected[path] = database_signature(path)
        exact = time.time_ns()
        self._began = (
            exact if _COARSE_CLOCK is None else time.clock_gettime_ns(_COARSE_CLOCK),
            exact,
        )

    def note_database(self, path: str) -> None:
        """`path` is the project's database, which orch or `get_connection()` has just opened."""
        self._database = os.path.realpath(path)
        self._audit.connected.pop(self._database, None)
        shown = {self.relative_path(one) for one in (os.path.abspath(path), self._database)}
        self._own = frozenset(one + end for one in shown if one for end in ("", *SIDE_FILES))

    def note_files(self, read: Iterable[str], written: Iterable[str]) -> None:
        """Note absolute paths of files that a database read and wrote: Python does not open these."""
        self._audit.opened.update(dict.fromkeys(read))
        for path in written:
            self._audit.changed.setdefault(path, False)

    def has_foreign_connection(self) -> bool:
        """Whether something else than `conn` has opened the project's database since `begin_step`."""
        return self._database in self._audit.connected

    def mark_setup_done(self, **others: Any) -> None:
        """What happened since `begin_step` was setup: modules loaded and resources opened, which later steps
        of this worker share. `others` are fields of that `Observation` that are known already.
        """
        audit = self._audit
        self._setup_imports = len(audit.imported)
        if not audit.is_empty() or others:
            others["is_unclear"] = others.get("is_unclear", False) or self.has_foreign_connection()
            self._open_databases.update(dict.fromkeys(audit.connected.copy()))
            self._open_databases.pop(self._database, None)
            try:
                audit.resolve_paths()
                others.update(self._inspect_disk(has_databases=False))
            except Exception:  # as in `finish_step`
                others["is_unclear"] = True
            setup = Observation(began=self._began, **others)
            is_empty = setup == Observation(began=self._began)  # all was noise, such as bytecode
            self._setup = None if is_empty else setup

    def setup_observation(self) -> Observation | None:
        """What was observed of the setup of this step; None for nothing."""
        return self._setup

    def finish_step(self, loaded: Collection[str] = (), **others: Any) -> Observation:
        """What happened since `begin_step`. `others` are fields of the `Observation` that are known already.

        `loaded` are source files, relative to the root, that orch's loader has loaded.
        """
        setup = self._find_foreign_imports(loaded) if self._audit.imported else ()
        if not self._audit.is_empty():
            try:
                self._audit.resolve_paths()
                others.update(self._inspect_disk())
            except Exception:  # the tool must not look like one that reads nothing
                others["is_unclear"] = True
        if self.has_foreign_connection():
            others["is_unclear"] = others["has_committed"] = True
        seen = Observation(began=self._began, **others)
        if setup:
            before = self._setup or Observation(began=self._began)
            read = (*before.read, *(row for row in seen.read if row[0] in setup))
            self._setup = replace(before, read=read)
        return seen

    def _find_foreign_imports(self, loaded: Collection[str]) -> set[str]:
        """Count modules that were imported without orch's loader (by `spec_from_file_location`, for example)
        as files read. Returns those imported before `mark_setup_done`.
        """
        setup = set()
        for number, path in enumerate(self._audit.imported.copy()):
            folder, _, name = path.rpartition(os.sep)
            if name.endswith(".pyc"):
                folder, _, cache = folder.rpartition(os.sep)
                if cache != "__pycache__":
                    continue
                name = name.partition(".")[0] + ".py"
            shown = self.relative_path(f"{folder}{os.sep}{name}")
            if shown and shown not in loaded:
                self._audit.opened[f"{folder}{os.sep}{name}"] = None
                if number < self._setup_imports:
                    setup.add(shown)
        return setup

    def _inspect_disk(self, *, has_databases: bool = True) -> dict[str, Any]:
        written, removed, inodes = self._find_changed()
        read, missed = self._find_read(written, inodes)
        if has_databases:
            self._compare_databases(read, missed, written)
        listed = self._find_listed(missed, {*written, *self._own})
        return {
            "read": tuple(read.values()),
            "listed": tuple(listed.items()),
            "missed": tuple(one for one in missed if one not in removed and one not in written),
            "written": tuple(written),
            "removed": tuple(removed),
        }

    def _find_changed(self) -> tuple[dict[str, None], dict[str, None], set[int]]:
        """(written, removed, inodes written); paths through links also by their real names."""
        written: dict[str, None] = {}
        removed: dict[str, None] = {}
        inodes: set[int] = set()
        real_folders: dict[str, str] = {}
        for path, was_there in self._audit.changed.copy().items():
            shown = self.relative_path(path)
            if self._is_noise(shown):
                continue
            folder, _, name = path.rpartition(os.sep)
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder)
            real = os.path.join(real_folders[folder], name)
            try:
                found = os.lstat(path)
            except OSError:
                if was_there:
                    removed.update({one: None for one in (shown, self.relative_path(real)) if one})
                continue
            if stat.S_ISDIR(found.st_mode):
                continue
            if stat.S_ISLNK(found.st_mode) and path not in self._audit.link_targets:
                real = os.path.realpath(path)
            inodes.add(found.st_ino)
            written[shown] = None
            if (
                real != path
                and os.path.exists(path)
                and not self._is_noise(self.relative_path(real))
            ):
                written[self.relative_path(real)] = None
        return written, removed, inodes

    def _find_read(
        self, written: dict[str, None], inodes: set[int]
    ) -> tuple[dict[str, FileState], dict[str, None]]:
        read: dict[str, FileState] = {}
        missed: dict[str, None] = {}
        for path in self._audit.opened.copy():
            shown = self.relative_path(path)
            if shown in written and path in self._audit.link_targets:  # a link that the tool made
                path = self._audit.link_targets[path] or os.path.realpath(path)
                shown = self.relative_path(path)
            if not shown or shown in written or self._is_noise(shown):
                continue
            try:
                found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                is_made_up = shown[0] == "<" and shown[-1] == ">"  # the "file" of generated code
                if (
                    path not in self._audit.changed
                    and not self._is_in_changed_folder(path)
                    and not is_made_up
                ):
                    missed[shown] = None
            except OSError:
                read[shown] = (shown, -1, 0, 0)
            except ValueError:  # not a path
                continue
            else:
                if not stat.S_ISREG(found.st_mode):
                    continue
                if found.st_ino in inodes and self.relative_path(os.path.realpath(path)) in written:
                    continue  # a link to a file that the tool wrote
                read[shown] = (shown, *file_stat(found))
        return read, missed

    def _compare_databases(
        self, read: dict[str, FileState], missed: dict[str, None], written: dict[str, None]
    ) -> None:
        """SQLite databases that the tool opened: compare them, since Python does not open the files."""
        for path, before in self._audit.connected.copy().items():
            shown = self.relative_path(path)
            if path == self._database or self._is_noise(shown):
                continue
            after = database_signature(path)
            if after[0] is None:
                missed[shown] = None
                continue
            if after != before:
                written[shown] = None
            if before[0] is not None:
                read[shown] = (shown, *after[0])

    def _find_listed(self, missed: dict[str, None], own: set[str]) -> dict[str, str]:
        listed = {}
        for path in self._audit.listed.copy():
            folder = (
                "." if path.rstrip(os.sep) + os.sep in self._prefixes else self.relative_path(path)
            )
            if not folder or (folder != "." and self._is_noise_folder(folder)):
                continue
            try:
                listed[folder] = listing_hash(folder, os.listdir(path), own)
            except FileNotFoundError:
                if not self._is_in_changed_folder(path):
                    missed[folder] = None
            except (OSError, ValueError):
                continue
        return listed

    def relative_path(self, path: str) -> str:
        """The path relative to the root, with `/`; "" for a path outside the root."""
        for home in self._prefixes:
            if path.startswith(home):
                shown = path[len(home) :]
                return shown if os.sep == "/" else shown.replace(os.sep, "/")
        return ""

    def _is_noise(self, shown: str) -> bool:
        folder, _, name = shown.rpartition("/")
        return (
            not name
            or is_noise(name)
            or shown in self._own
            or (folder != "" and self._is_noise_folder(folder))
        )

    def _is_noise_folder(self, folder: str) -> bool:
        """Whether the folder or one above it is noise, a virtual environment, or for temporary files."""
        known = self._folders.get(folder)
        if known is None:
            above, _, name = folder.rpartition("/")
            path = self._prefixes[0] + folder
            known = self._folders[folder] = (
                is_noise(name)
                or (above != "" and self._is_noise_folder(above))
                or os.path.exists(os.path.join(path, "pyvenv.cfg"))
                or os.path.realpath(path) in (os.path.realpath(sys.prefix), _find_temporary())
            )
        return known

    def _is_in_changed_folder(self, path: str) -> bool:
        """Whether the path was in a folder that the tool made, moved or removed, and that is gone."""
        folder_changes = self._audit.folder_changes
        return bool(folder_changes) and any(
            one in folder_changes and not os.path.exists(one)
            for one in (path, *parent_folders(path))
        )


def _find_temporary() -> str:
    """The folder of temporary files. Does not import `tempfile`, which takes 10 ms."""
    tempfile = sys.modules.get("tempfile")
    folder = getattr(tempfile, "tempdir", None) or os.environ.get("TMPDIR") or "/tmp"
    return os.path.realpath(folder)
